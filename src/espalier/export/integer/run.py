"""The oracle of integer targets: a plan run by numpy, bit for bit as the generated C runs it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.export.graph import (
    Activation,
    Argmax,
    Concat,
    Convolution,
    Flatten,
    Node,
    Pool,
)
from espalier.export.integer.plan import (
    EXPONENT_SHIFT,
    FRACTION,
    Averages,
    Exponentials,
    IntegerPlan,
    Joined,
    LookedUp,
    Mixed,
    Sums,
)
from espalier.export.reference import check_inputs, correlate, largest, totals

__all__ = ["run_integer", "run_integer_all"]

Integers = NDArray[np.int64]


def run_integer(plan: IntegerPlan, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Return the network's output for a batch of normalized inputs.

    Args:
        plan: what to run.
        inputs: (batch, *input shape), taken as float32.

    Returns:
        (batch, *output shape), float32, the bits that every target returns.

    Raises:
        ConfigError: inputs of another shape.
    """
    output = plan.graph.output.name
    return plan.grids[output].dequantize(run_integer_all(plan, inputs)[output])


def run_integer_all(plan: IntegerPlan, inputs: NDArray[Any]) -> dict[str, Integers]:
    """Return the integers of every value by its name."""
    graph = plan.graph
    check_inputs(graph, inputs)
    first = plan.grids[graph.input.name].quantize(inputs.astype(np.float32))
    values = {graph.input.name: first}
    for node in graph.nodes:
        values[node.output.name] = _layer(plan, node, [values[name] for name in node.inputs])
    return values


def _layer(plan: IntegerPlan, node: Node, inputs: list[Integers]) -> Integers:
    x = inputs[0]
    match plan.steps.get(node.name):
        case Sums() as step:
            return _sums(node, step, x)
        case Mixed(fixed):
            return fixed(*inputs)
        case Joined(parts):
            assert isinstance(node.layer, Concat)  # noqa: S101  # what was planned
            moved = [fixed(one) for fixed, one in zip(parts, inputs, strict=True)]
            return np.concatenate(moved, axis=1)
        case LookedUp(table):
            return np.asarray(table[x - plan.grids[node.inputs[0]].low])
        case Averages(fixed):
            assert isinstance(node.layer, Pool)  # noqa: S101  # what was planned
            total, count = totals(node.layer, x.astype(np.float64))
            which = count.astype(np.int64) - 1
            sums = total.astype(np.int64) * fixed.multipliers[0][which] + fixed.offsets[which]
            shifted = np.maximum(sums, 0) >> fixed.shifts[which]
            levels = fixed.grid.high - fixed.grid.low
            return np.asarray(np.minimum(shifted, levels) + fixed.grid.low)
        case Exponentials() as step:
            return _softmax(step, x)
        case None:
            return _moved(node, x)


def _moved(node: Node, x: Integers) -> Integers:
    match node.layer:
        case Flatten():
            return x.reshape(len(x), -1)
        case Pool() as pool:
            return largest(pool, x.astype(np.float64)).astype(np.int64)
        case Argmax():
            return np.asarray(x.argmax(axis=-1)[:, None])
        case layer:  # a rectifier that the layer before did
            assert isinstance(layer, Activation)  # noqa: S101
            return x


def _sums(node: Node, step: Sums, x: Integers) -> Integers:
    """Sum in float64, where integers below 2**53 are exact."""
    weight = step.codes.codes.astype(np.float64)
    if isinstance(node.layer, Convolution):
        return step.fixed(correlate(node.layer, weight, x.astype(np.float64)).astype(np.int64))
    sums = (x.astype(np.float64) @ weight.T).astype(np.int64)
    return np.asarray(np.moveaxis(step.fixed(np.moveaxis(sums, -1, 1)), 1, -1))


def _softmax(step: Exponentials, x: Integers) -> Integers:
    below = x.max(axis=-1, keepdims=True) - x
    t = (below * step.rate + 2 ** (EXPONENT_SHIFT - 1)) >> EXPONENT_SHIFT
    powers = step.table[t % 2**FRACTION] >> np.minimum(t >> FRACTION, 31)
    total = powers.sum(axis=-1, keepdims=True)
    result: Integers = (powers * 2**15 + total // 2) // total
    return result
