"""From a graph to steps: what is fused, where values lie, what runs sparse."""

from collections.abc import Callable

import numpy as np

from espalier.errors import ConfigError
from espalier.export.c.fusing import fits_inside, monotone
from espalier.export.c.layout import SPREAD, TURNED, Buffer, Layout, allocate, image_of
from espalier.export.c.numbers import Numbers
from espalier.export.c.patches import Patches
from espalier.export.c.steps import (
    ArgmaxStep,
    ConcatStep,
    ConvolutionStep,
    CopyStep,
    ElementwiseStep,
    LinearStep,
    PatchesStep,
    PoolStep,
    Program,
    SoftmaxStep,
    SpreadStep,
    Step,
    TurnStep,
)
from espalier.export.c.windows import Windows, pair
from espalier.export.graph import (
    Activation,
    Add,
    Affine,
    Argmax,
    Concat,
    Convolution,
    Flatten,
    Graph,
    Linear,
    Node,
    Pool,
    Softmax,
    Value,
)

__all__ = ["lower"]


def lower(graph: Graph, numbers: Numbers) -> Program:
    """Turn a graph into steps over buffers in an arena.

    Args:
        graph: what to run.
        numbers: what it computes with.

    Raises:
        ConfigError: a layer is of a form that the generator doesn't know.
    """
    return _Lowering(graph, numbers).program()


