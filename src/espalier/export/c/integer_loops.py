"""Loops in C over integers: onto grids, off grids, from one to the other."""

from math import prod

from espalier.export.c.layout import Layout
from espalier.export.c.loops import border_loops, entry_at, plain, pool_lines, row_loops
from espalier.export.c.steps import (
    ConcatStep,
    ConvolutionStep,
    ElementwiseStep,
    PatchesStep,
    PoolStep,
    Tile,
)
from espalier.export.c.text import indented, literal, seen_as
from espalier.export.integer.fixed import Fixed
from espalier.export.integer.grids import Grid
from espalier.export.integer.plan import EXPONENT_SHIFT, FRACTION

__all__ = [
    "average_lines",
    "concatenated_lines",
    "dequantized_lines",
    "finished",
    "held_lines",
    "looked_up_lines",
    "mixed_lines",
    "quantized_lines",
    "softmax_lines",
    "store",
]


def finished(total: str, shift: str, fixed: Fixed, kind: str, target: str) -> list[str]:
    """Shift a total that is not negative, hold it within the grid and keep it."""
    wide = "int64_t" if fixed.wide else "int32_t"
    levels = fixed.grid.high - fixed.grid.low
    return [
        f"const {wide} t = {total};",
        f"const {wide} u = (t > 0 ? t : 0) >> {shift};",
        f"{target} = ({kind})((u < {levels} ? u : {levels}){_less(-fixed.grid.low)});",
    ]


def _less(number: int) -> str:
    return f" - {number}" if number else ""


def _more(number: int) -> str:
    return f" + {number}" if number else ""


def quantized_lines(output: Layout, grid: Grid, kind: str) -> list[str]:
    """Put floats on a grid: rounded to the nearest, ties up; no product that might be fused."""
    source = plain(output)
    inner = [
        f"for (int w = 0; w < {output.width}; w++) {{",
        f"    float v = x[{entry_at(source)} + w] / {literal(float(grid.scale))} "
        f"+ {literal(0.5 - grid.low)};",
        "    v = v > 0.0f ? v : 0.0f;",
        f"    v = v < {literal(grid.high - grid.low)} ? v : {literal(grid.high - grid.low)};",
        f"    y[{entry_at(output)} + w] = ({kind})((int32_t)v{_less(-grid.low)});",
        "}",
    ]
    return [*border_loops(output), *row_loops(output, inner)]


def held_lines(output: Layout, low: str, high: str, kind: str) -> list[str]:
    """Take integers that are on a grid already, or beyond its ends."""
    inner = [
        f"for (int w = 0; w < {output.width}; w++) {{",
        f"    const int v = x[{entry_at(plain(output))} + w];",
        f"    y[{entry_at(output)} + w] = ({kind})(v < {low} ? {low} : v > {high} ? {high} : v);",
        "}",
    ]
    return [*border_loops(output), *row_loops(output, inner)]


def dequantized_lines(source: Layout, grid: Grid) -> list[str]:
    """Turn integers into the floats that they stand for."""
    inner = [
        f"for (int w = 0; w < {source.width}; w++)",
        f"    y[{entry_at(plain(source))} + w] = "
        f"(float)x[{entry_at(source)} + w] * {literal(float(grid.scale))};",
    ]
    return row_loops(source, inner)


def looked_up_lines(step: ElementwiseStep, table: str, grid: Grid) -> list[str]:
    """Look an elementwise function up."""
    output = step.output.layout
    source = seen_as(step.sources[0].layout, (output.channels, output.height, output.width))
    inner = [
        f"for (int w = 0; w < {output.width}; w++)",
        f"    y[{entry_at(output)} + w] = {table}[x[{entry_at(source)} + w]{_more(-grid.low)}];",
    ]
    return [*border_loops(output), *row_loops(output, inner)]


def mixed_lines(function: str, step: ElementwiseStep, fixed: Fixed, kind: str) -> list[str]:
    """Add values of several grids, each times a number a channel."""
    output = step.output.layout
    size = (output.channels, output.height, output.width)
    channels = fixed.shifts.size
    index = "0" if channels == 1 else "w" if size[:2] == (1, 1) else "c"
    cast = "(int64_t)" if fixed.wide else ""
    terms = [
        f"{cast}x{i or ''}[{entry_at(seen_as(source.layout, size))} + w] "
        f"* {function}_m{i or ''}[{index}]"
        for i, source in enumerate(step.sources)
    ]
    total = " + ".join([*terms, f"{function}_c[{index}]"])
    target = f"y[{entry_at(output)} + w]"
    inner = [
        f"for (int w = 0; w < {output.width}; w++) {{",
        *indented(finished(total, f"{function}_s[{index}]", fixed, kind, target)),
        "}",
    ]
    return [*border_loops(output), *row_loops(output, inner)]


