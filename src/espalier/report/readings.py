"""Readings of the paper, ranked by their distance to the published pattern (docs/fidelity.md)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from espalier.errors import NonFiniteError
from espalier.metrics import published_table1
from espalier.records import CellRecords, RunSpec, StudyRecords, settings
from espalier.records.serial import canonical

__all__ = [
    "CELLS",
    "CHANCE",
    "CellFigures",
    "Count",
    "Reading",
    "RunFigures",
    "dense_accuracy",
    "measured_runs",
    "readings",
]

STRENGTH = 0.625
"""Gamma of the cells with pruning."""
CELLS = ((0.0, 4), (0.0, 8), (STRENGTH, 4), (STRENGTH, 8))
"""Gamma and bits of the cells that tell readings apart."""
CHANCE = 10.0
"""Percent, of ten classes."""
DENSE_BITS = 32
BEST_RATES = {4: (0.05, 0.1), 8: (0.01, 0.01)}
"""Published best learning rates of a bit width, from and to."""
ONE_CUT = math.erfc(STRENGTH / math.sqrt(2))
"""Density that one cut leaves of a normal distribution."""
SHARE, FULL, WAY, DECADES = 0.1, 0.25, 0.5, 0.5
"""Tolerances: of accuracies as shares, of the full density, of the way to a density, of a rate."""
WAY_ENDS = 2.0
WITHIN_READING = ("gamma", "bits", "lr", "seed")
BUDGET = ("data", "model", "epochs", "limit_train")
"""What runs must share to be compared."""

Count = Literal["mask", "nonzero"]
"""Which weights count as kept: those that the mask keeps, or those that are not zero."""


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What a run reaches, by the paper's rule."""

    accuracy: float
    """Percent, of the best epoch by test images; of a diverged run at least chance."""
    density: float | None
    """0 to 1, of that epoch; None where the run diverged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFigures:
    """What a reading reaches in a cell, at the better of its learning rates."""

    lr: float
    accuracy: float
    """Percent, of the best epoch by test images; the mean over seeds."""
    density: float | None
    """0 to 1, of that epoch; None where every run diverged."""
    runs: int
    """Seeds, those that diverged among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A choice of all that the paper leaves open, with its distance to the published pattern."""

    label: str
    """In what it differs from the other readings."""
    cells: Mapping[tuple[float, int], CellFigures]
    """By gamma and bits, those of ``CELLS`` that have been run."""
    dense: float
    """Accuracy of the dense network trained as long, percent; the published one without a run."""
    terms: Mapping[str, float]
    """Each term, (ours - published) / tolerance; none until all cells have been run."""
    patterns: tuple[float, ...]
    """Distance to each of the four patterns; none until all cells have been run."""

    @property
    def distance(self) -> float | None:
        """The sum of the four; None until all cells have been run."""
        return sum(self.patterns) if self.patterns else None


def readings(
    studies: Sequence[StudyRecords], *, count: Count = "mask", mixed: bool = True
) -> tuple[Reading, ...]:
    """Return all readings that have been run, the nearest first, unfinished ones last.

    Args:
        studies: whose runs are taken together.
        count: what the density counts.
        mixed: also put together runs of two update rules, one at gamma 0 and another above it.
    """
    measured = measured_runs(studies, count=count)
    groups: dict[str, dict[str, Any]] = {}
    runs: dict[str, list[tuple[RunSpec, RunFigures]]] = {}
    for spec, figures in measured:
        named = {k: v for k, v in settings(spec).items() if k not in WITHIN_READING}
        if spec.compresses:
            groups[canonical(named)] = named
            runs.setdefault(canonical(named), []).append((spec, figures))
    shown = _telling(list(groups.values()))
    found = []
    for at_zero, above in _pairs(groups, mixed=mixed):
        of_zero = [run for run in runs[at_zero] if run[0].gamma == 0]
        of_others = [run for run in runs[above] if run[0].gamma > 0]
        cells = _cells([*of_zero, *of_others])
        if cells:
            label = _label(groups[at_zero], groups[above], shown)
            found.append(_reading(label, cells, dense_accuracy(measured, groups[above])))
    return tuple(sorted(found, key=lambda r: math.inf if r.distance is None else r.distance))


def measured_runs(
    studies: Sequence[StudyRecords], *, count: Count = "mask"
) -> list[tuple[RunSpec, RunFigures]]:
    """Return what each finished or diverged run has reached; one that is in two studies once."""
    cells = {cell.run_id: cell for study in studies for cell in study.cells}
    measured = [(cell.spec, _measured(cell, count)) for cell in cells.values()]
    return [(spec, figures) for spec, figures in measured if figures is not None]


def _measured(cell: CellRecords, count: Count) -> RunFigures | None:
    """Return a run's figures; a diverged one keeps the best accuracy that it had."""
    if cell.result is not None and cell.state == "done":
        best = cell.result.best
        density = best.density_mask if count == "mask" else best.density_nonzero
        return RunFigures(best.test_accuracy, density)
    if cell.failure is not None and cell.failure.kind == NonFiniteError.__name__:
        return RunFigures(max([CHANCE, *(epoch.test_accuracy for epoch in cell.epochs)]), None)
    return None


def _pairs(groups: Mapping[str, Mapping[str, Any]], *, mixed: bool) -> list[tuple[str, str]]:
    """Return which group stands for gamma 0 and which above it: the same, or another update."""
    rest = {
        key: canonical({k: v for k, v in named.items() if k != "update"})
        for key, named in groups.items()
    }
    return [
        (one, other)
        for one in groups
        for other in groups
        if one == other or (mixed and rest[one] == rest[other])
    ]


