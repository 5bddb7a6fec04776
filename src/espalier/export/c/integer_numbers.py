"""Integers: which weights a layer keeps, and how its sums are cut into blocks."""

from dataclasses import dataclass, replace

import numpy as np

from espalier.export.c.integer_weights import (
    IntegerWeights,
    convolution_weights,
    linear_weights,
    packed_integers,
)
from espalier.export.c.layout import Layout
from espalier.export.c.steps import Tile
from espalier.export.c.targets import Target
from espalier.export.c.tiles import can_cut_blocks, can_pool, cut, cut_blocks
from espalier.export.c.weights import Optimize
from espalier.export.c.windows import Windows
from espalier.export.graph import Linear, Node
from espalier.export.integer.plan import IntegerPlan, Sums

__all__ = ["IntegerNumbers", "integer_target"]

BLOCKS = {
    "scalar": (1, 8),
    "portable": (16, 6),
    "sse": (16, 6),
    "neon": (16, 12),
    "avx2": (32, 6),
    "avx512": (32, 12),
}
"""int16 a loop, and loops whose sums stay in registers; 32 are two registers that one load of
bytes fills."""
LINE = 64
"""Bytes of a line of cache."""
DENSE_FROM = {False: 0.12, True: 1.0}
"""Density from which a linear layer is faster with its zeros: a nonzero takes as long as eight
weights in a row where there are vectors."""


def integer_target(target: Target) -> Target:
    """Return the target with blocks of int16 sums."""
    lanes, vectors = BLOCKS[target.name]
    return replace(target, lanes=lanes, vectors=vectors, dense_lanes=lanes, dense_vectors=vectors)


@dataclass(frozen=True, slots=True)
class IntegerNumbers:
    """A plan's integers on a target of blocks of int16; the arena's unit is a byte."""

    plan: IntegerPlan
    target: Target
    optimize: Optimize

    @property
    def smallest(self) -> bool:
        """Whether memory comes before speed."""
        return self.optimize == "size"

    @property
    def unit(self) -> int:
        """A byte."""
        return 1

    @property
    def align(self) -> int:
        """A line of cache; 2, for 16 bits, where there are no vectors."""
        return LINE if self._vectors else 2

    @property
    def _vectors(self) -> bool:
        return self.target.lanes > 1

    def item(self, name: str) -> int:
        """Return a value's bytes an element."""
        return self.plan.grids[name].dtype.itemsize

    def takes_in(self, node: Node) -> bool:
        """Tell whether a rectifier is where the grid of the layer before ends."""
        return node.name in self.plan.taken_in

    def unchanged(self, node: Node) -> bool:
        """Tell the same: integers that are clipped already."""
        return node.name in self.plan.taken_in

    def can_pool(self, width: int, row: int, pool: tuple[int, int]) -> bool:
        """Tell whether a block holds whole windows of a maximum."""
        if self.smallest:
            target = self.target
            return can_cut_blocks(width, pool, vectors=target.vectors, lanes=target.lanes)
        return can_pool(width, row, pool, block=self.target.block)

    def linear(self, node: Node, layer: Linear) -> IntegerWeights:
        """Return all weights or the nonzeros, whichever is better."""
        step = self._sums(node)
        if self.smallest:
            return packed_integers(step)
        density = np.count_nonzero(step.codes.codes) / max(step.codes.codes.size, 1)
        dense = bool(density >= DENSE_FROM[not self._vectors])
        return linear_weights(step, self.plan.grids[node.inputs[0]], dense=dense)

    def convolution(
        self,
        node: Node,
        conv: Windows,
        layout: Layout,
        pool: tuple[int, int],
        image: tuple[int, int, int],
    ) -> tuple[IntegerWeights, tuple[Tile, ...], int]:
        """Return the nonzeros in bundles, or packed, with blocks and lanes."""
        if self.smallest:
            size = (image[1] * pool[0], image[2] * pool[1])
            blocks = cut_blocks(*size, pool, vectors=self.target.vectors, lanes=self.target.lanes)
            return packed_integers(self._sums(node)), blocks, self.target.lanes
        grid = self.plan.grids[node.inputs[0]]
        weights = convolution_weights(
            self._sums(node), conv.filter_offsets(layout), grid, vectors=self._vectors
        )
        target = self.target
        tiles = cut(
            image[1] * pool[0],
            image[2] * pool[1],
            layout.row,
            pool,
            vectors=target.vectors,
            lanes=target.lanes,
        )
        return weights, tiles, target.lanes

    def _sums(self, node: Node) -> Sums:
        step = self.plan.steps[node.name]
        assert isinstance(step, Sums)  # noqa: S101  # what was planned for weights
        return step
