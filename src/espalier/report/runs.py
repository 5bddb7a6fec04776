"""Every run of a study as a row: what it was, how far it came, what it reached."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from espalier.records import (
    CellRecords,
    CellState,
    Figures,
    RunResult,
    RunSpec,
    StudyRecords,
    describe,
    settings,
)
from espalier.records.serial import canonical

__all__ = [
    "RULES",
    "Rule",
    "RunRow",
    "Variant",
    "by_settings",
    "chosen",
    "run_rows",
    "unseeded",
    "variants",
]

Rule = Literal["paper", "validation", "last"]
RULES: tuple[Rule, ...] = ("paper", "validation", "last")
"""Which epoch counts: that of the best test accuracy (the paper's rule), that of the best
validation accuracy, or the last one. The latter two never look at the test images to choose."""

TABLE_AXES = ("gamma", "bits", "lr", "seed")
"""Axes that a table joins; what differs on another axis is another variant with its own tables."""
DENSE_BYTES = 4
"""Of an uncompressed weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run; numbers of an unfinished one are None. Accuracies in percent, densities in 0 to 1."""

    run_id: str
    gamma: float
    bits: int
    lr: float
    seed: int
    state: CellState
    epochs_run: int
    """Epochs that are finished."""
    epoch: int | None = None
    """The epoch that counts, by the rule."""
    test_accuracy: float | None = None
    val_accuracy: float | None = None
    train_accuracy: float | None = None
    judge: float | None = None
    """The accuracy that chooses between runs: of the test images by the paper's rule, of the
    validation images by the others."""
    density: float | None = None
    """Share of weights that the mask keeps, over the compressed parameters: the paper's density."""
    density_nonzero: float | None = None
    ratio: float | None = None
    """RC (eq. 6)."""
    asked_bytes: float | None = None
    """RC over all parameters, in bytes: kept weights at their bits, dense ones at 32."""
    size_bytes: int | None = None
    """Of the packed file of the run's best network by test accuracy, whichever rule counts; None
    where the record has none."""
    file_ratio: float | None = None
    """Bytes of the file over those of all parameters in float32: RC that can be weighed."""
    reason: str = ""
    """Why it was given up."""
    curve: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """``test``, ``train`` and ``density`` of each finished epoch."""
    layers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Mask and nonzero density of each compressed parameter at the epoch that counts."""

    @property
    def done(self) -> bool:
        """Whether its numbers count."""
        return self.test_accuracy is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The runs of a study that differ in gamma, bits, learning rate and seed alone."""

    label: str
    """What they share where others differ; ``""`` where the study has one variant."""
    published: bool
    """Whether they are of the paper's network and data, so that its numbers stand beside them."""
    runs: tuple[RunRow, ...]
    model: str
    options: Mapping[str, object]


def by_settings(studies: Sequence[StudyRecords]) -> tuple[Mapping[int, CellRecords], ...]:
    """Return the seeds of each choice of all other settings, in the order of the studies.

    A run that is in two of them counts once: the one that is done.
    """
    groups: dict[str, dict[int, CellRecords]] = {}
    for cell in (cell for study in studies for cell in study.cells):
        seeds = groups.setdefault(canonical(unseeded(cell.spec)), {})
        if cell.spec.seed not in seeds or seeds[cell.spec.seed].state != "done":
            seeds[cell.spec.seed] = cell
    return tuple(groups.values())


def unseeded(spec: RunSpec) -> dict[str, object]:
    """Return all settings of a spec but the seed, by the names that axes have."""
    return {name: value for name, value in settings(spec).items() if name != "seed"}


def variants(records: StudyRecords, rule: Rule) -> tuple[Variant, ...]:
    """Return the study's runs, by what differs beside gamma, bits, learning rate and seed."""
    others = [axis for axis in records.plan.axes if axis not in TABLE_AXES]
    groups: dict[str, list[CellRecords]] = {}
    for cell in records.cells:
        groups.setdefault(describe(cell.spec, others), []).append(cell)
    return tuple(
        Variant(
            label=label if len(groups) > 1 else "",
            published=(cells[0].spec.data, cells[0].spec.model) == ("cifar10", "paper_cnn"),
            runs=run_rows(cells, rule, directory=records.directory),
            model=cells[0].spec.model,
            options=cells[0].spec.model_options,
        )
        for label, cells in groups.items()
    )


def run_rows(
    cells: Sequence[CellRecords], rule: Rule, *, directory: os.PathLike[str]
) -> tuple[RunRow, ...]:
    """Return a row for each cell, in their order; paths in reasons are relative to the study."""
    return tuple(_row(cell, rule, os.fspath(directory)) for cell in cells)


def _row(cell: CellRecords, rule: Rule, directory: str) -> RunRow:
    spec, result = cell.spec, cell.result if cell.state == "done" else None
    row = {
        "run_id": cell.run_id,
        "gamma": spec.gamma,
        "bits": spec.bits,
        "lr": spec.lr,
        "seed": spec.seed,
        "state": cell.state,
        "epochs_run": result.epochs_run if result is not None else len(cell.epochs),
        "curve": {
            "test": tuple(epoch.test_accuracy for epoch in cell.epochs),
            "train": tuple(epoch.train_accuracy for epoch in cell.epochs),
            "density": tuple(epoch.density_mask for epoch in cell.epochs),
        },
    }
    if cell.failure is not None and cell.state == "failed":
        row["reason"] = cell.failure.reason.replace(f"{directory}{os.sep}", "")
    if result is None:
        return RunRow(**row)  # type: ignore[arg-type]  # names and types are those above
    return RunRow(**row, **_numbers(cell, result, rule))  # type: ignore[arg-type]


def chosen(result: RunResult, rule: Rule) -> Figures:
    """Return the figures of the epoch that counts."""
    return {"paper": result.best, "validation": result.by_validation, "last": result.last}[rule]


def _numbers(cell: CellRecords, result: RunResult, rule: Rule) -> dict[str, object]:
    figures = chosen(result, rule)
    known = len(cell.epochs) >= figures.epoch
    size_bytes = result.size_bytes
    return {
        "epoch": figures.epoch,
        "test_accuracy": figures.test_accuracy,
        "val_accuracy": figures.val_accuracy,
        "train_accuracy": figures.train_accuracy,
        "judge": figures.test_accuracy if rule == "paper" else figures.val_accuracy,
        "density": figures.density_mask,
        "density_nonzero": figures.density_nonzero,
        "ratio": figures.ratio,
        "asked_bytes": figures.ratio_all * result.parameters * DENSE_BYTES,
        "size_bytes": size_bytes,
        "file_ratio": size_bytes / (DENSE_BYTES * result.parameters) if size_bytes else None,
        "layers": dict(cell.epochs[figures.epoch - 1].layers) if known else {},
    }
