"""Each step in integers as a C function over its buffers."""

from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np

from espalier.export.c import integer_kernels as kernels
from espalier.export.c.bundles_functions import BundlesLayer, advance, bundles_convolution
from espalier.export.c.integer_loops import (
    average_lines,
    concatenated_lines,
    dequantized_lines,
    finished,
    held_lines,
    looked_up_lines,
    mixed_lines,
    quantized_lines,
    softmax_lines,
    store,
)
from espalier.export.c.integer_weights import IntegerWeights
from espalier.export.c.layout import SPREAD, TURNED, Buffer
from espalier.export.c.loops import (
    argmax_lines,
    border_loops,
    copy_lines,
    entry_at,
    pool_lines,
    row_loops,
    spread_lines,
    turn_lines,
)
from espalier.export.c.packed import Packed
from espalier.export.c.packed_functions import (
    Layer,
    Numbers,
    Written,
    packed_convolution,
    packed_linear,
)
from espalier.export.c.patches import pass_of
from espalier.export.c.patches_functions import PatchesLayer, patches_convolution
from espalier.export.c.steps import (
    ArgmaxStep,
    ConcatStep,
    ConvolutionStep,
    CopyStep,
    ElementwiseStep,
    LinearStep,
    PatchesStep,
    PoolStep,
    SoftmaxStep,
    SpreadStep,
    Step,
    Tile,
    TurnStep,
)
from espalier.export.c.targets import Target
from espalier.export.c.text import (
    array,
    comment,
    function_text,
    indented,
    integer_type,
    offset_type,
    seen_as,
)
from espalier.export.integer.fixed import Fixed
from espalier.export.integer.grids import Grid
from espalier.export.integer.plan import (
    Averages,
    Exponentials,
    IntegerPlan,
    Joined,
    LookedUp,
    Mixed,
)

__all__ = ["IntegerWriter"]

T = TypeVar("T")
WORD = 2
"""Bytes of an int16."""
WIDEST = {"scalar": 1, "portable": 16, "sse": 16, "neon": 16, "avx2": 32, "avx512": 64}
"""Sums that one loop makes where there are that many."""


