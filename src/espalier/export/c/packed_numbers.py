"""Float32 in little memory: weights packed, blocks of sums that are cut in both directions."""

from dataclasses import dataclass

from espalier.export.c.float_numbers import FloatNumbers
from espalier.export.c.layout import Layout
from espalier.export.c.packed import PackedWeights, packed_weights
from espalier.export.c.steps import Tile
from espalier.export.c.tiles import can_cut_blocks, cut_blocks
from espalier.export.c.windows import Windows
from espalier.export.graph import Linear, Node

__all__ = ["PackedNumbers"]


@dataclass(frozen=True, slots=True)
class PackedNumbers(FloatNumbers):
    """Float32 on a target, in few bytes; the arena's unit is a float."""

    @property
    def smallest(self) -> bool:
        """Return True."""
        return True

    def can_pool(self, width: int, row: int, pool: tuple[int, int]) -> bool:
        """Tell whether a block holds a window of a maximum."""
        return can_cut_blocks(width, pool, vectors=self.target.vectors, lanes=self.target.lanes)

    def linear(self, node: Node, layer: Linear) -> PackedWeights:
        """Return the nonzeros; where there are no zeros, all weights are nonzeros."""
        return packed_weights(layer)

    def convolution(
        self,
        node: Node,
        conv: Windows,
        layout: Layout,
        pool: tuple[int, int],
        image: tuple[int, int, int],
    ) -> tuple[PackedWeights, tuple[Tile, ...], int]:
        """Return the nonzeros, with blocks and lanes."""
        target = self.target
        tiles = cut_blocks(
            image[1] * pool[0],
            image[2] * pool[1],
            pool,
            vectors=target.vectors,
            lanes=target.lanes,
        )
        return packed_weights(conv.layer), tiles, target.lanes
