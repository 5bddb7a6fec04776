"""Figures 2 to 7 of the paper and the pictures of where ours differ, as rows."""

import math
from collections.abc import Callable, Sequence

from espalier.report.cells import CellRow, baseline_cell, mean_and_spread, score, seeds_of
from espalier.report.charts import (
    Dot,
    HeatMap,
    LineChart,
    Series,
    Tile,
    gammas_of,
    place,
    said,
    widths_of,
)
from espalier.report.runs import RunRow
from espalier.report.tables import (
    SHOWN_RHO,
    AccuracyRow,
    difference,
    published_score,
)

__all__ = [
    "accuracy_by_bits",
    "accuracy_difference",
    "cell_map",
    "curves",
    "density_by_bits",
    "density_difference",
    "efficiency_by_bits",
    "efficiency_difference",
    "efficiency_map",
]

ACCURACY_LR = 0.01
"""Learning rate of figure 2."""
DENSITY_LR = 0.001
"""Learning rate of figure 3."""
CURVE_BITS = 16
"""Bit width of figures 6 and 7."""


def accuracy_by_bits(runs: Sequence[RunRow]) -> LineChart:
    """Figure 2: test accuracy against bits, a line per gamma, at learning rate .01."""
    return _by_bits("figure2", "test_accuracy", runs, ACCURACY_LR, _accuracy, "{:.2f} %")


def density_by_bits(runs: Sequence[RunRow]) -> LineChart:
    """Figure 3: density in percent against bits, a line per gamma, at learning rate .001."""
    return _by_bits("figure3", "density", runs, DENSITY_LR, _density_percent, "{:.2f} %")


def efficiency_by_bits(cells: Sequence[CellRow]) -> LineChart:
    """Figure 5: PE at rho 2 against bits, a line per gamma, the best learning rate of each cell."""
    baseline = baseline_cell(cells)
    widths = sorted(widths_of(cells))
    series = []
    for gamma in gammas_of(cells):
        dots = []
        for cell in sorted((c for c in cells if c.gamma == gamma), key=lambda c: c.bits):
            value = score(cell, baseline, SHOWN_RHO)
            text = "–" if value is None else f"PE {value:.2f}"
            dots.append(
                Dot(
                    x=widths.index(cell.bits),
                    y=value,
                    label=f"{place(cell)}: {text}",
                    run_ids=cell.run_ids,
                )
            )
        series.append(Series(gamma=gamma, dots=tuple(dots)))
    return LineChart(
        key="figure5", x="bits", y="efficiency", series=tuple(series), ticks=_ticks(widths)
    )


def efficiency_map(cells: Sequence[CellRow]) -> HeatMap:
    """Figure 4: PE at rho 2 over gamma and bits."""
    baseline = baseline_cell(cells)
    return cell_map("figure4", cells, lambda cell: score(cell, baseline, SHOWN_RHO), "{:.1f}", "PE")


def accuracy_difference(rows: Sequence[AccuracyRow]) -> HeatMap:
    """Where test accuracy differs from the published one: ours minus theirs, in points."""
    differences = {row.cell: row.accuracy_difference for row in rows}
    return cell_map(
        "difference_accuracy", list(differences), differences.get, "{:+.1f}", "Δ", diverging=True
    )


def density_difference(rows: Sequence[AccuracyRow]) -> HeatMap:
    """Where density differs from the published one: ours minus theirs, in points."""
    differences = {
        row.cell: None if row.density_difference is None else 100 * row.density_difference
        for row in rows
    }
    return cell_map(
        "difference_density", list(differences), differences.get, "{:+.2f}", "Δ", diverging=True
    )


def efficiency_difference(cells: Sequence[CellRow]) -> HeatMap:
    """Where PE at rho 2 differs from the published one: ours minus theirs."""
    baseline = baseline_cell(cells)

    def value(cell: CellRow) -> float | None:
        theirs = published_score(cell.gamma, cell.bits, SHOWN_RHO)
        return difference(score(cell, baseline, SHOWN_RHO), theirs)

    return cell_map("difference_efficiency", cells, value, "{:+.1f}", "Δ PE", diverging=True)


def cell_map(
    key: str,
    cells: Sequence[CellRow],
    value: Callable[[CellRow], float | None],
    form: str,
    name: str,
    *,
    diverging: bool = False,
) -> HeatMap:
    """Return a map over gamma (rows) and bits (columns, rising) of a number of each cell."""
    gammas, widths = gammas_of(cells), sorted(widths_of(cells))
    at = {(cell.gamma, cell.bits): cell for cell in cells}

    def tile(gamma: float, bits: int) -> Tile:
        cell = at[gamma, bits]
        number = value(cell)
        text = "" if number is None else form.format(number)
        label = f"{place(cell)}: {name} {text or '–'}"
        return Tile(value=number, text=text, label=label, run_ids=cell.run_ids, state=cell.state)

    return HeatMap(
        key=key,
        x="bits",
        y="gamma",
        columns=tuple(str(bits) for bits in widths),
        rows=tuple(f"{gamma:g}" for gamma in gammas),
        tiles=tuple(tuple(tile(gamma, bits) for bits in widths) for gamma in gammas),
        diverging=diverging,
    )


