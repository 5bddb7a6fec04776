"""One layer at a time to ONNX operators: what all profiles share."""

from collections.abc import Sequence
from functools import singledispatch
from typing import Any, Protocol

import numpy as np

from espalier.export.graph import (
    Activation,
    Add,
    Affine,
    Argmax,
    Concat,
    Convolution,
    Flatten,
    Layer,
    Linear,
    Margins,
    Node,
    Pool,
    Sizes,
    Softmax,
)
from espalier.export.onnx.builder import Builder

__all__ = ["Weights", "add_layer"]


class Weights(Protocol):
    """Where a profile takes a layer's weights from."""

    def weight(self, build: Builder, node: Node, *, transposed: bool) -> str:
        """Name the tensor ``scale * w``; ``transposed`` is (inputs, outputs), of ``Linear``."""

    def shift(self, build: Builder, node: Node) -> str:
        """Name the tensor that is added, (filters,)."""


class Place:
    """A node in the file: what it reads, what it writes, with which weights."""

    def __init__(
        self, build: Builder, node: Node, inputs: Sequence[str], into: str, weights: Weights
    ) -> None:
        self.build = build
        self.node = node
        self.inputs = inputs
        self.into = into
        self.weights = weights

    @property
    def rank(self) -> int:
        """Axes of the output, without the batch."""
        return len(self.node.output.shape)

    def add(self, kind: str, *inputs: str, **attributes: Any) -> None:
        """Append the node that writes the layer's output."""
        self.build.add(kind, *inputs, into=self.into, place=self.node.name, **attributes)


def add_layer(
    build: Builder, node: Node, inputs: Sequence[str], into: str, weights: Weights
) -> None:
    """Append what computes ``node`` from ``inputs`` into the value named ``into``."""
    _add(node.layer, Place(build, node, inputs, into, weights))


@singledispatch
def _add(layer: Layer, at: Place) -> None:
    raise TypeError(f"a layer without operators: {type(layer).__name__}")


@_add.register
def _(layer: Convolution, at: Place) -> None:
    at.add(
        "Conv",
        at.inputs[0],
        at.weights.weight(at.build, at.node, transposed=False),
        at.weights.shift(at.build, at.node),
        kernel_shape=layer.weight.shape[2:],
        strides=layer.stride,
        pads=_pads(layer.padding),
        dilations=layer.dilation,
        group=layer.groups,
    )


@_add.register
def _(layer: Linear, at: Place) -> None:
    shift = at.weights.shift(at.build, at.node)
    if at.rank == 1:
        weight = at.weights.weight(at.build, at.node, transposed=False)
        at.add("Gemm", at.inputs[0], weight, shift, transB=1)
        return
    weight = at.weights.weight(at.build, at.node, transposed=True)
    at.add("Add", at.build.add("MatMul", at.inputs[0], weight), shift)


@_add.register
def _(layer: Affine, at: Place) -> None:
    shape = (-1, *(1,) * (at.rank - 1))
    scale = at.build.constant(f"{at.node.output.name}.scale", layer.scale.reshape(shape))
    shift = at.build.constant(f"{at.node.output.name}.shift", layer.shift.reshape(shape))
    at.add("Add", at.build.add("Mul", at.inputs[0], scale), shift)


@_add.register
def _(layer: Activation, at: Place) -> None:
    match layer.kind:
        case "relu":
            at.add("Relu", at.inputs[0])
        case "relu6":
            bounds = [at.build.constant(f"={v}", np.float32(v)) for v in ("0.0", "6.0")]
            at.add("Clip", at.inputs[0], *bounds)
        case "leaky_relu":
            at.add("LeakyRelu", at.inputs[0], alpha=layer.slope)
        case "hardswish":
            at.add("HardSwish", at.inputs[0])


@_add.register
def _(layer: Pool, at: Place) -> None:
    kernel: dict[str, Any] = {
        "kernel_shape": layer.kernel,
        "strides": layer.stride,
        "pads": _pads(layer.padding),
    }
    if layer.kind == "max":
        at.add("MaxPool", at.inputs[0], dilations=layer.dilation, **kernel)
    else:
        at.add("AveragePool", at.inputs[0], count_include_pad=int(layer.count_padding), **kernel)


@_add.register
def _(layer: Add, at: Place) -> None:
    at.add("Add", *at.inputs)


@_add.register
def _(layer: Concat, at: Place) -> None:
    at.add("Concat", *at.inputs, axis=1)


@_add.register
def _(layer: Flatten, at: Place) -> None:
    at.add("Flatten", at.inputs[0], axis=1)


@_add.register
def _(layer: Softmax, at: Place) -> None:
    at.add("Softmax", at.inputs[0], axis=1)


@_add.register
def _(layer: Argmax, at: Place) -> None:
    at.add("ArgMax", at.inputs[0], axis=1, keepdims=at.rank)


def _pads(padding: Margins) -> Sizes:
    """ONNX lists what comes before on every axis, then what comes after."""
    return (*(before for before, _ in padding), *(after for _, after in padding))
