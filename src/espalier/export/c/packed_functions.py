"""Layers of packed weights as C: unpacked while they run, a block of sums at a time."""

from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from espalier.export.c.loops import border_loops, entry_at, row_loops
from espalier.export.c.packed import PackedWeights
from espalier.export.c.steps import ConvolutionStep, LinearStep, Tile
from espalier.export.c.stores import store
from espalier.export.c.text import activated, array, indented, literal, offset_type, seen_as

__all__ = ["Written", "packed_convolution", "packed_linear"]

UNIT = {1: "uint8_t", 2: "uint16_t"}


@dataclass(slots=True)
class Written:
    """A layer's text."""

    kernels: dict[str, str] = field(default_factory=dict)
    """Inner loops by name, which other layers may share."""
    parts: list[str] = field(default_factory=list)
    """Tables and functions before the layer's own."""
    body: list[str] = field(default_factory=list)


def packed_linear(name: str, function: str, step: LinearStep, weights: PackedWeights) -> Written:
    """Write a product with a vector, or with each row."""
    written = Written(parts=_tables(function, weights))
    kernel = f"{name}_packed_product_{_format(weights)}"
    written.kernels[kernel] = _product(kernel, weights)
    inner = [
        f"const int n = {function}_count[o];",
        f"const float sum = {kernel}(p, unit, n, value);",
        f"const float v = sum * {_constant(function, 'scale', weights.scale, 'o')}"
        f" + {_constant(function, 'shift', weights.shift, 'o')};",
        f"q[o] = {activated('v', step.activation)};",
        *_next(function, weights, "o"),
    ]
    output = step.output.layout
    source = seen_as(step.source.layout, (output.channels, output.height, step.inputs))
    written.body = [
        *border_loops(output),
        *row_loops(
            output,
            [
                f"const float *p = x + {entry_at(source)};",
                f"float *q = y + {entry_at(output)};",
                *_first(function, weights),
                f"for (int o = 0; o < {weights.scale.size}; o++) {{",
                *indented(inner),
                "}",
            ],
        ),
    ]
    return written


def packed_convolution(
    name: str, function: str, step: ConvolutionStep, weights: PackedWeights, *, lanes: int
) -> Written:
    """Write a convolution: bands of rows from above to below, in each all blocks and filters."""
    written = Written(parts=_tables(function, weights))
    written.parts.append(array(offset_type(step.taps), f"{function}_tap", step.taps))
    written.body = border_loops(step.output.layout)
    written.body.append(f"float a[{max(tile.vectors for tile in step.tiles) * lanes}];")
    for _, band in groupby(enumerate(step.tiles), key=lambda pair: pair[1].row):
        written.body += _band(name, function, step, list(band), weights, lanes, written)
    return written


def _band(
    name: str,
    function: str,
    step: ConvolutionStep,
    band: list[tuple[int, Tile]],
    weights: PackedWeights,
    lanes: int,
    written: Written,
) -> list[str]:
    """Write a loop over rows of blocks."""
    row, output, first = step.source.layout.row, step.output.layout, band[0][1]
    down = first.rows // step.pool[0] * output.row
    inner = [
        f"const float *xr = x + {step.base + first.row * row} + r * {first.rows * row};",
        f"float *yr = y + {output.start + first.row // step.pool[0] * output.row} + r * {down};",
    ]
    for i, tile in band:
        put = f"{function}_store{i}"
        written.parts.append(store(put, step, tile, pitch=tile.pitch(row, lanes)))
        kernel = _sums_name(name, step, tile, weights)
        written.kernels[kernel] = _sums(kernel, step, tile, weights, lanes)
        inner += _block(function, kernel, put, step, tile, weights)
    return [f"for (int r = 0; r < {first.row_count}; r++) {{", *indented(inner), "}"]


def _block(
    function: str, kernel: str, put: str, step: ConvolutionStep, tile: Tile, weights: PackedWeights
) -> list[str]:
    """Write loops over the blocks of a row and over all filters."""
    group = ""
    if step.group_filters < weights.scale.size:
        group = f" + f / {step.group_filters} * {step.group_floats}"
    scale = _constant(function, "scale", weights.scale, "f")
    shift = _constant(function, "shift", weights.shift, "f")
    inner = [
        f"const float *p = xr + {tile.column} + c * {tile.columns};",
        f"float *q = yr + {tile.column // step.pool[1]} + c * {tile.columns // step.pool[1]};",
        *_first(function, weights),
        f"for (int f = 0; f < {weights.scale.size}; f++) {{",
        f"    const int n = {function}_count[f];",
        f"    {kernel}(p{group}, unit, n, value, {function}_tap, a);",
        f"    {put}(a, q + f * {step.output.layout.plane}, {scale}, {shift});",
        *indented(_next(function, weights, "f")),
        "}",
    ]
    return [f"for (int c = 0; c < {tile.column_count}; c++) {{", *indented(inner), "}"]


