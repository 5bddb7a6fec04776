"""Charts as SVG and PNG files, drawn by matplotlib; the same chart gives the same bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from espalier.report.charts import Chart, HeatMap, LineChart, Scatter
from espalier.report.palette import diverging, gamma_colors, ink, sequential
from espalier.report.texts import spoken

__all__ = ["draw"]

DPI = 144
SIZE = (5.6, 3.8)
"""Inches."""
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "espalier",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(chart: Chart, words: Mapping[str, str], gammas: Sequence[float]) -> tuple[bytes, bytes]:
    """Draw a chart that is not empty; return its SVG and its PNG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        high = 0.9 + 0.32 * len(chart.rows) if isinstance(chart, HeatMap) else SIZE[1]
        figure = Figure(figsize=(SIZE[0], high), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        if isinstance(chart, HeatMap):
            _heat_map(axes, chart, words)
        else:
            _plot(axes, chart, words, gammas)
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def _plot(
    axes: Any, chart: LineChart | Scatter, words: Mapping[str, str], gammas: Sequence[float]
) -> None:
    colors = dict(zip(gammas, gamma_colors(len(gammas), dark=False), strict=True))
    joined = isinstance(chart, LineChart)
    if isinstance(chart, Scatter):
        axes.set_xscale("log")
        _few_ticks(axes.xaxis, [dot.x for series in chart.series for dot in series.dots])
        axes.plot([d.x for d in chart.front], [d.y for d in chart.front], color="0.6", zorder=1)
    for series in chart.series:
        if not series.dots:
            continue
        banded = isinstance(chart, LineChart) and chart.banded
        xs = [dot.x for dot in series.dots]
        ys = [float("nan") if dot.y is None else dot.y for dot in series.dots]
        spreads = [dot.spread or 0.0 for dot in series.dots]
        if banded and any(spreads):
            low, high = ([y + s * d for y, d in zip(ys, spreads, strict=True)] for s in (-1, 1))
            axes.fill_between(xs, low, high, color=colors[series.gamma], alpha=0.18, linewidth=0)
        axes.errorbar(
            xs,
            ys,
            yerr=spreads if any(spreads) and not banded else None,
            color=colors[series.gamma],
            linestyle=("--" if series.open else "-") if joined else "none",
            marker="o" if not joined or chart.ticks is not None else None,  # type: ignore[union-attr]
            markersize=4,
            linewidth=1.4,
            label=spoken(f"{series.gamma:g}", words),
        )
    if isinstance(chart, LineChart) and chart.ticks is not None:
        axes.set_xticks([at for at, _ in chart.ticks], [name for _, name in chart.ticks])
    _ticks(axes.yaxis, words)
    if isinstance(chart, Scatter):
        _ticks(axes.xaxis, words)
    axes.set_xlabel(words[chart.x])
    axes.set_ylabel(words["density_percent" if chart.y == "density" else chart.y])
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(
        title=words.get("legend", "γ"), frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )


def _few_ticks(axis: Any, values: Sequence[float]) -> None:
    """Let a logarithmic axis have ticks that can be read, also within a decade."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    wide = max(values) >= 10 * min(values)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(6))
    axis.set_minor_locator(NullLocator())


def _ticks(axis: Any, words: Mapping[str, str]) -> None:
    """Let numbers at an axis be those of the language."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: spoken(f"{value:g}", words)))


def _heat_map(axes: Any, chart: HeatMap, words: Mapping[str, str]) -> None:
    from matplotlib.patches import Rectangle

    values = [tile.value for row in chart.tiles for tile in row if tile.value is not None]
    low, high = min(values), max(values)
    largest = max(abs(low), abs(high)) or 1.0
    for r, row in enumerate(chart.tiles):
        for c, tile in enumerate(row):
            if tile.value is None:
                hatch: dict[str, Any] = {
                    "facecolor": "none",
                    "edgecolor": "0.8",
                    "hatch": "///",
                    "linewidth": 0,
                }
                axes.add_patch(Rectangle((c + 0.03, r + 0.03), 0.94, 0.94, **hatch))
                continue
            share = (tile.value - low) / (high - low) if high > low else 0.5
            color = diverging(tile.value / largest) if chart.diverging else sequential(share)
            axes.add_patch(Rectangle((c + 0.02, r + 0.03), 0.96, 0.94, color=color, linewidth=0))
            text = spoken(tile.text, words)
            axes.text(c + 0.5, r + 0.5, text, ha="center", va="center", color=ink(color))
    axes.set_xlim(0, len(chart.columns))
    axes.set_ylim(len(chart.rows), 0)
    axes.set_xticks([c + 0.5 for c in range(len(chart.columns))], _all(chart.columns, words))
    axes.set_yticks([r + 0.5 for r in range(len(chart.rows))], _all(chart.rows, words))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(words[chart.x])
    axes.set_ylabel(words[chart.y])


def _all(names: Sequence[str], words: Mapping[str, str]) -> list[str]:
    return [spoken(name, words) for name in names]
