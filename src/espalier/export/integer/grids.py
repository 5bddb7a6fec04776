"""The integers of an activation: how far apart their values are, and how many there are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from espalier.export.ranges import SHRINKS, Histogram

__all__ = ["FINEST", "NOISE", "Grid", "fitted", "head_grid", "noise"]

FINEST = 1e-12
"""The least distance of two values."""
NOISE = 2.0**-9
"""What rounding may add to a value that few bits are tried for: power of the error over the
value's own. Six bits of a rectified value keep well below it."""
HEADROOM = 2.0
"""Of outputs beyond what calibration has shown."""
HEAD = 2**15 - 1


@dataclass(frozen=True, slots=True)
class Grid:
    """``value = scale * integer``, integers from ``low`` to ``high``, which hold 0."""

    scale: np.float32
    low: int
    high: int

    @property
    def largest(self) -> int:
        """The largest magnitude."""
        return max(-self.low, self.high)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The smallest type that holds the integers."""
        kinds = (np.uint8, np.int8, np.uint16, np.int16)
        fits = (
            kind
            for kind in kinds
            if np.iinfo(kind).min <= self.low and self.high <= np.iinfo(kind).max
        )
        return np.dtype(next(fits))

    def rounded(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the nearest values of the grid."""
        scale = float(self.scale)
        return np.clip(np.rint(values / scale), self.low, self.high) * scale

    def quantize(self, values: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the nearest integers, ties up, in float32 as C computes them.

        A division and an addition, both rounded as IEEE 754 says, then the integer part of what
        is not negative: no product that a compiler might fuse. NaN becomes ``low``.
        """
        shifted = values / self.scale + np.float32(0.5 - self.low)
        held = np.where(shifted > 0, shifted, np.float32(0))
        held = np.minimum(held, np.float32(self.high - self.low))
        result: NDArray[np.int64] = held.astype(np.int64) + self.low
        return result

    def dequantize(self, integers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the values, float32: one product, rounded once."""
        return integers.astype(np.float32) * self.scale


def fitted(histogram: Histogram, bits: int) -> Grid:
    """Return the grid of ``bits`` bits that leaves the least squared error.

    Integers have no sign where no value has one; otherwise they reach as far below zero as above.
    """
    signed = histogram.low < 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    reached = max(-histogram.low, histogram.high)
    tried = [
        Grid(np.float32(max(reached * shrink / high, FINEST)), -high if signed else 0, high)
        for shrink in SHRINKS
    ]
    errors = [histogram.error(grid.rounded(histogram.middles)) for grid in tried]
    return tried[int(np.argmin(errors))]


def noise(histogram: Histogram, grid: Grid) -> float:
    """Return the power of the rounding error over that of the value; 0 for a value that is 0."""
    power = histogram.error(np.zeros_like(histogram.middles))
    return histogram.error(grid.rounded(histogram.middles)) / power if power else 0.0


def head_grid(histogram: Histogram, *, rectified: bool) -> Grid:
    """Return a grid of 16 bits, for what a network ends with."""
    reached = max(-histogram.low, histogram.high)
    low = 0 if rectified else -HEAD
    return Grid(np.float32(max(HEADROOM * reached / HEAD, FINEST)), low, HEAD)
