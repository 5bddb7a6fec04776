"""What the paper does not show, as rows: sizes, layers, learning rates, what to ship."""

from collections.abc import Sequence
from dataclasses import dataclass

from espalier.report.cells import CellRow, baseline_cell, judged_score, mean_and_spread, seeds_of
from espalier.report.charts import (
    Dot,
    HeatMap,
    Scatter,
    Series,
    Tile,
    gammas_of,
    place,
    said,
    widths_of,
)
from espalier.report.runs import RunRow
from espalier.report.tables import SHOWN_RHO

__all__ = [
    "ShipRow",
    "front",
    "layer_map",
    "lr_maps",
    "run_size",
    "ship_rows",
    "size_kind",
    "size_scatter",
]

TOLERANCES = (1.0, 2.0, 3.0, 5.0)
"""Points below the dense network that one may be ready to pay."""
BUDGETS_KB = (1000, 500, 250, 100, 50)
"""Bytes, in thousands, that a device may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipRow:
    """An answer to a question: which run to ship."""

    question: str
    """``within``: the smallest that loses at most so many points; ``under``: the most accurate that
    takes at most so many kB."""
    bound: float
    run: RunRow | None
    """None where no finished run does."""
    size_bytes: float | None
    lost: float | None
    """Points below the dense network; None without one."""


def size_kind(runs: Sequence[RunRow]) -> str:
    """Say which size all finished runs can be compared by.

    ``file``: bytes of the packed network, where every finished run has them; otherwise ``asked``:
    RC over all parameters in bytes, which leaves out what it costs to say where weights are.
    """
    done = [run for run in runs if run.done]
    return "file" if done and all(run.size_bytes is not None for run in done) else "asked"


def run_size(run: RunRow, kind: str) -> float | None:
    """Return a run's bytes of that kind."""
    return run.size_bytes if kind == "file" else run.asked_bytes


def front(runs: Sequence[RunRow], kind: str) -> tuple[RunRow, ...]:
    """Return the runs that no other one beats in both size and accuracy, from small to large."""
    best, kept = float("-inf"), []
    for run in sorted(
        (run for run in runs if run.done and run_size(run, kind) is not None),
        key=lambda run: (run_size(run, kind) or 0.0, -(run.judge or 0.0)),
    ):
        if run.judge is not None and run.judge > best:
            best = run.judge
            kept.append(run)
    return tuple(kept)


def size_scatter(runs: Sequence[RunRow]) -> Scatter:
    """Accuracy against size in kB, every finished run a point, with the Pareto front."""
    kind = size_kind(runs)

    def dot(run: RunRow) -> Dot | None:
        size = run_size(run, kind)
        if not size or run.test_accuracy is None:
            return None
        label = f"{place(run)}: {size / 1000:.1f} kB, {run.test_accuracy:.2f} %"
        return Dot(x=size / 1000, y=run.test_accuracy, label=label, run_ids=(run.run_id,))

    gammas = sorted({run.gamma for run in runs})
    series = tuple(
        Series(gamma=g, dots=tuple(d for run in runs if run.gamma == g and (d := dot(run))))
        for g in gammas
    )
    best = tuple(d for run in front(runs, kind) if (d := dot(run)))
    notes = () if kind == "file" else (("asked_size", ""),)
    return Scatter(
        key="size", x=f"size_{kind}", y="test_accuracy", series=series, front=best, notes=notes
    )


def ship_rows(runs: Sequence[RunRow], cells: Sequence[CellRow]) -> tuple[ShipRow, ...]:
    """Answer which run to ship, for each tolerance and each budget."""
    kind, baseline = size_kind(runs), baseline_cell(cells)
    dense = baseline.test_accuracy if baseline is not None else None
    judge = baseline.judge if baseline is not None else None
    sized = [run for run in runs if run.done and run_size(run, kind)]
    rows = []
    for points in TOLERANCES if dense is not None else ():
        floor = (judge or 0.0) - points
        able = [run for run in sized if (run.judge or 0.0) >= floor]
        smallest = min(able, key=lambda run: run_size(run, kind) or 0.0, default=None)
        rows.append(_answer("within", points, smallest, kind, dense))
    for budget in BUDGETS_KB:
        able = [run for run in sized if (run_size(run, kind) or 0.0) <= 1000 * budget]
        best = max(able, key=lambda run: run.judge or 0.0, default=None)
        rows.append(_answer("under", budget, best, kind, dense))
    return tuple(rows)


