"""Which way of running a layer in integers is faster: measured times of the inner loops."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from espalier.export.c.integer_weights import IntegerWeights
from espalier.export.c.steps import Tile

__all__ = ["IntegerCosts", "integer_costs_of"]


@dataclass(frozen=True, slots=True)
class IntegerCosts:
    """Nanoseconds of one pass of an inner loop on a target, by what the table names it."""

    table: Mapping[str, Any]
    """``int16_4``: of a bundle of 4 equal weights, to begin and a vector of int16 sums; ``int32_4``
    the same with wider sums. ``part``: of a vector of int16 added to int32. ``product_8``: of a
    patch and a filter of bytes, to end and a weight. ``turn``: of an element that is laid
    elsewhere. ``gather_4``: of a bundle of a linear layer. ``dot_8``: of a weight where all are
    kept."""

    def sparse(self, weights: IntegerWeights, tiles: Iterable[Tile]) -> float:
        """Nanoseconds of a convolution that skips zeros."""
        blocks = [(t.row_count * t.column_count, t.vectors) for t in tiles]
        passes, vectors = sum(n for n, _ in blocks), sum(n * v for n, v in blocks)
        sums = "int32" if weights.sums == "int32" else "int16"
        total = float(weights.parts.sum() * vectors * self.table["part"])
        for size, count in _bundles(weights).items():
            begin, vector = self.table[f"{sums}_{size}"]
            total += float(count) * (begin * passes + vector * vectors)
        return float(total)

    def products(self, item: int, outputs: int, length: int) -> float:
        """Nanoseconds of products of filters and patches, both of ``length`` elements."""
        end, each = self.table[f"product_{8 * item}"]
        return float(outputs * (end + each * length))

    def turned(self, elements: int) -> float:
        """Nanoseconds of elements that are laid elsewhere."""
        return float(elements * self.table["turn"])

    def gathered(self, weights: IntegerWeights) -> float:
        """Nanoseconds of a linear layer that skips zeros."""
        counts = _bundles(weights)
        return float(sum(n * self.table[f"gather_{size}"] for size, n in counts.items()))

    def dot(self, weights: IntegerWeights) -> float:
        """Nanoseconds of a linear layer that multiplies all weights."""
        bits = (
            8
            if -128 <= weights.values.min(initial=0) <= weights.values.max(initial=0) < 128
            else 16
        )
        return float(weights.values.size * self.table[f"dot_{bits}"])

    def bytes_are_faster(self) -> bool:
        """Tell whether vectors multiply bytes faster than int16."""
        return bool(self.table["product_8"][1] < self.table["product_16"][1])


def _bundles(weights: IntegerWeights) -> dict[int, int]:
    """Count bundles by their size."""
    totals = weights.counts.reshape(-1, len(weights.sizes)).sum(axis=0)
    return dict(zip(weights.sizes, totals.tolist(), strict=True))


@cache
def integer_costs_of(target: str) -> IntegerCosts:
    """Return the measured times for a target."""
    table = json.loads(files(__package__).joinpath("costs.json").read_text())
    return IntegerCosts(table["integers"][target])
