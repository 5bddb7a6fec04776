"""Studies made of numbers that a test writes down; nothing is trained."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from espalier.metrics import published_table1, ratio
from espalier.records import (
    EpochRecord,
    Figures,
    RunFailure,
    RunResult,
    RunSpec,
    StudyPlan,
    cell_directory,
    run_id,
)

PAPER = {"widths": [32, 64, 64, 128, 128], "hidden": [512, 256, 128]}
PARAMETERS, COMPRESSED = 2_083_018, 2_082_186


def spec(**settings: Any) -> RunSpec:
    return RunSpec(**{"model_options": PAPER, **settings})


def figures(
    accuracy: float,
    density: float,
    bits: int,
    *,
    epoch: int = 1,
    val: float | None = None,
    train: float = 90.0,
) -> Figures:
    rc = ratio(density, bits)
    return Figures(
        epoch=epoch,
        test_accuracy=accuracy,
        val_accuracy=accuracy - 1 if val is None else val,
        train_accuracy=train,
        density_mask=density,
        density_nonzero=density,
        density_mask_all=density,
        density_nonzero_all=density,
        ratio=rc,
        ratio_all=rc,
        efficiency=None,
        efficiency_all=None,
    )


def epoch(number: int, at: Figures, gamma: float, layers: dict[str, Any] | None = None) -> str:
    return EpochRecord(
        epoch=number,
        gamma=gamma,
        train_loss=1.0,
        train_accuracy=at.train_accuracy,
        val_loss=1.0,
        val_accuracy=at.val_accuracy,
        test_loss=1.0,
        test_accuracy=at.test_accuracy,
        density_mask=at.density_mask,
        density_nonzero=at.density_nonzero,
        density_mask_all=at.density_mask_all,
        density_nonzero_all=at.density_nonzero_all,
        ratio=at.ratio,
        ratio_all=at.ratio_all,
        layers=layers or {},
        times={"wall_s": 1.0},
    ).to_line()


def result(
    of: RunSpec, best: Figures, *, by_validation: Figures | None = None, last: Figures | None = None
) -> RunResult:
    return RunResult(
        run_id=run_id(of),
        best=best,
        by_validation=by_validation or best,
        last=last or best,
        bits=of.bits,
        gamma=of.gamma,
        parameters=PARAMETERS,
        compressed_parameters=COMPRESSED,
        epochs_run=max(best.epoch, last.epoch if last else 0),
        stopped_by="epochs",
        baseline=None,
        seed=of.seed,
        data_source="synthetic numbers",
        device="cpu",
        threads=1,
        wall_s=1.0,
        environment={"torch": "none"},
    )


def finish(study: Path, found: RunResult, epochs: Iterable[str] = ()) -> None:
    """Write a finished run's records."""
    directory = cell_directory(study, found.run_id)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metrics.jsonl").write_text("".join(epochs))
    (directory / "result.json").write_text(json.dumps(found.to_json()))


def give_up(study: Path, of: RunSpec, reason: str) -> None:
    """Write the record of a run that was given up."""
    directory = cell_directory(study, run_id(of))
    directory.mkdir(parents=True, exist_ok=True)
    failure = RunFailure(run_id=run_id(of), kind="NonFiniteError", reason=reason, attempts=3)
    (directory / "failure.json").write_text(json.dumps(failure.to_json()))


def plan(study: Path, specs: list[RunSpec], *axes: str) -> None:
    """Write the plan of a study of these runs."""
    named = {axis: sorted({getattr(of, axis) for of in specs}) for axis in axes}
    study.mkdir(parents=True, exist_ok=True)
    text = json.dumps(StudyPlan.of("synthetic", named, specs).to_json())
    (study / "plan.json").write_text(text)


def published_study(study: Path, *, keep: Callable[[RunSpec], bool] = lambda _: True) -> None:
    """Write a study whose finished runs are the cells of the published Table I."""
    rows = [(spec(gamma=r.gamma, bits=r.bits, lr=0.01), r) for r in published_table1()]
    plan(study, [of for of, _ in rows], "gamma", "bits", "lr")
    for of, row in rows:
        if not keep(of):
            continue
        layers = {f"{n}.weight": (row.density, row.density) for n in LAYERS}
        course = [
            figures(row.test_accuracy * share, row.density, row.bits, epoch=n)
            for n, share in enumerate((0.6, 0.8, 1.0), start=1)
        ]
        lines = [epoch(at.epoch, at, row.gamma, layers) for at in course]
        finish(study, result(of, course[-1]), lines)


LAYERS = (*(f"conv{i}" for i in range(1, 6)), *(f"fc{i}" for i in range(1, 5)))
