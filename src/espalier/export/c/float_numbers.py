"""Float32: which weights a layer keeps, and how its sums are cut into blocks."""

from dataclasses import dataclass

import numpy as np

from espalier.export.c.costs import costs_of
from espalier.export.c.layout import Layout
from espalier.export.c.steps import AnyWeights, Tile
from espalier.export.c.targets import Target
from espalier.export.c.tiles import can_pool, cut
from espalier.export.c.weights import dense_weights, filters_together, sparse_weights
from espalier.export.c.windows import Windows
from espalier.export.graph import Linear, Node

__all__ = ["FloatNumbers"]


@dataclass(frozen=True, slots=True)
class FloatNumbers:
    """Float32 on a target; the arena's unit is a float."""

    target: Target

    @property
    def smallest(self) -> bool:
        """Return False: speed comes before memory."""
        return False

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
        return can_pool(width, row, pool, block=self.target.block)

    def patches(self, node: Node, conv: Windows) -> None:
        """Return None: floats are multiplied where they lie."""

    def linear(self, node: Node, layer: Linear) -> AnyWeights:
        """Return all weights or the nonzeros, whichever is better."""
        inputs = layer.weight.shape[1]
        costs = costs_of(self.target.name)
        sparse = sparse_weights(layer, np.arange(inputs))
        dense = dense_weights(layer, np.zeros(0, np.int64), together=1)
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
        """Return all weights or the nonzeros, whichever is better, with blocks and lanes."""
        layer, target = conv.layer, self.target
        size = (image[1] * pool[0], image[2] * pool[1])
        together = filters_together(layer.weight.shape[0] // layer.groups)
        sparse = sparse_weights(layer, conv.filter_offsets(layout))
        sparse_tiles = cut(*size, layout.row, pool, vectors=target.vectors, lanes=target.lanes)
        vectors = target.dense_vectors // together
        if not can_pool(size[1], layout.row, pool, block=vectors * target.dense_lanes):
            return sparse, sparse_tiles, target.lanes
        offsets = conv.offsets(layout)
        dense = dense_weights(layer, offsets, together=together)
        dense_tiles = cut(*size, layout.row, pool, vectors=vectors, lanes=target.dense_lanes)
        costs = costs_of(target.name)
        faster = costs.sparse(layer.weight.nonzero, sparse_tiles) < costs.dense(
            layer.weight.size, dense_tiles, together=together
        )
        chosen = sparse if faster else dense
        if chosen.dense:
            return chosen, dense_tiles, target.dense_lanes
        return chosen, sparse_tiles, target.lanes
