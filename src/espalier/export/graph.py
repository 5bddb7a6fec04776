"""A network as what computes it: a list of layers over named values, sizes known, weights encoded.

Between a user's model and every target (C, ONNX): what is here needs numpy only. Sizes are those of
one sample, without the batch; images are (channels, height, width), signals (channels, length).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import Encoded

__all__ = [
    "Activation",
    "ActivationKind",
    "Add",
    "Affine",
    "Argmax",
    "Concat",
    "Convolution",
    "Flatten",
    "Graph",
    "Layer",
    "Linear",
    "Node",
    "Pool",
    "Softmax",
    "Value",
]

Floats = NDArray[np.float32]
Sizes = tuple[int, ...]
Margins = tuple[tuple[int, int], ...]
"""Entries before and after, for each spatial axis."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Convolution:
    """``y = scale * (w * x) + shift``, one scale and shift a filter, normalization included.

    The weights stay on their grid: a normalization that follows goes to ``scale`` and ``shift``.
    """

    weight: Encoded
    """(filters, channels / groups, *kernel); one or two spatial axes."""
    scale: Floats
    """(filters,); ones where nothing scales."""
    shift: Floats
    """(filters,); the bias, with what normalization adds."""
    stride: Sizes
    padding: Margins
    """Zeros around the input."""
    dilation: Sizes
    groups: int = 1


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Linear:
    """``y = scale * (w @ x) + shift`` over the last axis, as :class:`Convolution`."""

    weight: Encoded
    """(outputs, inputs)."""
    scale: Floats
    shift: Floats


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Affine:
    """``y = scale * x + shift`` a channel: a normalization that no layer before could take."""

    scale: Floats
    shift: Floats


ActivationKind = Literal["relu", "relu6", "leaky_relu", "hardswish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """An elementwise function."""

    kind: ActivationKind
    slope: float = 0.0
    """Of ``leaky_relu`` below zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The largest, or the mean, of each window."""

    kind: Literal["max", "average"]
    kernel: Sizes
    stride: Sizes
    padding: Margins
    """Never counted by ``max``."""
    dilation: Sizes
    """Ones for ``average``."""
    count_padding: bool = False
    """Whether ``average`` divides by the whole kernel where it reaches over the border."""


@dataclass(frozen=True, slots=True)
class Add:
    """``y = a + b``, equal sizes: a residual connection."""


@dataclass(frozen=True, slots=True)
class Concat:
    """Inputs one after the other along the channels."""


@dataclass(frozen=True, slots=True)
class Flatten:
    """Everything in one axis, in C order; moves nothing."""


@dataclass(frozen=True, slots=True)
class Softmax:
    """``exp(x - max x)``, divided by its sum, over the only axis."""


@dataclass(frozen=True, slots=True)
class Argmax:
    """Index of the largest over the only axis, the first under ties."""


Layer = (
    Convolution | Linear | Affine | Activation | Pool | Add | Concat | Flatten | Softmax | Argmax
)


@dataclass(frozen=True, slots=True)
class Value:
    """What flows between layers."""

    name: str
    """An identifier, unique in the graph."""
    shape: Sizes
    """Of one sample."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One layer at its place."""

    name: str
    """Where it is in the user's model, such as ``features.0.conv``."""
    layer: Layer
    inputs: tuple[str, ...]
    """Names of values."""
    output: Value


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Graph:
    """Layers in an order in which they can run, each after what it needs.

    The network takes normalized inputs, ``(x - mean) / std`` a channel, with images scaled to
    [0, 1] before; who feeds it does that.
    """

    input: Value
    nodes: tuple[Node, ...]
    output: Value
    mean: tuple[float, ...] = ()
    """A channel each; empty where the artifact names no preprocessing."""
    std: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()
    """Names of the outputs, empty where unknown."""

    def values(self) -> dict[str, Value]:
        """Return every value by its name, in order, the input first."""
        return {value.name: value for value in (self.input, *(n.output for n in self.nodes))}

    def weighted(self) -> Iterator[tuple[Node, Convolution | Linear]]:
        """Yield the nodes that hold weights, in order."""
        for node in self.nodes:
            if isinstance(node.layer, Convolution | Linear):
                yield node, node.layer

    def users(self) -> dict[str, list[Node]]:
        """Return for every value the nodes that read it; for the output possibly none."""
        found: dict[str, list[Node]] = {name: [] for name in self.values()}
        for node in self.nodes:
            for name in node.inputs:
                found[name].append(node)
        return found

    def describe(self) -> list[dict[str, Any]]:
        """Return a row a node: name, kind, input and output shapes, nonzeros."""
        values = self.values()
        return [
            {
                "name": node.name,
                "layer": type(node.layer).__name__,
                "inputs": [list(values[name].shape) for name in node.inputs],
                "output": list(node.output.shape),
                "nonzero": node.layer.weight.nonzero
                if isinstance(node.layer, Convolution | Linear)
                else 0,
            }
            for node in self.nodes
        ]
