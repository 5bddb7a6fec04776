"""Weights as integers: the codes of the trained grid, or 8 bits where there is none.

A grid's code is an integer k with value = k * step, so that the sum of a filter is step times an
integer, exactly; the threshold that pruned only leaves the smallest codes out. What a filter's
codes have in common is divided out: a filter of two values +-v adds and subtracts, whatever v is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import Uniform, decode
from espalier.export.graph import Convolution, Linear
from espalier.export.integer.grids import Grid

__all__ = ["INT16", "Codes", "codes_of", "sum_bounds"]

Integers = NDArray[np.int64]
INT16 = 2**15 - 1
ROUNDED = 127
"""The largest code of weights that had none."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Codes:
    """``weight * sign(scale) = codes * unit``."""

    codes: Integers
    """The weights' own shape."""
    units: NDArray[np.float64]
    """(filters,), > 0; the layer's scale, without its sign, included."""
    exact: bool
    """Whether these are the trained weights, not rounded again."""

    @property
    def by_filter(self) -> Integers:
        """(filters, weights a filter)."""
        return self.codes.reshape(len(self.units), -1)


def codes_of(layer: Convolution | Linear) -> Codes:
    """Return a layer's weights as integers with a positive unit a filter.

    The sign of a filter's scale goes to its codes, so that a maximum may be taken of the sums.
    """
    scale = layer.scale.astype(np.float64)
    filters = len(scale)
    weight, grid = layer.weight, layer.weight.grid
    exact = isinstance(grid, Uniform) and int(np.abs(weight.codes).max(initial=0)) <= INT16
    if isinstance(grid, Uniform) and exact:
        full = np.zeros(weight.shape, np.int64)
        full[weight.mask] = weight.codes
        rows = full.reshape(filters, -1)
        units = np.full(filters, float(grid.step))
    else:
        values = decode(weight).astype(np.float64).reshape(filters, -1)
        units = np.abs(values).max(axis=1, initial=0.0) / ROUNDED
        units[units == 0] = 1.0
        rows = np.rint(values / units[:, None]).astype(np.int64)
    common = np.maximum(np.gcd.reduce(rows, axis=1, initial=0), 1)
    rows = rows // common[:, None] * np.where(scale < 0, -1, 1)[:, None]
    return Codes(
        codes=rows.reshape(weight.shape),
        units=units * common * np.abs(scale),
        exact=exact or not weight.nonzero,
    )


def sum_bounds(codes: Integers, grid: Grid) -> Integers:
    """Return the largest magnitude that sums of filters reach, over all inputs of a grid.

    Whatever the order of the sum, no part of it is larger: parts leave products out.

    Args:
        codes: (filters, weights a filter).
        grid: of the inputs.

    Example:
        >>> unsigned, signed = Grid(np.float32(1), 0, 15), Grid(np.float32(1), -7, 7)
        >>> codes = np.array([[3, -1, 2]])
        >>> sum_bounds(codes, unsigned).tolist(), sum_bounds(codes, signed).tolist()
        ([75], [42])
    """
    up = np.maximum(codes, 0).sum(axis=1)
    down = np.maximum(-codes, 0).sum(axis=1)
    highest = up * grid.high - down * grid.low
    lowest = down * grid.high - up * grid.low
    bounds: Integers = np.maximum(highest, lowest)
    return bounds
