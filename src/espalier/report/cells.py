"""Cells of Table I: for each strength and bit width, the run or runs that stand for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from espalier.metrics import efficiency, published_table1, ratio
from espalier.report.runs import Rule, RunRow

__all__ = [
    "CellRow",
    "Measure",
    "baseline_cell",
    "cell_rows",
    "find_cell",
    "mean_and_spread",
    "published_cells",
    "score",
    "seeds_of",
]

DENSE_BITS = 32
Measure = Literal["paper", "file"]
"""What PE divides by: RC as the paper has it (eq. 6), or the bytes of the file over dense ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRow:
    """What stands for a strength and a bit width; numbers are None until a run is finished.

    Accuracies in percent, densities in 0 to 1. Spreads are sample standard deviations over seeds,
    None for less than two.
    """

    gamma: float
    bits: int
    planned: int = 0
    """Runs of the study there: learning rates times seeds; 0 where the study leaves it out."""
    finished: int = 0
    failed: int = 0
    run_ids: tuple[str, ...] = ()
    """The run that was chosen, or all seeds of the chosen learning rate."""
    lr: float | None = None
    epoch: int | None = None
    """The epoch that counts; None for several runs."""
    test_accuracy: float | None = None
    test_spread: float | None = None
    val_accuracy: float | None = None
    train_accuracy: float | None = None
    judge: float | None = None
    """The accuracy that chooses between cells, as of a run."""
    density: float | None = None
    density_spread: float | None = None
    density_nonzero: float | None = None
    ratio: float | None = None
    """RC (eq. 6)."""
    asked_bytes: float | None = None
    size_bytes: float | None = None
    file_ratio: float | None = None
    """Bytes of the file over those of all parameters in float32."""

    @property
    def state(self) -> str:
        """Say whether all, some, or none of its runs have finished, or none is planned."""
        if self.finished:
            return "done" if self.finished == self.planned else "partial"
        if not self.planned:
            return "unplanned"
        return "failed" if self.failed == self.planned else "missing"


def cell_rows(runs: Sequence[RunRow], rule: Rule) -> tuple[CellRow, ...]:
    """Return a row for each strength (rising) and bit width (falling), as Table I goes.

    By the paper's rule the run with the highest test accuracy stands for its cell, learning rates
    and seeds alike. By the others the learning rate is chosen by validation accuracy, its mean over
    seeds, and numbers are means over the seeds that have finished.
    """
    gammas = sorted({run.gamma for run in runs})
    widths = sorted({run.bits for run in runs}, reverse=True)
    return tuple(_cell(g, b, _at(runs, g, b), rule) for g in gammas for b in widths)


def published_cells() -> tuple[CellRow, ...]:
    """Return the paper's Table I as cells, so that one rule reads both."""
    return tuple(
        CellRow(
            gamma=row.gamma,
            bits=row.bits,
            planned=1,
            finished=1,
            test_accuracy=row.test_accuracy,
            judge=row.test_accuracy,
            density=row.density,
            ratio=ratio(row.density, row.bits),
        )
        for row in published_table1()
    )


def find_cell(cells: Iterable[CellRow], gamma: float, bits: int) -> CellRow | None:
    """Return the cell of a strength and a bit width; None where there is none."""
    return next((cell for cell in cells if (cell.gamma, cell.bits) == (gamma, bits)), None)


def baseline_cell(cells: Iterable[CellRow]) -> CellRow | None:
    """Return the dense network's cell, gamma 0 at 32 bits, if a run of it has finished."""
    cell = find_cell(cells, 0.0, DENSE_BITS)
    return cell if cell is not None and cell.test_accuracy else None


