"""From sums to the integers of a grid: a multiplication, an addition, a shift.

``q = min(max(M * a + C, 0) >> s, high - low) + low``: C holds the shift of the layer, the half that
rounds to the nearest (ties up) and the way from ``low`` to 0, so that nothing negative is ever
shifted and C99 says what comes out on every machine.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.errors import ExportError
from espalier.export.integer.grids import Grid

__all__ = ["INT32", "Fixed", "fixed_point"]

Integers = NDArray[np.int64]
INT32 = 2**31 - 1
WIDEST = 2**61
"""Of C in 64 bits, so that M * a comes on top."""
LARGEST_SHIFT = 30
FINE = 8
"""A multiplier this many times the levels is off by a sixteenth of a level at most."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Fixed:
    """How sums become integers of a grid, a row of multipliers each source."""

    multipliers: Integers
    """(sources, channels), |M| < 2**31; not negative where a maximum may have been taken before."""
    offsets: Integers
    """(channels,), C."""
    shifts: Integers
    """(channels,), s, 1 to 30."""
    grid: Grid
    """Of the result."""
    wide: bool
    """Whether anything exceeds int32 on the way, so that 64 bits are needed."""

    def __call__(self, *sums: Integers) -> Integers:
        """Return integers of the grid for sums of shape (batch, channels, ...), one a source."""
        rest = (1,) * (sums[0].ndim - 2)
        total = self.offsets.reshape(-1, *rest).astype(np.int64)
        for multiplier, one in zip(self.multipliers, sums, strict=True):
            total = total + multiplier.reshape(-1, *rest) * one
        levels = self.grid.high - self.grid.low
        shifted = np.maximum(total, 0) >> self.shifts.reshape(-1, *rest)
        result: Integers = np.minimum(shifted, levels) + self.grid.low
        return result


def fixed_point(
    factors: NDArray[Any], shift: NDArray[Any], bounds: NDArray[Any], grid: Grid, place: str
) -> Fixed:
    """Find the integers of ``q = rint(sum of factors * sums + shift)`` on a grid.

    Int32 suffices wherever that keeps the result within a sixteenth of a level; 64 bits elsewhere.

    Args:
        factors: (sources, channels), levels of the grid a unit of the sum.
        shift: (channels,), in levels.
        bounds: (sources, channels), largest magnitude of the sums.
        grid: of the result.
        place: the layer, for errors.

    Raises:
        ExportError: a factor or a shift is so large that no 64 bits hold it.
    """
    shifts, precise = _largest_shifts(factors, shift, bounds, grid, INT32, grid.high - grid.low)
    wide = not precise.all()
    if wide:
        shifts, _ = _largest_shifts(factors, shift, bounds, grid, WIDEST, 0)
    if (shifts < 1).any():
        channel = int(np.argmax(shifts < 1))
        raise ExportError(
            f"{place}: channel {channel} is {float(np.abs(factors[:, channel]).max()):.3g} times "
            f"its sums plus {float(shift[channel]):.3g} levels of its grid, more than integers "
            "hold. Calibrate with data like the network's own, or use arithmetic='float'."
        )
    power = 2.0**shifts
    return Fixed(
        multipliers=np.rint(factors * power).astype(np.int64),
        offsets=_offsets(shift, shifts, grid),
        shifts=shifts,
        grid=grid,
        wide=wide,
    )


def _offsets(shift: NDArray[Any], shifts: Integers, grid: Grid) -> Integers:
    exact = np.rint(shift * 2.0**shifts).astype(np.int64)
    result: Integers = exact + 2 ** (shifts - 1) - grid.low * 2**shifts
    return result


def _largest_shifts(
    factors: NDArray[Any],
    shift: NDArray[Any],
    bounds: NDArray[Any],
    grid: Grid,
    limit: int,
    levels: int,
) -> tuple[Integers, NDArray[np.bool_]]:
    """Return the finest shift a channel with nothing above ``limit``, and whether it is fine."""
    found = np.zeros(len(shift), np.int64)
    constant = np.abs(shift) + 1 + abs(grid.low)
    for s in range(1, LARGEST_SHIFT + 1):
        multipliers = np.abs(factors) * 2.0**s + 1
        total = (multipliers * bounds).sum(axis=0) + constant * 2.0**s
        fits = (total <= limit) & (multipliers <= INT32).all(axis=0)
        found[fits] = s
    smallest = np.abs(factors) * 2.0**found
    error = bounds.sum(axis=0) * 0.5 / 2.0**found
    fine = (smallest >= FINE * levels).all(axis=0) | (error <= 1 / 16)
    return found, (found >= 1) & fine
