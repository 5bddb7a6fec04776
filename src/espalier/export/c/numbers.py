"""What a network's steps compute with: what lowering asks of an arithmetic."""

from collections.abc import Sequence
from typing import Protocol

from espalier.export.c.layout import Layout
from espalier.export.c.patches import Patches
from espalier.export.c.steps import AnyWeights, Tile
from espalier.export.c.targets import Target
from espalier.export.c.windows import Windows
from espalier.export.graph import Linear, Node

__all__ = ["Numbers"]


class Numbers(Protocol):
    """An arithmetic, on a target."""

    @property
    def target(self) -> Target:
        """Sizes of blocks, in numbers of this kind."""

    @property
    def smallest(self) -> bool:
        """Whether memory comes before speed."""

    @property
    def moves_sums(self) -> bool:
        """Whether inputs are added up where vectors begin, and sums moved to their outputs."""

    def row(self, columns: int, images: Sequence[tuple[int, int]]) -> int:
        """Return how far a row of elements is from the next.

        Args:
            columns: that it has at least.
            images: height and width of what convolutions make of such rows.
        """

    @property
    def unit(self) -> int:
        """Bytes that the arena is counted in."""

    @property
    def align(self) -> int:
        """Where buffers begin in the arena, in its units."""

    def item(self, name: str) -> int:
        """Return how many units of the arena an element of a value takes."""

    def takes_in(self, node: Node) -> bool:
        """Tell whether the step before may do an activation too."""

    def unchanged(self, node: Node) -> bool:
        """Tell whether an activation that runs on its own has nothing left to do."""

    def can_pool(self, width: int, row: int, pool: tuple[int, int]) -> bool:
        """Tell whether a block of sums holds whole windows of a maximum.

        Args:
            width: sums of a row.
            row: elements from a row of the input to the next.
            pool: rows and columns of a window.
        """

    def patches(self, node: Node, conv: Windows) -> Patches | None:
        """Return a convolution as products of filters with patches, where that is better.

        Args:
            node: where the layer is in the network.
            conv: the layer.
        """

    def linear(self, node: Node, layer: Linear) -> AnyWeights:
        """Return a layer's weights in the order in which the better kernel reads them."""

    def convolution(
        self,
        node: Node,
        conv: Windows,
        layout: Layout,
        pool: tuple[int, int],
        image: tuple[int, int, int],
    ) -> tuple[AnyWeights, tuple[Tile, ...], int]:
        """Return the same for a convolution, with the blocks of its sums and their lanes.

        Args:
            node: where the layer is in the network.
            conv: the layer.
            layout: of its input.
            pool: rows and columns that a maximum is taken over.
            image: channels, height and width of what comes out.
        """
