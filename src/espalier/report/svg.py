"""Charts as SVG for the page: colors by classes, so that light and dark are the style's matter."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from espalier.report.charts import Chart, Dot, HeatMap, LineChart, Scatter, Series
from espalier.report.palette import diverging, ink, sequential
from espalier.report.texts import spoken

__all__ = ["Spot", "nice_ticks", "to_svg"]

WIDTH, HEIGHT = 420, 290
LEFT, RIGHT, TOP, BOTTOM = 48, 366, 14, 246
LABEL_GAP = 12
"""Least distance between two lines' labels."""
TILE = 30
MANY = 12
"""Points of a line from which on they are not marked."""

Spot = tuple[float, float, str, str]
"""Where a value is in the picture, what it says, and the run's id: what hovering needs."""
Scale = Callable[[float], float]


def to_svg(
    chart: Chart, words: Mapping[str, str], gammas: Sequence[float]
) -> tuple[str, list[Spot]]:
    """Draw a chart.

    Args:
        chart: not empty.
        words: of the language.
        gammas: of the study; a line's class is its gamma's place among them.

    Returns:
        The ``svg`` element, and the spots where a pointer finds a value.
    """
    if isinstance(chart, HeatMap):
        return _heat_map(chart, words)
    return _plot(chart, words, gammas)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers that cover a range, about ``count`` of them.

    Example:
        >>> nice_ticks(3, 97)
        [0, 20, 40, 60, 80, 100]
    """
    span = max(high - low, 1e-9)
    raw = span / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * i, 10) for i in range(first, last + 1)]


def _plot(
    chart: LineChart | Scatter, words: Mapping[str, str], gammas: Sequence[float]
) -> tuple[str, list[Spot]]:
    dots = [dot for series in chart.series for dot in series.dots if dot.y is not None]
    ys = [dot.y + sign * (dot.spread or 0) for dot in dots if dot.y is not None for sign in (-1, 1)]
    y_ticks = nice_ticks(min(ys), max(ys))
    y = _scale(y_ticks[0], y_ticks[-1], BOTTOM, TOP)
    x, x_ticks = _x_axis(chart, [dot.x for dot in dots])
    parts = _axes(chart, words, y, y_ticks, x_ticks)
    if isinstance(chart, Scatter):
        corners = " ".join(f"{x(d.x):.1f},{y(d.y):.1f}" for d in chart.front if d.y is not None)
        parts.append(f'<polyline class="front" points="{corners}"/>')
    spots: list[Spot] = []
    labels: list[tuple[float, float, int, str]] = []
    for series in chart.series:
        place = gammas.index(series.gamma)
        if isinstance(chart, LineChart) and chart.banded:
            parts += _band(series, x, y, place)
        drawn, found = _series(series, x, y, place, words, joined=isinstance(chart, LineChart))
        parts += drawn
        spots += found
        if found:
            name = spoken(f"{series.gamma:g}", words)
            labels.append((found[-1][0], found[-1][1], place, name))
    parts += _labels(labels, at_end=isinstance(chart, LineChart))
    return _element(chart.key, HEIGHT, parts), spots


def _x_axis(
    chart: LineChart | Scatter, xs: Sequence[float]
) -> tuple[Scale, list[tuple[float, str]]]:
    if isinstance(chart, LineChart) and chart.ticks is not None:
        margin = (RIGHT - LEFT) / (2 * len(chart.ticks))
        ends = chart.ticks[0][0], max(chart.ticks[-1][0], chart.ticks[0][0] + 1e-9)
        to_x = _scale(*ends, LEFT + margin, RIGHT - margin)
        return to_x, [(to_x(at), name) for at, name in chart.ticks]
    if isinstance(chart, Scatter):
        logs = [math.log10(x) for x in xs]
        line = _scale(min(logs) - 0.08, max(logs) + 0.08, LEFT, RIGHT)
        rounds = [m * 10.0**p for p in range(-3, 9) for m in (1, 2, 5)]
        inside = [r for r in rounds if min(logs) - 0.08 <= math.log10(r) <= max(logs) + 0.08]
        return lambda v: line(math.log10(v)), [(line(math.log10(r)), f"{r:g}") for r in inside]
    last = max(xs)
    ticks = [t for t in nice_ticks(0, last) if t <= last and t == int(t)]
    to_x = _scale(0, max(last, 1), LEFT, RIGHT)
    return to_x, [(to_x(t), f"{t:g}") for t in ticks]


def _axes(
    chart: LineChart | Scatter,
    words: Mapping[str, str],
    y: Scale,
    y_ticks: Sequence[float],
    x_ticks: Sequence[tuple[float, str]],
) -> list[str]:
    parts = []
    for tick in y_ticks:
        at = y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{spoken(f"{tick:g}", words)}</text>')  # fmt: skip  # noqa: E501
    parts += [
        f'<text class="tick" x="{at:.1f}" y="{BOTTOM + 17}" text-anchor="middle">{spoken(name, words)}</text>'  # noqa: E501
        for at, name in x_ticks
    ]
    middle = (LEFT + RIGHT) / 2
    x_word, y_word = escape(words[chart.x]), escape(_y_word(chart, words))
    parts.append(f'<text class="axis" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{x_word}</text>')  # fmt: skip  # noqa: E501
    parts.append(f'<text class="axis" transform="translate(12 {(TOP + BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{y_word}</text>')  # fmt: skip  # noqa: E501
    return parts


def _y_word(chart: LineChart | Scatter, words: Mapping[str, str]) -> str:
    return words["density_percent" if chart.y == "density" else chart.y]


def _band(series: Series, x: Scale, y: Scale, place: int) -> list[str]:
    """Return the area of one standard deviation to both sides of a line; nothing of one seed."""
    spread = [dot for dot in series.dots if dot.y is not None and dot.spread is not None]
    upper = [f"{x(d.x):.1f},{y((d.y or 0.0) + (d.spread or 0.0)):.1f}" for d in spread]
    lower = [f"{x(d.x):.1f},{y((d.y or 0.0) - (d.spread or 0.0)):.1f}" for d in spread]
    if not spread:
        return []
    return [f'<polygon class="band g{place}" points="{" ".join([*upper, *reversed(lower)])}"/>']


def _series(
    series: Series, x: Scale, y: Scale, place: int, words: Mapping[str, str], *, joined: bool
) -> tuple[list[str], list[Spot]]:
    parts: list[str] = []
    spots: list[Spot] = []
    stretch: list[str] = []
    stretches = [stretch]
    few = len(series.dots) <= MANY
    for dot in series.dots:
        if dot.y is None:
            stretch = []
            stretches.append(stretch)
            continue
        at, height = x(dot.x), y(dot.y)
        stretch.append(f"{at:.1f},{height:.1f}")
        label = spoken(dot.label, words)
        spots.append((round(at, 1), round(height, 1), label, " ".join(dot.run_ids)))
        if few or not joined:
            parts += _mark(dot, label, (at, height), y, place)
    kind = "line open" if series.open else "line"
    lines = [
        f'<polyline class="{kind} g{place}" points="{" ".join(s)}"/>'
        for s in stretches
        if joined and len(s) > 1
    ]
    return [*lines, *parts], spots


def _mark(dot: Dot, label: str, at: tuple[float, float], y: Scale, place: int) -> list[str]:
    parts = []
    across, height = at
    if dot.spread is not None and dot.y is not None:
        ends = f'y1="{y(dot.y - dot.spread):.1f}" y2="{y(dot.y + dot.spread):.1f}"'
        parts.append(f'<line class="spread g{place}" x1="{across:.1f}" x2="{across:.1f}" {ends}/>')
    run = escape(" ".join(dot.run_ids))
    parts.append(
        f'<circle class="dot g{place}" cx="{across:.1f}" cy="{height:.1f}" r="3.2" '
        f'data-run="{run}"><title>{escape(label)}</title></circle>'
    )
    return parts


def _labels(labels: list[tuple[float, float, int, str]], *, at_end: bool) -> list[str]:
    """Name each line at its end, apart from one another; of a scatter beside the picture."""
    if not labels:
        return []
    ordered = sorted(labels, key=lambda item: item[1] if at_end else item[2])
    wanted = [item[1] if at_end else TOP + 14 + 16 * i for i, item in enumerate(ordered)]
    places = _apart(wanted)
    parts = [f'<text class="axis" x="{RIGHT + 8}" y="{places[0] - LABEL_GAP:.1f}">γ</text>']
    for (end, height, place, name), at in zip(ordered, places, strict=True):
        if at_end:
            parts.append(f'<path class="leader g{place}" d="M{end + 4:.1f} {height:.1f}L{RIGHT + 5} {at:.1f}"/>')  # fmt: skip  # noqa: E501
        parts.append(f'<text class="name g{place}" x="{RIGHT + 8}" y="{at + 4:.1f}">{name}</text>')
    return parts


def _apart(wanted: list[float]) -> list[float]:
    """Move places apart, in order, within the picture.

    Example:
        >>> _apart([50, 51, 90])
        [50, 62, 90]
    """
    places = list(wanted)
    places[0] = max(places[0], TOP + LABEL_GAP)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + LABEL_GAP)
    over = places[-1] - BOTTOM
    if over > 0:
        places[-1] -= over
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - LABEL_GAP)
    return places


def _heat_map(chart: HeatMap, words: Mapping[str, str]) -> tuple[str, list[Spot]]:
    values = [tile.value for row in chart.tiles for tile in row if tile.value is not None]
    left = 62 + max(0, max(len(name) for name in chart.rows) - 5) * 6
    wide = (WIDTH - 6 - left) / max(1, len(chart.columns))
    wide = min(wide, 90)
    parts: list[str] = []
    spots: list[Spot] = []
    for r, (name, row) in enumerate(zip(chart.rows, chart.tiles, strict=True)):
        top = 8 + TILE * r
        parts.append(f'<text class="tick" x="{left - 6}" y="{top + TILE / 2 + 4}" text-anchor="end">{escape(spoken(name, words))}</text>')  # fmt: skip  # noqa: E501
        for c, tile in enumerate(row):
            x = left + wide * c
            label = spoken(tile.label, words)
            spots.append((x + wide / 2, top + TILE / 2, label, " ".join(tile.run_ids)))
            box = f'x="{x + 1:.1f}" y="{top + 1}" width="{wide - 2:.1f}" height="{TILE - 2}" rx="2"'
            run = escape(" ".join(tile.run_ids))
            if tile.value is None:
                parts.append(f'<rect class="tile {tile.state} none" {box}/>')
                continue
            color = _tile_color(tile.value, values, diverging_scale=chart.diverging)
            parts.append(f'<rect class="tile" {box} fill="{color}" data-run="{run}"><title>{escape(label)}</title></rect>')  # fmt: skip  # noqa: E501
            parts.append(f'<text class="value" x="{x + wide / 2:.1f}" y="{top + TILE / 2 + 4}" text-anchor="middle" fill="{ink(color)}">{escape(spoken(tile.text, words))}</text>')  # fmt: skip  # noqa: E501
    bottom = 8 + TILE * len(chart.rows)
    parts += [
        f'<text class="tick" x="{left + wide * (c + 0.5):.1f}" y="{bottom + 15}" text-anchor="middle">{escape(spoken(name, words))}</text>'  # noqa: E501
        for c, name in enumerate(chart.columns)
    ]
    middle = left + wide * len(chart.columns) / 2
    parts.append(f'<text class="axis" x="{middle:.1f}" y="{bottom + 32}" text-anchor="middle">{escape(words[chart.x])}</text>')  # fmt: skip  # noqa: E501
    parts.append(f'<text class="axis" transform="translate(12 {(8 + bottom) / 2}) rotate(-90)" text-anchor="middle">{escape(words[chart.y])}</text>')  # fmt: skip  # noqa: E501
    return _element(chart.key, bottom + 40, parts), spots


def _tile_color(value: float, values: Sequence[float], *, diverging_scale: bool) -> str:
    if diverging_scale:
        return diverging(value / (max(abs(v) for v in values) or 1.0))
    low, high = min(values), max(values)
    return sequential((value - low) / (high - low) if high > low else 0.5)


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / ((high - low) or 1.0) * (end - start)


def _element(key: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-labelledby="t-{key}">'
        f"{''.join(parts)}</svg>"
    )
