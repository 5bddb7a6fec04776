"""Names beside a picture's points, where they cover neither each other nor what is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

__all__ = ["Label", "place_labels"]

Point = tuple[float, float]
PLACES = (
    ((5, -5), "left", "top"),
    ((5, 5), "left", "bottom"),
    ((-5, -5), "right", "top"),
    ((-5, 5), "right", "bottom"),
    ((0, -8), "center", "top"),
    ((0, 8), "center", "bottom"),
    ((9, 0), "left", "center"),
    ((-9, 0), "right", "center"),
    ((5, -17), "left", "top"),
    ((5, 17), "left", "bottom"),
    ((-5, 17), "right", "bottom"),
    ((-5, -17), "right", "top"),
)
"""Offset in points and the corner of the text that is put there; what comes first is preferred."""
REACH = 4
"""Pixels around a point or a line's sample that a text keeps off."""
SAMPLES = 24
"""Of a line between two points."""


@dataclass(frozen=True, slots=True)
class Label:
    """A text beside a point."""

    text: str
    at: Point
    """In data coordinates."""
    style: dict[str, Any]
    """Of the text, as matplotlib has it."""


def place_labels(
    axes: "Axes", labels: Sequence[Label], lines: Sequence[Sequence[Point]]
) -> "list[Annotation]":
    """Write each label in the first free place around its point, or in the one least taken.

    Args:
        axes: with their limits and scales set; the figure is laid out here.
        labels: in order; the first ones choose first.
        lines: what else is drawn, in data coordinates; a single point is a line too.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        return []
    figure.draw_without_rendering()
    taken = [box for line in lines for box in _boxes(axes, line)]
    written = []
    for label in labels:
        choices = [_write(axes, label, *place) for place in PLACES]
        extents = [choice.get_window_extent() for choice in choices]
        costs = [_cost(extent, taken, axes.bbox) for extent in extents]
        best = costs.index(min(costs))
        for choice in choices:
            if choice is not choices[best]:
                choice.remove()
        written.append(choices[best])
        taken.append(extents[best])
    return written


def _write(axes: "Axes", label: Label, offset: Point, across: str, up: str) -> "Annotation":
    from matplotlib.patheffects import withStroke

    text = axes.annotate(
        label.text,
        label.at,
        xytext=offset,
        textcoords="offset points",
        ha=across,
        va=up,
        path_effects=[withStroke(linewidth=3, foreground="white")],  # grid lines keep off
        **label.style,
    )
    text.set_in_layout(False)  # the picture keeps the layout that places were measured in
    return text


def _boxes(axes: "Axes", line: Sequence[Point]) -> "list[Bbox]":
    """Return small boxes, in pixels, along a line."""
    from matplotlib.transforms import Bbox

    corners = [tuple(axes.transData.transform(point)) for point in line]
    samples = corners[:1]
    for (x, y), (to_x, to_y) in pairwise(corners):
        shares = (i / SAMPLES for i in range(1, SAMPLES + 1))
        samples += [(x + (to_x - x) * s, y + (to_y - y) * s) for s in shares]
    return [Bbox.from_extents(x - REACH, y - REACH, x + REACH, y + REACH) for x, y in samples]


def _cost(extent: "Bbox", taken: "Sequence[Bbox]", inside: "Bbox") -> float:
    """Return the pixels of a text that cover something, or lie outside of the picture."""
    from matplotlib.transforms import Bbox

    within = Bbox.intersection(extent, inside)
    outside = _area(extent) - (0.0 if within is None else _area(within))
    shared = (Bbox.intersection(extent, other) for other in taken)
    return outside + sum(_area(box) for box in shared if box is not None)


def _area(box: "Bbox") -> float:
    return float(box.width * box.height)
