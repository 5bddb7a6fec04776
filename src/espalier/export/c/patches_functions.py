"""Convolutions that multiply all weights, as C: patches of a block, then every filter with each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from espalier.export.c.integer_kernels import products
from espalier.export.c.loops import border_loops, tile_loops
from espalier.export.c.packed_functions import Written
from espalier.export.c.patches import Pass
from espalier.export.c.steps import PatchesStep, Tile
from espalier.export.c.text import array, indented, offset_type

__all__ = ["PatchesLayer", "patches_convolution"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchesLayer:
    """What every part of a layer's text is made of."""

    name: str
    """Of the network."""
    function: str
    x: str
    """Type of patches."""
    value: str
    y: str
    at_once: Pass


def patches_convolution(
    layer: PatchesLayer, step: PatchesStep, store: Callable[[str, Tile, int], str], rest: str
) -> Written:
    """Write a convolution over the patches of one block after the other.

    Args:
        layer: types and names.
        step: what to write.
        store: writes what makes outputs of a block of sums.
        rest: what that takes beside sums and outputs, of filter f.
    """
    written = Written(parts=[array(layer.value, f"{layer.function}_value", step.weights.values)])
    if len(step.runs) > 1:
        runs = np.asarray(step.runs)
        written.parts.append(array(offset_type(runs), f"{layer.function}_run", runs))
    together = min(layer.at_once.filters, step.group_filters)
    block = max(tile.rows * tile.columns for tile in step.tiles)
    written.body = [
        *border_loops(step.output.layout),
        f"int32_t a[{together * block}];",
        f"memset(scratch, 0, {step.scratch.layout.size} * sizeof *scratch);",
    ]
    for i, tile in enumerate(step.tiles):
        put = f"{layer.function}_store{i}"
        written.parts.append(store(put, tile, tile.columns))
        written.body += _block(layer, step, tile, written, f"{put}(%s, %s, {rest});")
    return written


def _block(
    layer: PatchesLayer, step: PatchesStep, tile: Tile, written: Written, put: str
) -> list[str]:
    loops, p, q = tile_loops(step, tile)
    filters, size = step.group_filters, tile.rows * tile.columns
    groups = len(step.weights.values) // (filters * step.length)
    together = min(layer.at_once.filters, filters)
    outputs = min(layer.at_once.outputs, size)
    words = (str(outputs), str(together), str(step.length), layer.x, layer.value)
    kernel = f"{layer.name}_products_{'_'.join(word.removesuffix('_t') for word in words)}"
    written.kernels[kernel] = products(
        kernel,
        outputs=outputs,
        filters=together,
        length=step.length,
        kinds=(layer.x, layer.value),
    )
    first = _last_whole("g", filters, together)
    at = _last_whole("i", size, outputs)
    call = f"{kernel}(scratch + {at} * {step.length}, value, a + {at}, {size});"
    output = step.output.layout
    inner = [
        *_gathered(layer, step, tile, groups),
        f"for (int g = 0; g < {filters}; g += {together}) {{",
        f"    const int first = {first}{f' + group * {filters}' if groups > 1 else ''};",
        f"    const {layer.value} *restrict value = "
        f"{layer.function}_value + first * {step.length};",
        f"    for (int i = 0; i < {size}; i += {outputs})",
        f"        {call}",
        f"    for (int f = first; f < first + {together}; f++)",
        f"        {put % (f'a + (f - first) * {size}', f'q + f * {output.plane}')}",
        "}",
    ]
    if groups > 1:
        inner = [f"for (int group = 0; group < {groups}; group++) {{", *indented(inner), "}"]
    pointers = [
        f"const {layer.x} *restrict p = {p};",
        f"{layer.y} *restrict q = {q};",
    ]
    return [*loops, "{", *indented([*pointers, *inner]), "}"]


def _last_whole(index: str, size: int, step: int) -> str:
    """Move the last of several steps back, so that it ends where they all do."""
    if size % step == 0:
        return index
    return f"({index} < {size - step} ? {index} : {size - step})"


def _gathered(layer: PatchesLayer, step: PatchesStep, tile: Tile, groups: int) -> list[str]:
    """Write what copies the patches of a block.

    Those of the first place of all windows of a maximum come first, so that sums lie in parts of
    which it is taken.
    """
    (rows, columns), size = step.pool, tile.rows * tile.columns
    height, width = tile.rows // rows, tile.columns // columns
    group = f" + group * {step.group_inputs}" if groups > 1 else ""
    windows = [(i, j) for i in range(rows) for j in range(columns)]
    copy = [f"memcpy(to, from, {step.run} * sizeof *to);"]
    if len(step.runs) > 1:
        copy = [
            f"for (int k = 0; k < {len(step.runs)}; k++)",
            f"    memcpy(to + k * {step.run}, from + {layer.function}_run[k], "
            f"{step.run} * sizeof *to);",
        ]
    lines = [
        f"for (int h = 0; h < {height}; h++)",
        f"    for (int w = 0; w < {width}; w++) {{",
    ]
    for part, (i, j) in enumerate(windows):
        at = i * step.down + j * step.across
        place = f"h * {rows * step.down} + w * {columns * step.across}"
        number = part * size // len(windows)
        lines += [
            f"        from = p + {at} + {place}{group};",
            f"        to = scratch + ({number} + h * {width} + w) * {step.length};",
            *indented(copy, 2),
        ]
    return [f"const {layer.x} *from;", f"{layer.x} *to;", *lines, "    }"]
