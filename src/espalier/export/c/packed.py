"""Weights in the fewest bytes that a loop still reads as they are: gaps and codes in one unit.

A unit is one or two bytes: ``code_bits`` bits of a code, above them the zeros before it. Code 0 is
no weight, but zeros: ``(field + 1) << gap_bits`` of them. A layer at 7 % density whose weights have
14 values takes 1.3 bytes a nonzero; one without zeros takes a byte a weight, by the same loop.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import Uniform, decode
from espalier.export.graph import Convolution, Linear

__all__ = ["PackedWeights", "packed_weights"]

Floats = NDArray[np.float32]
MOST_LEVELS = 255
"""Values in a table; more of them stand one by one beside the gaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedWeights:
    """Nonzeros, filter by filter."""

    code_bits: int
    counts: NDArray[np.int64]
    """Units a filter."""
    units: NDArray[np.uint8 | np.uint16]
    levels: Floats
    """Values by code, beginning with a zero for code 0; empty where ``values`` are there."""
    values: Floats
    """A value each nonzero, code 1; else empty."""
    scale: Floats
    shift: Floats

    @property
    def gap_bits(self) -> int:
        """Bits of a unit above its code."""
        return 8 * self.units.itemsize - self.code_bits

    @property
    def nonzeros(self) -> NDArray[np.int64]:
        """How many weights a filter keeps."""
        kept = (self.units & ((1 << self.code_bits) - 1)) != 0
        filters = np.repeat(np.arange(self.counts.size), self.counts)
        return np.bincount(filters[kept], minlength=self.counts.size)

    @property
    def size_bytes(self) -> int:
        """Bytes of flash; counts of two, scales and shifts of four each."""
        floats = (self.levels, self.values, self.scale, self.shift)
        return self.units.nbytes + 2 * self.counts.size + sum(f.nbytes for f in floats)


def packed_weights(layer: Convolution | Linear) -> PackedWeights:
    """Pack a layer's nonzeros, in units of whichever size takes fewer bytes."""
    rows, scale, shift = _values(layer)
    levels, codes = np.unique(rows[rows != 0], return_inverse=True)
    listed = levels.size <= MOST_LEVELS
    code_bits = max(int(levels.size).bit_length(), 1) if listed else 1
    matrix = np.zeros(rows.shape, np.int64)
    matrix[rows != 0] = codes.reshape(-1) + 1 if listed else 1
    packed = [_units(matrix, code_bits, kind) for kind in (np.uint8, np.uint16)]
    units, counts = min(packed, key=lambda pair: pair[0].nbytes)
    return PackedWeights(
        code_bits=code_bits,
        counts=counts,
        units=units,
        levels=np.concatenate([np.zeros(1), levels]).astype(np.float32) if listed else _none(),
        values=_none() if listed else rows[rows != 0],
        scale=scale,
        shift=shift,
    )


def _none() -> Floats:
    return np.zeros(0, np.float32)


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


def _units(
    codes: NDArray[np.int64], code_bits: int, kind: type[np.uint8] | type[np.uint16]
) -> tuple[NDArray[np.uint8 | np.uint16], NDArray[np.int64]]:
    """Return the units of (filters, weights), and how many each filter has."""
    gap_bits = 8 * np.dtype(kind).itemsize - code_bits
    most = 1 << gap_bits
    filters, places = np.nonzero(codes)
    first = np.diff(filters, prepend=-1) != 0
    gaps = np.where(first, places, np.diff(places, prepend=0) - 1)
    far = gaps >> gap_bits
    skips = -(-far // most)
    ends = np.cumsum(skips + 1)
    units = np.zeros(int(ends[-1]) if ends.size else 0, np.int64)
    units[:] = (most - 1) << code_bits
    units[ends - 1] = (gaps & (most - 1)) << code_bits | codes[filters, places]
    last = skips > 0
    units[ends[last] - 2] = (far[last] - 1) % most << code_bits
    counts = np.bincount(filters, weights=skips + 1, minlength=len(codes)).astype(np.int64)
    return units.astype(kind), counts