def _cells(runs: Sequence[tuple[RunSpec, RunFigures]]) -> dict[tuple[float, int], CellFigures]:
    """Return the better learning rate of each cell, by its mean accuracy over seeds."""
    by_rate: dict[tuple[float, int], dict[float, list[RunFigures]]] = {}
    for spec, figures in runs:
        if (spec.gamma, spec.bits) in CELLS:
            rates = by_rate.setdefault((spec.gamma, spec.bits), {})
            rates.setdefault(spec.lr, []).append(figures)
    return {
        at: max((_joined(lr, seeds) for lr, seeds in rates.items()), key=lambda c: c.accuracy)
        for at, rates in by_rate.items()
    }


def _joined(lr: float, seeds: Sequence[RunFigures]) -> CellFigures:
    densities = [seed.density for seed in seeds if seed.density is not None]
    return CellFigures(
        lr=lr,
        accuracy=fmean(seed.accuracy for seed in seeds),
        density=fmean(densities) if densities else None,
        runs=len(seeds),
    )


def dense_accuracy(
    measured: Sequence[tuple[RunSpec, RunFigures]], named: Mapping[str, Any]
) -> float:
    """Return the best dense accuracy, the mean over seeds, of as many images and epochs.

    The published one where there is no such run.
    """
    by_rate: dict[float, list[float]] = {}
    for spec, figures in measured:
        same = all(settings(spec)[name] == named[name] for name in BUDGET)
        if same and not spec.compresses:
            by_rate.setdefault(spec.lr, []).append(figures.accuracy)
    published = _published(0.0, DENSE_BITS)[0]
    return max((fmean(accuracies) for accuracies in by_rate.values()), default=published)


def _published(gamma: float, bits: int) -> tuple[float, float]:
    """Return Table I's accuracy and density."""
    row = next(r for r in published_table1() if (r.gamma, r.bits) == (gamma, bits))
    return row.test_accuracy, row.density


def _reading(label: str, cells: Mapping[tuple[float, int], CellFigures], dense: float) -> Reading:
    terms: dict[str, float] = {}
    patterns: tuple[float, ...] = ()
    if all(at in cells for at in CELLS):
        by_pattern = _terms(cells, dense)
        terms = {name: term for named in by_pattern for name, term in named.items()}
        patterns = tuple(fmean(term**2 for term in named.values()) for named in by_pattern)
    return Reading(label=label, cells=cells, dense=dense, terms=terms, patterns=patterns)


def _terms(
    cells: Mapping[tuple[float, int], CellFigures], dense: float
) -> tuple[dict[str, float], ...]:
    """Return the terms of each of the four patterns."""
    ours = _contrasts({at: cells[at].accuracy for at in CELLS}, dense)
    theirs = _contrasts({at: _published(*at)[0] for at in CELLS}, _published(0.0, DENSE_BITS)[0])
    shares = {name: (ours[name] - theirs[name]) / SHARE for name in ours}
    full = cells[0.0, 4].density
    return (
        {
            "rescue_4": shares["rescue_4"],
            "rescue_8": shares["rescue_8"],
            "full": ((1.0 if full is None else full) - _published(0.0, 4)[1]) / FULL,
        },
        {"bits": shares["bits"], "dense": shares["dense"]},
        {f"way_{b}": _way_left(cells[STRENGTH, b].density, b) / WAY for b in (4, 8)},
        {f"lr_{b}": _decades(cells[STRENGTH, b].lr, b) / DECADES for b in (4, 8)},
    )


def _contrasts(accuracy: Mapping[tuple[float, int], float], dense: float) -> dict[str, float]:
    """Return differences of accuracies as shares of what the dense network is above chance."""
    unit = max(dense - CHANCE, 1.0)
    return {
        "rescue_4": (accuracy[STRENGTH, 4] - accuracy[0.0, 4]) / unit,
        "rescue_8": (accuracy[STRENGTH, 8] - accuracy[0.0, 8]) / unit,
        "bits": (accuracy[STRENGTH, 8] - accuracy[STRENGTH, 4]) / unit,
        "dense": (dense - accuracy[STRENGTH, 8]) / unit,
    }


def _way_left(density: float | None, bits: int) -> float:
    """Return the share of the way, in logarithms, from one cut to the published density."""
    if density is None:
        return 1.0
    if density == 0:
        return -WAY_ENDS
    goal = _published(STRENGTH, bits)[1]
    way = math.log(density / goal) / math.log(ONE_CUT / goal)
    return min(max(way, -WAY_ENDS), WAY_ENDS)


def _decades(lr: float, bits: int) -> float:
    """Return how far a learning rate is from the published best ones; 0 within them."""
    low, high = BEST_RATES[bits]
    return math.log10(min(max(lr, low), high) / lr)


def _telling(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings in which readings differ, in the order of the spec."""
    names = dict.fromkeys(name for named in groups for name in named)
    return [n for n in names if len({canonical(named.get(n)) for named in groups}) > 1]


def _label(at_zero: Mapping[str, Any], above: Mapping[str, Any], shown: Sequence[str]) -> str:
    words = []
    for name in shown:
        one, other = at_zero.get(name), above.get(name)
        value = f"{other:g}" if isinstance(other, float) else f"{other}"
        words.append(f"{name} {value}" if one == other else f"{name} {one} at gamma 0, {value}")
    return "; ".join(words) or "as it is"
