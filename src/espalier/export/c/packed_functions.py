"""Layers of packed weights as C: unpacked while they run, a block of sums at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from espalier.export.c.loops import border_loops, entry_at, row_loops
from espalier.export.c.packed import Packed
from espalier.export.c.steps import ConvolutionStep, LinearStep, Tile
from espalier.export.c.text import array, indented, offset_type, seen_as

__all__ = ["Layer", "Numbers", "Written", "packed_convolution", "packed_linear"]

UNIT = {1: "uint8_t", 2: "uint16_t"}
LIST = 256
"""Nonzeros of a filter that are unpacked once for a row of blocks, to the stack; where there are
more, every block unpacks them for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Types in C."""

    x: str
    y: str
    value: str
    sum: str
    lanes: int
    """Sums a vector."""


@dataclass(slots=True)
class Written:
    """A layer's text."""

    kernels: dict[str, str] = field(default_factory=dict)
    """Inner loops by name, which other layers may share."""
    parts: list[str] = field(default_factory=list)
    """Tables and functions before the layer's own."""
    body: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What every part of a layer's text is made of."""

    name: str
    """Of the network."""
    function: str
    packed: Packed
    numbers: Numbers

    def tables(self) -> list[str]:
        """Write the weights."""
        packed, function = self.packed, self.function
        values = packed.levels if packed.levels.size else packed.values
        parts = [
            array(offset_type(packed.counts), f"{function}_count", packed.counts),
            array(UNIT[packed.units.itemsize], f"{function}_unit", packed.units),
            array(self.numbers.value, f"{function}_value", values),
        ]
        if not packed.levels.size:
            kind = offset_type(packed.nonzeros)
            parts.append(array(kind, f"{function}_nonzero", packed.nonzeros))
        return parts

    def first(self) -> list[str]:
        """Begin with the first filter's weights."""
        return [
            f"const {UNIT[self.packed.units.itemsize]} *unit = {self.function}_unit;",
            f"const {self.numbers.value} *value = {self.function}_value;",
        ]

    def next(self, index: str) -> list[str]:
        """Go on to the next filter's weights."""
        lines = ["unit += n;"]
        if not self.packed.levels.size:
            lines.append(f"value += {self.function}_nonzero[{index}];")
        return lines

    def kernel(self, what: str) -> str:
        """Name an inner loop by all constants and types in it."""
        packed, kinds = self.packed, self.numbers
        own = "" if packed.levels.size else "_own"
        types = "_".join(kind.removesuffix("_t") for kind in (kinds.x, kinds.value))
        form = f"{8 * packed.units.itemsize}_{packed.codes}{own}"
        return f"{self.name}_packed_{what}_{types}_{form}"

    def parameters(self) -> str:
        """Write what every inner loop takes."""
        return (
            f"const {self.numbers.x} *restrict x, const {UNIT[self.packed.units.itemsize]} "
            f"*restrict unit, int n, const {self.numbers.value} *restrict value"
        )


def packed_linear(layer: Layer, step: LinearStep, finish: list[str]) -> Written:
    """Write a product with a vector, or with each row.

    Args:
        layer: its weights.
        step: where they are used.
        finish: statements that make ``q[o]`` of ``sum``.
    """
    written = Written(parts=layer.tables())
    kernel = layer.kernel("product")
    written.kernels[kernel] = _product(kernel, layer)
    inner = [
        f"const int n = {layer.function}_count[o];",
        f"const {layer.numbers.sum} sum = {kernel}(p, unit, n, value);",
        *finish,
        *layer.next("o"),
    ]
    output = step.output.layout
    source = seen_as(step.source.layout, (output.channels, output.height, step.inputs))
    written.body = [
        *border_loops(output),
        *row_loops(
            output,
            [
                f"const {layer.numbers.x} *p = x + {entry_at(source)};",
                f"{layer.numbers.y} *q = y + {entry_at(output)};",
                *layer.first(),
                f"for (int o = 0; o < {layer.packed.counts.size}; o++) {{",
                *indented(inner),
                "}",
            ],
        ),
    ]
    return written


Store = Callable[[str, Tile, int], str]
"""Writes a function that makes outputs of a block: its name, the block, how far rows are apart."""


