"""Weights in the fewest bytes that a loop still reads as they are: gaps and codes in one unit.

A unit is one or two bytes, ``zeros * codes + code``: how many zeros come before a weight, and
which of the layer's ``codes - 1`` values it has. Code 0 is no weight, but ``(zeros + 1) * gaps``
zeros more, where ``gaps`` is how many lengths a unit can tell. A layer at 7 % density and 14 values
takes 1.3 bytes a nonzero; one of 255 values without zeros a byte a weight, by the same loop.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import Uniform, decode
from espalier.export.c.text import integer_type, offset_type
from espalier.export.graph import Convolution, Linear

__all__ = ["Packed", "PackedWeights", "pack", "packed_weights"]

Floats = NDArray[np.float32]
MOST_LEVELS = 255
"""Values in a table; more of them stand one by one beside the gaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Nonzeros, filter by filter."""

    codes: int
    """Values, and one for no weight."""
    counts: NDArray[np.int64]
    """Units a filter."""
    units: NDArray[np.uint8 | np.uint16]
    levels: NDArray[Any]
    """Values by code, beginning with a zero for code 0; empty where ``values`` are there."""
    values: NDArray[Any]
    """A value each nonzero, code 1; else empty."""

    @property
    def gaps(self) -> int:
        """Numbers of zeros that a unit can tell, from 0 on."""
        return _gaps(self.codes, self.units.itemsize)

    @property
    def size_bytes(self) -> int:
        """Bytes of units, counts and values, those of floats as 4."""
        values = self.levels if self.levels.size else self.values
        kind = values.dtype if values.dtype.kind == "f" else integer_type(values).removesuffix("_t")
        counts = np.dtype(offset_type(self.counts).removesuffix("_t")).itemsize
        own = 0 if self.levels.size else counts * self.counts.size
        each = np.dtype(kind).itemsize
        return int(self.units.nbytes + counts * self.counts.size + own + values.size * each)

    @property
    def nonzeros(self) -> NDArray[np.int64]:
        """How many weights a filter keeps."""
        filters = np.repeat(np.arange(self.counts.size), self.counts)
        return np.bincount(filters[self.units % self.codes != 0], minlength=self.counts.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedWeights:
    """A layer's nonzeros, and what makes outputs of their sums, in float32."""

    packed: Packed
    scale: Floats
    shift: Floats


def packed_weights(layer: Convolution | Linear) -> PackedWeights:
    """Pack a layer's weights as float32."""
    rows, scale, shift = _values(layer)
    return PackedWeights(packed=pack(rows), scale=scale, shift=shift)


def pack(rows: NDArray[Any]) -> Packed:
    """Pack the nonzeros of (filters, weights), in units of whichever size takes fewer bytes."""
    levels, codes = np.unique(rows[rows != 0], return_inverse=True)
    listed = levels.size <= MOST_LEVELS
    known = max(levels.size, 1) + 1 if listed else 2
    matrix = np.zeros(rows.shape, np.int64)
    matrix[rows != 0] = codes.reshape(-1) + 1 if listed else 1
    choices = [_units(matrix, known, kind) for kind in (np.uint8, np.uint16)]
    units, counts = min(choices, key=lambda pair: pair[0].nbytes)
    none, table = np.zeros(0, rows.dtype), np.zeros(known, rows.dtype)
    if listed:
        table[1 : 1 + levels.size] = levels
    return Packed(
        codes=known,
        counts=counts,
        units=units,
        levels=table if listed else none,
        values=none if listed else rows[rows != 0],
    )


def _values(layer: Convolution | Linear) -> tuple[Floats, Floats, Floats]:
    """Return (filters, weights), scale and shift.

    Scales are never negative, so that a maximum commutes with them. On a uniform grid values are
    codes, and the step is in the scale.
    """
    signs = np.where(layer.scale < 0, -1, 1).astype(np.float32)
    scale = np.abs(layer.scale).astype(np.float32)
    grid = layer.weight.grid
    if isinstance(grid, Uniform):
        weights = np.zeros(layer.weight.shape, np.float32)
        weights[layer.weight.mask] = layer.weight.codes
        scale = scale * np.float32(grid.step)
    else:
        weights = decode(layer.weight)
    rows = weights.reshape(len(scale), -1) * signs[:, None]
    return rows, scale, layer.shift.astype(np.float32)


def _gaps(codes: int, unit_bytes: int) -> int:
    return int(256**unit_bytes // codes)


def _units(
    matrix: NDArray[np.int64], codes: int, kind: type[np.uint8] | type[np.uint16]
) -> tuple[NDArray[np.uint8 | np.uint16], NDArray[np.int64]]:
    """Return the units of the codes (filters, weights), and how many each filter has."""
    gaps = _gaps(codes, np.dtype(kind).itemsize)
    filters, places = np.nonzero(matrix)
    first = np.diff(filters, prepend=-1) != 0
    zeros = np.where(first, places, np.diff(places, prepend=0) - 1)
    far, rest = np.divmod(zeros, gaps)
    skips = -(-far // gaps)
    ends = np.cumsum(skips + 1)
    units = np.full(int(ends[-1]) if ends.size else 0, (gaps - 1) * codes)
    units[ends - 1] = rest * codes + matrix[filters, places]
    skipped = skips > 0
    units[ends[skipped] - 2] = (far[skipped] - 1) % gaps * codes
    counts = np.bincount(filters, weights=skips + 1, minlength=len(matrix)).astype(np.int64)
    return units.astype(kind), counts
