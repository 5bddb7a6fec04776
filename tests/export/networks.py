"""Small graphs for the tests of every target: each layer kind appears, weights are sparse."""

from collections.abc import Callable, Sequence

import numpy as np

from espalier.encoded import Encoded, encode
from espalier.export.graph import (
    Activation,
    Add,
    Affine,
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
    Value,
)

__all__ = ["NETWORKS", "inputs_for"]


def inputs_for(graph: Graph, count: int = 3, seed: int = 0) -> np.ndarray:
    """Draw a batch of normalized inputs, float32."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, *graph.input.shape)).astype(np.float32)


def sparse(rng: np.random.Generator, *shape: int, density: float = 0.3, bits: int = 4) -> Encoded:
    """Draw weights on a grid of ``bits`` bits, most of them zero."""
    codes = rng.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), shape)
    step = np.float32(0.07)
    weights = np.where(rng.random(shape) < density, codes, 0).astype(np.float32) * step
    return encode(weights, step=float(step), bits=bits)


class Builder:
    """Adds layers one after the other and works out their sizes."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.input = self.last = Value("input", shape)
        self.nodes: list[Node] = []

    def add(
        self, layer: Layer, shape: Sequence[int], *others: Value, of: Value | None = None
    ) -> Value:
        inputs = (self.last if of is None else of, *others)
        number = len(self.nodes) + 1
        output = Value(f"value{number}", tuple(shape))
        names = tuple(value.name for value in inputs)
        self.nodes.append(Node(f"layer{number}", layer, names, output))
        self.last = output
        return output

    def conv(
        self,
        filters: int,
        kernel: tuple[int, ...],
        *,
        stride: int = 1,
        padding: tuple[tuple[int, int], ...] | int = 0,
        dilation: int = 1,
        groups: int = 1,
        density: float = 0.3,
        of: Value | None = None,
    ) -> Value:
        of = self.last if of is None else of
        axes = len(kernel)
        margins = ((padding, padding),) * axes if isinstance(padding, int) else padding
        layer = Convolution(
            weight=sparse(self.rng, filters, of.shape[0] // groups, *kernel, density=density),
            scale=self.rng.uniform(0.5, 1.5, filters).astype(np.float32),
            shift=self.rng.normal(size=filters).astype(np.float32),
            stride=(stride,) * axes,
            padding=margins,
            dilation=(dilation,) * axes,
            groups=groups,
        )
        sizes = [
            (n + sum(m) - (k - 1) * dilation - 1) // stride + 1
            for n, k, m in zip(of.shape[1:], kernel, margins, strict=True)
        ]
        return self.add(layer, (filters, *sizes), of=of)

    def linear(self, outputs: int, density: float = 0.3) -> Value:
        layer = Linear(
            weight=sparse(self.rng, outputs, self.last.shape[-1], density=density),
            scale=np.ones(outputs, np.float32),
            shift=self.rng.normal(size=outputs).astype(np.float32),
        )
        return self.add(layer, (*self.last.shape[:-1], outputs))

    def activation(self, kind: str, slope: float = 0.0) -> Value:
        return self.add(Activation(kind=kind, slope=slope), self.last.shape)  # type: ignore[arg-type]

    def pool(
        self,
        kind: str,
        kernel: int,
        stride: int,
        padding: tuple[int, int] = (0, 0),
        *,
        dilation: int = 1,
        count_padding: bool = False,
    ) -> Value:
        channels, *sides = self.last.shape
        axes = len(sides)
        layer = Pool(
            kind=kind,  # type: ignore[arg-type]
            kernel=(kernel,) * axes,
            stride=(stride,) * axes,
            padding=(padding,) * axes,
            dilation=(dilation,) * axes,
            count_padding=count_padding,
        )
        sizes = [(n + sum(padding) - (kernel - 1) * dilation - 1) // stride + 1 for n in sides]
        return self.add(layer, (channels, *sizes))

    def flatten(self) -> Value:
        return self.add(Flatten(), (int(np.prod(self.last.shape)),))

    def graph(self) -> Graph:
        return Graph(input=self.input, nodes=tuple(self.nodes), output=self.last)


def plain() -> Graph:
    """Convolutions, ReLU, max-pooling, fully connected layers: the paper's network, small."""
    b = Builder(3, 14, 14)
    b.conv(8, (3, 3))
    b.activation("relu")
    b.conv(8, (3, 3), padding=1)
    b.activation("relu")
    b.pool("max", 2, 2)
    b.flatten()
    b.linear(16)
    b.activation("relu")
    b.linear(5)
    return b.graph()


def residual() -> Graph:
    """Blocks with a residual connection, one of them with a strided shortcut, then a mean."""
    b = Builder(4, 8, 8, seed=1)
    start = b.conv(6, (3, 3), padding=1)
    b.activation("relu6")
    end = b.conv(6, (3, 3), padding=1)
    b.add(Add(), end.shape, start, of=end)
    kept = b.activation("relu")
    short = b.conv(8, (1, 1), stride=2, of=kept)
    b.conv(8, (3, 3), stride=2, padding=1, of=kept)
    b.activation("leaky_relu", 0.1)
    long = b.conv(8, (3, 3), padding=1)
    b.add(Add(), long.shape, short, of=long)
    b.activation("hardswish")
    b.pool("average", 4, 4)
    b.flatten()
    b.linear(3)
    b.add(Softmax(), (3,))
    return b.graph()


def odd() -> Graph:
    """Groups, depthwise, dilation, margins that differ, windows over the border, concatenation."""
    b = Builder(4, 11, 9, seed=2)
    left = b.conv(6, (3, 2), padding=((2, 1), (0, 1)), groups=2)
    right = b.conv(4, (3, 3), padding=1, dilation=1, groups=4, of=b.input)
    right = b.pool("max", 2, 1, (1, 0))
    left = b.conv(4, (4, 1), padding=((1, 1), (0, 0)), of=left)
    b.add(Concat(), (8, *left.shape[1:]), right, of=left)
    scale = b.rng.uniform(0.5, 2, 8).astype(np.float32)
    b.add(Affine(scale=scale, shift=-scale), b.last.shape)
    b.conv(5, (2, 2), stride=2, padding=((1, 1), (1, 0)), dilation=2)
    b.pool("average", 3, 2, (1, 1))
    b.activation("leaky_relu", 0.25)
    b.pool("average", 2, 1, (1, 0), count_padding=True)
    b.pool("max", 2, 1, dilation=1)
    b.flatten()
    b.linear(4)
    b.add(Argmax(), (1,))
    return b.graph()


def signals() -> Graph:
    """One spatial axis."""
    b = Builder(2, 40, seed=3)
    b.conv(8, (5,), padding=2)
    b.activation("relu")
    b.pool("max", 2, 2)
    b.conv(8, (3,), stride=2, padding=1, groups=2)
    b.activation("relu")
    b.pool("average", 10, 10)
    b.flatten()
    b.linear(3)
    return b.graph()


def empty_filters() -> Graph:
    """Filters without a weight, and a layer without any."""
    b = Builder(3, 6, 6, seed=4)
    b.conv(6, (3, 3), density=0.04)
    b.activation("relu")
    b.conv(4, (3, 3), density=0.0)
    b.activation("relu")
    b.flatten()
    b.linear(4)
    return b.graph()


NETWORKS: dict[str, Callable[[], Graph]] = {
    "plain": plain,
    "residual": residual,
    "odd": odd,
    "signals": signals,
    "empty_filters": empty_filters,
}
