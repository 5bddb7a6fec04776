"""The smallest network that loses at most so many points: runs down a ladder of densities.

Each rung is a run of its own, from the dense network's weights to one density, so that all of them
can be killed and go on, and each can be looked at. The ladder halves the density until a rung loses
too much, then halves the last interval, on a logarithmic scale, a few times. Only validation
accuracy is looked at.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from espalier.errors import ConfigError
from espalier.files import make_directory, write_atomically
from espalier.records import RunResult, RunSpec, read_json
from espalier.train.directory import RunDirectory
from espalier.train.initial import digest_of
from espalier.train.outcome import Baseline, pretty, read_baseline
from espalier.train.resolve import resolve_spec

__all__ = ["LADDER", "Ladder", "Rung", "within_loss"]

LADDER = "ladder.json"
FIRST = 0.25
"""Density of the first rung."""
LOWEST = 2.0**-10
DENSE: Mapping[str, Any] = {
    "gamma": 0.0,
    "bits": 32,
    "target_density": None,
    "schedule": "constant",
    "layer_bits": None,
    "filter_density": None,
    "quantizer": "uniform",
    "layer_least": 0,
    "spare_operations": 0.0,
    "teacher": None,
}
"""Settings of the run that the others are compared with."""
REFINEMENTS = 2
"""How often the interval between the last rung within and the first beyond is halved."""

Train = Callable[[RunSpec, Path, Baseline | None, Path | None], RunResult]
"""Trains a spec into a directory, against a baseline, from a file of weights; or goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A run of the ladder."""

    density: float
    val_accuracy: float
    """Percent, of the epoch that validation chose."""
    lost: float
    """Points of validation accuracy below the dense network."""
    within: bool
    size_bytes: int | None
    """Of the packed file."""
    run: str
    """Directory, relative to the ladder's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What was asked, and the rungs in the order in which they were run."""

    max_loss: float
    baseline: str
    """Directory of the dense run."""
    dense_accuracy: float
    """Validation accuracy of the dense run, percent."""
    rungs: tuple[Rung, ...]

    @property
    def smallest(self) -> Rung | None:
        """The rung that is kept: the smallest file within the loss."""
        within = [rung for rung in self.rungs if rung.within]
        return min(within, key=lambda rung: (rung.size_bytes or 0, rung.density), default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the ladder as JSON values."""
        kept = self.smallest
        return {"version": 1, **asdict(self), "kept": None if kept is None else kept.run}


def within_loss(
    settings: Mapping[str, Any],
    out: Path,
    train: Train,
    *,
    max_loss: float,
    baseline: Path | None,
    device: torch.device,
) -> tuple[RunResult, Ladder]:
    """Find the smallest network that loses at most ``max_loss`` points of validation accuracy.

    ``out`` becomes the directory of the run that is kept, with the ladder beside it: the dense run
    in ``baseline/`` where none is given, the rungs in ``rungs/``, the list in ``ladder.json``.

    Args:
        settings: of each rung, without anything that says what to prune; see :func:`resolve_spec`.
        out: directory; a ladder that was cut off goes on.
        train: how a spec is trained.
        max_loss: points, >= 0.
        baseline: directory of a finished dense run of the same network and data.
        device: where the runs compute.

    Raises:
        ConfigError: the settings contradict the task, the baseline doesn't fit, or even the whole
            network at these bits loses more; says how much.
    """
    settings = _rung_settings(settings, max_loss)
    dense = baseline or out / "baseline"
    spec = resolve_spec(settings | {"target_density": FIRST, "initial": "-"}, device=device)
    _claim(out, spec, max_loss, baseline)
    if baseline is None:
        train(_dense(settings, device), dense, None, None)
    found = _finished(dense, spec)
    weights = RunDirectory(dense).best_by_validation
    initial, against = digest_of(weights), read_baseline(str(dense))
    floor = found.by_validation.val_accuracy - max_loss
    rungs: dict[float, Rung] = {}

    def within(density: float) -> bool:
        rung_spec = resolve_spec(
            settings | {"target_density": density, "initial": initial}, device=device
        )
        name = f"rungs/density-{density:.6g}"
        accuracy, size = _judged(train(rung_spec, out / name, against, weights))
        rungs[density] = Rung(
            density=density,
            val_accuracy=accuracy,
            lost=found.by_validation.val_accuracy - accuracy,
            within=accuracy >= floor,
            size_bytes=size,
            run=name,
        )
        return rungs[density].within

    _climb_down(within)
    ladder = Ladder(
        max_loss=max_loss,
        baseline=str(dense),
        dense_accuracy=found.by_validation.val_accuracy,
        rungs=tuple(rungs.values()),
    )
    kept = ladder.smallest
    if kept is None:
        least = min(rung.lost for rung in ladder.rungs)
        raise ConfigError(
            f"--max-loss {max_loss:g}: even the whole network at {spec.bits} bits loses "
            f"{least:.2f} points. Give at least {math.ceil(100 * least) / 100:.2f}, more bits or "
            "more epochs."
        )
    return _keep(out, kept, ladder), ladder


def _climb_down(within: Callable[[float], bool]) -> None:
    """Visit densities until the border is known to a factor of ``2 ** (1 / 2**REFINEMENTS)``."""
    good, bad, density = None, None, FIRST
    while LOWEST <= density <= 1 and (good is None or bad is None):
        if within(density):
            good = density
            density /= 2
        else:
            bad = density
            if good is None:
                density *= 2
    for _ in range(REFINEMENTS):
        if good is None or bad is None:
            return
        middle = math.sqrt(good * bad)
        if within(middle):
            good = middle
        else:
            bad = middle


def _rung_settings(settings: Mapping[str, Any], max_loss: float) -> dict[str, Any]:
    if not (math.isfinite(max_loss) and max_loss >= 0):
        raise ConfigError(f"--max-loss {max_loss}: expected points >= 0, for instance 0.5.")
    if settings.get("choose", "validation") != "validation":
        raise ConfigError("--max-loss judges by validation accuracy; leave --choose out.")
    base = {"update": "latent", "schedule": "cubic"} if "recipe" not in settings else {}
    return base | dict(settings) | {"choose": "validation"}


def _dense(settings: Mapping[str, Any], device: torch.device) -> RunSpec:
    return resolve_spec({**settings, **DENSE}, device=device)


def _finished(dense: Path, spec: RunSpec) -> RunResult:
    """Return the result of the dense run, once it is known to be of the same network and data."""
    directory = RunDirectory(dense)
    theirs = directory.recorded_spec()
    if theirs is None or not directory.result.exists():
        raise ConfigError(
            f"baseline={dense}: expected the directory of a finished run; networks start from its "
            "weights."
        )
    for name in ("data", "model", "limit_train"):
        mine, other = getattr(spec, name), getattr(theirs, name)
        if mine != other:
            raise ConfigError(f"baseline={dense} is a run with {name} {other}, not {mine}.")
    return RunResult.from_json(read_json(directory.result), what=str(directory.result))


def _judged(result: RunResult) -> tuple[float, int | None]:
    return result.by_validation.val_accuracy, result.size_bytes


def _claim(out: Path, spec: RunSpec, max_loss: float, baseline: Path | None) -> None:
    """Write what is asked; refuse a directory of something else.

    Raises:
        ConfigError: it holds another ladder, or a run.
    """
    asked = {
        "version": 1,
        "spec": spec.to_json(),
        "max_loss": max_loss,
        "baseline": None if baseline is None else str(baseline),
    }
    path = out / "asked.json"
    if path.exists():
        if read_json(path) != json.loads(pretty(asked)):
            raise ConfigError(
                f"{out} holds a ladder of other settings. Choose another --out, or give those."
            )
        return
    if RunDirectory(out).spec.exists():
        raise ConfigError(f"{out} holds a run; choose another --out.")
    make_directory(out)
    write_atomically(path, pretty(asked))


def _keep(out: Path, kept: Rung, ladder: Ladder) -> RunResult:
    """Copy the records of the rung that is kept into the ladder's directory, the result last."""
    source, target = RunDirectory(out / kept.run), RunDirectory(out)
    write_atomically(out / LADDER, pretty(ladder.to_json()))
    for name in ("spec", "metrics", "best", "best_by_validation", "result"):
        content = getattr(source, name).read_bytes()
        write_atomically(getattr(target, name), content)
    return RunResult.from_json(read_json(target.result), what=str(target.result))