def score(
    of: CellRow | RunRow, baseline: CellRow | None, rho: int, *, by: Measure = "paper"
) -> float | None:
    """Return PE (eq. 5) of a cell or run, by the paper's RC or from the bytes of its file.

    None without a baseline, a finished run, any weight left, or (by file) a file.
    """
    ratio = of.ratio if by == "paper" else of.file_ratio
    if baseline is None or not baseline.test_accuracy:
        return None
    if of.test_accuracy is None or not ratio:
        return None
    return efficiency(of.test_accuracy, baseline.test_accuracy, ratio, rho)


def judged_score(
    cell: CellRow, baseline: CellRow | None, rho: int, *, by: Measure = "paper"
) -> float:
    """Return PE by the accuracy that chooses between cells; 0 where there is no score."""
    ratio = cell.ratio if by == "paper" else cell.file_ratio
    if baseline is None or not baseline.judge or cell.judge is None or not ratio:
        return 0.0
    return efficiency(cell.judge, baseline.judge, ratio, rho)


def seeds_of(cell: CellRow, runs: Sequence[RunRow]) -> list[RunRow]:
    """Return the finished runs of the learning rate that stands for a cell: all its seeds."""
    return [run for run in _at(runs, cell.gamma, cell.bits) if run.done and run.lr == cell.lr]


def mean_and_spread(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the mean, and the sample standard deviation; None of nothing, and of less than two.

    Example:
        >>> mean_and_spread([1.0, 3.0]), mean_and_spread([2.0]), mean_and_spread([])
        ((2.0, 1.4142135623730951), (2.0, None), (None, None))
    """
    return (
        fmean(values) if values else None,
        stdev(values) if len(values) > 1 else None,
    )


def _at(runs: Sequence[RunRow], gamma: float, bits: int) -> list[RunRow]:
    return [run for run in runs if (run.gamma, run.bits) == (gamma, bits)]


def _cell(gamma: float, bits: int, runs: Sequence[RunRow], rule: Rule) -> CellRow:
    done = [run for run in runs if run.done]
    counted = CellRow(
        gamma=gamma,
        bits=bits,
        planned=len(runs),
        finished=len(done),
        failed=sum(run.state == "failed" for run in runs),
    )
    if not done:
        return counted
    if rule == "paper":
        return _joined(counted, [max(done, key=lambda run: run.test_accuracy or 0.0)])
    by_lr: dict[float, list[RunRow]] = {}
    for run in done:
        by_lr.setdefault(run.lr, []).append(run)
    return _joined(counted, max(by_lr.values(), key=lambda seeds: _mean(seeds, "val_accuracy")))


def _joined(counted: CellRow, runs: Sequence[RunRow]) -> CellRow:
    sized = [run.size_bytes for run in runs if run.size_bytes is not None]
    ratios = [run.file_ratio for run in runs if run.file_ratio is not None]
    return CellRow(
        gamma=counted.gamma,
        bits=counted.bits,
        planned=counted.planned,
        finished=counted.finished,
        failed=counted.failed,
        run_ids=tuple(run.run_id for run in runs),
        lr=runs[0].lr,
        epoch=runs[0].epoch if len(runs) == 1 else None,
        test_accuracy=_mean(runs, "test_accuracy"),
        test_spread=_spread(runs, "test_accuracy"),
        val_accuracy=_mean(runs, "val_accuracy"),
        train_accuracy=_mean(runs, "train_accuracy"),
        judge=_mean(runs, "judge"),
        density=_mean(runs, "density"),
        density_spread=_spread(runs, "density"),
        density_nonzero=_mean(runs, "density_nonzero"),
        ratio=_mean(runs, "ratio"),
        asked_bytes=_mean(runs, "asked_bytes"),
        size_bytes=fmean(sized) if len(sized) == len(runs) else None,
        file_ratio=fmean(ratios) if len(ratios) == len(runs) else None,
    )


def _mean(runs: Sequence[RunRow], name: str) -> float:
    return fmean(getattr(run, name) for run in runs)


def _spread(runs: Sequence[RunRow], name: str) -> float | None:
    return stdev(getattr(run, name) for run in runs) if len(runs) > 1 else None