class _Lowering:
    """Steps so far, and where values are."""

    def __init__(self, graph: Graph, numbers: Numbers) -> None:
        self._graph = graph
        self._numbers = numbers
        self._target = numbers.target
        self._users = graph.users()
        self._values = graph.values()
        self._buffers: dict[str, Buffer] = {}
        self._all: list[Buffer] = []
        self._steps: list[Step] = []
        self._fused: set[str] = set()
        """Nodes that an earlier step does too."""

    def program(self) -> Program:
        graph = self._graph
        copy = CopyStep(node="input", source=None, output=self._new(graph.input))
        self._append(copy)
        for node in graph.nodes:
            if node.name not in self._fused:
                self._node(node)
        self._append(CopyStep(node="output", source=self._buffers[graph.output.name], output=None))
        arena = allocate(self._all, align=self._numbers.align)
        return Program(
            graph=graph,
            target=self._target,
            steps=self._steps,
            buffers=self._all,
            arena=arena,
            unit=self._numbers.unit,
            align=self._numbers.align,
        )

    def _append(self, step: Step) -> None:
        """Add a step and keep what it touches alive until then."""
        index = len(self._steps)
        self._steps.append(step)
        for name in ("source", "output", "scratch"):
            buffer = getattr(step, name, None)
            if buffer is not None:
                buffer.last = index
        for buffer in getattr(step, "sources", ()):
            buffer.last = index

    def _new(self, value: Value) -> Buffer:
        buffer = self._buffer(value.name, self._layout(value), self._numbers.item(value.name))
        self._buffers[value.name] = buffer
        return buffer

    def _buffer(self, name: str, layout: Layout, item: int) -> Buffer:
        index = len(self._steps)
        buffer = Buffer(name, layout, first=index, last=index, item=item)
        self._all.append(buffer)
        return buffer

    def _node(self, node: Node) -> None:
        match node.layer:
            case Convolution():
                self._convolution(node, node.layer)
            case Linear():
                self._linear(node, node.layer)
            case Flatten():
                self._flatten(node)
            case Activation() if self._numbers.unchanged(node):
                self._buffers[node.output.name] = self._buffers[node.inputs[0]]
            case Activation() | Affine() | Add():
                self._elementwise(node)
            case _:
                self._other(node)

    def _sources(self, node: Node) -> tuple[Buffer, ...]:
        return tuple(self._buffers[name] for name in node.inputs)

    def _other(self, node: Node) -> None:
        sources = self._sources(node)
        output = self._new(node.output)
        match node.layer:
            case Pool():
                step: Step = PoolStep(
                    node=node.name, source=sources[0], output=output, pool=node.layer
                )
            case Concat():
                step = ConcatStep(
                    node=node.name,
                    sources=sources,
                    output=output,
                    sizes=tuple(image_of(self._values[name].shape) for name in node.inputs),
                    vector=len(node.output.shape) == 1,
                )
            case Softmax():
                step = SoftmaxStep(node=node.name, source=sources[0], output=output)
            case Argmax():
                step = ArgmaxStep(node=node.name, source=sources[0], output=output)
            case _:
                raise ConfigError(
                    f"{node.name} is a {type(node.layer).__name__}, which C code can't be made of."
                )
        self._append(step)

    def _flatten(self, node: Node) -> None:
        (source,) = self._sources(node)
        if source.layout.compact:
            self._buffers[node.output.name] = source
            return
        self._append(CopyStep(node=node.name, source=source, output=self._new(node.output)))

    def _next(self, value: Value) -> Node | None:
        """Return the only node that reads a value, if it may run inside the step before."""
        users = self._users[value.name]
        return users[0] if len(users) == 1 and value.name != self._graph.output.name else None

    def _activation_after(self, value: Value) -> tuple[Activation | None, Value]:
        node = self._next(value)
        if (
            node is None
            or not isinstance(node.layer, Activation)
            or not self._numbers.takes_in(node)
        ):
            return None, value
        self._fused.add(node.name)
        return node.layer, node.output

    def _elementwise(self, node: Node) -> None:
        sources = self._sources(node)
        layer = node.layer
        activation, value = (
            (layer, node.output)
            if isinstance(layer, Activation)
            else self._activation_after(node.output)
        )
        affine = layer if isinstance(layer, Affine) else None
        self._append(
            ElementwiseStep(
                node=node.name,
                sources=sources,
                output=self._new(value),
                scale=None if affine is None else affine.scale,
                shift=None if affine is None else affine.shift,
                activation=activation,
            )
        )

    def _linear(self, node: Node, layer: Linear) -> None:
        (source,) = self._sources(node)
        weights = self._numbers.linear(node, layer)
        activation, value = self._activation_after(node.output)
        output = self._new(value)
        self._append(
            LinearStep(
                node=node.name,
                source=source,
                output=output,
                weights=weights,
                inputs=layer.weight.shape[1],
                activation=activation,
            )
        )

    def _convolution(self, node: Node, layer: Convolution) -> None:
        conv = Windows(layer, self._values[node.inputs[0]], node.output)
        source = self._buffers[node.inputs[0]]
        patches = self._numbers.patches(node, conv)
        if patches is not None:
            self._patches(node, conv, source, patches)
            return
        if not conv.direct:
            source = self._spread(node, conv, source)
        row = source.layout.row
        activation, pool, value = self._after(
            node.output, lambda width, pool: self._numbers.can_pool(width, row, pool)
        )
        weights, tiles, lanes = self._numbers.convolution(
            node, conv, source.layout, pool, image_of(value.shape)
        )
        base, span = 0, source.layout.width
        if conv.direct:
            base, span = self._begin(conv, source.layout)
        reach = max(tile.reach(row, lanes) for tile in tiles)
        last = int(conv.offsets(source.layout).max()) if layer.weight.size else 0
        last += (layer.groups - 1) * conv.group_floats(source.layout)
        source.slack = max(source.slack, base + last + reach - source.layout.size)
        self._append(
            ConvolutionStep(
                node=node.name,
                source=source,
                output=self._new(value),
                base=base,
                weights=weights,
                taps=conv.taps(source.layout),
                channel_step=conv.channel_step(source.layout),
                group_filters=layer.weight.shape[0] // layer.groups,
                group_floats=conv.group_floats(source.layout),
                tiles=tiles,
                activation=activation,
                pool=pool,
                lanes=lanes,
                span=span,
            )
        )

    def _begin(self, conv: Windows, layout: Layout) -> tuple[int, int]:
        """Return where windows begin, and how many columns from there hold values."""
        (top, left), columns = conv.padding, layout.left + layout.width + layout.right
        begin = (layout.top - top) * layout.row
        return (
            (begin, columns) if self._numbers.moves_sums else (begin + layout.left - left, columns)
        )

    def _patches(self, node: Node, conv: Windows, source: Buffer, patches: Patches) -> None:
        layout, layer = source.layout, conv.layer
        turned = source
        if layout.channels > 1 or patches.item != source.item:
            channels = layout.channels
            last = Layout(channels=1, height=layout.plane, width=channels, row=channels)
            turned = self._buffer(f"{source.name}{TURNED}", last, patches.item)
            self._append(TurnStep(node=node.name, source=source, output=turned))
        activation, pool, value = self._after(node.output, patches.can_pool)
        _, height, width = image_of(value.shape)
        tiles = patches.tiles(height * pool[0], width * pool[1], pool)
        outputs = max(tile.rows * tile.columns for tile in tiles)
        size = outputs * patches.length
        scratch = self._buffer(
            f"{source.name}{TURNED}",
            Layout(channels=1, height=1, width=size, row=size),
            patches.item,
        )
        top, left = conv.padding
        runs, run = conv.runs(layout.row, layout.channels)
        self._append(
            PatchesStep(
                node=node.name,
                source=turned,
                output=self._new(value),
                scratch=scratch,
                base=(layout.start - top * layout.row - left) * layout.channels,
                across=conv.stride[1] * layout.channels,
                down=conv.stride[0] * layout.row * layout.channels,
                runs=runs,
                run=run,
                group_filters=layer.weight.shape[0] // layer.groups,
                group_inputs=layer.weight.shape[1],
                length=patches.length,
                weights=patches.weights,
                tiles=tiles,
                activation=activation,
                pool=pool,
            )
        )

    def _after(
        self, value: Value, can_pool: Callable[[int, tuple[int, int]], bool]
    ) -> tuple[Activation | None, tuple[int, int], Value]:
        """Take in the activation and the maximum that follow, in either order."""
        activation, pool = None, (1, 1)
        while (node := self._next(value)) is not None:
            layer = node.layer
            if (
                isinstance(layer, Activation)
                and activation is None
                and self._numbers.takes_in(node)
            ):
                if pool != (1, 1) and not monotone(layer):
                    break
                activation = layer
            elif isinstance(layer, Pool) and pool == (1, 1) and fits_inside(layer):
                kernel = pair(layer.kernel, 1)
                _, height, width = image_of(node.output.shape)
                _, rows, columns = image_of(value.shape)
                if height * kernel[0] > rows or width * kernel[1] > columns:
                    break
                if not can_pool(width * kernel[1], kernel):
                    break
                if activation is not None and not monotone(activation):
                    break
                pool = kernel
            else:
                break
            self._fused.add(node.name)
            value = node.output
        return activation, pool, value

    def _spread(self, node: Node, conv: Windows, source: Buffer) -> Buffer:
        channels, height, width = conv.spread_image
        row = self._row(width, [conv])
        layout = Layout(channels=channels * len(conv.phases), height=height, width=width, row=row)
        output = self._buffer(f"{source.name}{SPREAD}", layout, source.item)
        self._append(
            SpreadStep(
                node=node.name,
                source=source,
                output=output,
                stride=conv.stride,
                padding=conv.padding,
                phases=conv.phases,
            )
        )
        return output

    def _layout(self, value: Value) -> Layout:
        """Leave room for the zeros that convolutions want around a value."""
        channels, height, width = image_of(value.shape)
        plain = Layout(channels=channels, height=height, width=width, row=width)
        users = self._users[value.name]
        reads = [
            (node, Windows(node.layer, value, node.output))
            for node in users
            if isinstance(node.layer, Convolution)
        ]
        turned = [plan for node, plan in reads if self._numbers.patches(node, plan) is not None]
        plans = [plan for _, plan in reads if plan.direct and plan not in turned]
        if not plans and not turned:
            return plain
        margins = [plan.margins for plan in (*plans, *turned)]
        top, bottom, left, right = np.max(margins, axis=0).tolist()
        base = left + width + right
        flat = any(isinstance(node.layer, Flatten) for node in users)
        row = base if flat or not plans else self._row(base, plans)
        narrow = self._row(width, plans)
        whole = bool(plans) and self._numbers.moves_sums and not turned and not flat
        if (
            whole and narrow < row <= self._target.block
        ):  # sums are moved, beside images lies nothing
            left, right, row = 0, 0, narrow
        return Layout(
            channels=channels,
            height=height,
            width=width,
            top=top,
            bottom=bottom,
            left=left,
            right=right,
            row=row,
        )

    def _row(self, columns: int, plans: list[Windows]) -> int:
        """Return how far a row that these read is from the next."""
        images = [image_of(plan.output.shape)[1:] for plan in plans]
        return self._numbers.row(columns, images)
