"""A study as it goes on: rows of its cells, how much is done, how long it will take."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from espalier.records import CellRecords, CellState, StudyPlan, describe, read_cell, read_plan

__all__ = ["STATES", "CellRow", "Overview", "StudyReader", "overview"]

STATES: tuple[CellState, ...] = ("running", "failed", "done", "waiting")
"""In the order of what one wants to see first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRow:
    """One cell, for people."""

    run_id: str
    label: str
    """Its place on the axes."""
    state: CellState
    epoch: int
    """Epochs that are finished."""
    epochs: int
    """Most that it may take."""
    test_accuracy: float | None
    """Percent: the best of a finished run, the last of another; None before the first epoch."""
    density: float | None
    """By the mask, of the same epoch."""
    reason: str
    """Why it was given up; ``""`` otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A study at a moment."""

    name: str
    rows: tuple[CellRow, ...]
    counts: Mapping[CellState, int]
    share: float
    """Of the study's epochs that are done, 0 to 1; runs that end early count as whole."""
    left_s: float | None
    """Seconds until all is done at the measured rates; None before any epoch was measured."""

    def to_json(self) -> dict[str, Any]:
        """Return the overview as JSON values."""
        names = CellRow.__dataclass_fields__
        return {
            "name": self.name,
            "counts": dict(self.counts),
            "share": self.share,
            "left_s": self.left_s,
            "cells": [{name: getattr(row, name) for name in names} for row in self.rows],
        }


class StudyReader:
    """Reads a study again and again; cells that are done only once."""

    def __init__(self, directory: Path) -> None:
        """Read from this study's directory."""
        self.directory = directory
        self.done: dict[str, CellRecords] = {}

    def read(self) -> Overview:
        """Return the study as it stands.

        Raises:
            RecordError: the plan is missing, damaged, or of a newer version.
        """
        plan = read_plan(self.directory)
        cells = []
        for name, spec in plan.cells.items():
            cell = self.done.get(name) or read_cell(self.directory, name, spec)
            if cell.state == "done":
                self.done[name] = cell
            cells.append(cell)
        return overview(plan, cells)


def overview(plan: StudyPlan, cells: Sequence[CellRecords]) -> Overview:
    """Return what there is to see of a study's cells."""
    axes = [axis for axis, values in plan.axes.items() if len(values) > 1] or list(plan.axes)
    counts = Counter(cell.state for cell in cells)
    expected = {cell.run_id: _expected_epochs(cell, cells) for cell in cells}
    done = sum(_done_epochs(cell, expected[cell.run_id]) for cell in cells)
    return Overview(
        name=plan.name,
        rows=tuple(_row(cell, axes) for cell in cells),
        counts={state: counts[state] for state in STATES},
        share=done / max(1.0, sum(expected.values())),
        left_s=_left_s(cells, expected),
    )


def _row(cell: CellRecords, axes: Sequence[str]) -> CellRow:
    accuracy: float | None = None
    density: float | None = None
    if cell.result is not None:
        accuracy, density = cell.result.best.test_accuracy, cell.result.best.density_mask
    elif cell.epochs:
        accuracy, density = cell.epochs[-1].test_accuracy, cell.epochs[-1].density_mask
    return CellRow(
        run_id=cell.run_id,
        label=describe(cell.spec, axes),
        state=cell.state,
        epoch=len(cell.epochs),
        epochs=cell.spec.epochs,
        test_accuracy=accuracy,
        density=density,
        reason=cell.failure.reason if cell.failure is not None and cell.state == "failed" else "",
    )


def _expected_epochs(cell: CellRecords, cells: Sequence[CellRecords]) -> float:
    """Return how many epochs a run takes: where patience may end it, as many as finished ones."""
    if cell.state == "done":
        return float(max(1, len(cell.epochs)))
    if cell.spec.patience:
        same = [
            len(other.epochs)
            for other in cells
            if other.state == "done" and other.spec.epochs == cell.spec.epochs
        ]
        if same:
            return max(fmean(same), len(cell.epochs) + 1.0)
    return float(cell.spec.epochs)


def _done_epochs(cell: CellRecords, expected: float) -> float:
    return expected if cell.state in ("done", "failed") else float(len(cell.epochs))


def _left_s(cells: Sequence[CellRecords], expected: Mapping[str, float]) -> float | None:
    """Return the seconds left: epochs left x seconds an epoch / runs at once."""
    rates = {cell.run_id: _epoch_s(cell) for cell in cells}
    known = [rate for rate in rates.values() if rate is not None]
    if not known:
        return None
    usual = fmean(known)
    open_cells = [cell for cell in cells if cell.state in ("waiting", "running")]
    work_s = sum(
        (expected[cell.run_id] - len(cell.epochs)) * (rates[cell.run_id] or usual)
        for cell in open_cells
    )
    return work_s / max(1, sum(cell.state == "running" for cell in cells))


def _epoch_s(cell: CellRecords) -> float | None:
    """Return a run's seconds an epoch, of its last epochs; None before the first."""
    last = cell.epochs[-5:]
    if not last:
        return None
    return fmean(e.times.get("train_s", 0.0) + e.times.get("evaluate_s", 0.0) for e in last)