def _answer(
    question: str, bound: float, run: RunRow | None, kind: str, dense: float | None
) -> ShipRow:
    lost = None
    if run is not None and run.test_accuracy is not None and dense is not None:
        lost = dense - run.test_accuracy
    size = None if run is None else run_size(run, kind)
    return ShipRow(question=question, bound=bound, run=run, size_bytes=size, lost=lost)


def layer_map(runs: Sequence[RunRow], cells: Sequence[CellRow]) -> HeatMap:
    """Density of each layer in percent, a column per gamma, at the bit width of the best PE.

    The mean over all seeds of the learning rate that stands for the cell.
    """
    baseline = baseline_cell(cells)
    scored = [c for c in cells if c.gamma > 0 and c.run_ids]
    best = max(scored, key=lambda c: judged_score(c, baseline, SHOWN_RHO), default=None)
    bits = best.bits if best is not None else None
    found = [(cell, seeds_of(cell, runs)) for cell in cells if cell.bits == bits and cell.run_ids]
    shown = [(c, known) for c, seeds in found if (known := [run for run in seeds if run.layers])]
    names = list(dict.fromkeys(name for _, seeds in shown for name in seeds[0].layers))
    return HeatMap(
        key="layers",
        x="gamma",
        y="layer",
        columns=tuple(f"{cell.gamma:g}" for cell, _ in shown),
        rows=tuple(names),
        tiles=tuple(tuple(_layer_tile(seeds, name) for _, seeds in shown) for name in names),
        notes=() if bits is None else (("at_bits", str(bits)),),
    )


def _layer_tile(seeds: Sequence[RunRow], name: str) -> Tile:
    density, spread = mean_and_spread(
        [100 * run.layers[name][0] for run in seeds if name in run.layers]
    )
    text = "" if density is None else f"{density:.1f}"
    return Tile(
        value=density,
        text=text,
        label=f"{name} · {place(seeds[0])}: {said('{:.2f} %', density, spread)}",
        run_ids=tuple(run.run_id for run in seeds),
    )


def lr_maps(runs: Sequence[RunRow], cells: Sequence[CellRow]) -> tuple[HeatMap, ...]:
    """Test accuracy over gamma and learning rate, the mean over seeds; a map for each width."""
    rates = sorted({run.lr for run in runs})
    gammas = gammas_of(cells)
    maps = []
    for bits in sorted(widths_of(cells)):
        tiles = tuple(tuple(_lr_tile(runs, g, bits, rate) for rate in rates) for g in gammas)
        maps.append(
            HeatMap(
                key="learning_rates",
                x="lr",
                y="gamma",
                columns=tuple(f"{rate:g}" for rate in rates),
                rows=tuple(f"{gamma:g}" for gamma in gammas),
                tiles=tiles,
                suffix=f"{bits} bits",
            )
        )
    return tuple(maps)


def _lr_tile(runs: Sequence[RunRow], gamma: float, bits: int, rate: float) -> Tile:
    here = [run for run in runs if (run.gamma, run.bits, run.lr) == (gamma, bits, rate)]
    done = [run for run in here if run.test_accuracy is not None]
    where = f"γ {gamma:g} · {bits} bits · lr {rate:g}"
    if not done:
        failed = bool(here) and all(run.state == "failed" for run in here)
        state = "failed" if failed else "missing" if here else "unplanned"
        return Tile(value=None, text="", label=f"{where}: –", state=state)
    value = sum(run.test_accuracy or 0.0 for run in done) / len(done)
    return Tile(
        value=value,
        text=f"{value:.1f}",
        label=f"{where}: {value:.2f} %",
        run_ids=tuple(run.run_id for run in done),
        state="done" if len(done) == len(here) else "partial",
    )
