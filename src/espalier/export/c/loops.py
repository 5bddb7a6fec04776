"""Loops in C that move values: copies, margins, windows, channels one after the other."""

from collections.abc import Sequence

from espalier.export.c.layout import Layout
from espalier.export.c.steps import (
    ConcatStep,
    ConvolutionStep,
    CopyStep,
    PatchesStep,
    PoolStep,
    SpreadStep,
    Tile,
    TurnStep,
)
from espalier.export.c.text import indented, seen_as

__all__ = [
    "argmax_lines",
    "border_loops",
    "concat_lines",
    "copy_lines",
    "entry_at",
    "plain",
    "pool_lines",
    "row_loops",
    "softmax_lines",
    "spread_lines",
    "tile_loops",
    "turn_lines",
]


def entry_at(layout: Layout, c: str = "c", h: str = "h") -> str:
    """Return where row h of channel c begins."""
    terms = [f"{layout.start}"] if layout.start else []
    if layout.channels > 1:
        terms.append(f"{c} * {layout.plane}")
    if layout.height > 1:
        terms.append(f"{h} * {layout.row}")
    return " + ".join(terms) or "0"


def row_loops(layout: Layout, inner: list[str]) -> list[str]:
    """Run statements for every row, with ``c`` and ``h``."""
    loops = []
    if layout.channels > 1 or any("[c]" in line for line in inner):
        loops.append(f"for (int c = 0; c < {layout.channels}; c++)")
    if layout.height > 1:
        loops.append(f"for (int h = 0; h < {layout.height}; h++)")
    return [*loops, "{", *indented(inner), "}"]


def border_loops(layout: Layout) -> list[str]:
    """Clear a buffer that zeros lie around in."""
    return [f"memset(y, 0, {layout.size} * sizeof *y);"] if layout.bordered else []


def copy_lines(step: CopyStep) -> list[str]:
    """Copy values from one layout to another."""
    source = step.source.layout if step.source else None
    target = step.output.layout if step.output else None
    if source is None and target is not None:
        source = plain(target)
    elif target is None and source is not None:
        target = plain(source)
    if source is None or target is None:  # a caller's array to a caller's array
        return []
    if source.compact and target.compact:
        return [f"memcpy(y, x, {target.size} * sizeof *y);"]
    size = (source.channels, source.height, source.width)
    target = seen_as(target, size)
    line = f"memcpy(y + {entry_at(target)}, x + {entry_at(source)}, {source.width} * sizeof *y);"
    return [*border_loops(target), *row_loops(source, [line])]


def plain(layout: Layout) -> Layout:
    """Return the layout without gaps of the same size."""
    return Layout(
        channels=layout.channels, height=layout.height, width=layout.width, row=layout.width
    )


def spread_lines(step: SpreadStep, kind: str = "float") -> list[str]:
    """Deal a plane out to the planes that a strided convolution reads."""
    source, output = step.source.layout, step.output.layout
    lines: list[str] = []
    for i, (y, x) in enumerate(step.phases):
        top, left = y - step.padding[0], x - step.padding[1]
        rows = _inside(top, step.stride[0], source.height, output.height)
        columns = _inside(left, step.stride[1], source.width, output.width)
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            continue
        origin = source.start + top * source.row + left
        lines += [
            f"for (int h = {rows[0]}; h < {rows[1]}; h++)",
            f"    for (int w = {columns[0]}; w < {columns[1]}; w++)",
            f"        q[{i * output.plane} + h * {output.row} + w] ="
            f" p[{origin} + h * {step.stride[0] * source.row} + w * {step.stride[1]}];",
        ]
    return [
        f"memset(y, 0, {output.size} * sizeof *y);",
        f"for (int c = 0; c < {source.channels}; c++) {{",
        f"    const {kind} *restrict p = x + c * {source.plane};",
        f"    {kind} *restrict q = y + c * {len(step.phases) * output.plane};",
        *indented(lines),
        "}",
    ]


def turn_lines(step: TurnStep, kind: str) -> list[str]:
    """Lay channels last."""
    channels, plane = step.source.layout.channels, step.source.layout.plane
    return [
        f"for (int c = 0; c < {channels}; c++)",
        f"    for (int i = 0; i < {plane}; i++)",
        f"        y[i * {channels} + c] = ({kind})x[c * {plane} + i];",
    ]


