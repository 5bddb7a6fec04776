"""The compressed weight: mask, codes, grid. Needs numpy only, so that a device can read it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.errors import ConfigError, NonFiniteError

__all__ = ["Encoded", "Grid", "Raw", "Table", "Uniform", "decode", "encode"]

DENSE_BITS = 32
"""Bits of an uncompressed weight (eq. 6)."""


@dataclass(frozen=True, slots=True)
class Uniform:
    """Values on an even grid: ``value = float32(code) * step``, one rounding."""

    step: float
    """Distance of two grid values, > 0, exactly representable in float32."""


@dataclass(frozen=True, slots=True)
class Table:
    """Values looked up: ``value = levels[code]``."""

    levels: tuple[float, ...]
    """The values, exactly representable in float32."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Values as they are: the codes are the float32 values themselves."""


Grid = Uniform | Table | Raw


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One tensor's compressed weights; :func:`decode` gives them back bit for bit.

    The mask holds the *nonzeros*. ``kept`` counts what the pruner kept, which may be more: a kept
    weight that rounding sent to zero costs nothing to store, but the paper's density counts it.
    """

    mask: NDArray[np.bool_]
    """Where a weight is nonzero; the tensor's own shape."""
    codes: NDArray[Any]
    """One code a nonzero, in C order: int64 for ``Uniform`` and ``Table``, float32 for ``Raw``."""
    grid: Grid
    """How a code becomes a value."""
    bits: int
    """Bits a kept weight takes as the operator was asked, 1 to 32 (eq. 6)."""
    kept: int
    """Weights that passed the threshold: nonzeros <= kept <= size."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.mask.shape

    @property
    def size(self) -> int:
        """Number of weights, zeros included."""
        return self.mask.size

    @property
    def nonzero(self) -> int:
        """Number of weights that are not zero."""
        return self.codes.size


def encode(
    weights: NDArray[np.float32],
    *,
    step: float,
    bits: int = DENSE_BITS,
    kept: int | None = None,
) -> Encoded:
    """Turn written weights back into their codes.

    The codes are those of the pass that wrote the weights: ``code = round(w / step)``, checked to
    decode to ``w`` bit for bit. Where no integer does (a step so fine that float32 can't hold
    ``w / step``, or weights that were never on the grid) the grid is ``Raw``.

    Args:
        weights: float32, any shape; every value finite.
        step: the grid's step of that pass; 0 means that it left the kept weights as they were.
        bits: what the operator was asked for, 1 to 32.
        kept: how many weights passed the threshold; the nonzeros where not given.

    Raises:
        NonFiniteError: a weight is NaN or infinite.
        ConfigError: ``kept`` is less than the nonzeros or more than the size.

    Example:
        >>> e = encode(np.array([0.0, 0.5, -1.0], np.float32), step=0.5, bits=3)
        >>> e.codes.tolist(), e.grid
        ([1, -2], Uniform(step=0.5))
    """
    weights = np.ascontiguousarray(weights, dtype=np.float32).reshape(np.shape(weights))
    if not np.isfinite(weights).all():
        raise NonFiniteError("weights to encode hold NaN or infinity; a compressed tensor can't.")
    mask = weights != 0
    values = weights[mask]
    kept = values.size if kept is None else int(kept)
    if not values.size <= kept <= weights.size:
        raise ConfigError(
            f"kept={kept} lies outside [{values.size}, {weights.size}]: it counts the weights that "
            "passed the threshold, at least the nonzeros and at most all."
        )
    codes = _codes(values, np.float32(step))
    if codes is None:
        return Encoded(mask, values, Raw(), bits, kept)
    return Encoded(mask, codes, Uniform(float(np.float32(step))), bits, kept)


def _codes(values: NDArray[np.float32], step: np.float32) -> NDArray[np.int64] | None:
    """Integers k with ``float32(k) * step == values`` exactly, or None."""
    if not values.size or step <= 0:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # then no integer decodes to the value
        quotient = np.rint(values / step)
        if not (np.abs(quotient) < 2.0**62).all():
            return None
        codes = quotient.astype(np.int64)
        exact = codes.astype(np.float32) * step == values
    return codes if exact.all() else None


def decode(encoded: Encoded) -> NDArray[np.float32]:
    """Return the written weights, float32, bit for bit; zeros are +0.

    Example:
        >>> decode(encode(np.array([[0.0, -1.0]], np.float32), step=0.5)).tolist()
        [[0.0, -1.0]]
    """
    weights = np.zeros(encoded.shape, np.float32)
    match encoded.grid:
        case Uniform(step):
            weights[encoded.mask] = encoded.codes.astype(np.float32) * np.float32(step)
        case Table(levels):
            weights[encoded.mask] = np.asarray(levels, np.float32)[encoded.codes]
        case Raw():
            weights[encoded.mask] = encoded.codes
    return weights
