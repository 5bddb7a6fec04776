"""Which way of running a layer is faster: measured times of the inner loops."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from espalier.export.c.steps import Tile
from espalier.export.c.tiles import BLOCK_VECTORS

__all__ = ["Costs", "costs_of"]


@dataclass(frozen=True, slots=True)
class Costs:
    """Nanoseconds of one pass of an inner loop."""

    load: float
    """A vector times a nonzero, loaded for it alone."""
    dense_multiply: float
    """A vector times a weight, loaded for several filters."""
    gather: float
    """A nonzero of a linear layer."""
    dot: float
    """A weight of a dense linear layer."""

    def sparse(self, nonzeros: int, tiles: Iterable[Tile]) -> float:
        """Nanoseconds of a convolution that skips zeros."""
        blocks = ((t.row_count * t.column_count, t.vectors) for t in tiles)
        return self.load * nonzeros * sum(n * (v + BLOCK_VECTORS) for n, v in blocks)

    def dense(self, weights: int, tiles: Iterable[Tile], *, together: int) -> float:
        """Nanoseconds of a convolution that multiplies all weights."""
        blocks = ((t.row_count * t.column_count, t.vectors) for t in tiles)
        loads = self.load * BLOCK_VECTORS / together
        return weights * sum(n * (v * self.dense_multiply + loads) for n, v in blocks)


@cache
def costs_of(target: str) -> Costs:
    """Return the measured times for a target."""
    table = json.loads(files(__package__).joinpath("costs.json").read_text())
    return Costs(**table["targets"][target])
