"""Weights as float32 initializers, scale included."""

from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import decode
from espalier.errors import NonFiniteError
from espalier.export.graph import Convolution, Linear, Node
from espalier.export.onnx.builder import Builder

__all__ = ["PlainWeights", "column", "weighted"]


Real = TypeVar("Real", bound=np.generic)


def weighted(node: Node) -> Convolution | Linear:
    """Return the layer of a node that holds weights."""
    return cast(Convolution | Linear, node.layer)


def column(scale: NDArray[Real], rank: int) -> NDArray[Real]:
    """Return a scale a filter in a shape that multiplies a weight of ``rank`` axes."""
    return scale.reshape(-1, *(1,) * (rank - 1))


class PlainWeights:
    """``float32(scale * w)``: one rounding a weight, and one operator a layer."""

    def weight(self, build: Builder, node: Node, *, transposed: bool) -> str:
        """Store the weights as they multiply.

        Raises:
            NonFiniteError: a scaled weight exceeds float32.
        """
        layer = weighted(node)
        with np.errstate(over="ignore"):
            weight = decode(layer.weight) * column(layer.scale, layer.weight.mask.ndim)
        if not np.isfinite(weight).all():
            raise NonFiniteError(f"{node.name}: scaled weights exceed float32; can't be exported.")
        return build.constant(f"{node.output.name}.w", weight.T if transposed else weight)

    def shift(self, build: Builder, node: Node) -> str:
        """Store the shift."""
        return build.constant(f"{node.output.name}.b", weighted(node).shift)
