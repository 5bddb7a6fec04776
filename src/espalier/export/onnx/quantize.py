"""A graph in integers: QuantizeLinear and DequantizeLinear where runtimes fuse them away.

Around every operator stand the grids of what it reads and writes; ONNX Runtime turns
``DequantizeLinear, Conv, QuantizeLinear`` into one QLinearConv. Activations are uint8, one grid a
tensor; weights int8, one scale a filter; biases int32 on the product of both.

Weights stay within +-64: where a processor has no instruction for products of bytes, runtimes add
pairs of them in int16, saturating, and ``255 * 64 * 2`` still fits. Codes of at most that size
(4 bits and fewer) are stored as they are, so that such a layer keeps its trained grid; others are
rounded again, to 129 levels a filter.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import Uniform, decode
from espalier.export.graph import (
    Activation,
    Add,
    Argmax,
    Concat,
    Convolution,
    Flatten,
    Graph,
    Layer,
    Linear,
    Node,
    Pool,
    Softmax,
)
from espalier.export.onnx.builder import Builder
from espalier.export.onnx.calibrate import FINEST, Range
from espalier.export.onnx.layers import add_layer
from espalier.export.onnx.plain import column, weighted

__all__ = ["add_quantized"]

LARGEST = 64
"""Of an integer weight, either sign."""
BIAS_LIMIT = 2.0**30
"""Of an integer bias; half of what int32 holds, as sums come on top."""


def add_quantized(build: Builder, graph: Graph, ranges: dict[str, Range]) -> list[str]:
    """Append the graph's layers in integers.

    Returns:
        Names of the layers whose weights left their trained grid.
    """
    shared = _shared(graph, ranges)
    kept = _quantized(graph)
    read = {graph.input.name: _grid(build, graph.input.name, "", shared[graph.input.name])}
    off_grid: list[str] = []
    for node in graph.nodes:
        name = node.output.name
        inputs = [read[one] for one in node.inputs]
        weights = IntegerWeights(shared[node.inputs[0]])
        into = f"{name}.float" if name in kept else name
        add_layer(build, node, inputs, into, weights)
        off_grid += weights.off_grid
        read[name] = _grid(build, into, name, shared[name]) if name in kept else name
    return off_grid


class IntegerWeights:
    """Weights of one layer as int8, for an input on a known grid."""

    def __init__(self, read: Range) -> None:
        self.read = read
        self.off_grid: list[str] = []

    def weight(self, build: Builder, node: Node, *, transposed: bool) -> str:
        """Store integers and a scale a filter."""
        integers, scale, exact = _integers(weighted(node), self.read)
        self.off_grid += [] if exact else [node.name]
        name = node.output.name
        stored = build.constant(f"{name}.w", integers.T if transposed else integers)
        factor = build.constant(f"{name}.scale", scale)
        zero = build.constant(f"{name}.zero", np.zeros(len(scale), np.int8))
        return build.add("DequantizeLinear", stored, factor, zero, axis=int(transposed))

    def shift(self, build: Builder, node: Node) -> str:
        """Store the bias as int32."""
        layer = weighted(node)
        name = node.output.name
        if len(node.output.shape) > 1 and isinstance(layer, Linear):  # no operator takes it in
            return build.constant(f"{name}.b", layer.shift)
        scale = _integers(layer, self.read)[1] * self.read.scale
        bias = np.rint(layer.shift.astype(np.float64) / scale).astype(np.int32)
        stored = build.constant(f"{name}.b", bias)
        return build.add(
            "DequantizeLinear", stored, build.constant(f"{name}.bscale", scale), axis=0
        )


def _integers(
    layer: Convolution | Linear, read: Range
) -> tuple[NDArray[np.int8], NDArray[np.float32], bool]:
    """Return integer weights, a scale a filter, and whether they are the trained weights.

    A scale is never so fine that the bias exceeds int32.
    """
    rank = layer.weight.mask.ndim
    scale = layer.scale.astype(np.float64)
    finest = np.abs(layer.shift) / (float(read.scale) * BIAS_LIMIT) + FINEST
    grid, codes = layer.weight.grid, layer.weight.codes
    if isinstance(grid, Uniform) and (not codes.size or np.abs(codes).max() <= LARGEST):
        integers = np.zeros(layer.weight.shape, np.int64)
        integers[layer.weight.mask] = codes
        integers *= np.where(column(layer.scale, rank) < 0, -1, 1)
        factor = np.abs(scale) * grid.step
        dead = ~integers.reshape(len(scale), -1).any(axis=1)
        if (dead | (factor >= finest)).all():
            factor = np.where(dead, np.maximum(factor, finest), factor)
            return integers.astype(np.int8), factor.astype(np.float32), True
    weight = decode(layer.weight).astype(np.float64) * column(scale, rank)
    largest = np.abs(weight).reshape(len(scale), -1).max(axis=1, initial=0.0)
    factor = np.maximum(largest / LARGEST, finest)
    integers = np.rint(weight / column(factor, rank))
    return integers.astype(np.int8), factor.astype(np.float32), not layer.weight.nonzero


def _quantized(graph: Graph) -> set[str]:
    """Name the values that are written as integers.

    Not between a layer and the ReLU that clips it on its way to integers anyway; not where the
    network ends, unless in a convolution, which has no form with integers in and floats out.
    """
    users = graph.users()
    kept = {graph.input.name}
    clipped: set[str] = set()
    """Convolutions whose activation must be written as integers in their place."""
    for node in graph.nodes:
        name, layer = node.output.name, node.layer
        readers = [user.layer for user in users[name]]
        taken_in = _clipped(readers) and isinstance(layer, Convolution | Linear | Add | Concat)
        if taken_in:
            if isinstance(layer, Convolution):
                clipped.add(name)
        elif _same_range(layer):
            if node.inputs[0] in kept and _useful(readers):
                kept.add(name)
        elif isinstance(layer, Convolution) or node.inputs[0] in clipped or _useful(readers):
            kept.add(name)
    return kept


def _same_range(layer: Layer) -> bool:
    """Whether a layer only moves or chooses among what it reads."""
    return isinstance(layer, Flatten) or (isinstance(layer, Pool) and layer.kind == "max")


def _useful(readers: Iterable[Layer]) -> bool:
    return not all(isinstance(layer, Softmax | Argmax) for layer in readers)


def _clipped(readers: list[Layer]) -> bool:
    return [isinstance(one, Activation) and one.kind in ("relu", "relu6") for one in readers] == [
        True
    ]


def _shared(graph: Graph, ranges: dict[str, Range]) -> dict[str, Range]:
    """Give what only moves the grid of what it moves, so that it moves integers."""
    shared = dict(ranges)
    for node in graph.nodes:
        if _same_range(node.layer):
            shared[node.output.name] = shared[node.inputs[0]]
    return shared


def _grid(build: Builder, value: str, into: str, grid: Range) -> str:
    """Append the round trip of a value through its grid."""
    base = into or value
    scale = build.constant(f"{base}.step", grid.scale)
    zero = build.constant(f"{base}.origin", grid.zero)
    integers = build.add("QuantizeLinear", value, scale, zero)
    return build.add("DequantizeLinear", integers, scale, zero, into=into)
