"""How each layer of a network computes in integers, chosen from calibration data.

Every value is on a grid (:class:`Grid`) without an offset: zero is 0, so that what lies around an
image costs nothing. Layers with weights sum products of integers, exactly, and one multiplication
and shift (:class:`Fixed`) puts the sums on the next grid. No float is computed with but where
inputs become integers and outputs become floats.

Bits are chosen for each value that a layer with weights reads: as few as leave the error of
rounding below ``NOISE``, and among those such that the sums of every filter fit int16, checked
against the filter's own codes over all inputs; where no number of bits does both, sums are widened
to int32. Six are tried first: four such integers add up within a byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.errors import ExportError
from espalier.export.graph import (
    Activation,
    Add,
    Affine,
    Argmax,
    Concat,
    Convolution,
    Graph,
    Linear,
    Node,
    Pool,
    Softmax,
)
from espalier.export.integer.codes import INT16, Codes, codes_of, sum_bounds
from espalier.export.integer.fixed import INT32, Fixed, fixed_point
from espalier.export.integer.grids import NOISE, Grid, fitted, head_grid, noise
from espalier.export.integer.groups import Group, groups_of
from espalier.export.ranges import CHUNK, Histogram, check_calibration, histograms
from espalier.export.reference import activate, run_all

__all__ = [
    "Averages",
    "Exponentials",
    "IntegerPlan",
    "Joined",
    "LookedUp",
    "Mixed",
    "Sums",
    "plan_integers",
]

Integers = NDArray[np.int64]
FAST, ROOMY = (6, 5, 4), (7, 8)
"""Bits in the order in which they are tried."""
EIGHT, BYTE = 8, 255
KEPT_BYTES = 2**28
"""Of values between the two passes over the data."""
SOFTMAX_GRID = Grid(np.float32(2.0**-15), 0, 2**15)
FRACTION, EXPONENT_SHIFT, ONE = 8, 16, 24
LARGEST_RATE = 2**40


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sums:
    """A layer with weights: ``fixed(codes * x)``."""

    codes: Codes
    bounds: Integers
    """(filters,), the largest magnitude of each filter's sum, over all inputs of the grid."""
    fixed: Fixed

    @property
    def fits_int16(self) -> bool:
        """Whether no sum exceeds int16, nor any part of one."""
        return int(self.bounds.max(initial=0)) <= INT16


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """An addition, or a normalization of its own."""

    fixed: Fixed


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """A concatenation."""

    fixed: tuple[Fixed, ...]
    """From the grid of each source."""


@dataclass(frozen=True, slots=True, eq=False)
class LookedUp:
    """An elementwise function."""

    table: Integers
    """An integer for each of the input's grid, the lowest first."""


@dataclass(frozen=True, slots=True, eq=False)
class Averages:
    """The mean of each window."""

    fixed: Fixed
    """Its channels are the numbers of entries that a sum is divided by, 1 first."""


@dataclass(frozen=True, slots=True, eq=False)
class Exponentials:
    """``2**-t`` for t in 256ths, from a table of 256 and shifts, over their sum."""

    rate: int
    """t = (rate * (top - x) + 2**15) >> 16."""
    table: Integers
    """2**24 * 2**-(i / 256)."""


Step = Sums | Mixed | Joined | LookedUp | Averages | Exponentials


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class IntegerPlan:
    """A network in integers; ``run_integer`` runs it, bit for bit as every target does."""

    graph: Graph
    grids: dict[str, Grid]
    """Of every value, by its name."""
    steps: dict[str, Step]
    """By the node's name; what is missing only moves integers, or needs no number."""
    taken_in: frozenset[str]
    """Names of the rectifiers that the layer before does, by where its grid ends."""
    off_grid: tuple[str, ...]
    """Names of the layers whose weights were rounded again, to 8 bits."""


def plan_integers(graph: Graph, calibration: Any) -> IntegerPlan:
    """Choose grids and bits from data, and turn every layer into integers.

    Args:
        graph: the network.
        calibration: (samples, *graph.input.shape), float32, normalized; some hundred are enough.

    Raises:
        DataError: calibration of another shape, empty, or not finite.
        NonFiniteError: an activation exceeds float32 on this data; the message names its layer.
        ExportError: a sum may exceed int32, or a layer stands where it has no form in integers.
    """
    given = check_calibration(graph, calibration)
    kept: dict[int, list[tuple[str, NDArray[np.float32]]]] = {}
    spreads = histograms(graph, lambda: _runs(graph, given, kept))
    kept.clear()
    groups = groups_of(graph)
    codes = {node.name: codes_of(layer) for node, layer in graph.weighted()}
    _check_heads(graph, groups)
    grids: dict[str, Grid] = {}
    for group in groups.values():
        if group.root not in grids:
            grid = _grid(graph, group, spreads[group.shown], codes)
            grids |= dict.fromkeys(group.values, grid)
    steps: dict[str, Step] = {}
    for node in graph.nodes:
        step = _step(graph, node, grids, codes)
        if step is not None and groups[node.output.name].root == node.output.name:
            steps[node.name] = step
    return IntegerPlan(
        graph=graph,
        grids=grids,
        steps=steps,
        taken_in=frozenset(g.taken_in.name for g in groups.values() if g.taken_in is not None),
        off_grid=tuple(name for name, one in codes.items() if not one.exact),
    )


