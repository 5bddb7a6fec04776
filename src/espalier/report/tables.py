"""Tables I, II and III: rows of ours, with the paper's numbers beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

from espalier.metrics import published_table2
from espalier.report.cells import (
    CellRow,
    Measure,
    baseline_cell,
    find_cell,
    judged_score,
    published_cells,
    score,
)

__all__ = [
    "BOLD_EFFICIENCY",
    "RHOS",
    "AccuracyRow",
    "EfficiencyRow",
    "HighlightRow",
    "accuracy_rows",
    "difference",
    "efficiency_rows",
    "highlight_rows",
    "published_score",
]

RHOS = (1, 2, 3)
"""Weights of the accuracy in PE that Table II reports."""
BOLD_EFFICIENCY = 40.0
"""Table II prints PE above this in bold."""
FEW_BITS = 16
"""Table II is of the bit widths below this one."""
SHOWN_RHO = 2
"""Weight of the accuracy in Table III and figures 4 and 5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow:
    """A cell of Table I beside the published one; differences are ours minus published."""

    cell: CellRow
    bold_accuracy: bool
    """The best dense accuracy, or the best one of a pruned network."""
    bold_density: bool
    """The highest sparsity."""
    published_accuracy: float | None
    published_density: float | None
    accuracy_difference: float | None
    """Points."""
    density_difference: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EfficiencyRow:
    """A cell of Table II beside the published one."""

    cell: CellRow
    rho: int
    efficiency: float | None
    """PE (eq. 5); None where a run, the baseline, or every weight is missing."""
    efficiency_file: float | None
    """The same from the bytes of the file; None where there is none. The paper has no such."""
    bold: bool
    published: float | None
    difference: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HighlightRow:
    """A line of Table III, ours and the published one, each by the same rule."""

    key: str
    """``dense``, ``compressed``, ``sparsity``, ``density``, ``efficiency`` or, from the bytes
    of the file, ``efficiency_file``."""
    cell: CellRow | None
    value: float | None
    """Percent; PE for the last two."""
    published_cell: CellRow | None
    published: float | None
    difference: float | None


def difference(ours: float | None, published: float | None) -> float | None:
    """Return ours minus published; None where one is missing."""
    return None if ours is None or published is None else ours - published


def accuracy_rows(cells: Sequence[CellRow], *, published: bool) -> tuple[AccuracyRow, ...]:
    """Return Table I; with the published numbers beside, or without."""
    theirs = published_cells() if published else ()
    best = _best(cells)
    rows = []
    for cell in cells:
        other = find_cell(theirs, cell.gamma, cell.bits)
        accuracy, density = (other.test_accuracy, other.density) if other else (None, None)
        rows.append(
            AccuracyRow(
                cell=cell,
                bold_accuracy=cell in (best["dense"], best["compressed"]),
                bold_density=cell is best["sparsity"],
                published_accuracy=accuracy,
                published_density=density,
                accuracy_difference=difference(cell.test_accuracy, accuracy),
                density_difference=difference(cell.density, density),
            )
        )
    return tuple(rows)


def efficiency_rows(cells: Sequence[CellRow], *, published: bool) -> tuple[EfficiencyRow, ...]:
    """Return Table II: pruned networks of few bits, for each rho.

    A study without bit widths below 16 shows those that it has.
    """
    baseline = baseline_cell(cells)
    pruned = [cell for cell in cells if cell.gamma > 0]
    few = [cell for cell in pruned if cell.bits < FEW_BITS] or pruned
    rows = []
    for cell in few:
        for rho in RHOS:
            ours = score(cell, baseline, rho)
            theirs = published_score(cell.gamma, cell.bits, rho) if published else None
            rows.append(
                EfficiencyRow(
                    cell=cell,
                    rho=rho,
                    efficiency=ours,
                    efficiency_file=score(cell, baseline, rho, by="file"),
                    bold=ours is not None and ours > BOLD_EFFICIENCY,
                    published=theirs,
                    difference=difference(ours, theirs),
                )
            )
    return tuple(rows)


def published_score(gamma: float, bits: int, rho: int) -> float | None:
    """Return the paper's PE: from its Table II, or where that is silent by eq. 5 from Table I.

    Example:
        >>> published_score(0.625, 4, 2)
        95.27
    """
    for row in published_table2():
        if (row.gamma, row.bits, row.rho) == (gamma, bits, rho):
            return row.efficiency
    cells = published_cells()
    cell = find_cell(cells, gamma, bits)
    return None if cell is None else score(cell, baseline_cell(cells), rho)


def highlight_rows(cells: Sequence[CellRow], *, published: bool) -> tuple[HighlightRow, ...]:
    """Return Table III: the best of each kind, found by the same rule in ours and in theirs.

    PE from the bytes of the file is there where the records have them; the paper has none.
    """
    theirs = published_cells() if published else ()
    ours_best, theirs_best = _best(cells), _best(theirs)
    rows = []
    for key, cell in ours_best.items():
        if key == "efficiency_file" and cell is None:
            continue
        other = theirs_best[key]
        value, printed = _value(key, cell, cells), _value(key, other, theirs)
        if key == "efficiency" and other is not None:
            printed = published_score(other.gamma, other.bits, SHOWN_RHO)
        rows.append(
            HighlightRow(
                key=key,
                cell=cell,
                value=value,
                published_cell=other,
                published=printed,
                difference=difference(value, printed),
            )
        )
    return tuple(rows)


def _best(cells: Sequence[CellRow]) -> dict[str, CellRow | None]:
    """Find the cells that Table I prints in bold and Table III names; the first among equals."""
    done = [cell for cell in cells if cell.test_accuracy is not None]
    pruned = [cell for cell in done if cell.gamma > 0]
    baseline = baseline_cell(cells)
    sparsest = min(done, key=lambda cell: cell.density or 0.0, default=None)
    return {
        "dense": baseline,
        "compressed": max(pruned, key=lambda cell: cell.judge or 0.0, default=None),
        "sparsity": sparsest,
        "density": sparsest,
        "efficiency": _best_score(pruned, baseline, by="paper"),
        "efficiency_file": _best_score(pruned, baseline, by="file"),
    }


def _best_score(
    pruned: Sequence[CellRow], baseline: CellRow | None, *, by: Measure
) -> CellRow | None:
    scored = [cell for cell in pruned if score(cell, baseline, SHOWN_RHO, by=by) is not None]
    return max(
        scored, key=lambda cell: judged_score(cell, baseline, SHOWN_RHO, by=by), default=None
    )


def _value(key: str, cell: CellRow | None, cells: Sequence[CellRow]) -> float | None:
    if cell is None or cell.density is None:
        return None
    if key in ("dense", "compressed"):
        return cell.test_accuracy
    if key == "efficiency":
        return score(cell, baseline_cell(cells), SHOWN_RHO)
    if key == "efficiency_file":
        return score(cell, baseline_cell(cells), SHOWN_RHO, by="file")
    return 100 * (cell.density if key == "density" else 1 - cell.density)