def packed_convolution(layer: Layer, step: ConvolutionStep, store: Store, rest: str) -> Written:
    """Write a convolution: bands of rows from above to below, in each all blocks and filters.

    Args:
        layer: its weights.
        step: where they are used.
        store: writes what makes outputs of sums.
        rest: what that takes beside sums and outputs, of filter f.
    """
    written = Written(parts=layer.tables())
    taps = array(offset_type(step.taps), f"{layer.function}_tap", step.taps)
    written.parts.append(taps)
    block = max(tile.vectors for tile in step.tiles) * layer.numbers.lanes
    written.body = [*border_loops(step.output.layout), f"{layer.numbers.sum} a[{block}];"]
    most = int(layer.packed.nonzeros.max(initial=0))
    if most <= LIST:
        unpack = layer.kernel(f"unpack_{step.taps.size}_{step.channel_step}")
        written.kernels[unpack] = _unpack(unpack, layer, step)
        lists = f"{_place(step)} at[{max(most, 1)}];"
        written.body += [lists, f"{layer.numbers.sum} w[{max(most, 1)}];"]
        begin = [f"const int m = {unpack}(unit, n, value, {layer.function}_tap, at, w);"]
        inputs = "at, w, m"
    else:
        begin, inputs = [], f"unit, n, value, {layer.function}_tap"
    for _, group in groupby(enumerate(step.tiles), key=lambda pair: pair[1].row):
        band = list(group)
        blocks = []
        for i, tile in band:
            put = f"{layer.function}_store{i}"
            kernel = layer.kernel(_sizes(step, tile)) + ("_listed" if most <= LIST else "")
            pitch = tile.pitch(step.source.layout.row, layer.numbers.lanes)
            written.parts.append(store(put, tile, pitch))
            write = _listed_sums if most <= LIST else _sums
            written.kernels[kernel] = write(kernel, layer, step, tile)
            blocks += _block(step, tile, kernel, inputs, put, rest)
        first = band[0][1]
        rows = f"for (int r = 0; r < {first.row_count}; r++) {{"
        written.body += [rows, *indented(_filters(layer, step, first, [*begin, *blocks])), "}"]
    return written


def _filters(layer: Layer, step: ConvolutionStep, first: Tile, inner: list[str]) -> list[str]:
    """Write a loop over all filters of a row of blocks."""
    row, output = step.source.layout.row, step.output.layout
    top = output.start + first.row // step.pool[0] * output.row
    down, filters = first.rows // step.pool[0] * output.row, layer.packed.counts.size
    group = ""
    if step.group_filters < filters:
        group = f" + f / {step.group_filters} * {step.group_floats}"
    begin = f"{step.base + first.row * row} + r * {first.rows * row}{group}"
    return [
        *layer.first(),
        f"for (int f = 0; f < {filters}; f++) {{",
        f"    const {layer.numbers.x} *xr = x + {begin};",
        f"    {layer.numbers.y} *yr = y + {top} + r * {down} + f * {output.plane};",
        f"    const int n = {layer.function}_count[f];",
        *indented(inner),
        *indented(layer.next("f")),
        "}",
    ]


def _block(
    step: ConvolutionStep, tile: Tile, kernel: str, inputs: str, put: str, rest: str
) -> list[str]:
    """Write a loop over the blocks of a row."""
    across = step.pool[1]
    p = f"xr + {tile.column} + c * {tile.columns}"
    q = f"yr + {tile.column // across} + c * {tile.columns // across}"
    inner = [f"{kernel}({p}, {inputs}, a);", f"{put}(a, {q}, {rest});"]
    return [f"for (int c = 0; c < {tile.column_count}; c++) {{", *indented(inner), "}"]


def _unpacked(packed: Packed, kind: str, skip: str, found: list[str]) -> list[str]:
    """Write a loop over units: what zeros do with their number, and what a nonzero does."""
    zeros = f"(int)(u / {packed.codes}u)"
    value = "value[code]" if packed.levels.size else "*value++"
    return [
        "for (int k = 0; k < n; k++) {",
        "    const unsigned u = unit[k];",
        f"    const unsigned code = u % {packed.codes}u;",
        "    if (code == 0) {",
        f"        {skip.format(f'({zeros} + 1) * {packed.gaps}')}",
        "        continue;",
        "    }",
        *([f"    {skip.format(zeros)}"] if packed.gaps > 1 else []),
        f"    const {kind} w = {value};",
        *indented(found),
        "}",
    ]


