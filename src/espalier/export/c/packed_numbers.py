"""Float32 in little memory: weights packed, blocks of sums that are cut in both directions."""

from dataclasses import dataclass

from espalier.export.c.layout import Layout
from espalier.export.c.packed import PackedWeights, packed_weights
from espalier.export.c.steps import Tile
from espalier.export.c.targets import Target
from espalier.export.c.tiles import can_cut_blocks, cut_blocks
from espalier.export.c.windows import Windows
from espalier.export.graph import Linear, Node

__all__ = ["PackedNumbers"]


@dataclass(frozen=True, slots=True)
class PackedNumbers:
    """Float32 on a target, in few bytes; the arena's unit is a float."""

    target: Target

    @property
    def smallest(self) -> bool:
        """Return True."""
        return True

    @property
    def unit(self) -> int:
        """Bytes of a float."""
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
        """Tell whether a block holds a window of a maximum."""
        return can_cut_blocks(width, pool, vectors=self.target.vectors, lanes=self.target.lanes)

    def patches(self, node: Node, conv: Windows) -> None:
        """Return None: floats are multiplied where they lie."""

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
