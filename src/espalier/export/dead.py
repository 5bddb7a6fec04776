"""Leaves out channels that no output depends on, and moves constant ones into shifts.

A filter without a weight gives a constant, ``act(shift)``. The layers that read it take it into
their own shifts, and the filter goes, with the inputs that only it read. A zero around an image
is not that constant: where a padded convolution reads it, the filter stays (unless it gives zero).
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import Encoded, decode
from espalier.export.graph import (
    Activation,
    Add,
    Affine,
    Concat,
    Convolution,
    Flatten,
    Graph,
    Layer,
    Linear,
    Node,
    Pool,
    Value,
)
from espalier.export.reference import activate

__all__ = ["cut_encoded", "reduced", "without_dead"]

Flags = NDArray[np.bool_]
Doubles = NDArray[np.float64]


def without_dead(graph: Graph) -> Graph:
    """Return a network of the same outputs, to rounding, without its dead channels.

    Input and output keep their shapes; every layer keeps a channel at least. Weights keep their
    grids and codes.
    """
    return reduced(graph)[0]


def reduced(graph: Graph, *, fixed: Collection[str] = ()) -> tuple[Graph, dict[str, Flags]]:
    """Return :func:`without_dead` of a network, and which channels of each of its values stay.

    Args:
        graph: the network.
        fixed: names of values that keep all their channels.
    """
    left = {name: np.ones(value.shape[0], bool) for name, value in graph.values().items()}
    while True:
        constants = _constants(graph)
        kept = _kept(graph, constants, fixed)
        if all(flags.all() for flags in kept.values()):
            return graph, left
        for name, flags in kept.items():
            left[name][left[name]] = flags
        graph = _cut(graph, constants, kept)


def _constants(graph: Graph) -> dict[str, Doubles]:
    """Return for every value a number a channel: what it is everywhere, or NaN."""
    found = {graph.input.name: np.full(graph.input.shape[0], np.nan)}
    for node in graph.nodes:
        inputs = [found[name] for name in node.inputs]
        found[node.output.name] = _constant(node, inputs)
    return found


def _constant(node: Node, inputs: list[Doubles]) -> Doubles:
    layer, channels = node.layer, node.output.shape[0]
    match layer:
        case Convolution() | Linear():
            return _weighted_constant(layer, inputs[0])
        case Affine():
            return inputs[0] * layer.scale + layer.shift
        case Activation():
            return activate(layer, inputs[0])
        case Pool():
            counts = layer.count_padding and _is_padded(layer)
            return np.where(inputs[0] == 0, 0.0, np.nan) if counts else inputs[0]
        case Add():
            return inputs[0] + inputs[1]
        case Concat():
            return np.concatenate(inputs)
        case Flatten():
            return np.repeat(inputs[0], channels // len(inputs[0]))
        case _:
            return np.full(channels, np.nan)


def _weighted_constant(layer: Convolution | Linear, given: Doubles) -> Doubles:
    """Return the outputs of filters that read constants only, where borders don't matter."""
    taken = _absorbed(layer, given)
    weights = _by_input(layer)
    filters, per_group = weights.shape[:2]
    found = np.full(filters, np.nan)
    rows = filters // _groups(layer)
    for f in range(filters):
        seen = slice(f // rows * per_group, (f // rows + 1) * per_group)
        reads = weights[f].any(1)
        if taken[seen][reads].all():
            total = weights[f].sum(1)[reads] @ given[seen][reads]
            found[f] = total * layer.scale[f] + layer.shift[f]
    return found


def _absorbed(layer: Convolution | Linear, given: Doubles) -> Flags:
    """Return which constant inputs are a shift of each output, at the borders too."""
    padded = isinstance(layer, Convolution) and _is_padded(layer)
    return given == 0 if padded else ~np.isnan(given)


def _by_input(layer: Convolution | Linear) -> Doubles:
    """Return weights as (filters, inputs of a group, entries of the kernel)."""
    weights = decode(layer.weight).astype(np.float64)
    return weights.reshape(*weights.shape[:2], -1)


def _groups(layer: Convolution | Linear) -> int:
    return layer.groups if isinstance(layer, Convolution) else 1


def _is_padded(layer: Convolution | Pool) -> bool:
    return any(n for margins in layer.padding for n in margins)


def _kept(graph: Graph, constants: dict[str, Doubles], fixed: Collection[str]) -> dict[str, Flags]:
    """Return which channels of every value stay: a fixed point of what each layer needs."""
    values = graph.values()
    kept = {name: np.full(value.shape[0], name in fixed) for name, value in values.items()}
    kept[graph.input.name][:] = kept[graph.output.name][:] = True
    ties = [tie for node in reversed(graph.nodes) for tie in _ties(node, values)]
    while True:
        _spread(graph, constants, ties, kept)
        empty = next((flags for flags in kept.values() if not flags.any()), None)
        if empty is None:
            return kept
        empty[0] = True


def _spread(
    graph: Graph, constants: dict[str, Doubles], ties: list["_Tie"], kept: dict[str, Flags]
) -> None:
    """Keep what is needed by what is kept, until nothing more is."""
    count = -1
    while count < (total := sum(int(flags.sum()) for flags in kept.values())):
        count = total
        for node in reversed(graph.nodes):
            _need(node, constants, kept)
        for tie in ties:
            tie.apply(kept)


def _need(node: Node, constants: dict[str, Doubles], kept: dict[str, Flags]) -> None:
    """Keep the inputs that a layer can't do without."""
    layer = node.layer
    match layer:
        case Convolution() | Linear() if _groups(layer) == 1:
            name = node.inputs[0]
            filters = kept[node.output.name]
            reads = _by_input(layer)[filters].any((0, 2))
            kept[name] |= reads & ~_absorbed(layer, constants[name])
        case Convolution() if not _is_depthwise(layer):
            kept[node.inputs[0]][:] = kept[node.output.name][:] = True
        case Convolution() | Affine() | Activation() | Pool() | Add() | Concat() | Flatten():
            pass
        case _:
            kept[node.inputs[0]][:] = kept[node.output.name][:] = True


def _is_depthwise(layer: Layer) -> bool:
    return (
        isinstance(layer, Convolution)
        and layer.groups > 1
        and layer.groups == layer.weight.shape[0]
        and layer.weight.shape[1] == 1
    )


@dataclass(frozen=True, slots=True)
class _Tie:
    """Channels of one value that stay or go with channels of another."""

    one: str
    other: str
    repeats: int = 1
    """Channels of the other for each of the one."""
    start: int = 0
    """First channel of the other."""

    def apply(self, kept: dict[str, Flags]) -> None:
        """Keep on both sides what either needs."""
        one = kept[self.one]
        part = kept[self.other][self.start : self.start + len(one) * self.repeats]
        one |= part.reshape(len(one), self.repeats).any(1)
        part |= np.repeat(one, self.repeats)


def _ties(node: Node, values: dict[str, Value]) -> Iterator[_Tie]:
    out = node.output.name
    match node.layer:
        case Convolution() if not _is_depthwise(node.layer):
            return
        case Convolution() | Affine() | Activation() | Pool() | Add():
            yield from (_Tie(name, out) for name in node.inputs)
        case Flatten():
            (name,) = node.inputs
            yield _Tie(name, out, repeats=math.prod(values[name].shape[1:]))
        case Concat():
            start = 0
            for name in node.inputs:
                yield _Tie(name, out, start=start)
                start += values[name].shape[0]
        case _:
            return


def _cut(graph: Graph, constants: dict[str, Doubles], kept: dict[str, Flags]) -> Graph:
    """Return the network without the channels that go."""
    cut: dict[str, Value] = {}
    for name, value in graph.values().items():
        count = int(kept[name].sum())
        cut[name] = Value(name, (count, *value.shape[1:]))
    nodes = []
    for node in graph.nodes:
        rows, columns = kept[node.output.name], kept[node.inputs[0]]
        layer = _cut_layer(node.layer, rows, columns, constants[node.inputs[0]])
        nodes.append(replace(node, layer=layer, output=cut[node.output.name]))
    return replace(graph, nodes=tuple(nodes), output=cut[graph.output.name])


def _cut_layer(layer: Layer, rows: Flags, columns: Flags, given: Doubles) -> Layer:
    match layer:
        case Affine():
            return replace(layer, scale=layer.scale[rows], shift=layer.shift[rows])
        case Convolution() if _is_depthwise(layer):
            return replace(
                layer,
                weight=cut_encoded(layer.weight, rows),
                scale=layer.scale[rows],
                shift=layer.shift[rows],
                groups=int(rows.sum()),
            )
        case Convolution() | Linear() if _groups(layer) == 1:
            gone = ~columns
            total = _by_input(layer)[rows][:, gone].sum(2)
            added = total @ np.nan_to_num(given[gone])  # NaN only where all weights are zero
            shift = layer.shift[rows] + layer.scale[rows] * added
            return replace(
                layer,
                weight=cut_encoded(layer.weight, rows, columns),
                scale=layer.scale[rows],
                shift=shift.astype(layer.shift.dtype),
            )
        case _:
            return layer


def cut_encoded(weight: Encoded, rows: Flags, columns: Flags | None = None) -> Encoded:
    """Return the rows of a weight that stay, and the columns where given; codes are untouched."""
    codes = np.zeros(weight.shape, weight.codes.dtype)
    codes[weight.mask] = weight.codes
    mask, codes = weight.mask[rows], codes[rows]
    if columns is not None:
        mask, codes = mask[:, columns], codes[:, columns]
    left = codes[mask]
    kept = min(mask.size, left.size + weight.kept - weight.nonzero)
    return replace(weight, mask=mask, codes=left, kept=kept)
