"""Layers that others can take: scales go to the weights before them, strides to what follows."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from espalier.encoded import decode
from espalier.export.graph import (
    Affine,
    Convolution,
    Graph,
    Layer,
    Linear,
    Node,
    Pool,
)
from espalier.export.tracing import as_floats

__all__ = ["rounded", "simplified"]


def simplified(graph: Graph) -> Graph:
    """Return the same network with fewer layers; grids of weights stay as they are.

    An affine goes into the convolution, linear layer or affine before it, where that feeds nothing
    else; windows of one entry become the stride of a 1x1 layer that follows; zeros around an image
    become the padding of a convolution.
    """
    before = None
    while before != len(graph.nodes):
        before = len(graph.nodes)
        graph = _merge(graph, _take_affine)
        graph = _merge(graph, _take_stride)
        graph = _merge(graph, _take_zeros)
    return graph


def rounded(graph: Graph) -> Graph:
    """Return the network with float32 scales and shifts, each rounded once."""

    def to_floats(layer: Layer) -> Layer:
        if isinstance(layer, Convolution | Linear | Affine):
            scale, shift = (a.astype(np.float32) for a in (layer.scale, layer.shift))
            return replace(layer, scale=scale, shift=shift)
        return layer

    nodes = tuple(replace(node, layer=to_floats(node.layer)) for node in graph.nodes)
    return replace(graph, nodes=nodes)


def _merge(graph: Graph, take: Callable[[Layer, Layer], Layer | None]) -> Graph:
    """Join neighbours, ``take(first, second)``, wherever the first feeds the second alone."""
    users = graph.users()
    made: dict[str, Node] = {}
    for node in graph.nodes:
        first = made.get(node.inputs[0]) if len(node.inputs) == 1 else None
        alone = first is not None and len(users[first.output.name]) == 1
        if first is None or not alone or first.output.name == graph.output.name:
            made[node.output.name] = node
            continue
        joined = take(first.layer, node.layer)
        if joined is None:
            made[node.output.name] = node
            continue
        del made[first.output.name]
        takes = isinstance(node.layer, Affine) and isinstance(first.layer, Convolution | Linear)
        name = first.name if takes else node.name
        made[node.output.name] = Node(name, joined, first.inputs, node.output)
    return replace(graph, nodes=tuple(made.values()))


def _take_affine(first: Layer, second: Layer) -> Layer | None:
    if not isinstance(second, Affine) or not isinstance(first, Convolution | Linear | Affine):
        return None
    scale, shift = second.scale.astype(np.float64), second.shift.astype(np.float64)
    return replace(
        first,
        scale=as_floats(first.scale * scale),
        shift=as_floats(first.shift * scale + shift),
    )


def _take_stride(first: Layer, second: Layer) -> Layer | None:
    if not isinstance(first, Pool) or set(first.kernel) != {1} or _is_padded(first):
        return None
    if isinstance(second, Convolution):
        kernel = second.weight.shape[2:]
    elif isinstance(second, Pool):
        kernel = second.kernel
    else:
        return None
    if set(kernel) != {1} or _is_padded(second):
        return None
    stride = tuple(a * b for a, b in zip(first.stride, second.stride, strict=True))
    return replace(second, stride=stride)


def _take_zeros(first: Layer, second: Layer) -> Layer | None:
    """Let a convolution put the zeros around its input that a copying one put there."""
    if not isinstance(first, Convolution) or not isinstance(second, Convolution):
        return None
    weight = first.weight
    copies = weight.shape[1:] == (1,) * (weight.mask.ndim - 1) and bool((decode(weight) == 1).all())
    plain = bool((first.scale == 1).all() and (first.shift == 0).all()) and set(first.stride) == {1}
    if not copies or not plain or first.groups != weight.shape[0]:
        return None
    both = zip(first.padding, second.padding, strict=True)
    return replace(second, padding=tuple((a[0] + b[0], a[1] + b[1]) for a, b in both))


def _is_padded(layer: Pool | Convolution) -> bool:
    return any(n for margins in layer.padding for n in margins)