def curves(key: str, kind: str, runs: Sequence[RunRow], cells: Sequence[CellRow]) -> LineChart:
    """Figures 6 and 7, and the density's course: a number against the epoch, a line per gamma.

    At 16 bits, or the nearest width that the study has; of each gamma all seeds of the learning
    rate that stands for its cell in Table I, as their mean and spread for as long as all of them
    train; or while none has finished the run that has come farthest.

    Args:
        key: of the figure.
        kind: ``test``, ``train`` or ``density``.
        runs: of the study.
        cells: Table I, for the choice of runs.
    """
    widths = widths_of(cells)
    bits = min(widths, key=lambda width: (abs(width - CURVE_BITS), width)) if widths else CURVE_BITS
    scale = 100 if kind == "density" else 1
    series = []
    for cell in cells:
        if cell.bits != bits:
            continue
        shown = _shown_curves(cell, runs)
        if shown:
            dots = _course(shown, kind, scale)
            series.append(Series(gamma=cell.gamma, dots=dots, open=not shown[0].done))
    notes = () if bits == CURVE_BITS else (("other_bits", str(bits)),)
    if any(line.open for line in series):
        notes = (*notes, ("unfinished", ", ".join(f"{s.gamma:g}" for s in series if s.open)))
    y = "density" if kind == "density" else f"{kind}_accuracy"
    return LineChart(key=key, x="epoch", y=y, series=tuple(series), notes=notes)


def _shown_curves(cell: CellRow, runs: Sequence[RunRow]) -> list[RunRow]:
    if cell.run_ids:
        return [run for run in seeds_of(cell, runs) if run.curve.get("test")]
    here = [run for run in runs if (run.gamma, run.bits) == (cell.gamma, cell.bits)]
    begun = [run for run in here if run.curve.get("test")]
    return [max(begun, key=lambda run: run.epochs_run)] if begun else []


def _course(runs: Sequence[RunRow], kind: str, scale: float) -> tuple[Dot, ...]:
    """Return the mean over some runs at each epoch that all of them have."""
    dots = []
    courses = zip(*(run.curve.get(kind, ()) for run in runs), strict=False)
    for epoch, values in enumerate(courses, start=1):
        mean, spread = mean_and_spread([scale * value for value in values])
        label = f"{place(runs[0])} · epoch {epoch}: {said('{:.2f} %', mean, spread)}"
        run_ids = tuple(run.run_id for run in runs)
        dots.append(Dot(x=epoch, y=mean, label=label, run_ids=run_ids, spread=spread))
    return tuple(dots)


def _by_bits(
    key: str,
    y: str,
    runs: Sequence[RunRow],
    lr: float,
    number: Callable[[RunRow], float | None],
    form: str,
) -> LineChart:
    widths = sorted({run.bits for run in runs})
    series = []
    others: set[tuple[int, float]] = set()
    for gamma in sorted({run.gamma for run in runs}):
        dots = []
        for bits in widths:
            here = [run for run in runs if (run.gamma, run.bits) == (gamma, bits)]
            if not here:
                continue
            shown = _nearest_lr(here, lr)
            if shown[0].lr != lr:
                others.add((bits, shown[0].lr))
            dots.append(_mean_dot(widths.index(bits), shown, number, form))
        series.append(Series(gamma=gamma, dots=tuple(dots)))
    places = ", ".join(f"{bits} bits: {rate:g}" for bits, rate in sorted(others))
    notes = (("other_lr", places),) if others else ()
    return LineChart(
        key=key, x="bits", y=y, series=tuple(series), ticks=_ticks(widths), notes=notes
    )


def _nearest_lr(runs: Sequence[RunRow], lr: float) -> list[RunRow]:
    """Return the planned runs of the learning rate that is nearest on a logarithmic scale.

    Planned, not finished ones: a picture of a running study never shows another rate meanwhile.
    """
    rate = min({run.lr for run in runs}, key=lambda r: (abs(math.log(r / lr)), r))
    return [run for run in runs if run.lr == rate]


def _mean_dot(
    x: float, runs: Sequence[RunRow], number: Callable[[RunRow], float | None], form: str
) -> Dot:
    """Return the mean over the seeds that have finished, and their spread."""
    found = [(run.run_id, value) for run in runs if (value := number(run)) is not None]
    mean, spread = mean_and_spread([value for _, value in found])
    return Dot(
        x=x,
        y=mean,
        label=f"{place(runs[0])}: {said(form, mean, spread)}",
        run_ids=tuple(name for name, _ in found),
        spread=spread,
    )


def _accuracy(run: RunRow) -> float | None:
    return run.test_accuracy


def _density_percent(run: RunRow) -> float | None:
    return None if run.density is None else 100 * run.density


def _ticks(widths: Sequence[int]) -> tuple[tuple[float, str], ...]:
    return tuple((float(i), str(bits)) for i, bits in enumerate(widths))
