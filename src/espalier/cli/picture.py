"""The demo's picture: accuracy against size."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.cli.grid import GridRow
from espalier.files import make_directory, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patheffects import AbstractPathEffect

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


def save_picture(rows: Sequence[GridRow], out: Path) -> list[Path]:
    """Draw the grid and write ``accuracy_size.png``, ``.svg`` and the numbers, ``.json``.

    Raises:
        StorageError: the place can't be written to.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    make_directory(out)
    paths = [out / f"accuracy_size.{suffix}" for suffix in ("png", "svg", "json")]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 4.6), layout="constrained")
        draw(rows, figure)
        for path in paths[:2]:
            content = io.BytesIO()
            # no date: the same numbers give the same bytes
            metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(content, format=path.suffix[1:], dpi=180, metadata=metadata)
            write_atomically(path, content.getvalue())
    numbers = [asdict(row) | {"result": row.result.to_json()} for row in rows]
    write_atomically(paths[2], (json.dumps(numbers, indent=2) + "\n").encode())
    return paths


def draw(rows: Sequence[GridRow], figure: "Figure") -> None:
    """Draw a line for each gamma over the bits, and the dense run."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes = figure.add_subplot()
    compressed = sorted((r for r in rows if not r.is_dense), key=lambda r: (r.gamma, r.bits))
    for color, (gamma, group) in zip(
        COLORS, groupby(compressed, key=lambda r: r.gamma), strict=False
    ):
        _draw_gamma(axes, gamma, list(group), color)
    for row in rows:
        if row.is_dense:
            _draw_dense(axes, row)
    axes.set_xscale("log")
    sizes = [row.size_bytes / 1000 for row in rows]
    axes.set_xticks(TICKS)
    axes.set_xlim(min(sizes) / 1.35, max(sizes) * 1.5)  # after the ticks, which would widen it
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} kB"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="both", length=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    accuracies = [row.accuracy for row in rows]
    axes.set_ylim(min(accuracies) - ROOM, max(accuracies) + ROOM)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("size of the network's file, as `espalier pack` writes it")
    axes.set_title("Test accuracy against size", loc="left", fontsize=12, weight="bold")
    result = rows[0].result
    figure.supxlabel(
        f"{result.data_source}; one run a point, {result.parameters:,} parameters, "
        f"{result.epochs_run} epochs; seed {result.seed}; "
        f"torch {result.environment['torch']}, {result.environment['processor']}",
        fontsize=7,
        color=FAINT,
    )


def _draw_gamma(axes: "Axes", gamma: float, rows: list[GridRow], color: str) -> None:
    sizes, accuracies = [r.size_bytes / 1000 for r in rows], [r.accuracy for r in rows]
    axes.plot(sizes, accuracies, color=color, linewidth=1.6, marker="o", markersize=6)
    for row, size in zip(rows, sizes, strict=True):
        axes.annotate(
            f"{row.bits} bits",
            (size, row.accuracy),
            xytext=(5, -13),
            textcoords="offset points",
            color=color,
            fontsize=8.5,
            path_effects=_halo(),
        )
    last = rows[-1]
    axes.annotate(
        f"gamma {gamma:g}\n{100 * last.density:.0f} % kept",
        (sizes[-1], last.accuracy),
        xytext=(5, 6),
        textcoords="offset points",
        va="bottom",
        color=color,
        weight="bold",
        path_effects=_halo(),
    )


def _draw_dense(axes: "Axes", row: GridRow) -> None:
    size = row.size_bytes / 1000
    axes.axhline(row.accuracy, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.plot([size], [row.accuracy], color=INK, marker="s", markersize=6.5, linestyle="none")
    axes.annotate(
        f"dense, 32 bits\n{row.accuracy:.1f} %, {size:.0f} kB",
        (size, row.accuracy),
        xytext=(0, -9),
        textcoords="offset points",
        ha="center",
        va="top",
        weight="bold",
        path_effects=_halo(),
    )


def _halo() -> "list[AbstractPathEffect]":
    """Keep lines out of the letters."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=3, foreground="white")]
