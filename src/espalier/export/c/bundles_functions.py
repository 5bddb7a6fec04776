"""Convolutions of integers that skip zeros, as C: equal weights added up, a block at a time."""

from collections.abc import Callable
from dataclasses import dataclass

from espalier.export.c import integer_kernels as kernels
from espalier.export.c.integer_weights import IntegerWeights
from espalier.export.c.loops import border_loops, tile_loops
from espalier.export.c.packed_functions import Written
from espalier.export.c.steps import ConvolutionStep, Tile
from espalier.export.c.text import indented

__all__ = ["BundlesLayer", "advance", "bundles_convolution"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlesLayer:
    """What every part of a layer's text is made of."""

    name: str
    """Of the network."""
    function: str
    weights: IntegerWeights
    kinds: tuple[str, str, str, str]
    """Types of inputs, offsets, weights and counts."""
    y: str
    lanes: int
    """Sums a vector."""
    widest: int
    """Sums that one loop makes where there are that many."""
    pairs: kernels.Pairs | None
    """What the machine multiplies bytes with."""

    @property
    def sum(self) -> str:
        """Type of a block's sums."""
        return "int16_t" if self.weights.sums == "int16" else "int32_t"


def bundles_convolution(
    layer: BundlesLayer, step: ConvolutionStep, store: Callable[[str, Tile, int], str], rest: str
) -> Written:
    """Write a convolution: all filters of one block after the other.

    Args:
        layer: its weights, whose tables are written already.
        step: where they are used.
        store: writes what makes outputs of a block of sums.
        rest: what that takes beside sums and outputs, of filter f.
    """
    block = max(tile.vectors for tile in step.tiles) * layer.lanes
    written = Written(body=[*border_loops(step.output.layout), f"{layer.sum} a[{block}];"])
    for i, tile in enumerate(step.tiles):
        put = f"{layer.function}_store{i}"
        written.parts.append(store(put, tile, step.source.layout.row))
        written.body += _tile(layer, step, tile, written, f"{put}(a, %s, {rest});")
    return written


def _tile(
    layer: BundlesLayer, step: ConvolutionStep, tile: Tile, written: Written, put: str
) -> list[str]:
    weights, function = layer.weights, layer.function
    x, offset, value, count = layer.kinds
    loops, p, q = tile_loops(step, tile)
    run = [f"{_kernel(layer, tile, written)}(p, offset, value, count, a);", *advance(weights)]
    if weights.sums == "parts":
        run = [
            f"memset(a, 0, {tile.vectors * layer.lanes} * sizeof *a);",
            f"for (int r = 0; r < {function}_part[f]; r++) {{",
            *indented(run),
            "}",
        ]
    inner = [
        f"const {x} *restrict p = {p};",
        f"{layer.y} *restrict q = {q};",
        f"const {offset} *offset = {function}_offset;",
        f"const {value} *value = {function}_value;",
        f"const {count} *count = {function}_count;",
        f"for (int f = 0; f < {weights.plan.fixed.shifts.size}; f++) {{",
        *indented(run),
        f"    {put % f'q + f * {step.output.layout.plane}'}",
        "}",
    ]
    return [*loops, "{", *indented(inner), "}"]


def _kernel(layer: BundlesLayer, tile: Tile, written: Written) -> str:
    """Write the inner loop for a size of blocks and return its name."""
    weights = layer.weights
    words = (weights.sums, str(tile.vectors), "".join(map(str, weights.sizes)), *layer.kinds)
    kernel = f"{layer.name}_{'_'.join(word.removesuffix('_t') for word in words)}"
    pairs = layer.pairs if weights.sums != "int32" and _bytes(layer) else None
    if pairs is not None:
        include = [f"#if defined({pairs.macro})", "#include <immintrin.h>", "#endif", ""]
        written.kernels[pairs.macro] = "\n".join(include)
    written.kernels[kernel] = kernels.bundles(
        kernel,
        vectors=tile.vectors,
        lanes=layer.lanes,
        widest=layer.widest,
        sizes=weights.sizes,
        kinds=layer.kinds,
        narrow=weights.sums != "int32",
        keep=weights.sums == "parts",
        pairs=pairs,
    )
    return kernel


def _bytes(layer: BundlesLayer) -> bool:
    """Tell whether inputs and weights are bytes, weights with a sign."""
    x, _, value, _ = layer.kinds
    small = int(layer.weights.values.max(initial=0)) < 128
    return x in ("uint8_t", "int8_t") and value in ("uint8_t", "int8_t") and small


def advance(weights: IntegerWeights) -> list[str]:
    """Move on to the next part, or filter."""
    counts = [f"count[{i}]" for i in range(len(weights.sizes))]
    inputs = " + ".join(f"{n} * {c}" for n, c in zip(weights.sizes, counts, strict=True))
    return [
        f"offset += {inputs};",
        f"value += {' + '.join(counts)};",
        f"count += {len(counts)};",
    ]
