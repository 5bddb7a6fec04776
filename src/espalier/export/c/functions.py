"""Each step as a C function over its buffers."""

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from espalier.export.c import kernels
from espalier.export.c.layout import Buffer
from espalier.export.c.loops import (
    argmax_lines,
    border_loops,
    concat_lines,
    copy_lines,
    entry_at,
    pool_lines,
    row_loops,
    softmax_lines,
    spread_lines,
    tile_loops,
)
from espalier.export.c.packed import PackedWeights
from espalier.export.c.packed_functions import (
    Layer,
    Numbers,
    Written,
    packed_convolution,
    packed_linear,
)
from espalier.export.c.steps import (
    ArgmaxStep,
    ConcatStep,
    ConvolutionStep,
    CopyStep,
    ElementwiseStep,
    LinearStep,
    PoolStep,
    SoftmaxStep,
    SpreadStep,
    Step,
    Tile,
    Weights,
)
from espalier.export.c.stores import moved, store
from espalier.export.c.targets import Target
from espalier.export.c.text import (
    activated,
    array,
    comment,
    function_text,
    indented,
    literal,
    offset_type,
    seen_as,
)

__all__ = ["Writer"]


@dataclass(slots=True)
class Writer:
    """Text so far: shared kernels, tables, functions."""

    unit: ClassVar[str] = "float"
    """What the arena is counted in."""

    name: str
    target: Target
    kernels: dict[str, str] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    uses_math: bool = False

    def step(self, index: int, step: Step) -> None:
        """Write a step as the function ``{name}_{index}(x.., y)``."""
        function = f"{self.name}_{index}"
        match step:
            case CopyStep():
                body = copy_lines(step)
            case SpreadStep():
                body = spread_lines(step)
            case ConvolutionStep():
                body = self._convolution(function, step)
            case LinearStep():
                body = self._linear(function, step)
            case ElementwiseStep():
                body = self._elementwise(function, step)
            case PoolStep():
                self.uses_math |= step.pool.kind == "max"
                body = pool_lines(step)
            case ConcatStep():
                body = concat_lines(step)
            case SoftmaxStep():
                self.uses_math = True
                body = softmax_lines(step.output.layout.width)
            case ArgmaxStep():
                body = argmax_lines(step.source.layout)
        restrict = "" if isinstance(getattr(step, "weights", None), PackedWeights) else "restrict "
        sources = len(step.sources) if isinstance(step, ElementwiseStep | ConcatStep) else 1
        inputs = ", ".join(f"const float *{restrict}x{i or ''}" for i in range(sources))
        written = function_text(f"{function}({inputs}, float *{restrict}y)", body)
        self.parts.append(comment(f"{step.node}: {_title(step)}") + "\n" + written)

    def pointer(self, buffer: Buffer) -> str:
        """Return where a buffer begins."""
        return f"a + {buffer.offset}"

    def _tables(self, function: str, weights: Weights) -> str:
        """Write a layer's constants and return the type of offsets."""
        offset = offset_type(weights.offsets)
        if not weights.dense:
            kind = offset_type(weights.counts)
            self.parts.append(array(kind, f"{function}_count", weights.counts))
            self.parts.append(array(offset, f"{function}_offset", weights.offsets))
        self.parts.append(array("float", f"{function}_value", weights.values))
        self.parts.append(array("float", f"{function}_scale", weights.scale))
        self.parts.append(array("float", f"{function}_shift", weights.shift))
        return offset

    def _layer(self, function: str, weights: PackedWeights) -> Layer:
        lanes = self.target.lanes
        numbers = Numbers(x="float", y="float", value="float", sum="float", lanes=lanes)
        return Layer(name=self.name, function=function, packed=weights.packed, numbers=numbers)

    def _constants(self, function: str, index: str, weights: PackedWeights) -> tuple[str, str]:
        """Return scale and shift of an output: entries of tables, or the only number in them."""

        def one(kind: str, numbers: NDArray[np.float32]) -> str:
            if np.unique(numbers).size <= 1:
                return literal(numbers[0]) if numbers.size else "0.0f"
            self.parts.append(array("float", f"{function}_{kind}", numbers))
            return f"{function}_{kind}[{index}]"

        return one("scale", weights.scale), one("shift", weights.shift)

    def _take(self, written: Written) -> list[str]:
        self.kernels.update(written.kernels)
        self.parts += written.parts
        return written.body

    def _linear(self, function: str, step: LinearStep) -> list[str]:
        if isinstance(step.weights, PackedWeights):
            scale, shift = self._constants(function, "o", step.weights)
            finish = [
                f"const float v = sum * {scale} + {shift};",
                f"q[o] = {activated('v', step.activation)};",
            ]
            return self._take(packed_linear(self._layer(function, step.weights), step, finish))
        weights, outputs = _weights(step), _weights(step).scale.size
        offset = self._tables(function, weights)
        if weights.dense:
            kernel = f"{self.name}_dot"
            self.kernels[kernel] = kernels.dot(kernel)
            call = f"{kernel}(p, {function}_value + o * {step.inputs}, {step.inputs})"
        else:
            kernel = f"{self.name}_gather_{offset}"
            self.kernels[kernel] = kernels.gather(kernel, offset=offset)
            call = f"{kernel}(p, offset, value, n)"
        inner = [
            *([] if weights.dense else [f"const int n = (int){function}_count[o];"]),
            f"const float v = {call} * {function}_scale[o] + {function}_shift[o];",
            f"q[o] = {activated('v', step.activation)};",
            *([] if weights.dense else ["offset += n;", "value += n;"]),
        ]
        output = step.output.layout
        source = seen_as(step.source.layout, (output.channels, output.height, step.inputs))
        return [
            *border_loops(output),
            *row_loops(
                output,
                [
                    f"const float *restrict p = x + {entry_at(source)};",
                    f"float *restrict q = y + {entry_at(output)};",
                    *(
                        []
                        if weights.dense
                        else [
                            f"const {offset} *offset = {function}_offset;",
                            f"const float *value = {function}_value;",
                        ]
                    ),
                    f"for (int o = 0; o < {outputs}; o++) {{",
                    *indented(inner),
                    "}",
                ],
            ),
        ]

    def _convolution(self, function: str, step: ConvolutionStep) -> list[str]:
        if isinstance(step.weights, PackedWeights):
            rest = ", ".join(self._constants(function, "f", step.weights))
            layer = self._layer(function, step.weights)
            return self._take(packed_convolution(layer, step, partial(_stored, step), rest))
        weights = _weights(step)
        offset = self._tables(function, weights)
        block = max(tile.vectors for tile in step.tiles) * step.lanes
        size = block * len(weights.moves)
        aligned = f"{self.name.upper()}_WHOLE{step.lanes}"
        body = [*border_loops(step.output.layout), f"{aligned} float a[{size}];"]
        pitch = step.source.layout.row
        for i, tile in enumerate(step.tiles):
            put = f"{function}_store{i}"
            first = moved(step, tile, weights.moves, tile.vectors * step.lanes)
            self.parts.append(store(put, step, tile, pitch=pitch, first=first))
            body += self._tile(function, step, tile, put, offset)
        return body

    def _tile(
        self, function: str, step: ConvolutionStep, tile: Tile, put: str, offset: str
    ) -> list[str]:
        weights, lanes, size = _weights(step), step.lanes, tile.vectors * step.lanes
        loops, p, q = tile_loops(step, tile)
        vectors = f"{self.name}_floats{lanes}"
        self.kernels[vectors] = kernels.vector(self.name, lanes)
        kernel = f"{self.name}_sparse_{tile.vectors}_{lanes}_{offset}"
        self.kernels[kernel] = kernels.sparse(
            kernel, self.name, vectors=tile.vectors, lanes=lanes, offset=offset
        )
        moves = len(weights.moves)
        run = [
            "const int n = (int)*count++;",
            f"{kernel}(p, offset, value, n, a{f' + m * {size}' if moves > 1 else ''});",
            "offset += n;",
            "value += n;",
        ]
        last = f" + {(moves - 1) * size}" if moves > 1 else ""
        if moves > 1:
            run = [f"for (int m = 0; m < {moves}; m++) {{", *indented(run), "}"]
        inner = [
            f"const float *restrict p = {p};",
            f"float *restrict q = {q};",
            f"const {offset_type(weights.counts)} *count = {function}_count;",
            f"const {offset} *offset = {function}_offset;",
            f"const float *value = {function}_value;",
            f"for (int f = 0; f < {weights.scale.size}; f++) {{",
            *indented(run),
            f"    {put}(a{last}, q + f * {step.output.layout.plane}, {_affine(function, 'f')});",
            "}",
        ]
        return [*loops, "{", *indented(inner), "}"]

    def _elementwise(self, function: str, step: ElementwiseStep) -> list[str]:
        output = step.output.layout
        size = (output.channels, output.height, output.width)
        names = ["x", *(f"x{i}" for i in range(1, len(step.sources)))]
        terms = [
            f"{name}[{entry_at(seen_as(source.layout, size))} + w]"
            for name, source in zip(names, step.sources, strict=True)
        ]
        value = " + ".join(terms)
        if step.scale is not None and step.shift is not None:
            self.parts.append(array("float", f"{function}_scale", step.scale))
            self.parts.append(array("float", f"{function}_shift", step.shift))
            index = "w" if size[:2] == (1, 1) and step.scale.size == size[2] else "c"
            value = f"({value}) * {_affine(function, index).replace(', ', ' + ')}"
        inner = [
            f"for (int w = 0; w < {output.width}; w++) {{",
            f"    const float v = {value};",
            f"    y[{entry_at(output)} + w] = {activated('v', step.activation)};",
            "}",
        ]
        return [*border_loops(output), *row_loops(output, inner)]


def _weights(step: ConvolutionStep | LinearStep) -> Weights:
    assert isinstance(step.weights, Weights)  # noqa: S101  # what float32 is lowered to
    return step.weights


def _title(step: Step) -> str:
    text = type(step).__name__.removesuffix("Step").lower()
    if isinstance(step, ConvolutionStep | LinearStep):
        if isinstance(step.weights, PackedWeights):
            kept = int(step.weights.packed.nonzeros.sum())
            return f"{text}, {step.weights.scale.size} outputs, packed, {kept} nonzeros"
        weights = _weights(step)
        how = "dense" if weights.dense else f"sparse, {weights.values.size} nonzeros"
        return f"{text}, {weights.scale.size} outputs, {how}"
    return text


def _stored(step: ConvolutionStep, name: str, tile: Tile, pitch: int) -> str:
    return store(name, step, tile, pitch=pitch)


def _affine(function: str, index: str) -> str:
    return f"{function}_scale[{index}], {function}_shift[{index}]"
