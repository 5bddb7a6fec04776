"""Integers: which weights a layer keeps, and how its sums are cut into blocks."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from espalier.export.c.integer_costs import integer_costs_of
from espalier.export.c.integer_weights import (
    IntegerWeights,
    convolution_weights,
    linear_weights,
    packed_integers,
)
from espalier.export.c.layout import Layout, image_of
from espalier.export.c.patches import Patches, in_patches
from espalier.export.c.steps import Tile
from espalier.export.c.targets import Target
from espalier.export.c.tiles import best_row, can_cut_blocks, can_pool, cut, cut_blocks
from espalier.export.c.weights import Optimize
from espalier.export.c.windows import Windows
from espalier.export.graph import Linear, Node
from espalier.export.integer.codes import INT16
from espalier.export.integer.plan import IntegerPlan, Sums

__all__ = ["IntegerNumbers", "integer_target"]

BLOCKS = {
    "scalar": (1, 8),
    "portable": (16, 6),
    "sse": (16, 6),
    "neon": (16, 12),
    "avx2": (32, 6),
    "avx512": (32, 16),
}
"""int16 a loop, and loops whose sums stay in registers; 32 are two registers that one load of
bytes fills."""
LINE = 64
"""Bytes of a line of cache."""


def integer_target(target: Target) -> Target:
    """Return the target with blocks of int16 sums."""
    lanes, vectors = BLOCKS[target.name]
    return replace(target, lanes=lanes, vectors=vectors)


@dataclass(frozen=True, slots=True)
class IntegerNumbers:
    """A plan's integers on a target of blocks of int16; the arena's unit is a byte."""

    plan: IntegerPlan
    target: Target
    optimize: Optimize
    _chosen: dict[str, Patches | None] = field(default_factory=dict, init=False, repr=False)
    """By the node's name."""

    @property
    def smallest(self) -> bool:
        """Whether memory comes before speed."""
        return self.optimize == "size"

    @property
    def moves_sums(self) -> bool:
        """Return False: inputs are added up for the outputs that they lie beside."""
        return False

    def row(self, columns: int, images: Sequence[tuple[int, int]]) -> int:
        """Round up to whole vectors where that is faster."""
        if self.smallest:
            return columns
        return best_row(columns, images, vectors=self.target.vectors, lanes=self.target.lanes)

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

    def patches(self, node: Node, conv: Windows) -> Patches | None:
        """Return a convolution that multiplies all weights, where that is better."""
        if node.name not in self._chosen:
            self._chosen[node.name] = self._better_patches(node, conv)
        return self._chosen[node.name]

    def _better_patches(self, node: Node, conv: Windows) -> Patches | None:
        step, grid = self._sums(node), self.plan.grids[node.inputs[0]]
        if grid.largest > INT16 or not step.codes.codes.size:
            return None
        patches = in_patches(step, grid, self.target)
        channels, height, width = image_of(self.plan.graph.values()[node.inputs[0]].shape)
        elements = channels * height * width
        if self.smallest:
            more = patches.weights.values.size + elements + patches.outputs * patches.length
            return patches if patches.item * more < packed_integers(step).size_bytes else None
        costs, rows = integer_costs_of(self.target.name), step.codes.by_filter
        every = np.arange(rows.shape[1])
        sparse = convolution_weights(step, every, grid, vectors=self._vectors)
        _, high, wide = image_of(conv.output.shape)
        row = wide + (conv.kernel[1] - 1) * conv.dilation[1]
        tiles = cut(high, wide, row, (1, 1), vectors=self.target.vectors, lanes=self.target.lanes)
        dense = costs.products(patches.item, high * wide * len(rows), patches.length)
        faster = dense + costs.turned(elements) < costs.sparse(sparse, tiles)
        return patches if faster else None

    def linear(self, node: Node, layer: Linear) -> IntegerWeights:
        """Return all weights or the nonzeros, whichever is better."""
        step = self._sums(node)
        dense = linear_weights(step, None, dense=True)
        if self.smallest:
            packed = packed_integers(step)
            return packed if packed.size_bytes <= dense.size_bytes else dense
        sparse = linear_weights(step, self.plan.grids[node.inputs[0]], dense=False)
        costs = integer_costs_of(self.target.name)
        return dense if costs.dot(dense) < costs.gathered(sparse) else sparse

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