def concatenated_lines(step: ConcatStep, parts: tuple[Fixed, ...], kind: str) -> list[str]:
    """Put channels one after the other, each source moved to the grid of the output."""
    output = step.output.layout
    body = border_loops(output)
    place = 0
    for i, (buffer, size, fixed) in enumerate(zip(step.sources, step.sizes, parts, strict=True)):
        begin = place if step.vector else place * output.plane
        place += size[2] if step.vector else size[0]
        source = seen_as(buffer.layout, size)
        cast = "(int64_t)" if fixed.wide else ""
        multiplier, constant = int(fixed.multipliers[0, 0]), str(int(fixed.offsets[0]))
        constant = f"INT64_C({constant})" if fixed.wide else constant
        total = f"{cast}x{i or ''}[{entry_at(source)} + w] * {multiplier} + {constant}"
        target = f"y[{begin} + {entry_at(output)} + w]"
        body += [
            f"for (int c = 0; c < {size[0]}; c++)",
            f"    for (int h = 0; h < {size[1]}; h++)",
            f"        for (int w = 0; w < {size[2]}; w++) {{",
            *indented(finished(total, str(int(fixed.shifts[0])), fixed, kind, target), 3),
            "        }",
        ]
    return body


def average_lines(function: str, step: PoolStep, fixed: Fixed, kinds: tuple[str, str]) -> list[str]:
    """Take the mean of each window: the sum times what its number of entries says."""
    cast = "(int64_t)" if fixed.wide else ""
    total = f"{cast}v * {function}_m[count - 1] + {function}_c[count - 1]"
    lines = finished(total, f"{function}_s[count - 1]", fixed, kinds[1], f"const {kinds[1]} m")
    return pool_lines(step, kind=kinds[0], total="int32_t", mean=lines)


def softmax_lines(size: int, rate: int, table: str) -> list[str]:
    """Powers of two over their sum."""
    half = 2 ** (EXPONENT_SHIFT - 1)
    return [
        "int32_t top = x[0];",
        "int64_t sum = 0;",
        f"uint32_t power[{size}];",
        f"for (int i = 1; i < {size}; i++)",
        "    top = x[i] > top ? x[i] : top;",
        f"for (int i = 0; i < {size}; i++) {{",
        f"    const int64_t t = ((top - x[i]) * INT64_C({rate}) + {half}) >> {EXPONENT_SHIFT};",
        f"    const int64_t whole = t >> {FRACTION};",
        f"    power[i] = {table}[t & {2**FRACTION - 1}] >> (whole < 31 ? whole : 31);",
        "    sum += power[i];",
        "}",
        f"for (int i = 0; i < {size}; i++)",
        "    y[i] = (uint16_t)((((int64_t)power[i] << 15) + sum / 2) / sum);",
    ]


def _best_in_rows(
    step: ConvolutionStep | PatchesStep, kind: str, pitch: int, size: tuple[int, int]
) -> list[str]:
    """Take the maximum of each window in rows of sums."""
    (rows, columns), (height, width) = step.pool, size
    places = [f"{i * pitch + j}" for i in range(rows) for j in range(columns)]
    return [
        f"for (int h = 0; h < {height}; h++)",
        f"    for (int w = 0; w < {width}; w++) {{",
        f"        const {kind} *p = a + h * {rows * pitch} + w * {columns};",
        f"        {kind} m = p[0];",
        *(f"        m = p[{place}] > m ? p[{place}] : m;" for place in places[1:]),
        f"        best[h * {width} + w] = m;",
        "    }",
    ]


def _best_of_parts(
    step: ConvolutionStep | PatchesStep, kind: str, pitch: int, size: tuple[int, int]
) -> list[str]:
    """Take it where sums of the same place of all windows lie together."""
    count = size[0] * size[1]
    places = [i * count for i in range(1, prod(step.pool))]
    return [
        f"for (int i = 0; i < {count}; i++) {{",
        f"    {kind} m = a[i];",
        *(f"    m = a[i + {place}] > m ? a[i + {place}] : m;" for place in places),
        "    best[i] = m;",
        "}",
    ]


def store(
    name: str,
    step: ConvolutionStep | PatchesStep,
    tile: Tile,
    fixed: Fixed,
    kinds: tuple[str, str],
    sums: int,
    *,
    pitch: int,
) -> str:
    """Write what turns a block of sums into integers of the next grid, a maximum first.

    The whole block goes in one loop, with what lies between rows, and rows are picked from it; so
    as not to overflow there, totals are unsigned until they are complete.
    Rows of sums are ``pitch`` apart.
    """
    kind, y = kinds
    wide = "64" if fixed.wide else "32"
    rows, columns = step.pool
    height, width = tile.rows // rows, tile.columns // columns
    row, count, first = pitch, sums, "a"
    lines = []
    if step.pool != (1, 1):
        row, count, first = width, height * width, "best"
        windows = isinstance(step, PatchesStep)
        lines = [
            f"{kind} best[{count}];",
            *(_best_of_parts if windows else _best_in_rows)(step, kind, pitch, (height, width)),
        ]
    total = (
        f"(int{wide}_t)((uint{wide}_t){first}[i] * (uint{wide}_t)multiplier + (uint{wide}_t)offset)"
    )
    lines += [
        f"{y} line[{count}];",
        f"for (int i = 0; i < {count}; i++) {{",
        *indented(finished(total, "shift", fixed, y, "line[i]")),
        "}",
        f"for (int h = 0; h < {height}; h++)",
        f"    memcpy(y + h * {step.output.layout.row}, line + h * {row}, {width} * sizeof *y);",
    ]
    return "\n".join(
        [
            f"static void {name}(const {kind} *restrict a, {y} *restrict y, "
            f"int32_t multiplier, int{wide}_t offset,",
            "    int shift)",
            "{",
            *indented(lines),
            "}",
            "",
        ]
    )
