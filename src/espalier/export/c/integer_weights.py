"""Integer weights in the order in which a kernel reads them: equal ones together.

A filter's nonzeros are grouped by value, and a group is dealt out in bundles of four, two and one:
``w * (x0 + x1 + x2 + x3)`` is one multiplication. Where four activations add up within a byte, so
are they added, at twice the lanes again.

Sums are int16 where the filter's bound allows; else a filter is taken in parts of which each fits,
added up in int32; else, and for machines without vectors, sums are int32 from the start.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from espalier.export.c.packed import Packed, pack
from espalier.export.c.text import integer_type, offset_type
from espalier.export.integer.codes import INT16
from espalier.export.integer.grids import Grid
from espalier.export.integer.plan import Sums

__all__ = [
    "IntegerWeights",
    "SumsIn",
    "all_weights",
    "convolution_weights",
    "linear_weights",
    "packed_integers",
]

Integers = NDArray[np.int64]
SumsIn = Literal["int16", "parts", "int32"]
SIZES = (4, 3, 2, 1)
"""Inputs a bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerWeights:
    """What a layer keeps in flash."""

    dense: bool
    """Whether zeros are kept; else nonzeros in bundles."""
    sums: SumsIn
    sizes: tuple[int, ...]
    """Of the bundles that occur, descending."""
    parts: Integers
    """Parts a filter; empty where there is one each."""
    counts: Integers
    """Bundles of each size, a part each."""
    offsets: Integers
    """Where the inputs lie."""
    values: Integers
    """A weight each bundle, or all of them."""
    plan: Sums
    packed: Packed | None = None
    """All weights, where ``packed``; the arrays are empty then."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights, with what tells where they are."""
        if self.packed is not None:
            return self.packed.size_bytes
        kinds = (integer_type(self.parts), integer_type(self.counts), offset_type(self.offsets))
        arrays = (self.parts, self.counts, self.offsets)
        named = (*zip(arrays, kinds, strict=True), (self.values, integer_type(self.values)))
        return sum(one.size * np.dtype(kind.removesuffix("_t")).itemsize for one, kind in named)


Bundle = tuple[int, tuple[int, ...]]


def convolution_weights(
    plan: Sums, offsets: Integers, grid: Grid, *, vectors: bool
) -> IntegerWeights:
    """Bundle a convolution's nonzeros.

    Args:
        plan: with its codes and bounds.
        offsets: of each weight's input; broadcast to (filters, weights a filter).
        grid: of the input.
        vectors: whether sums of int16 are worth more lanes.
    """
    rows = plan.codes.by_filter
    largest = int(np.abs(rows).max(initial=0))
    if not vectors or largest * grid.largest > INT16:
        sums: SumsIn = "int32"
    else:
        sums = "int16" if plan.fits_int16 else "parts"
    places = np.broadcast_to(offsets, rows.shape)
    filters = [
        _bundles(row[row != 0], place[row != 0], grid, sums)
        for row, place in zip(rows, places, strict=True)
    ]
    parts = [list(_parts(one, grid)) if sums == "parts" else [one] for one in filters]
    flat = [_by_size(part) for one in parts for part in one]
    sizes = tuple(i for i, size in enumerate(SIZES) if any(part[i] for part in flat)) or (2,)
    return IntegerWeights(
        dense=False,
        sums=sums,
        sizes=tuple(SIZES[i] for i in sizes),
        parts=_array([len(one) for one in parts] if sums == "parts" else []),
        counts=_array([len(part[i]) for part in flat for i in sizes]),
        offsets=_array([o for part in flat for i in sizes for _, at in part[i] for o in at]),
        values=_array([w for part in flat for i in sizes for w, _ in part[i]]),
        plan=plan,
    )


def packed_integers(plan: Sums) -> IntegerWeights:
    """Pack a layer's nonzeros into the fewest bytes; sums are int32."""
    nothing = replace(linear_weights(plan, None, dense=True), dense=False, values=_array([]))
    return replace(nothing, packed=pack(plan.codes.by_filter))


def linear_weights(plan: Sums, grid: Grid | None, *, dense: bool) -> IntegerWeights:
    """Bundle a linear layer's nonzeros, or keep all weights.

    Args:
        plan: with its codes.
        grid: of the input; None where all weights are kept.
        dense: whether they are.
    """
    rows = plan.codes.by_filter
    if grid is not None and not dense:
        return convolution_weights(plan, np.arange(rows.shape[1]), grid, vectors=False)
    return all_weights(plan, rows)


def all_weights(plan: Sums, rows: Integers) -> IntegerWeights:
    """Keep all weights, zeros too, filter after filter."""
    return IntegerWeights(
        dense=True,
        sums="int32",
        sizes=(),
        parts=_array([]),
        counts=_array([]),
        offsets=_array([]),
        values=_array(rows),
        plan=plan,
    )


def _bundles(codes: Integers, places: Integers, grid: Grid, sums: SumsIn) -> list[Bundle]:
    """Deal a filter's nonzeros out, the largest magnitudes first."""
    found: list[Bundle] = []
    byte = np.iinfo(np.uint8 if grid.low >= 0 else np.int8).max
    for value in sorted(set(codes.tolist()), key=lambda v: (-abs(v), v)):
        group = places[codes == value].tolist()
        for size in SIZES:
            within = size * grid.largest <= byte and abs(value) * size * grid.largest <= INT16
            if size > 1 and sums != "int32" and not within:
                continue
            while len(group) >= size:
                found.append((value, tuple(group[:size])))
                group = group[size:]
    return found


def _parts(bundles: list[Bundle], grid: Grid) -> Iterator[list[Bundle]]:
    """Cut a filter where its sum might leave int16, positive and negative weights balanced."""
    queues = [[b for b in bundles if b[0] > 0], [b for b in bundles if b[0] < 0]]
    part: list[Bundle] = []
    reach = [0, 0]
    while queues[0] or queues[1]:
        options = []
        for i, queue in enumerate(queues):
            if queue:
                weight = abs(queue[0][0]) * len(queue[0][1])
                up = reach[i] + weight * grid.high
                down = reach[1 - i] - weight * grid.low
                if max(up, down) <= INT16:
                    options.append((up, i, down))
        if not options:
            yield part
            part, reach = [], [0, 0]
            continue
        up, i, down = min(options)
        reach[i], reach[1 - i] = up, down
        part.append(queues[i].pop(0))
    yield part


def _by_size(bundles: list[Bundle]) -> list[list[Bundle]]:
    return [[bundle for bundle in bundles if len(bundle[1]) == size] for size in SIZES]


def _array(values: Sequence[int] | Integers) -> Integers:
    return np.asarray(values, np.int64).reshape(-1)
