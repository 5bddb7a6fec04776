"""What turns a block of float32 sums into outputs."""

from collections.abc import Sequence

from espalier.export.c.steps import ConvolutionStep, Tile
from espalier.export.c.text import activated, indented

__all__ = ["moved", "store"]


def moved(step: ConvolutionStep, tile: Tile, moves: tuple[int, ...], size: int) -> list[str]:
    """Write what adds sums that lie to the right, or left, of their outputs to the last.

    Args:
        step: what the sums are of.
        tile: the block.
        moves: how far to the right each kind of sums lies, 0 last: those wait for no others.
        size: from the first of a kind to the first of the next.
    """
    pitch = step.source.layout.row
    ranges: dict[tuple[int, int], list[str]] = {}
    for kind, move in enumerate(moves[:-1], 1 - len(moves)):
        place = f"a[i - {-kind * size - move}]"
        span = (max(0, -move), min(tile.columns, step.span - tile.column - move))
        ranges.setdefault(span, []).append(place)
    lines = []
    for (low, high), places in ranges.items():
        add = f"a[i] += {' + '.join(places)};"
        if (low, high) == (0, tile.columns):
            lines += [f"for (int i = 0; i < {size}; i++)", f"    {add}"]
        elif low < high:
            lines += [
                f"for (int h = 0; h < {tile.rows}; h++)",
                f"    for (int i = h * {pitch} + {low}; i < h * {pitch} + {high}; i++)",
                f"        {add}",
            ]
    return lines


def store(
    name: str, step: ConvolutionStep, tile: Tile, *, pitch: int, first: Sequence[str] = ()
) -> str:
    """Write a function of maximum, scale, shift and activation.

    Args:
        name: of the function.
        step: what the sums are of.
        tile: the block.
        pitch: from a row of sums to the next.
        first: statements that come before.
    """
    rows, columns = step.pool
    output = step.output.layout.row
    value = f"a[h * {rows * pitch} + w]"
    lines = []
    if (rows, columns) != (1, 1):
        lines = [
            f"for (int w = 0; w < {tile.columns}; w++) {{",
            f"    float m = a[h * {rows * pitch} + w];",
            *(
                f"    m = a[h * {rows * pitch} + {i * pitch} + w] > m "
                f"? a[h * {rows * pitch} + {i * pitch} + w] : m;"
                for i in range(1, rows)
            ),
            "    line[w] = m;",
            "}",
        ]
        value = "m"
    maximum = [
        f"    float m = line[w * {columns}];",
        *(
            f"    m = line[w * {columns} + {i}] > m ? line[w * {columns} + {i}] : m;"
            for i in range(1, columns)
        ),
    ]
    lines += [
        f"for (int w = 0; w < {tile.columns // columns}; w++) {{",
        *(maximum if lines else []),
        f"    const float v = {value} * scale + shift;",
        f"    y[h * {output} + w] = {activated('v', step.activation)};",
        "}",
    ]
    return "\n".join(
        [
            f"static void {name}({'' if first else 'const '}float *restrict a, float *restrict y, "
            "float scale, float shift)",
            "{",
            *indented(first),
            *([f"    float line[{tile.columns}];"] if value == "m" else []),
            f"    for (int h = 0; h < {tile.rows // rows}; h++) {{",
            *indented(lines, 2),
            "    }",
            "}",
            "",
        ]
    )
