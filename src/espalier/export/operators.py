"""What each of torch's operators becomes: a layer, an alias of its input, or an error with a name.

One function an operator, or a few that differ in nothing; :data:`OPERATORS` is the list.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import numpy as np
from torch import fx

from espalier.encoded import encode
from espalier.export.arithmetic import add, arithmetic
from espalier.export.graph import (
    Activation,
    ActivationKind,
    Affine,
    Argmax,
    Concat,
    Convolution,
    Flatten,
    Linear,
    Margins,
    Pool,
    Sizes,
    Softmax,
    Value,
)
from espalier.export.tracing import Reshaped, Tracing, as_floats, bound, operator_name, shape_of

__all__ = ["OPERATORS", "convert"]

WORKING = (
    "convolutions over one or two axes, fully connected layers, batch normalization, ReLU, ReLU6, "
    "leaky ReLU, hardswish, pooling, sums, concatenation, flattening, softmax and argmax"
)
Kind = Literal["max", "average"]


def convert(t: Tracing, at: fx.Node) -> Value | Reshaped:
    """Turn one operator into what the graph has for it.

    Raises:
        ExportError: the graph has nothing for it.
    """
    name = operator_name(at)
    if name not in OPERATORS:
        t.fail(at, f"no target knows this operator; {WORKING} work")
    return OPERATORS[name](t, at)


def _spread(given: Any, axes: int) -> Sizes:
    """Return an integer for each axis, of one for all, or of one for each."""
    sizes = tuple(given) if isinstance(given, Sequence) else (given,)
    return sizes * axes if len(sizes) == 1 else sizes


def _both(padding: Sizes) -> Margins:
    return tuple((n, n) for n in padding)


def _convolution(t: Tracing, at: fx.Node) -> Value:
    a = bound(at)
    x, weight = t.value(at, a["input"]), t.weight(at, a["weight"])
    filters, _, *kernel = weight.shape
    axes = len(kernel)
    if axes > 2 or len(x.shape) != axes + 1:
        t.fail(at, f"it has {axes} spatial axes, over an input of {x.shape}; one or two work")
    dilation = _spread(a["dilation"], axes)
    layer = Convolution(
        weight=weight,
        scale=as_floats(np.ones(filters)),
        shift=as_floats(t.doubles(a["bias"], filters, 0.0)),
        stride=_spread(a["stride"], axes),
        padding=_convolution_padding(a["padding"], tuple(kernel), dilation),
        dilation=dilation,
        groups=a["groups"],
    )
    return t.add(at, layer, x)


def _convolution_padding(given: Any, kernel: Sizes, dilation: Sizes) -> Margins:
    if given == "valid":
        return _both((0,) * len(kernel))
    if given == "same":  # torch puts the odd one after
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return _both(_spread(given, len(kernel)))


def _linear(t: Tracing, at: fx.Node) -> Value:
    a = bound(at)
    x, weight = t.value(at, a["input"]), t.weight(at, a["weight"])
    if len(x.shape) != 1:
        t.fail(at, f"its input has axes {x.shape} beside the batch; flatten it first")
    outputs = weight.shape[0]
    layer = Linear(
        weight=weight,
        scale=as_floats(np.ones(outputs)),
        shift=as_floats(t.doubles(a["bias"], outputs, 0.0)),
    )
    return t.add(at, layer, x)


def _normalization(t: Tracing, at: fx.Node) -> Value:
    a = bound(at)
    x = t.value(at, a["input"])
    mean, variance = (t.constant(a.get(f"running_{part}")) for part in ("mean", "var"))
    if a.get("training") or mean is None or variance is None:
        t.fail(at, "it normalizes by the batch's own statistics; track running ones")
    channels = x.shape[0]
    scale = t.doubles(a["weight"], channels, 1.0) / np.sqrt(variance.doubles() + a["eps"])
    shift = t.doubles(a["bias"], channels, 0.0) - mean.doubles() * scale
    return t.add(at, Affine(scale=as_floats(scale), shift=as_floats(shift)), x)


def _activation(kind: ActivationKind) -> Callable[[Tracing, fx.Node], Value]:
    def convert_activation(t: Tracing, at: fx.Node) -> Value:
        a = bound(at)
        slope = float(a["negative_slope"]) if kind == "leaky_relu" else 0.0
        return t.add(at, Activation(kind=kind, slope=slope), t.value(at, a["self"]))

    return convert_activation


def _clamp(t: Tracing, at: fx.Node) -> Value:
    a = bound(at)
    low = a.get("min", a.get("min_val"))
    high = a.get("max", a.get("max_val"))
    kinds: dict[Any, ActivationKind] = {(0, None): "relu", (0, math.inf): "relu", (0, 6): "relu6"}
    if (low, high) not in kinds:
        t.fail(at, f"it cuts at {low} and {high}; only 0 and 6, or 0 alone, work")
    return t.add(at, Activation(kind=kinds[low, high]), t.value(at, a["self"]))


def _pool(kind: Kind) -> Callable[[Tracing, fx.Node], Value]:
    def convert_pool(t: Tracing, at: fx.Node) -> Value:
        a = bound(at)
        x = t.value(at, a["self"])
        axes = len(x.shape) - 1
        kernel = _spread(a["kernel_size"], axes)
        stride = _spread(a["stride"], axes) if a["stride"] else kernel
        dilation = _spread(a.get("dilation", 1), axes)
        given = _spread(a["padding"], axes)
        if a.get("divisor_override") not in (None, math.prod(kernel)):
            t.fail(at, f"it divides by divisor_override={a['divisor_override']}")
        counts = kind == "average" and bool(a["count_include_pad"]) and any(given)
        padding = []
        for axis, size in enumerate(shape_of(at)[1:]):
            reach = (size - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
            over = reach - x.shape[1 + axis] - given[axis]  # ceil_mode goes beyond the padding
            if counts and over > given[axis]:
                t.fail(at, "ceil_mode with a padding that is counted")
            padding.append((given[axis], max(given[axis], over)))
        layer = Pool(
            kind=kind,
            kernel=kernel,
            stride=stride,
            padding=tuple(padding),
            dilation=dilation,
            count_padding=counts,
        )
        return t.add(at, layer, x)

    return convert_pool


def _adaptive(kind: Kind) -> Callable[[Tracing, fx.Node], Value]:
    def convert_adaptive(t: Tracing, at: fx.Node) -> Value:
        x = t.value(at, bound(at)["self"])
        sizes, wanted = x.shape[1:], shape_of(at)[1:]
        if any(n % m for n, m in zip(sizes, wanted, strict=True)):
            t.fail(
                at,
                f"{list(sizes)} can't be divided into {list(wanted)} windows of one size; choose "
                "an output size that divides the input's",
            )
        kernel = tuple(n // m for n, m in zip(sizes, wanted, strict=True))
        return t.add(at, _window(kind, kernel), x)

    return convert_adaptive


def _window(kind: Kind, kernel: Sizes, stride: Sizes | None = None) -> Pool:
    return Pool(
        kind=kind,
        kernel=kernel,
        stride=kernel if stride is None else stride,
        padding=_both((0,) * len(kernel)),
        dilation=(1,) * len(kernel),
    )


def _over_space(kind: Kind) -> Callable[[Tracing, fx.Node], Value]:
    def convert_reduction(t: Tracing, at: fx.Node) -> Value:
        a = bound(at)
        x = t.value(at, a["self"])
        rank = len(x.shape) + 1
        axes = sorted(axis % rank for axis in a["dim"] or range(rank))
        if rank < 3 or axes != list(range(2, rank)):
            t.fail(at, f"it goes over axes {axes}; only all spatial axes together work")
        pool = _window(kind, x.shape[1:])
        if a["keepdim"]:
            return t.add(at, pool, x)
        ones = (x.shape[0], *(1 for _ in x.shape[1:]))
        return t.add(at, Flatten(), t.add(at, pool, x, shape=ones, suffix="_kept"))

    return convert_reduction


def _concat(t: Tracing, at: fx.Node) -> Value:
    a = bound(at)
    parts = [t.value(at, given) for given in a["tensors"]]
    rank = len(parts[0].shape) + 1
    if a["dim"] % rank != 1:
        t.fail(at, f"it joins along axis {a['dim']}; only channels, axis 1, work")
    return parts[0] if len(parts) == 1 else t.add(at, Concat(), *parts)


def _reshape(t: Tracing, at: fx.Node) -> Value | Reshaped:
    given = t.known.get(cast(fx.Node, at.args[0]))
    x = given.value if isinstance(given, Reshaped) else t.value(at, at.args[0])
    shape = shape_of(at)
    if shape == x.shape:
        return x
    return t.add(at, Flatten(), x) if shape == (math.prod(x.shape),) else Reshaped(x, at)


def _same(t: Tracing, at: fx.Node) -> Value:
    return t.value(at, at.args[0])


def _dropout(t: Tracing, at: fx.Node) -> Value:
    a = bound(at)
    if a["train"] and a["p"]:
        t.fail(at, "it drops in evaluation mode too; pass training=self.training")
    return t.value(at, a["input"])


def _getitem(t: Tracing, at: fx.Node) -> Value:
    if at.args[1] != 0:
        t.fail(at, f"output {at.args[1]} of an operator is used; only the first works")
    return _same(t, at)


def _slice(t: Tracing, at: fx.Node) -> Value:
    """Turn every ``step``-th entry of a spatial axis into windows of one entry."""
    a = bound(at)
    x = t.value(at, a["self"])
    if shape_of(at) == x.shape:
        return x
    axis, step, rank = a["dim"] % (len(x.shape) + 1), a["step"], len(x.shape) + 1
    whole = a["start"] in (None, 0) and (a["end"] is None or a["end"] >= x.shape[axis - 1])
    if axis < 2 or not whole:
        t.fail(at, "it cuts a part out; only every n-th entry of a whole spatial axis works")
    ones = (1,) * (rank - 2)
    stride = tuple(step if i + 2 == axis else 1 for i in range(rank - 2))
    return t.add(at, _window("max", ones, stride), x)


def _pad(t: Tracing, at: fx.Node) -> Value:
    """Turn zeros around an image, and channels of zeros, into a convolution that copies."""
    a = bound(at)
    x = t.value(at, a["self"])
    value = a.get("value")
    if a.get("mode", "constant") != "constant" or value not in (None, 0, 0.0):
        t.fail(at, f"it pads with {a.get('mode', 'constant')} {value or ''}; only zeros work")
    given = list(a["pad"])
    pairs: list[tuple[int, int]] = [(b, e) for b, e in zip(given[::2], given[1::2], strict=True)]
    pairs = [*reversed(pairs)]
    rank = len(x.shape)
    if len(pairs) > rank or any(n < 0 for n in given) or rank not in (2, 3):
        t.fail(at, f"it pads {x.shape} by {given}; only images and signals work, zeros added")
    pairs = [(0, 0)] * (rank - len(pairs)) + pairs
    channels, (first, last) = x.shape[0], pairs[0]
    kept = np.zeros((first + channels + last, channels, *(1 for _ in pairs[1:])), np.float32)
    kept[np.arange(channels) + first, np.arange(channels)] = 1
    depthwise = not (first or last)
    weight = np.ones((channels, 1, *kept.shape[2:]), np.float32) if depthwise else kept
    ones = (1,) * (rank - 1)
    layer = Convolution(
        weight=encode(weight, step=1.0, bits=1),
        scale=as_floats(np.ones(len(weight))),
        shift=as_floats(np.zeros(len(weight))),
        stride=ones,
        padding=tuple(pairs[1:]),
        dilation=ones,
        groups=channels if depthwise else 1,
    )
    return t.add(at, layer, x)


def _softmax(t: Tracing, at: fx.Node) -> Value:
    a = bound(at)
    x = t.value(at, a["self"])
    if len(x.shape) != 1 or a["dim"] % 2 != 1:
        t.fail(at, f"it goes over axis {a['dim']} of {x.shape}; only over the classes works")
    return t.add(at, Softmax(), x)


def _argmax(t: Tracing, at: fx.Node) -> Value:
    a = bound(at)
    x = t.value(at, a["self"])
    if len(x.shape) != 1 or a["dim"] is None or a["dim"] % 2 != 1:
        t.fail(at, f"it goes over axis {a['dim']} of {x.shape}; only over the classes works")
    return t.add(at, Argmax(), x, shape=(1,))


Converter = Callable[[Tracing, fx.Node], Value | Reshaped]
_BY_FUNCTION: dict[Converter, str] = {
    _convolution: "conv1d conv2d",
    _linear: "linear",
    _normalization: "batch_norm _native_batch_norm_legit_no_training _native_batch_norm_legit",
    _activation("relu"): "relu",
    _activation("relu6"): "relu6",
    _activation("leaky_relu"): "leaky_relu",
    _activation("hardswish"): "hardswish",
    _clamp: "clamp clamp_min hardtanh",
    _pool("max"): "max_pool1d max_pool2d max_pool2d_with_indices",
    _pool("average"): "avg_pool1d avg_pool2d",
    _adaptive("max"): "adaptive_max_pool1d adaptive_max_pool2d",
    _adaptive("average"): "adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d",
    _over_space("average"): "mean",
    _over_space("max"): "amax",
    add: "add",
    arithmetic: "sub rsub mul div",
    _concat: "cat concat concatenate",
    _reshape: "flatten view reshape _unsafe_view squeeze unflatten unsqueeze",
    _same: "alias clone contiguous detach detach_ lift_fresh_copy",
    _dropout: "dropout native_dropout feature_dropout alpha_dropout feature_alpha_dropout",
    _slice: "slice",
    _pad: "pad constant_pad_nd",
    _softmax: "softmax _softmax",
    _argmax: "argmax",
}
OPERATORS: dict[str, Converter] = {
    **{f"aten.{n}": f for f, names in _BY_FUNCTION.items() for n in names.split()},
    "getitem": _getitem,
}
"""By torch's name of the operator, whatever its overload."""