def _product(name: str, layer: Layer) -> str:
    kind = layer.numbers.sum
    return "\n".join(
        [
            f"static {kind} {name}({layer.parameters()})",
            "{",
            f"    {kind} sum = 0;",
            *indented(_unpacked(layer.packed, kind, "x += {};", ["sum += w * *x++;"])),
            "    return sum;",
            "}",
            "",
        ]
    )


def _sizes(step: ConvolutionStep, tile: Tile) -> str:
    sizes = (tile.rows, tile.vectors // tile.rows, step.source.layout.row)
    return "_".join(map(str, (*sizes, step.taps.size, step.channel_step)))


def _walk(step: ConvolutionStep) -> list[str]:
    """Go on to the channel that weight t is of."""
    if step.taps.size == 1:
        return [f"x += t * {step.channel_step};", "t = 0;"]
    return [
        f"while (t >= {step.taps.size}) {{",
        f"    t -= {step.taps.size};",
        f"    x += {step.channel_step};",
        "}",
    ]


def _place(step: ConvolutionStep) -> str:
    """Return the type of where inputs lie, from the window's start."""
    last = int(step.taps.max()) + step.channel_step * step.source.layout.channels
    return offset_type(np.array(last))


def _unpack(name: str, layer: Layer, step: ConvolutionStep) -> str:
    """Write what lists the nonzeros of a filter: where their inputs lie, and their values."""
    kind, place = layer.numbers.sum, _place(step)
    found = [*_walk(step), f"at[m] = ({place})(x + tap[t++]);", "weight[m++] = w;"]
    unit, tap = UNIT[layer.packed.units.itemsize], offset_type(step.taps)
    return "\n".join(
        [
            f"static int {name}(const {unit} *restrict unit, int n,",
            f"    const {layer.numbers.value} *restrict value, const {tap} *restrict tap,",
            f"    {place} *restrict at, {kind} *restrict weight)",
            "{",
            "    int t = 0, m = 0, x = 0;",
            *indented(_unpacked(layer.packed, kind, "t += {};", found)),
            "    return m;",
            "}",
            "",
        ]
    )


def _listed_sums(name: str, layer: Layer, step: ConvolutionStep, tile: Tile) -> str:
    """Write a block of sums over a list of nonzeros."""
    parameters = (
        f"const {layer.numbers.x} *restrict x, const {_place(step)} *restrict at,\n"
        f"    const {layer.numbers.sum} *restrict weight, int m"
    )
    loop = [
        "for (int k = 0; k < m; k++) {",
        f"    const {layer.numbers.x} *p = x + at[k];",
        f"    const {layer.numbers.sum} w = weight[k];",
        *indented(_additions(layer, step, tile)),
        "}",
    ]
    return _block_of_sums(name, layer, tile, parameters, loop)


def _sums(name: str, layer: Layer, step: ConvolutionStep, tile: Tile) -> str:
    """Write a block of sums that unpacks one filter."""
    parameters = f"{layer.parameters()},\n    const {offset_type(step.taps)} *restrict tap"
    found = [
        *_walk(step),
        f"const {layer.numbers.x} *p = x + tap[t++];",
        *_additions(layer, step, tile),
    ]
    loop = ["int t = 0;", *_unpacked(layer.packed, layer.numbers.sum, "t += {};", found)]
    return _block_of_sums(name, layer, tile, parameters, loop)


def _additions(layer: Layer, step: ConvolutionStep, tile: Tile) -> list[str]:
    lanes, row = layer.numbers.lanes, step.source.layout.row
    across = range(tile.vectors // tile.rows)
    places = [h * row + w * lanes for h in range(tile.rows) for w in across]
    return [
        f"for (int i = 0; i < {lanes}; i++) a{j}[i] += w * p[{place} + i];"
        for j, place in enumerate(places)
    ]


def _block_of_sums(name: str, layer: Layer, tile: Tile, parameters: str, loop: list[str]) -> str:
    lanes, kind = layer.numbers.lanes, layer.numbers.sum
    lane = f"for (int i = 0; i < {lanes}; i++)"
    return "\n".join(
        [
            f"static void {name}({parameters}, {kind} *restrict y)",
            "{",
            *(f"    {kind} a{j}[{lanes}];" for j in range(tile.vectors)),
            *(f"    {lane} a{j}[i] = 0;" for j in range(tile.vectors)),
            *indented(loop),
            *(f"    {lane} y[{j * lanes} + i] = a{j}[i];" for j in range(tile.vectors)),
            "}",
            "",
        ]
    )