def _tables(function: str, weights: PackedWeights) -> list[str]:
    """Write a layer's constants; scales and shifts only where they differ."""
    values = weights.levels if weights.levels.size else weights.values
    parts = [
        array(offset_type(weights.counts), f"{function}_count", weights.counts),
        array(UNIT[weights.units.itemsize], f"{function}_unit", weights.units),
        array("float", f"{function}_value", values),
    ]
    if not weights.levels.size:
        kind = offset_type(weights.nonzeros)
        parts.append(array(kind, f"{function}_nonzero", weights.nonzeros))
    for kind, numbers in (("scale", weights.scale), ("shift", weights.shift)):
        if np.unique(numbers).size > 1:
            parts.append(array("float", f"{function}_{kind}", numbers))
    return parts


def _constant(function: str, kind: str, numbers: NDArray[np.float32], index: str) -> str:
    """Return an entry of a table, or the only number in it."""
    if np.unique(numbers).size > 1:
        return f"{function}_{kind}[{index}]"
    return literal(numbers[0]) if numbers.size else "0.0f"


def _first(function: str, weights: PackedWeights) -> list[str]:
    """Begin with the first filter's weights."""
    return [
        f"const {UNIT[weights.units.itemsize]} *unit = {function}_unit;",
        f"const float *value = {function}_value;",
    ]


def _next(function: str, weights: PackedWeights, index: str) -> list[str]:
    """Go on to the next filter's weights."""
    lines = ["unit += n;"]
    if not weights.levels.size:
        lines.append(f"value += {function}_nonzero[{index}];")
    return lines


def _format(weights: PackedWeights) -> str:
    return f"{8 * weights.units.itemsize}_{weights.codes}{'' if weights.levels.size else 'f'}"


def _unpacked(weights: PackedWeights, skip: str, found: list[str]) -> list[str]:
    """Write a loop over units: what zeros do with their number, and what a nonzero does."""
    zeros = f"(int)(u / {weights.codes}u)"
    value = "value[code]" if weights.levels.size else "*value++"
    return [
        "for (int k = 0; k < n; k++) {",
        "    const unsigned u = unit[k];",
        f"    const unsigned code = u % {weights.codes}u;",
        "    if (code == 0) {",
        f"        {skip.format(f'({zeros} + 1) * {weights.gaps}')}",
        "        continue;",
        "    }",
        *([f"    {skip.format(zeros)}"] if weights.gaps > 1 else []),
        f"    const float w = {value};",
        *indented(found),
        "}",
    ]


def _parameters(weights: PackedWeights) -> str:
    kind = UNIT[weights.units.itemsize]
    return (
        f"const float *restrict x, const {kind} *restrict unit, int n, const float *restrict value"
    )


def _product(name: str, weights: PackedWeights) -> str:
    return "\n".join(
        [
            f"static float {name}({_parameters(weights)})",
            "{",
            "    float sum = 0.0f;",
            *indented(_unpacked(weights, "x += {};", ["sum += w * *x++;"])),
            "    return sum;",
            "}",
            "",
        ]
    )


def _sums_name(name: str, step: ConvolutionStep, tile: Tile, weights: PackedWeights) -> str:
    """Name a loop by all constants in it."""
    sizes = (tile.rows, tile.vectors // tile.rows, step.source.layout.row)
    taps = (step.taps.size, step.channel_step)
    return f"{name}_packed_{'_'.join(map(str, sizes + taps))}_{_format(weights)}"


def _sums(name: str, step: ConvolutionStep, tile: Tile, weights: PackedWeights, lanes: int) -> str:
    """Write a block of sums for one filter."""
    across, row, taps = tile.vectors // tile.rows, step.source.layout.row, step.taps.size
    places = [h * row + w * lanes for h in range(tile.rows) for w in range(across)]
    lane = f"for (int i = 0; i < {lanes}; i++)"
    walk = [f"x += t * {step.channel_step};", "t = 0;"]
    if taps > 1:
        walk = [
            f"while (t >= {taps}) {{",
            f"    t -= {taps};",
            f"    x += {step.channel_step};",
            "}",
        ]
    found = [
        *walk,
        "const float *p = x + tap[t++];",
        *(f"{lane} a{j}[i] += w * p[{place} + i];" for j, place in enumerate(places)),
    ]
    return "\n".join(
        [
            f"static void {name}({_parameters(weights)},",
            f"    const {offset_type(step.taps)} *restrict tap, float *restrict y)",
            "{",
            "    int t = 0;",
            *(f"    float a{j}[{lanes}];" for j in range(tile.vectors)),
            *(f"    {lane} a{j}[i] = 0.0f;" for j in range(tile.vectors)),
            *indented(_unpacked(weights, "t += {};", found)),
            *(f"    {lane} y[{j * lanes} + i] = a{j}[i];" for j in range(tile.vectors)),
            "}",
            "",
        ]
    )
