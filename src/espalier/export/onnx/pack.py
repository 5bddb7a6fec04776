"""Weights as bits, and the standard operators that make float32 of them when a session starts.

All of it hangs on initializers alone, so a runtime that folds constants runs it once, at load.
Where the nonzeros are is stored in one of three ways, whichever makes the file smallest:

``dense``
    nowhere: zero is a level like the others.
``bitmap``
    one bit a weight.
``gaps``
    Elias and Fano's code of the increasing positions p(0) < p(1) < ..: the lowest ``low`` bits of
    each as they are, the rest in unary: bit ``(p(i) >> low) + i`` of a bitmap is set for every i.
    It takes within half a bit a nonzero of the entropy of random positions.

Numbers of fewer than 8 bits are stored as bit planes, lowest first, eight to a byte.
"""

import math

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import decode
from espalier.export.graph import Node
from espalier.export.onnx.builder import Builder, require
from espalier.export.onnx.plain import PlainWeights, column, weighted

__all__ = ["PackedWeights"]

INT32 = 6
"""TensorProto.DataType."""
BYTE = 8


class PackedWeights(PlainWeights):
    """The same values as :class:`PlainWeights`, bit for bit, from a packed form."""

    def weight(self, build: Builder, node: Node, *, transposed: bool) -> str:
        """Store the weights in the smallest of the layouts and expand them."""
        super().weight(Builder(), node, transposed=transposed)  # refuses what isn't finite
        layer = weighted(node)
        name = node.output.name
        expanded = _expand(build, name, decode(layer.weight))
        if not (layer.scale == 1).all():
            scale = column(layer.scale, layer.weight.mask.ndim)
            expanded = build.add("Mul", expanded, build.constant(f"{name}.scale", scale))
        return build.add("Transpose", expanded, perm=(1, 0)) if transposed else expanded


def _expand(build: Builder, name: str, weight: NDArray[np.float32]) -> str:
    """Append the smallest way to store ``weight``; nodes count as well as bytes of data."""
    tries = []
    for layout in (_whole, _dense, _bitmap, _gaps):
        trial = Builder()
        layout(trial, name, weight)
        tries.append((trial.size_bytes(), layout))
    return min(tries, key=lambda one: one[0])[1](build, name, weight)


def _whole(build: Builder, name: str, weight: NDArray[np.float32]) -> str:
    return build.constant(f"{name}.w", weight)


def _dense(build: Builder, name: str, weight: NDArray[np.float32]) -> str:
    return _shaped(build, name, _values(build, name, weight.reshape(-1)), weight.shape)


def _bitmap(build: Builder, name: str, weight: NDArray[np.float32]) -> str:
    bits = _numbers(build, f"{name}.mask", (weight.reshape(-1) != 0).astype(np.int64), 1)
    zero = build.constant("=zero", np.zeros(1, np.float32))
    values = build.add("Concat", zero, _values(build, name, weight[weight != 0]), axis=0)
    ranks = build.add("Mul", _sums(build, bits), bits)
    return _shaped(build, name, build.add("Gather", values, ranks, axis=0), weight.shape)


def _gaps(build: Builder, name: str, weight: NDArray[np.float32]) -> str:
    positions = np.flatnonzero(weight)
    low = int(math.log2(max(1.0, weight.size / max(1, positions.size))))
    found = _unary(build, name, positions >> low)
    if low:
        lowest = _numbers(build, f"{name}.low", positions & (2**low - 1), low)
        weighed = build.add("Mul", found, build.constant(f"={2**low}", np.int32(2**low)))
        found = build.add("Add", weighed, lowest)
    values = _values(build, name, weight[weight != 0])
    zeros = _zeros(build, name, weight.size, np.float32)
    filled = build.add("ScatterElements", zeros, found, values, axis=0)
    return _shaped(build, name, filled, weight.shape)


def _unary(build: Builder, name: str, numbers: NDArray[np.int64]) -> str:
    """Return numbers that never fall from a bitmap: each is the zeros before its bit.

    What scatters them to their ranks has a size known in advance, as folding asks; bits that are
    not set all go to entry 0, which is cut off.
    """
    unary = np.zeros(int(numbers[-1]) + numbers.size if numbers.size else 1, np.int64)
    unary[numbers + np.arange(numbers.size)] = 1
    bits = _numbers(build, f"{name}.high", unary, 1)
    zeros = _sums(build, build.add("Sub", build.constant("=1", np.int32(1)), bits))
    ranks = build.add("Mul", _sums(build, bits), bits)
    start = _zeros(build, f"{name}.high", numbers.size + 1, np.int32)
    filled = build.add("ScatterElements", start, ranks, zeros, axis=0)
    return _cut(build, filled, 1, numbers.size + 1)


def _sums(build: Builder, bits: str) -> str:
    return build.add("CumSum", bits, build.constant("=axis", np.int64(0)))


def _cut(build: Builder, vector: str, start: int, stop: int) -> str:
    bounds = (build.constant(f"=[{at}]", _int64(at)) for at in (start, stop))
    return build.add("Slice", vector, *bounds)


def _zeros(build: Builder, name: str, size: int, kind: type) -> str:
    value = require("onnx.numpy_helper").from_array(np.zeros(1, kind))
    shape = build.constant(f"=[{size}]", _int64(size))
    return build.add("ConstantOfShape", shape, value=value)


def _shaped(build: Builder, name: str, flat: str, shape: tuple[int, ...]) -> str:
    return build.add("Reshape", flat, build.constant(f"{name}.shape", np.array(shape, np.int64)))


def _values(build: Builder, name: str, values: NDArray[np.float32]) -> str:
    """Return values by a table of levels, or as they are where a table would not pay."""
    levels, codes = np.unique(values.view(np.uint32), return_inverse=True)
    width = max(1, int(levels.size - 1).bit_length())
    if levels.size * 32 + codes.size * width >= values.size * 32:
        return build.constant(f"{name}.values", values)
    table = build.constant(f"{name}.levels", levels.view(np.float32))
    return build.add("Gather", table, _numbers(build, f"{name}.codes", codes, width), axis=0)


def _numbers(build: Builder, name: str, numbers: NDArray[np.int64], width: int) -> str:
    """Return an int32 tensor of numbers of ``width`` bits."""
    if width == BYTE:
        return build.add("Cast", build.constant(name, numbers.astype(np.uint8)), to=INT32)
    shifts = build.constant("=shifts", np.arange(BYTE, dtype=np.uint8))
    planes = build.constant(name, _planes(numbers, width))
    shifted = build.add("BitShift", planes, shifts, direction="RIGHT")
    bits = build.add("Mod", shifted, build.constant("=two", np.uint8(2)))
    rows = build.add("Reshape", bits, build.constant("=rows", _int64(0, -1)))
    worth = build.constant(f"=worth{width}", (1 << np.arange(width)).astype(np.int32))
    padded = build.add("MatMul", worth, build.add("Cast", rows, to=INT32))
    return padded if numbers.size % BYTE == 0 else _cut(build, padded, 0, numbers.size)


def _planes(numbers: NDArray[np.integer], width: int) -> NDArray[np.uint8]:
    """Return bit planes, (width, bytes, 1)."""
    bits = (numbers[None, :] >> np.arange(width)[:, None]) & 1
    packed = np.packbits(bits.astype(np.uint8), axis=1, bitorder="little")
    return packed[:, :, None]


def _int64(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)
