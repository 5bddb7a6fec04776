"""A tensor as the coder sees it."""

import math
from dataclasses import dataclass

__all__ = ["Matrix", "matrix_shape"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Rows of kernels; at least one row and one column."""

    rows: int
    columns: int
    kernel: tuple[int, int]
    """Height and width; their product divides the columns."""
    nonzero: int
    offset: int
    """The least magnitude of a code."""
    signed: bool

    @property
    def numbers(self) -> tuple[int, int, int, int, int, int, bool]:
        """The matrix as the compiled core takes it."""
        return (self.rows, self.columns, *self.kernel, self.nonzero, self.offset, self.signed)


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns: the first dimension, and the product of the others.

    Example:
        >>> matrix_shape((8, 4, 3, 3)), matrix_shape((10,)), matrix_shape(())
        ((8, 36), (1, 10), (1, 1))
    """
    if len(shape) < 2:
        return 1, math.prod(shape)
    return shape[0], math.prod(shape[1:])
