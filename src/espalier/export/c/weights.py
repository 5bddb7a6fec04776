"""Weights in the order in which a kernel reads them."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import decode
from espalier.export.c.steps import Weights
from espalier.export.graph import Convolution, Linear

__all__ = ["Optimize", "dense_weights", "filters_together", "sparse_weights"]

Optimize = Literal["speed", "size"]
Floats = NDArray[np.float32]


def filters_together(filters: int, *, most: int = 4) -> int:
    """Return how many filters of a group one dense pass makes: a divisor of their number."""
    return next(count for count in range(most, 0, -1) if filters % count == 0)


def sparse_weights(layer: Convolution | Linear, offsets: NDArray[np.int64]) -> Weights:
    """Keep the nonzeros, filter by filter.

    Args:
        layer: with its weights, scale and shift.
        offsets: of each weight's input, in floats; broadcast to (filters, weights a filter).
    """
    values, scale, shift = _values(layer)
    mask = values != 0
    return Weights(
        dense=False,
        together=1,
        counts=mask.sum(axis=1),
        offsets=np.broadcast_to(offsets, values.shape)[mask],
        values=values[mask],
        scale=scale,
        shift=shift,
    )


def dense_weights(
    layer: Convolution | Linear,
    offsets: NDArray[np.int64],
    *,
    together: int,
) -> Weights:
    """Keep all weights, those of ``together`` filters interleaved.

    Args:
        layer: with its weights, scale and shift.
        offsets: of one filter's inputs from its group's start; empty where they are consecutive.
        together: filters a pass.
    """
    values, scale, shift = _values(layer)
    filters, size = values.shape
    blocks = values.reshape(filters // together, together, size).transpose(0, 2, 1)
    return Weights(
        dense=True,
        together=together,
        counts=np.zeros(0, np.int64),
        offsets=offsets,
        values=np.ascontiguousarray(blocks).reshape(-1),
        scale=scale,
        shift=shift,
    )


def _values(layer: Convolution | Linear) -> tuple[Floats, Floats, Floats]:
    """Return (filters, weights) with a scale that is never negative, so that a maximum commutes."""
    scale = layer.scale.astype(np.float32)
    signs = np.where(scale < 0, -1, 1).astype(np.float32)
    weights = decode(layer.weight).reshape(len(scale), -1) * signs[:, None]
    return weights, np.abs(scale), layer.shift.astype(np.float32)
