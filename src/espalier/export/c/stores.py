"""What turns a block of float32 sums into outputs."""

from espalier.export.c.steps import ConvolutionStep, Tile
from espalier.export.c.text import activated, indented

__all__ = ["store"]


def store(name: str, step: ConvolutionStep, tile: Tile, *, pitch: int) -> str:
    """Write a function of maximum, scale, shift and activation.

    Args:
        name: of the function.
        step: what the sums are of.
        tile: the block.
        pitch: from a row of sums to the next.
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
            f"static void {name}(const float *restrict a, float *restrict y, "
            "float scale, float shift)",
            "{",
            *([f"    float line[{tile.columns}];"] if value == "m" else []),
            f"    for (int h = 0; h < {tile.rows // rows}; h++) {{",
            *indented(lines, 2),
            "    }",
            "}",
            "",
        ]
    )
