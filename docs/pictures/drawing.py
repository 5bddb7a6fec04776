"""How the pictures of docs/method.md look, and where they go."""

import argparse
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from espalier.files import write_atomically
from espalier.report.palette import gamma_colors

__all__ = ["ACCENT", "FAINT", "FOLDER", "INK", "PALE", "label_ends", "main", "save", "shades"]

INK, FAINT, PALE, ACCENT = "#333333", "#8a8a8a", "#d9d9d4", "#c8553d"
FOLDER = Path(__file__).parents[1] / "images"
DPI = 130
STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "svg.hashsalt": "espalier",
    "svg.fonttype": "path",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "figure.facecolor": "white",
    "legend.frameon": False,
}


def shades(count: int) -> list[str]:
    """Return an ordered palette for a light page."""
    return gamma_colors(count, dark=False)


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], gap: float) -> None:
    """Write names beside the ends of lines, moved apart where they are too near.

    Args:
        axes: where.
        ends: x, y, name and color of each.
        gap: least distance on y.
    """
    lowest = -float("inf")
    for x, y, name, color in sorted(ends, key=lambda end: end[1]):
        lowest = max(y, lowest + gap)
        axes.annotate(
            name, (x, lowest), (6, 0), textcoords="offset points", va="center", fontsize=9,
            color=color, annotation_clip=False,
        )  # fmt: skip


def main(name: str, draw: Callable[[Figure], None], size: tuple[float, float]) -> None:
    """Draw a picture into docs/images, or into a folder that the command line names.

    Args:
        name: of the file.
        draw: draws into a figure.
        size: inches.
    """
    parser = argparse.ArgumentParser(description=f"Draw {name} for docs/method.md.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the picture")
    parser.add_argument("--png", action="store_true", help="a PNG too")
    options = parser.parse_args()
    save(name, draw, size, options.out, ("svg", "png") if options.png else ("svg",))


def save(
    name: str,
    draw: Callable[[Figure], None],
    size: tuple[float, float],
    out: Path,
    kinds: Sequence[str],
) -> None:
    """Draw a picture of that many inches and write it as files of these kinds."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        out.mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            picture = io.BytesIO()
            metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
            figure.savefig(picture, format=kind, dpi=DPI, metadata=metadata)
            write_atomically(out / f"{name}.{kind}", picture.getvalue())
