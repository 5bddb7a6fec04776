"""One run, or the runs of a ladder, with progress on standard error; for commands that train."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.errors import ConfigError, StoppedError

if TYPE_CHECKING:
    from espalier.records import RunResult, RunSpec
    from espalier.train import Baseline

__all__ = ["Machine", "ladder_lines", "train_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """All that a command says about a run and that doesn't change its weights."""

    data_dir: Path | None = None
    device: str = "auto"
    threads: int | None = None
    resume: bool = False
    baseline: str | None = None
    """An accuracy in percent, or a finished run's directory."""
    tensorboard: bool = False
    teacher: Path | None = None
    """File of the weights of a network to learn from."""


def train_run(
    settings: dict[str, Any],
    out: Path | None,
    machine: Machine,
    *,
    max_loss: float | None = None,
    initial: Path | None = None,
    mean_bits: float | None = None,
) -> tuple["RunResult", Path]:
    """Train, and return the result with the directory it is in.

    Args:
        settings: see :func:`espalier.train.resolve_spec`.
        out: the run's directory; named by its settings where None.
        machine: where and how.
        max_loss: points that may be lost; then it is a ladder of runs.
        initial: file of the weights that the settings say it starts from.
        mean_bits: bits of a weight in the mean, from which each parameter gets its own.

    Raises:
        ConfigError: a setting or an option is wrong.
        StoppedError: SIGINT or SIGTERM came.
    """
    from espalier import train as training  # torch: only once there is something to train
    from espalier.train.memory import keep_freed_memory

    if machine.data_dir is not None and not machine.data_dir.exists():
        raise ConfigError(f"--data-dir {machine.data_dir} does not exist.")
    if machine.tensorboard:
        training.require_tensorboard()
    keep_freed_memory()
    with _stoppable():
        if max_loss is not None:
            return _ladder(settings, out, machine, max_loss)
        target = training.resolve_device(machine.device)
        asked = machine.baseline
        compared = None if asked is None else training.read_baseline(asked)
        recorded = None
        if out is not None and machine.resume:
            recorded = training.RunDirectory(out).recorded_spec()
        if recorded is not None and settings.get("precision", "auto") == "auto":
            # it was resolved when the run began, perhaps elsewhere
            settings = settings | {"precision": recorded.precision}
        spec = training.resolve_spec(_with_teacher(settings, machine), device=target)
        if mean_bits is not None:
            spec = training.with_mean_bits(
                spec,
                mean_bits,
                initial,
                recorded=recorded,
                data_dir=machine.data_dir,
                device=target,
            )
        out = out or _default_out(spec)
        return _train(spec, out, machine, compared, initial), out


def ladder_lines(out: Path) -> list[str]:
    """Return what the rungs of a ladder have found, for people, from large to small."""
    from espalier.cli.sizes import size_text
    from espalier.cli.summary import percent
    from espalier.records import read_json

    ladder = read_json(out / "ladder.json")
    lines = []
    for rung in sorted(ladder["rungs"], key=lambda rung: -rung["density"]):
        said = "kept" if rung["run"] == ladder["kept"] else "within" if rung["within"] else "beyond"
        density, size = percent(100 * rung["density"]), size_text(rung["size_bytes"])
        change = f"{abs(rung['lost']):.2f} points {'gained' if rung['lost'] < 0 else 'lost'}"
        accuracy = f"validation {percent(rung['val_accuracy'])}, {change}"
        lines.append(f"{said:<14} density {density}, {size}: {accuracy}")
    return lines


def _ladder(
    settings: dict[str, Any], out: Path | None, machine: Machine, max_loss: float
) -> tuple["RunResult", Path]:
    from espalier import train as training

    if out is None:
        raise ConfigError("--max-loss takes several runs; give --out, the directory for them.")
    if (out / "result.json").exists() and not machine.resume:
        raise ConfigError(
            f"{out} holds a finished run. Add --resume to print its result again, or choose "
            "another --out."
        )

    def train(
        spec: "RunSpec", at: Path, against: "Baseline | None", initial: Path | None
    ) -> "RunResult":
        return _train(spec, at, machine, against, initial, resume=True)

    result, _ = training.within_loss(
        _with_teacher(settings, machine),
        out,
        train,
        max_loss=max_loss,
        baseline=None if machine.baseline is None else Path(machine.baseline),
        device=training.resolve_device(machine.device),
    )
    return result, out


def _train(
    spec: "RunSpec",
    out: Path,
    machine: Machine,
    against: "Baseline | None",
    initial: Path | None,
    *,
    resume: bool = False,
) -> "RunResult":
    from espalier import train as training
    from espalier.cli.display import progress_on_stderr

    with progress_on_stderr(against) as progress:
        return training.train(
            spec,
            out,
            data_dir=machine.data_dir,
            device=machine.device,
            threads=machine.threads,
            resume=resume or machine.resume,
            baseline=against,
            progress=training.TensorBoard(out, progress) if machine.tensorboard else progress,
            initial=initial,
            teacher=None if spec.teacher is None else machine.teacher,
        )


def _with_teacher(settings: dict[str, Any], machine: Machine) -> dict[str, Any]:
    from espalier.train import digest_of

    return settings | ({"teacher": digest_of(machine.teacher)} if machine.teacher else {})


@contextmanager
def _stoppable() -> Iterator[None]:
    """Say what a stop before training means; training itself saves and says so."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise StoppedError("stopped before training began; nothing was lost.") from error


def _default_out(spec: "RunSpec") -> Path:
    from espalier.records import run_id

    model = spec.model.replace(":", "-").replace("/", "-")
    pruning = f"gamma{spec.gamma:g}"
    if spec.target_density is not None:
        pruning = f"density{spec.target_density:g}"
    if spec.max_bytes is not None:
        pruning = f"bytes{spec.max_bytes}"
    numbers = f"{pruning}-bits{spec.bits}-lr{spec.lr:g}-seed{spec.seed}"
    return Path("runs", f"{spec.data.replace(':', '-')}-{model}-{numbers}-{run_id(spec)[:8]}")
