"""Weights in the order in which a kernel reads them."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import decode
from espalier.export.c.steps import Weights
from espalier.export.graph import Convolution, Linear

__all__ = ["Optimize", "dense_weights", "sparse_weights"]

Optimize = Literal["speed", "size"]
Floats = NDArray[np.float32]


def sparse_weights(
    layer: Convolution | Linear,
    offsets: NDArray[np.int64],
    moves: NDArray[np.int64] | None = None,
) -> Weights:
    """Keep the nonzeros, filter by filter, those with sums that are moved alike together.

    Args:
        layer: with its weights, scale and shift.
        offsets: of each weight's input, in floats; broadcast to (filters, weights a filter).
        moves: how far each weight's sum lies from the output, (weights a filter,); None: 0.
    """
    values, scale, shift = _values(layer)
    moves = np.zeros(values.shape[1], np.int64) if moves is None else moves
    kinds = (*sorted(set(moves.tolist()) - {0}), 0)
    kind = np.array([kinds.index(move) for move in moves.tolist()], np.int64)
    order = np.argsort(kind, kind="stable")
    values = values[:, order]
    mask = values != 0
    counts = [mask[:, kind[order] == i].sum(axis=1) for i in range(len(kinds))]
    return Weights(
        dense=False,
        counts=np.stack(counts, axis=1),
        offsets=np.broadcast_to(offsets, mask.shape)[:, order][mask],
        values=values[mask],
        scale=scale,
        shift=shift,
        moves=kinds,
    )


def dense_weights(layer: Linear) -> Weights:
    """Keep all weights of a layer, with its scale and shift."""
    values, scale, shift = _values(layer)
    nothing = np.zeros(0, np.int64)
    return Weights(
        dense=True,
        counts=nothing,
        offsets=nothing,
        values=values.reshape(-1),
        scale=scale,
        shift=shift,
    )


def _values(layer: Convolution | Linear) -> tuple[Floats, Floats, Floats]:
    """Return (filters, weights) with a scale that is never negative, so that a maximum commutes."""
    scale = layer.scale.astype(np.float32)
    signs = np.where(scale < 0, -1, 1).astype(np.float32)
    weights = decode(layer.weight).reshape(len(scale), -1) * signs[:, None]
    return weights, np.abs(scale), layer.shift.astype(np.float32)
