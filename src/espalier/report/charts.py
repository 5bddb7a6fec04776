"""What a picture shows, as rows; drawing comes later and adds no number."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from espalier.report.cells import CellRow
from espalier.report.runs import RunRow

__all__ = [
    "Chart",
    "Dot",
    "HeatMap",
    "LineChart",
    "Scatter",
    "Series",
    "Tile",
    "gammas_of",
    "place",
    "said",
    "widths_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A point of a line or of a scatter."""

    x: float
    y: float | None
    """None where the run is missing: the line has a gap."""
    label: str
    """What it is and its value, shown on hover."""
    run_ids: tuple[str, ...] = ()
    spread: float | None = None
    """Sample standard deviation over seeds, in y's unit; None for less than two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line: one pruning strength."""

    gamma: float
    dots: tuple[Dot, ...]
    open: bool = False
    """Of a run that has not finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """Lines, one for each gamma."""

    key: str
    """Names the file, the title and the caption."""
    x: str
    """Words of the axis, by their key."""
    y: str
    series: tuple[Series, ...]
    ticks: tuple[tuple[float, str], ...] | None = None
    """Places and names on x, where it is ordered but no scale; None for numbers."""
    notes: tuple[tuple[str, str], ...] = ()
    """Key of a note with what it is about: where the study departs from the paper's figure."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw yet."""
        return all(dot.y is None for series in self.series for dot in series.dots)

    @property
    def banded(self) -> bool:
        """Whether spreads are drawn as a band along a line, and not as bars at its points."""
        return self.ticks is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A field of a heat map."""

    value: float | None
    text: str
    """Printed in the field; ``""`` where the value is missing."""
    label: str
    run_ids: tuple[str, ...] = ()
    state: str = "done"
    """Of its cell: done, partial, missing, failed or unplanned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Fields in rows and columns."""

    key: str
    x: str
    y: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    tiles: tuple[tuple[Tile, ...], ...]
    """A tuple for each row."""
    diverging: bool = False
    """Differences, colored from 0 to both sides."""
    suffix: str = ""
    """What tells this map from its siblings, for instance ``4 bits``; part of title and file."""
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw yet."""
        return all(tile.value is None for row in self.tiles for tile in row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Points over a logarithmic x, with the front of the best."""

    key: str
    x: str
    y: str
    series: tuple[Series, ...]
    front: tuple[Dot, ...]
    """The points that no other one beats in both, from small to large x."""
    notes: tuple[tuple[str, str], ...] = field(default=())

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw yet."""
        return all(not series.dots for series in self.series)


Chart = LineChart | HeatMap | Scatter


def place(at: RunRow | CellRow, *, lr: bool = True) -> str:
    """Say where a run or cell is, in symbols that every language reads.

    Example:
        >>> place(CellRow(gamma=0.5, bits=4, lr=0.05))
        'γ 0.5 · 4 bits · lr 0.05'
    """
    parts = [f"γ {at.gamma:g}", f"{at.bits} bits"]
    if lr and at.lr is not None:
        parts.append(f"lr {at.lr:g}")
    return " · ".join(parts)


def said(form: str, value: float | None, spread: float | None = None) -> str:
    """Return a value for hovering, with its spread where there is one; ``–`` where it is missing.

    Example:
        >>> said("{:.1f} %", 84.78, 0.25), said("{:.1f} %", None)
        ('84.8 % ± 0.25', '–')
    """
    text = "–" if value is None else form.format(value)
    return text if spread is None else f"{text} ± {spread:.2f}"


def gammas_of(cells: Sequence[CellRow]) -> list[float]:
    """Return the strengths of some cells, each once, in their order."""
    return list(dict.fromkeys(cell.gamma for cell in cells))


def widths_of(cells: Sequence[CellRow]) -> list[int]:
    """Return the bit widths of some cells, each once, in their order."""
    return list(dict.fromkeys(cell.bits for cell in cells))