@dataclass(slots=True)
class IntegerWriter:
    """Text so far: shared kernels, tables, functions."""

    unit: ClassVar[str] = "uint8_t"
    """What the arena is counted in."""

    name: str
    target: Target
    plan: IntegerPlan
    kernels: dict[str, str] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    uses_math: bool = False

    def step(self, index: int, step: Step) -> None:
        """Write a step as the function ``{name}_{index}(x.., y)``."""
        function = f"{self.name}_{index}"
        sources = step.sources if isinstance(step, ElementwiseStep | ConcatStep) else (step.source,)
        body = self._body(function, step)
        inputs = ", ".join(
            f"const {self._kind(source)} *restrict x{i or ''}" for i, source in enumerate(sources)
        )
        if isinstance(step, PatchesStep):
            inputs += f", {self._kind(step.source)} *restrict scratch"
        kind = self._kind(step.output)
        written = function_text(f"{function}({inputs}, {kind} *restrict y)", body)
        self.parts.append(comment(f"{step.node}: {self._title(step)}") + "\n" + written)

    def pointer(self, buffer: Buffer) -> str:
        """Return where a buffer begins, of the type of its elements."""
        kind = self._kind(buffer)
        place = f"a + {buffer.offset}"
        return place if kind == "uint8_t" else f"({kind} *)(void *)({place})"

    def _kind(self, buffer: Buffer | None) -> str:
        """Return the type of a buffer's elements; callers have floats."""
        if buffer is None:
            return "float"
        if buffer.name.endswith(TURNED) and buffer.item == WORD:
            return "int16_t"
        return f"{self._grid(buffer).dtype}_t"

    def _grid(self, buffer: Buffer) -> Grid:
        return self.plan.grids[buffer.name.removesuffix(SPREAD).removesuffix(TURNED)]

    def _planned(self, node: str, kind: type[T]) -> T:
        step = self.plan.steps[node]
        assert isinstance(step, kind)  # noqa: S101  # as the graph is lowered
        return step

    def _body(self, function: str, step: Step) -> list[str]:
        match step:
            case CopyStep():
                return self._copy(step)
            case SpreadStep():
                return spread_lines(step, self._kind(step.source))
            case TurnStep():
                return turn_lines(step, self._kind(step.output))
            case PatchesStep():
                return self._patches(function, step)
            case ConvolutionStep():
                return self._convolution(function, step)
            case LinearStep():
                return self._linear(function, step)
            case ElementwiseStep():
                return self._elementwise(function, step)
            case PoolStep():
                return self._pool(function, step)
            case ConcatStep():
                fixed = self._planned(step.node, Joined).fixed
                return concatenated_lines(step, fixed, self._kind(step.output))
            case SoftmaxStep():
                plan = self._planned(step.node, Exponentials)
                self.parts.append(array("uint32_t", f"{function}_power", plan.table))
                return softmax_lines(step.output.layout.width, plan.rate, f"{function}_power")
            case ArgmaxStep():
                return argmax_lines(step.source.layout, self._kind(step.output))

    def _copy(self, step: CopyStep) -> list[str]:
        if step.source is None and step.output is not None:
            grid = self.plan.grids[step.output.name]
            self._from_integers(step.output)
            return quantized_lines(step.output.layout, grid, self._kind(step.output))
        if step.output is None and step.source is not None:
            grid = self.plan.grids[step.source.name]
            return dequantized_lines(step.source.layout, grid)
        return copy_lines(step)

    def _from_integers(self, output: Buffer) -> None:
        """Write the first step for callers that have integers."""
        kind, ends = self._kind(output), f"{self.name.upper()}_INPUT"
        lines = held_lines(output.layout, f"{ends}_LOW", f"{ends}_HIGH", kind)
        inputs = f"const {kind} *restrict x, {kind} *restrict y"
        self.parts.append(function_text(f"{self.name}_0_integers({inputs})", lines))

    def _fixed(self, function: str, fixed: Fixed) -> None:
        """Write a multiplier, an offset and a shift for each channel."""
        wide = "int64_t" if fixed.wide else "int32_t"
        for i, multipliers in enumerate(fixed.multipliers):
            self.parts.append(array("int32_t", f"{function}_m{i or ''}", multipliers))
        self.parts.append(array(wide, f"{function}_c", fixed.offsets))
        self.parts.append(array("uint8_t", f"{function}_s", fixed.shifts))

    def _tables(self, function: str, weights: IntegerWeights) -> tuple[str, str, str]:
        """Write a layer's weights and return the types of offsets, values and counts."""
        kinds = (
            offset_type(weights.offsets),
            integer_type(weights.values),
            integer_type(weights.counts),
        )
        if weights.parts.size:
            self.parts.append(array(integer_type(weights.parts), f"{function}_part", weights.parts))
        if not weights.dense:
            self.parts.append(array(kinds[2], f"{function}_count", weights.counts))
            self.parts.append(array(kinds[0], f"{function}_offset", weights.offsets))
        self.parts.append(array(kinds[1], f"{function}_value", weights.values))
        self._fixed(function, weights.plan.fixed)
        return kinds

    def _linear(self, function: str, step: LinearStep) -> list[str]:
        weights, output = _weights(step), step.output.layout
        if weights.packed is not None:
            return self._packed_linear(function, step, weights.packed)
        offset, value, count = self._tables(function, weights)
        x, y = self._kind(step.source), self._kind(step.output)
        kernel = f"{self.name}_dot_{x}_{value}"
        begin = [f"const {value} *value = {function}_value;"]
        if weights.dense:
            self.kernels[kernel] = kernels.dot(kernel, (x, value))
            call, end = f"{kernel}(p, value, {step.inputs})", [f"value += {step.inputs};"]
        else:
            sizes = "".join(map(str, weights.sizes))
            kernel = f"{self.name}_gather_{sizes}_{x}_{offset}_{value}_{count}"
            self.kernels[kernel] = kernels.gather(
                kernel, sizes=weights.sizes, kinds=(x, offset, value, count)
            )
            begin += [
                f"const {offset} *offset = {function}_offset;",
                f"const {count} *count = {function}_count;",
            ]
            call, end = f"{kernel}(p, offset, value, count)", advance(weights)
        fixed = weights.plan.fixed
        inner = [
            f"const int32_t v = {call};",
            *finished(_product(function, "v", "o", fixed), f"{function}_s[o]", fixed, y, "q[o]"),
            *end,
        ]
        source = seen_as(step.source.layout, (output.channels, output.height, step.inputs))
        return [
            *border_loops(output),
            *row_loops(
                output,
                [
                    f"const {x} *restrict p = x + {entry_at(source)};",
                    f"{y} *restrict q = y + {entry_at(output)};",
                    *begin,
                    f"for (int o = 0; o < {fixed.shifts.size}; o++) {{",
                    *indented(inner),
                    "}",
                ],
            ),
        ]

    def _layer(self, function: str, step: LinearStep | ConvolutionStep, packed: Packed) -> Layer:
        values = packed.levels if packed.levels.size else packed.values
        numbers = Numbers(
            x=self._kind(step.source),
            y=self._kind(step.output),
            value=integer_type(np.append(values, -1)),
            sum="int32_t",
            lanes=self.target.lanes,
        )
        return Layer(name=self.name, function=function, packed=packed, numbers=numbers)

    def _packed_linear(self, function: str, step: LinearStep, packed: Packed) -> list[str]:
        fixed, layer = _weights(step).plan.fixed, self._layer(function, step, packed)
        self._fixed(function, fixed)
        total, shift = _product(function, "sum", "o", fixed), f"{function}_s[o]"
        finish = finished(total, shift, fixed, layer.numbers.y, "q[o]")
        return self._take(packed_linear(layer, step, finish))

    def _packed_convolution(
        self, function: str, step: ConvolutionStep, packed: Packed
    ) -> list[str]:
        fixed, layer = _weights(step).plan.fixed, self._layer(function, step, packed)
        self._fixed(function, fixed)
        kinds = (layer.numbers.sum, layer.numbers.y)

        def stored(name: str, tile: Tile, pitch: int) -> str:
            count = tile.vectors * self.target.lanes
            return store(name, step, tile, fixed, kinds, count, pitch=pitch)

        rest = ", ".join(f"{function}_{part}[f]" for part in "mcs")
        return self._take(packed_convolution(layer, step, stored, rest))

    def _patches(self, function: str, step: PatchesStep) -> list[str]:
        fixed, y = _weights(step).plan.fixed, self._kind(step.output)
        self._fixed(function, fixed)
        x = self._kind(step.source)
        layer = PatchesLayer(
            name=self.name,
            function=function,
            x=x,
            value="int16_t" if step.source.item == WORD else "int8_t",
            y=y,
            at_once=pass_of(self.target),
        )

        def stored(name: str, tile: Tile, pitch: int) -> str:
            count = tile.rows * tile.columns
            return store(name, step, tile, fixed, ("int32_t", y), count, pitch=pitch)

        rest = ", ".join(f"{function}_{part}[f]" for part in "mcs")
        return self._take(patches_convolution(layer, step, stored, rest))

    def _take(self, written: Written) -> list[str]:
        self.kernels.update(written.kernels)
        self.parts += written.parts
        return written.body

    def _convolution(self, function: str, step: ConvolutionStep) -> list[str]:
        weights = _weights(step)
        if weights.packed is not None:
            return self._packed_convolution(function, step, weights.packed)
        offset, value, count = self._tables(function, weights)
        x, y, fixed = self._kind(step.source), self._kind(step.output), weights.plan.fixed
        layer = BundlesLayer(
            name=self.name,
            function=function,
            weights=weights,
            kinds=(x, offset, value, count),
            y=y,
            lanes=self.target.lanes,
            widest=WIDEST[self.target.name],
            pairs=kernels.PAIRS.get(self.target.name),
        )

        def stored(name: str, tile: Tile, pitch: int) -> str:
            sums = tile.vectors * self.target.lanes
            return store(name, step, tile, fixed, (layer.sum, y), sums, pitch=pitch)

        rest = ", ".join(f"{function}_{part}[f]" for part in "mcs")
        return self._take(bundles_convolution(layer, step, stored, rest))

    def _elementwise(self, function: str, step: ElementwiseStep) -> list[str]:
        plan, kind = self.plan.steps[step.node], self._kind(step.output)
        if isinstance(plan, LookedUp):
            self.parts.append(array(kind, f"{function}_y", plan.table))
            grid = self.plan.grids[step.sources[0].name]
            return looked_up_lines(step, f"{function}_y", grid)
        fixed = self._planned(step.node, Mixed).fixed
        self._fixed(function, fixed)
        return mixed_lines(function, step, fixed, kind)

    def _pool(self, function: str, step: PoolStep) -> list[str]:
        kind = self._kind(step.source)
        if step.pool.kind == "max":
            lowest = str(self.plan.grids[step.source.name].low)
            return pool_lines(step, kind=kind, total="int32_t", lowest=lowest)
        fixed = self._planned(step.node, Averages).fixed
        self._fixed(function, fixed)
        return average_lines(function, step, fixed, (kind, self._kind(step.output)))

    def _title(self, step: Step) -> str:
        text = type(step).__name__.removesuffix("Step").lower()
        if not isinstance(step, ConvolutionStep | PatchesStep | LinearStep):
            return text
        weights, grid = _weights(step), self._grid(step.source)
        used = np.count_nonzero(weights.plan.codes.codes)
        how = "dense" if weights.dense else f"sparse, {used} nonzeros"
        off = ", off the trained grid" if step.node in self.plan.off_grid else ""
        return (
            f"{text}, {weights.plan.fixed.shifts.size} outputs, {how}, inputs {grid.low} to "
            f"{grid.high}, sums within {int(weights.plan.bounds.max(initial=0))}{off}"
        )


def _weights(step: ConvolutionStep | PatchesStep | LinearStep) -> IntegerWeights:
    assert isinstance(step.weights, IntegerWeights)  # noqa: S101  # what integers are lowered to
    return step.weights


def _product(function: str, v: str, index: str, fixed: Fixed) -> str:
    cast = "(int64_t)" if fixed.wide else ""
    return f"{cast}{v} * {function}_m[{index}] + {function}_c[{index}]"