def _runs(
    graph: Graph,
    inputs: NDArray[np.float32],
    kept: dict[int, list[tuple[str, NDArray[np.float32]]]],
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield every value of every chunk; the first chunks are kept for the next time."""
    for start in range(0, len(inputs), CHUNK):
        if start in kept:
            yield from kept[start]
            continue
        values = run_all(graph, inputs[start : start + CHUNK])
        with np.errstate(over="ignore"):  # told by what counts them
            rounded = [(name, value.astype(np.float32)) for name, value in values.items()]
        size = sum(value.nbytes for _, value in rounded)
        if (len(kept) + 1) * size <= KEPT_BYTES:
            kept[start] = rounded
        yield from rounded


def _check_heads(graph: Graph, groups: dict[str, Group]) -> None:
    for node in graph.nodes:
        group = groups[node.output.name]
        if isinstance(node.layer, Softmax | Argmax) and group.readers:
            raise ExportError(
                f"{node.name} is a {type(node.layer).__name__} that {group.readers[0].name} reads; "
                "in integers it only stands at the end. Use arithmetic='float'."
            )


def _grid(graph: Graph, group: Group, spread: Histogram, codes: dict[str, Codes]) -> Grid:
    maker = next((n.layer for n in graph.nodes if n.output.name == group.root), None)
    if isinstance(maker, Softmax):
        return SOFTMAX_GRID
    if isinstance(maker, Argmax):
        return Grid(np.float32(1), 0, 2**16 - 1)
    if group.head and maker is not None:
        grid = head_grid(spread, rectified=group.taken_in is not None)
    else:
        readers = [codes[node.name].by_filter for node in group.readers if node.name in codes]
        grid = _weighed(spread, readers) if readers else fitted(spread, EIGHT)
    activation = group.taken_in.layer if group.taken_in is not None else None
    if isinstance(activation, Activation) and activation.kind == "relu6":
        return Grid(grid.scale, 0, max(1, min(grid.high, round(6.0 / float(grid.scale)))))
    return grid


def _weighed(spread: Histogram, readers: list[Integers]) -> Grid:
    """Return the grid of as many bits as suit the layers that read the value."""
    grids = {bits: fitted(spread, bits) for bits in (*FAST, *ROOMY)}
    quiet = [bits for bits, grid in grids.items() if noise(spread, grid) <= NOISE] or [EIGHT]
    for bits in quiet:
        bounds = [int(sum_bounds(codes, grids[bits]).max(initial=0)) for codes in readers]
        if max(bounds) <= INT16:
            return grids[bits]
    return grids[next((bits for bits in quiet if bits >= FAST[0]), EIGHT)]


def _step(graph: Graph, node: Node, grids: dict[str, Grid], codes: dict[str, Codes]) -> Step | None:
    layer, output = node.layer, grids[node.output.name]
    sources = [grids[name] for name in node.inputs]
    ratios = np.array([[float(one.scale) / float(output.scale)] for one in sources])
    largest = np.array([[one.largest] for one in sources])
    match layer:
        case Convolution() | Linear():
            return _sums(node, layer, codes[node.name], sources[0], output)
        case Affine():
            factors = ratios * layer.scale.astype(np.float64)[None]
            shift = layer.shift.astype(np.float64) / float(output.scale)
            bounds = np.broadcast_to(largest, factors.shape)
            return Mixed(fixed_point(factors, shift, bounds, output, node.name))
        case Add():
            return Mixed(fixed_point(ratios, np.zeros(1), largest, output, node.name))
        case Concat():
            parts = zip(ratios, largest, strict=True)
            return Joined(
                tuple(
                    fixed_point(r[None], np.zeros(1), m[None], output, node.name) for r, m in parts
                )
            )
        case Activation():
            integers = np.arange(sources[0].low, sources[0].high + 1, dtype=np.float64)
            values = activate(layer, integers * float(sources[0].scale))
            steps = np.floor(values / float(output.scale) + 0.5)
            return LookedUp(np.clip(steps, output.low, output.high).astype(np.int64))
        case Pool(kind="average"):
            counts = np.arange(1, np.prod(layer.kernel) + 1)[None]
            fixed = fixed_point(
                ratios / counts, np.zeros(counts.size), largest * counts, output, node.name
            )
            return Averages(fixed)
        case Softmax():
            rate = float(sources[0].scale) * np.log2(np.e) * 2.0 ** (FRACTION + EXPONENT_SHIFT)
            fractions = np.arange(2**FRACTION) / 2**FRACTION
            table = np.rint(2.0 ** (ONE - fractions)).astype(np.int64)
            return Exponentials(int(min(np.rint(rate), LARGEST_RATE)), table)
        case _:
            return None


def _sums(
    node: Node, layer: Convolution | Linear, codes: Codes, source: Grid, output: Grid
) -> Sums:
    bounds = sum_bounds(codes.by_filter, source)
    reach = np.abs(codes.by_filter).sum(axis=1) * BYTE  # of what lies between rows too
    if int(reach.max(initial=0)) > INT32:
        worst = int(np.argmax(reach))
        raise ExportError(
            f"{node.name}: the sum of filter {worst} may reach {int(reach[worst]):,}, more than "
            f"int32 holds ({INT32:,}). Use arithmetic='float' or fewer bits for its weights."
        )
    scale = float(output.scale)
    factors = codes.units * float(source.scale) / scale
    shift = layer.shift.astype(np.float64) / scale
    fixed = fixed_point(factors[None], shift, bounds[None], output, node.name)
    return Sums(codes=codes, bounds=bounds, fixed=fixed)
