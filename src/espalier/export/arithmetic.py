"""Sums, differences, products and quotients of torch: of two values, or of one and a constant."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx

from espalier.export.graph import Add, Affine, Value
from espalier.export.tracing import Tracing, as_floats, bound, operator_name

__all__ = ["add", "arithmetic"]

_SIDES = ("self", "other")


def add(t: Tracing, at: fx.Node) -> Value:
    """Turn a sum of two values into one, and a sum with a constant into an affine a channel.

    Raises:
        ExportError: it is weighted, or the shapes differ.
    """
    a = bound(at)
    known = [t.known.get(a[name]) if isinstance(a[name], fx.Node) else None for name in _SIDES]
    if not all(isinstance(value, Value) for value in known):
        return arithmetic(t, at)
    left, right = (t.value(at, a[name]) for name in _SIDES)
    if a["alpha"] != 1:
        t.fail(at, f"alpha is {a['alpha']}; only plain sums work")
    if left.shape != right.shape:
        t.fail(at, f"it adds {left.shape} and {right.shape}; only equal shapes work")
    return t.add(at, Add(), left, right)


def arithmetic(t: Tracing, at: fx.Node) -> Value:
    """Turn a sum, difference, product or quotient with a constant into an affine a channel.

    Raises:
        ExportError: the constant is not one number a channel, or divides and is zero.
    """
    a = bound(at)
    reads_left = isinstance(t.known.get(a["self"]), Value)
    x = t.value(at, a["self"] if reads_left else a["other"])
    c = _per_channel(t, at, a["other"] if reads_left else a["self"], x)
    ones, zeros = np.ones(len(c)), np.zeros(len(c))
    alpha = float(a.get("alpha", 1))
    name = operator_name(at).removeprefix("aten.")
    match name, reads_left:
        case "add", True:
            scale, shift = ones, alpha * c
        case "add", False:
            scale, shift = alpha * ones, c
        case "sub", True:
            scale, shift = ones, -alpha * c
        case ("sub", False) | ("rsub", True):
            scale, shift = -alpha * ones, c
        case "mul", _:
            scale, shift = c, zeros
        case "div", True if a.get("rounding_mode") is None:
            with np.errstate(divide="ignore"):  # refused below
                scale, shift = 1 / c, zeros
        case _:
            t.fail(at, "only a division by a constant works")
    if not np.isfinite(scale).all():
        t.fail(at, "its constant is zero or not finite")
    return t.add(at, Affine(scale=as_floats(scale), shift=as_floats(shift)), x)


def _per_channel(t: Tracing, at: fx.Node, given: Any, x: Value) -> NDArray[np.float64]:
    """Return a constant as one number a channel."""
    channels, rank = x.shape[0], len(x.shape)
    if isinstance(given, int | float):
        return np.full(channels, float(given))
    found = t.constant(given)
    if found is None:
        t.fail(at, "only sums of two values work, and arithmetic with constants")
    values = found.doubles()
    shape = (1,) * max(0, rank - values.ndim) + values.shape
    shape = shape[1:] if len(shape) == rank + 1 and shape[0] == 1 else shape
    if len(shape) != rank or shape[0] not in (1, channels) or any(n != 1 for n in shape[1:]):
        t.fail(at, f"its constant has shape {values.shape}; one number a channel works")
    return np.broadcast_to(values.reshape(-1), (channels,)).copy()