def _inside(first: int, stride: int, size: int, count: int) -> tuple[int, int]:
    """Return the range of i in [0, count) with ``0 <= first + i * stride < size``."""
    return max(0, -(first // stride)), min(count, (size - first + stride - 1) // stride)


def tile_loops(step: ConvolutionStep | PatchesStep, tile: Tile) -> tuple[list[str], str, str]:
    """Return loops over blocks of one size, and where a block's inputs and outputs begin."""
    down, across, output = step.down, step.across, step.output.layout
    p = [f"x + {step.base + tile.row * down + tile.column * across}"]
    q = [f"y + {output.start + tile.row // step.pool[0] * output.row}"]
    q.append(f"{tile.column // step.pool[1]}")
    loops = []
    if tile.row_count > 1:
        loops.append(f"for (int r = 0; r < {tile.row_count}; r++)")
        p.append(f"r * {tile.rows * down}")
        q.append(f"r * {tile.rows // step.pool[0] * output.row}")
    if tile.column_count > 1:
        loops.append(f"for (int c = 0; c < {tile.column_count}; c++)")
        p.append(f"c * {tile.columns * across}")
        q.append(f"c * {tile.columns // step.pool[1]}")
    return loops, " + ".join(p), " + ".join(q)


def pool_lines(
    step: PoolStep,
    *,
    kind: str = "float",
    total: str = "float",
    lowest: str = "-INFINITY",
    mean: Sequence[str] = ("const float m = v / (float)count;",),
) -> list[str]:
    """Take the largest, or the mean, of each window.

    Args:
        step: what to write.
        kind: type of what it reads.
        total: type of a maximum or sum, v.
        lowest: of v.
        mean: statements that make m, the mean, of v and count.
    """
    source, output, pool = step.source.layout, step.output.layout, step.pool
    kernel, stride, dilation = (
        (1, *sizes)[-2:] for sizes in (pool.kernel, pool.stride, pool.dilation)
    )
    pads = ((0, 0), *pool.padding)[-2:]
    largest = pool.kind == "max"
    inner = [
        f"for (int w = 0; w < {output.width}; w++) {{",
        f"    const int top = h * {stride[0]} - {pads[0][0]};",
        f"    const int left = w * {stride[1]} - {pads[1][0]};",
        f"    {total} v = {lowest if largest else 0};",
        *([] if largest else ["    int count = 0;"]),
        f"    for (int i = top; i < top + {kernel[0] * dilation[0]}; i += {dilation[0]})",
        f"        for (int j = left; j < left + {kernel[1] * dilation[1]}; j += {dilation[1]}) {{",
        *([] if largest else indented(_counted(step), 3)),
        f"            if (i < 0 || i >= {source.height} || j < 0 || j >= {source.width})",
        "                continue;",
        f"            const {total} u = p[i * {source.row} + j];",
        "            v = u > v ? u : v;" if largest else "            v += u;",
        *([] if largest or pool.count_padding else ["            count++;"]),
        "        }",
        *([] if largest else indented(mean)),
        f"    y[{entry_at(output)} + w] = {f'({kind})v' if largest else 'm'};",
        "}",
    ]
    channel = f"{source.start} + c * {source.plane}"
    body = [
        f"for (int c = 0; c < {output.channels}; c++) {{",
        f"    const {kind} *restrict p = x + {channel};",
        f"    for (int h = 0; h < {output.height}; h++)",
        *indented(inner, 2),
        "}",
    ]
    return [*border_loops(output), *body]


def _counted(step: PoolStep) -> list[str]:
    """Count what lies in the padded image, where padding counts."""
    if not step.pool.count_padding:
        return []
    source, pads = step.source.layout, ((0, 0), *step.pool.padding)[-2:]
    return [
        f"if (i < {source.height + pads[0][1]} && j < {source.width + pads[1][1]})",
        "    count++;",
    ]


def concat_lines(step: ConcatStep) -> list[str]:
    """Put channels one after the other."""
    output = step.output.layout
    body = border_loops(output)
    place = 0
    for i, (buffer, size) in enumerate(zip(step.sources, step.sizes, strict=True)):
        name = f"x{i or ''}"
        if step.vector:
            body.append(f"memcpy(y + {place}, {name}, {size[2]} * sizeof *y);")
            place += size[2]
            continue
        target = f"y + {place * output.plane} + {entry_at(output)}"
        source = seen_as(buffer.layout, size)
        line = f"memcpy({target}, {name} + {entry_at(source)}, {output.width} * sizeof *y);"
        loops = [
            f"for (int c = 0; c < {size[0]}; c++)",
            f"    for (int h = 0; h < {size[1]}; h++)",
        ]
        body += [*loops, f"        {line}"]
        place += size[0]
    return body


def softmax_lines(size: int) -> list[str]:
    """Exponentials over their sum."""
    return [
        "float top = x[0], sum = 0.0f;",
        f"for (int i = 1; i < {size}; i++)",
        "    top = x[i] > top ? x[i] : top;",
        f"for (int i = 0; i < {size}; i++) {{",
        "    y[i] = expf(x[i] - top);",
        "    sum += y[i];",
        "}",
        f"for (int i = 0; i < {size}; i++)",
        "    y[i] /= sum;",
    ]


def argmax_lines(layout: Layout, kind: str = "float") -> list[str]:
    """Find the first of the largest."""
    return [
        "int best = 0;",
        f"for (int i = 1; i < {layout.channels * layout.height * layout.width}; i++)",
        "    best = x[i] > x[best] ? i : best;",
        f"y[0] = ({kind})best;",
    ]
