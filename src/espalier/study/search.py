"""A search for the front of accuracy against bytes: rounds of a study, each planned from the last.

The first round spreads points evenly over density, bits and learning rate; the following ones go
where the front has its widest gaps and around its members. Decisions read validation accuracy and
file sizes of finished rounds only, never test accuracy, and draw nothing at random: the same search
plans the same runs, and one that was cut off goes on.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from espalier.errors import ConfigError
from espalier.records import RunSpec, StudyPlan, cell_directory, read_cell, run_id
from espalier.records.study import PLAN, read_plan
from espalier.report.beyond import front
from espalier.report.runs import RunRow, run_rows
from espalier.study.runner import StudyOutcome
from espalier.train import resolve_spec

__all__ = ["Found", "Point", "Space", "next_points", "search"]

NAME = "search"
FIRST, EACH = 6, 3
"""Runs of the first round and of each further one: not a share of all, so that more runs later
continue the search that there is."""
PLASTIC = 1.2207440846057596
"""Root of ``x**4 = x + 1``: its powers spread points evenly in three dimensions (Roberts, 2018)."""
DIGITS = 3
"""Significant digits of densities and rates, so that they can be read."""
AROUND = 0.7
"""Weight of a front member's neighbors against a gap of the front as wide."""

Run = Callable[[StudyPlan, Mapping[str, RunSpec]], StudyOutcome]
"""Runs some cells of a plan."""


