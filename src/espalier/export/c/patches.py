"""Convolutions that multiply all weights: each filter with the patch that each output sees.

Channels are laid last, so that a patch is a few runs of memory. Filters and patches are padded with
zeros to whole vectors. Compilers turn a loop over a patch into instructions that multiply and add
four bytes, or two int16, a lane.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from espalier.export.c.integer_costs import integer_costs_of
from espalier.export.c.integer_weights import IntegerWeights, all_weights
from espalier.export.c.steps import Tile
from espalier.export.c.targets import Target
from espalier.export.c.text import integer_type
from espalier.export.c.tiles import can_cut_blocks, cut_blocks
from espalier.export.integer.grids import Grid
from espalier.export.integer.plan import Sums

__all__ = ["Pass", "Patches", "in_patches", "pass_of"]

Integers = NDArray[np.int64]
VECTOR = 64
"""Bytes of the longest vector: what patches are padded to."""
BLOCK_BYTES = {False: 2**12, True: 2**15}
"""Of the patches of a block, with and without vectors."""
BYTE = 127
MOST = 128
"""Outputs of a block."""


@dataclass(frozen=True, slots=True)
class Pass:
    """How many sums one loop over patches makes."""

    outputs: int
    filters: int


PASSES = {
    "scalar": Pass(2, 2),
    "portable": Pass(2, 4),
    "sse": Pass(2, 4),
    "neon": Pass(4, 4),
    "avx2": Pass(2, 4),
    "avx512": Pass(6, 4),
}
"""As many as registers hold beside what they are made of."""


def pass_of(target: Target) -> Pass:
    """Return the sums that one loop makes on a target."""
    return PASSES[target.name]


def _item(codes: Integers, grid: Grid, target: Target) -> int:
    """Return the bytes of an element of patches and filters that are multiplied fastest.

    One where weights fit and, in vectors, inputs have no sign: what machines multiply.
    """
    byte = integer_type(codes) in ("int8_t", "uint8_t") and int(codes.max(initial=0)) <= BYTE
    fits = byte and grid.dtype.itemsize == 1 and (grid.low >= 0 or target.lanes == 1)
    return 1 if fits and integer_costs_of(target.name).bytes_are_faster() else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """A convolution in this form."""

    weights: IntegerWeights
    length: int
    """Elements from a filter, or a patch, to the next."""
    item: int
    """Bytes an element."""
    outputs: int
    """Of a block at most."""

    def can_pool(self, width: int, pool: tuple[int, int]) -> bool:
        """Tell whether a block holds a window of a maximum."""
        return can_cut_blocks(width, pool, vectors=self.outputs, lanes=1)

    def tiles(self, height: int, width: int, pool: tuple[int, int]) -> tuple[Tile, ...]:
        """Cut rows of outputs into blocks."""
        return cut_blocks(height, width, pool, vectors=self.outputs, lanes=1)


def in_patches(plan: Sums, grid: Grid, target: Target) -> Patches:
    """Lay a convolution's weights out.

    Args:
        plan: with codes of (filters, channels of a group, kernel ..).
        grid: of the input.
        target: what blocks are sized for.
    """
    vectors = target.lanes > 1
    codes = np.moveaxis(plan.codes.codes, 1, -1).reshape(len(plan.codes.units), -1)
    item = _item(codes, grid, target)
    unit = VECTOR // item if vectors else 1
    length = -(-codes.shape[1] // unit) * unit
    padded = np.pad(codes, ((0, 0), (0, length - codes.shape[1])))
    at_once = pass_of(target).outputs
    outputs = min(BLOCK_BYTES[vectors] // (length * item), MOST) // at_once * at_once
    return Patches(
        weights=all_weights(plan, padded),
        length=length,
        item=item,
        outputs=max(outputs, at_once),
    )
