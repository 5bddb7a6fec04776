"""The demo's picture: accuracy against size."""

import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.cli.labels import Label, Point, place_labels
from espalier.files import make_directory, write_atomically
from espalier.report.cells import CellRow, baseline_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["save_picture"]

COLORS = ("#1f6f8b", "#c8553d", "#5b8e3e", "#8a5a9e")
INK, FAINT = "#333333", "#8a8a8a"
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""kB."""
ROOM = 1.0
"""Percentage points below the lowest point and above the highest."""
STYLE: Any = {
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "svg.hashsalt": "espalier",
    "svg.fonttype": "path",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
}


def save_picture(cells: Sequence[CellRow], caption: str, out: Path) -> list[Path]:
    """Draw a study's cells and write ``accuracy_size.png`` and ``.svg``.

    Args:
        cells: those without an accuracy or the bytes of a file are left out.
        caption: where the numbers come from.
        out: a directory.

    Returns:
        Where the pictures are; nothing where there is nothing to draw.

    Raises:
        StorageError: the place can't be written to.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [cell for cell in cells if cell.test_accuracy is not None and cell.size_bytes]
    if not shown:
        return []
    make_directory(out)
    paths = [out / f"accuracy_size.{suffix}" for suffix in ("png", "svg")]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        figure.supxlabel(caption, fontsize=7, color=FAINT)
        draw(shown, figure)
        for path in paths:
            content = io.BytesIO()
            # no date: the same numbers give the same bytes
            metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(content, format=path.suffix[1:], dpi=180, metadata=metadata)
            write_atomically(path, content.getvalue())
    return paths


def draw(cells: Sequence[CellRow], figure: "Figure") -> None:
    """Draw a line for each gamma over the bits, and the dense run."""
    axes = figure.add_subplot()
    _frame(axes, cells)
    dense = baseline_cell(cells)
    pruned = sorted((c for c in cells if c is not dense), key=lambda c: (c.gamma, c.bits))
    names: list[Label] = []
    bits: list[Label] = []
    lines: list[list[Point]] = []
    groups = groupby(pruned, key=lambda cell: cell.gamma)
    for color, (gamma, group) in zip(COLORS, groups, strict=False):
        line = list(group)
        points = [_point(cell) for cell in line]
        axes.plot(*zip(*points, strict=True), color=color, linewidth=1.6, marker="o", markersize=6)
        lines.append(points)
        bits += [
            Label(f"{cell.bits} bits", at, {"color": color, "fontsize": 8.5})
            for cell, at in zip(line, points, strict=True)
        ]
        kept = f"gamma {gamma:g}\n{100 * (line[-1].density or 0.0):.0f} % kept"
        names.append(Label(kept, points[-1], {"color": color, "weight": "bold"}))
    if dense is not None:
        x, y = _point(dense)
        axes.axhline(y, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.plot([x], [y], color=INK, marker="s", markersize=6.5, linestyle="none")
        lines += [[(x, y)], [(axes.get_xlim()[0], y), (axes.get_xlim()[1], y)]]
        text = f"dense, 32 bits\n{y:.1f} %, {x:.0f} kB"
        names.append(Label(text, (x, y), {"weight": "bold"}))
    place_labels(axes, [*names, *bits], lines)


def _frame(axes: "Axes", cells: Sequence[CellRow]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    sizes, accuracies = zip(*(_point(cell) for cell in cells), strict=True)
    axes.set_xscale("log")
    axes.set_xticks(TICKS)
    axes.set_xlim(min(sizes) / 1.35, max(sizes) * 1.5)  # after the ticks, which would widen it
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} kB"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="both", length=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.set_ylim(min(accuracies) - ROOM, max(accuracies) + ROOM)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("size of the network's file, as `espalier pack` writes it")
    axes.set_title("Test accuracy against size", loc="left", fontsize=12, weight="bold")


def _point(cell: CellRow) -> Point:
    """Return kB and percent."""
    return (cell.size_bytes or 0.0) / 1000, cell.test_accuracy or 0.0