class Point(NamedTuple):
    """What a run of the search differs in."""

    density: float
    bits: int
    lr: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Where to search; densities and rates on a logarithmic scale.

    Raises:
        ConfigError: an interval is empty or out of bounds.
    """

    densities: tuple[float, float]
    """Smallest and largest, in (0, 1]."""
    bits: tuple[int, ...]
    """Choices, in rising order."""
    rates: tuple[float, float]
    """Smallest and largest learning rate, > 0."""

    def __post_init__(self) -> None:
        """Refuse what holds no point."""
        low, high = self.densities
        if not 0 < low <= high <= 1:
            raise ConfigError(f"densities {low} to {high}: expected 0 < smallest <= largest <= 1.")
        slow, fast = self.rates
        if not 0 < slow <= fast:
            raise ConfigError(f"learning rates {slow} to {fast}: expected 0 < smallest <= largest.")
        if not self.bits or sorted(set(self.bits)) != list(self.bits):
            raise ConfigError(f"bits {list(self.bits)}: expected one or more, rising.")

    def at(self, density: float, bits: float, rate: float) -> Point:
        """Return the point at three shares, 0 to 1, of the space's sides."""
        return Point(
            _rounded(_between(self.densities, density)),
            self.bits[min(int(bits * len(self.bits)), len(self.bits) - 1)],
            _rounded(_between(self.rates, rate)),
        )

    def holds(self, point: Point) -> bool:
        """Whether a point lies in it."""
        (low, high), (slow, fast) = self.densities, self.rates
        return low <= point.density <= high and slow <= point.lr <= fast


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search has found so far."""

    rows: tuple[RunRow, ...]
    """Its runs, in the order in which they were planned."""
    points: Mapping[str, Point]
    """By run id."""
    outcome: StudyOutcome
    """Of the last round."""

    @property
    def front(self) -> tuple[RunRow, ...]:
        """The runs that no other one beats in both size and validation accuracy."""
        return front(self.rows, "file")

    def to_json(self, out: Path) -> list[dict[str, Any]]:
        """Return the front as JSON values, from small to large."""
        return [
            {
                "size_bytes": row.size_bytes,
                "val_accuracy": row.val_accuracy,
                "test_accuracy": row.test_accuracy,
                "density": row.density,
                "bits": row.bits,
                "lr": row.lr,
                "epoch": row.epoch,
                "run": str(cell_directory(out, row.run_id)),
            }
            for row in self.front
        ]


def search(
    settings: Mapping[str, Any],
    space: Space,
    out: Path,
    run: Run,
    *,
    runs: int,
    device: torch.device,
) -> Found:
    """Run a search to its end, or until a run can't be run now.

    Args:
        settings: of all runs, see :func:`espalier.train.resolve_spec`.
        space: where to search.
        out: the study's directory.
        run: runs cells of a plan and writes their records there.
        runs: how many in all, those of an earlier call included.
        device: where the runs compute.

    Raises:
        ConfigError: a setting is wrong, or the directory holds another study.
    """
    if runs < 1:
        raise ConfigError(f"--budget-runs {runs}: expected an integer >= 1.")
    base = dict(settings) | {"choose": "validation"}
    if base.get("precision", "auto") == "auto" and (out / PLAN).exists():
        known = [spec.precision for spec in read_plan(out).cells.values()]
        base |= {"precision": known[0]} if known else {}
    specs: dict[str, RunSpec] = {}
    points: dict[str, Point] = {}
    found = Found(rows=(), points={}, outcome=StudyOutcome())
    while len(points) < runs:
        count = min(EACH if points else FIRST, runs - len(points))
        fresh: dict[str, RunSpec] = {}
        for point in next_points(space, found, count):
            settled = {"target_density": point.density, "bits": point.bits, "lr": point.lr}
            spec = resolve_spec(base | settled, device=device)
            fresh[run_id(spec)], points[run_id(spec)] = spec, point
        if not fresh:
            break
        specs |= fresh
        outcome = run(_plan(specs, points), fresh)
        cells = [read_cell(out, name, spec) for name, spec in specs.items()]
        rows = run_rows(cells, "validation", directory=out)
        found = Found(rows=rows, points=points, outcome=outcome)
        if outcome.left:
            break
    return found


def next_points(space: Space, found: Found, count: int) -> list[Point]:
    """Return the points of the next round, none of them tried before; fewer where none are left.

    Example:
        >>> space = Space(densities=(0.01, 0.1), bits=(2, 3), rates=(0.05, 0.05))
        >>> nothing = Found(rows=(), points={}, outcome=StudyOutcome())
        >>> next_points(space, nothing, 2)
        [Point(density=0.0659, bits=3, lr=0.05), Point(density=0.0435, bits=2, lr=0.05)]
    """
    tried = set(found.points.values())
    wanted = sorted(_candidates(space, found), key=lambda one: (-one[0], one[1]))
    chosen: list[Point] = []
    for point in itertools.chain((point for _, point in wanted), _spread(space, found)):
        if len(chosen) == count:
            break
        if point not in tried and space.holds(point):
            chosen.append(point)
            tried.add(point)
    return chosen


def _spread(space: Space, found: Found) -> Iterator[Point]:
    """Yield points that fill the space evenly; some more than could have been tried."""
    for number in range(1, 4 * len(found.points) + 200):
        yield space.at(*((number * PLASTIC**-power) % 1 for power in (1, 2, 3)))


def _candidates(space: Space, found: Found) -> list[tuple[float, Point]]:
    """Return points that may better the front, each with its weight."""
    members = [(found.points[row.run_id], row) for row in found.front]
    gaps = [_gap(a, b, members) for (_, a), (_, b) in itertools.pairwise(members)]
    candidates: list[tuple[float, Point]] = []
    for ((small, _), (large, _)), gap in zip(itertools.pairwise(members), gaps, strict=True):
        middle = _rounded(math.sqrt(small.density * large.density))
        candidates += [(gap, large._replace(density=middle)), (gap, small._replace(density=middle))]
    for i, (point, _) in enumerate(members):
        beside = [*gaps[max(0, i - 1) : i], *gaps[i : i + 1]] or [1.0]
        weight = AROUND * max(beside)
        candidates += [(weight, one) for one in _neighbors(space, point, len(found.points))]
    return candidates


def _gap(a: RunRow, b: RunRow, members: Sequence[tuple[Point, RunRow]]) -> float:
    """Return how far two neighbors of the front lie apart, of the front's whole extent."""
    first, last = members[0][1], members[-1][1]
    sizes = math.log((b.size_bytes or 1) / (a.size_bytes or 1))
    extent = math.log((last.size_bytes or 1) / (first.size_bytes or 1))
    gained = ((b.judge or 0) - (a.judge or 0)) / (((last.judge or 0) - (first.judge or 0)) or 1)
    return sizes / (extent or 1) + gained


def _neighbors(space: Space, point: Point, tried: int) -> Iterator[Point]:
    """Yield points beside one, the nearer the more were tried."""
    place = space.bits.index(point.bits)
    for other in (place - 1, place + 1):
        if 0 <= other < len(space.bits):
            yield point._replace(bits=space.bits[other])
    factor = 2 ** (8 / (8 + tried))
    for stretch in (factor, 1 / factor):
        yield point._replace(lr=_rounded(point.lr * stretch))
        yield point._replace(density=_rounded(point.density * stretch))


def _plan(specs: Mapping[str, RunSpec], points: Mapping[str, Point]) -> StudyPlan:
    axes: dict[str, list[Any]] = {
        "target_density": sorted({point.density for point in points.values()}),
        "bits": sorted({point.bits for point in points.values()}),
        "lr": sorted({point.lr for point in points.values()}),
    }
    return StudyPlan.of(NAME, axes, specs.values())


def _between(ends: tuple[float, float], share: float) -> float:
    low, high = ends
    return float(low * (high / low) ** share)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
