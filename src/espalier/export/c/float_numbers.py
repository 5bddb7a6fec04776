"""Float32: which weights a layer keeps, and how its sums are cut into blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espalier.export.c.costs import costs_of
from espalier.export.c.layout import Layout
from espalier.export.c.steps import AnyWeights, Tile
from espalier.export.c.targets import Target
from espalier.export.c.tiles import best_row, can_pool, cut
from espalier.export.c.weights import dense_weights, sparse_weights
from espalier.export.c.windows import Windows
from espalier.export.graph import Linear, Node

__all__ = ["FloatNumbers"]

HALF, HALF_COST = 8, 0.55
"""Lanes of half of the longest vector, and what it takes of the time of a whole one."""


@dataclass(frozen=True, slots=True)
class FloatNumbers:
    """Float32 on a target; the arena's unit is a float."""

    target: Target

    @property
    def smallest(self) -> bool:
        """Return False: speed comes before memory."""
        return False

    @property
    def moves_sums(self) -> bool:
        """Whether long vectors make it worth while."""
        return self.target.aligned and not self.smallest

    def row(self, columns: int, images: Sequence[tuple[int, int]]) -> int:
        """Round up to whole vectors, or to halves, which take a little more than half the time."""
        lanes = self.target.lanes
        if self.smallest:
            return columns
        if not self.moves_sums:
            return best_row(columns, images, vectors=self.target.vectors, lanes=lanes)
        whole, halves = -(-columns // lanes), -(-columns // HALF)
        shorter = lanes > HALF and halves * HALF_COST < whole
        return halves * HALF if shorter else whole * lanes

    @property
    def unit(self) -> int:
        """A float."""
        return 4

    @property
    def align(self) -> int:
        """A vector."""
        return self.target.lanes

    def item(self, name: str) -> int:
        """Return 1."""
        return 1

    def takes_in(self, node: Node) -> bool:
        """Return True: sums are rectified where they are."""
        return True

    def unchanged(self, node: Node) -> bool:
        """Return False: every activation changes floats."""
        return False

    def can_pool(self, width: int, row: int, pool: tuple[int, int]) -> bool:
        """Tell whether a block holds whole windows of a maximum."""
        return can_pool(row if self.moves_sums else width, row, pool, block=self.target.block)

    def patches(self, node: Node, conv: Windows) -> None:
        """Return None: floats are multiplied where they lie."""

    def linear(self, node: Node, layer: Linear) -> AnyWeights:
        """Return all weights or the nonzeros, whichever is better."""
        inputs = layer.weight.shape[1]
        costs = costs_of(self.target.name)
        sparse = sparse_weights(layer, np.arange(inputs))
        dense = dense_weights(layer)
        faster = costs.gather * layer.weight.nonzero < costs.dot * layer.weight.size
        return sparse if faster else dense

    def convolution(
        self,
        node: Node,
        conv: Windows,
        layout: Layout,
        pool: tuple[int, int],
        image: tuple[int, int, int],
    ) -> tuple[AnyWeights, tuple[Tile, ...], int]:
        """Return the nonzeros, with blocks and lanes."""
        target = self.target
        size = (image[1] * pool[0], image[2] * pool[1])
        if not self.moves_sums:
            weights = sparse_weights(conv.layer, conv.filter_offsets(layout))
        else:
            weights = sparse_weights(conv.layer, conv.row_offsets(layout), conv.moves(layout))
        halves = self.moves_sums and layout.row % target.lanes and layout.row % HALF == 0
        lanes = HALF if halves else target.lanes
        vectors = target.block // lanes
        more = max(weights.moves)
        return weights, cut(*size, layout.row, pool, vectors=vectors, lanes=lanes, more=more), lanes
