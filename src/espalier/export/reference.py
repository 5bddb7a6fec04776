"""The oracle of all targets: a graph run in float64, layer by layer, by numpy alone."""

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import decode
from espalier.errors import ConfigError
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
    Margins,
    Pool,
    Softmax,
)

__all__ = ["activate", "check_inputs", "correlate", "largest", "run", "run_all", "totals"]

Array = NDArray[np.float64]


def run(graph: Graph, inputs: NDArray[Any]) -> Array:
    """Return the graph's output for a batch of normalized inputs, in float64.

    Args:
        graph: what to run.
        inputs: (batch, *graph.input.shape).

    Returns:
        (batch, *graph.output.shape).

    Raises:
        ConfigError: inputs of another shape.
    """
    return run_all(graph, inputs)[graph.output.name]


def run_all(graph: Graph, inputs: NDArray[Any]) -> dict[str, Array]:
    """Return every value of the graph by its name, as :func:`run` computes it."""
    check_inputs(graph, inputs)
    values: dict[str, Array] = {graph.input.name: inputs.astype(np.float64)}
    for node in graph.nodes:
        values[node.output.name] = _layer(node.layer, [values[name] for name in node.inputs])
    return values


def check_inputs(graph: Graph, inputs: NDArray[Any]) -> None:
    """Refuse a batch of another shape than the network takes.

    Raises:
        ConfigError: inputs of another shape.
    """
    expected = graph.input.shape
    if inputs.shape[1:] != expected:
        raise ConfigError(
            f"inputs have shape {inputs.shape}; the network takes (batch, "
            f"{', '.join(map(str, expected))})."
        )


def _layer(layer: Layer, inputs: list[Array]) -> Array:
    x = inputs[0]
    match layer:
        case Convolution():
            return _convolution(layer, x)
        case Linear():
            y = x @ decode(layer.weight).astype(np.float64).T
            return y * layer.scale.astype(np.float64) + layer.shift.astype(np.float64)
        case Affine():
            return x * _channels(layer.scale, x) + _channels(layer.shift, x)
        case Activation():
            return activate(layer, x)
        case Pool():
            return _pool(layer, x)
        case Add():
            return inputs[0] + inputs[1]
        case Concat():
            return np.concatenate(inputs, axis=1)
        case Flatten():
            return x.reshape(len(x), -1)
        case Softmax():
            powers = np.exp(x - x.max(axis=-1, keepdims=True))
            softmax: Array = powers / powers.sum(axis=-1, keepdims=True)
            return softmax
        case Argmax():
            first: Array = x.argmax(axis=-1)[:, None].astype(np.float64)
            return first


def _channels(values: NDArray[np.float32], x: Array) -> Array:
    """Shape a value a channel so that it spreads over (batch, channels, ...)."""
    return values.astype(np.float64).reshape(-1, *[1] * (x.ndim - 2))


def _padded(x: Array, padding: Margins, value: float) -> Array:
    return np.pad(x, [(0, 0), (0, 0), *padding], constant_values=value)


def _windows(
    x: Array, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> list[Array]:
    """Return for each place of the kernel what it meets over the output, in C order of places."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    sizes = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True)]
    found = []
    for place in product(*map(range, kernel)):
        cut = tuple(
            slice(p * d, p * d + (n - 1) * s + 1, s)
            for p, d, n, s in zip(place, dilation, sizes, stride, strict=True)
        )
        found.append(x[(slice(None), slice(None), *cut)])
    return found


def _convolution(layer: Convolution, x: Array) -> Array:
    y = correlate(layer, decode(layer.weight).astype(np.float64), x)
    return np.asarray(y * _channels(layer.scale, y) + _channels(layer.shift, y))


def correlate(layer: Convolution, weight: Array, x: Array) -> Array:
    """Return a convolution's sums, before scale and shift.

    Args:
        layer: says stride, padding, dilation and groups.
        weight: (filters, channels / groups, *kernel), what to use for the layer's own.
        x: (batch, channels, *sizes).
    """
    filters, channels, *kernel = weight.shape
    x = _padded(x, layer.padding, 0.0)
    windows = _windows(x, tuple(kernel), layer.stride, layer.dilation)
    by_place = weight.reshape(layer.groups, filters // layer.groups, channels, -1)
    sizes = windows[0].shape[2:]
    y = np.zeros((len(x), layer.groups, filters // layer.groups, prod(sizes)))
    for i, window in enumerate(windows):
        flat = window.reshape(len(x), layer.groups, channels, -1)
        y += np.matmul(by_place[:, :, :, i], flat)
    return y.reshape(len(x), filters, *sizes)


def _pool(layer: Pool, x: Array) -> Array:
    if layer.kind == "max":
        return largest(layer, x)
    total, count = totals(layer, x)
    return np.asarray(total / count)


def largest(layer: Pool, x: Array) -> Array:
    """Return the largest of each window."""
    x = _padded(x, layer.padding, -np.inf)
    return np.asarray(np.maximum.reduce(_windows(x, layer.kernel, layer.stride, layer.dilation)))


def totals(layer: Pool, x: Array) -> tuple[Array, Array]:
    """Return the sum of each window, and (1, 1, *sizes) what a mean divides it by."""
    ones = np.ones((1, 1, *x.shape[2:]))
    counted = _padded(ones, layer.padding, 1.0 if layer.count_padding else 0.0)
    x = _padded(x, layer.padding, 0.0)
    total = sum(_windows(x, layer.kernel, layer.stride, layer.dilation))
    count = sum(_windows(counted, layer.kernel, layer.stride, layer.dilation))
    return np.asarray(total), np.asarray(count)


def activate(layer: Activation, x: Array) -> Array:
    """Return an elementwise function of an array of any shape."""
    functions: dict[str, Callable[[Array], Array]] = {
        "relu": lambda x: np.maximum(x, 0.0),
        "relu6": lambda x: np.clip(x, 0.0, 6.0),
        "leaky_relu": lambda x: np.where(x > 0, x, layer.slope * x),
        "hardswish": lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    }
    return functions[layer.kind](x)
