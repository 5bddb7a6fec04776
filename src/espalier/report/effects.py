"""Effects of two-level factors in an orthogonal design, and which of them are more than noise."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from espalier.records import RunSpec, StudyRecords, setting
from espalier.records.serial import canonical
from espalier.report.readings import CHANCE, RunFigures, dense_accuracy, measured_runs

__all__ = ["RESPONSES", "Effect", "effects", "pseudo_standard_error"]

MARGIN = 2.9
"""Times the pseudo standard error: 97.5 % of Student's t with a third of eleven degrees."""
CELL = ("gamma", "bits", "lr")

Cells = Mapping[tuple[float, int], RunFigures]

RESPONSES: dict[str, Callable[[Cells, float], float]] = {
    "rescue": lambda at, unit: (at[0.625, 4].accuracy - at[0.0, 4].accuracy) / unit,
    "accuracy": lambda at, _: at[0.0, 8].accuracy,
    "ln density": lambda at, _: math.log(max(at[0.625, 4].density or 1.0, 1e-6)),
}
"""What is looked at in a row of the design, from its cells (gamma, bits) and the dense unit. A run
that diverged has pruned nothing."""
NEEDED = ((0.0, 4), (0.0, 8), (0.625, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a factor does to a response: its mean over one level less that over the other."""

    factor: str
    low: object
    """The level that comes first in the study."""
    high: object
    response: str
    """One of ``RESPONSES``."""
    size: float
    """Mean at ``high`` less mean at ``low``."""
    margin: float
    """What noise seldom exceeds."""

    @property
    def counts(self) -> bool:
        """Whether it is more than noise."""
        return abs(self.size) > self.margin


def effects(study: StudyRecords, *others: StudyRecords) -> tuple[Effect, ...]:
    """Return the effect of each factor of two levels on each response.

    Args:
        study: whose axes, but for gamma, bits and learning rate, are the factors. Rows that lack a
            cell are left out, and make the design less than orthogonal.
        others: where else a dense run of as many images and epochs may be.
    """
    measured = measured_runs([study])
    factors = _factors(study, [spec for spec, _ in measured])
    rows: dict[str, tuple[RunSpec, dict[tuple[float, int], RunFigures]]] = {}
    for spec, figures in measured:
        levels = canonical([setting(spec, axis) for axis in study.plan.axes if axis not in CELL])
        rows.setdefault(levels, (spec, {}))[1][spec.gamma, spec.bits] = figures
    whole = [(spec, at) for spec, at in rows.values() if all(cell in at for cell in NEEDED)]
    found: list[Effect] = []
    for response, value in RESPONSES.items():
        values = [(spec, value(at, _unit(spec, [study, *others]))) for spec, at in whole]
        sizes = {name: _size(name, levels, values) for name, levels in factors.items()}
        known = {name: size for name, size in sizes.items() if size is not None}
        margin = MARGIN * pseudo_standard_error(list(known.values()))
        for name, size in known.items():
            low, high = factors[name]
            found.append(
                Effect(factor=name, low=low, high=high, response=response, size=size, margin=margin)
            )
    return tuple(found)


def pseudo_standard_error(sizes: Sequence[float]) -> float:
    """Return the noise of effects, most of which are nothing else (Lenth, 1989).

    ``1.5 * median`` of those magnitudes that are below 2.5 times ``1.5 * median`` of all.

    Example:
        >>> pseudo_standard_error([1.0, -1.0, 1.0, 2.0, 100.0])
        1.5
    """
    magnitudes = [abs(size) for size in sizes]
    if not magnitudes:
        return 0.0
    first = 1.5 * median(magnitudes)
    small = [m for m in magnitudes if m < 2.5 * first]
    return 1.5 * median(small) if small else first


def _factors(study: StudyRecords, specs: Sequence[RunSpec]) -> dict[str, tuple[object, object]]:
    found = {}
    for axis in study.plan.axes:
        levels = {canonical(value): value for value in (setting(spec, axis) for spec in specs)}
        if axis not in CELL and len(levels) == 2:
            first = setting(next(iter(study.plan.cells.values())), axis)
            low, high = sorted(levels.values(), key=lambda level: level != first)
            found[axis] = (low, high)
    return found


def _unit(spec: RunSpec, studies: Sequence[StudyRecords]) -> float:
    named = {name: getattr(spec, name) for name in ("data", "model", "epochs", "limit_train")}
    return max(dense_accuracy(measured_runs(studies), named) - CHANCE, 1.0)


def _size(
    name: str, levels: tuple[object, object], values: Sequence[tuple[RunSpec, float]]
) -> float | None:
    low, high = ([v for spec, v in values if setting(spec, name) == level] for level in levels)
    return fmean(high) - fmean(low) if low and high else None
