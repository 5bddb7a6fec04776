"""The contract table: every operator and what it promises. A new operator is one new row."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pytest
from hypothesis import note

from espalier import ops
from espalier.ops import (
    Chain,
    ClippedQuantizer,
    EntropyQuantizer,
    FilterMagnitude,
    GlobalMagnitude,
    Lamp,
    LearnedStep,
    LearnedThreshold,
    MixedBits,
    Operator,
    PruneThenQuantize,
    QuantizeThenPrune,
    StdThreshold,
    Then,
    UniformQuantizer,
)

__all__ = ["EVERY", "ROWS", "Row", "each", "kinds_of", "over"]

EVERY = {
    kind
    for kind in vars(ops).values()
    if isinstance(kind, type) and issubclass(kind, Operator) and kind is not Operator
}
"""All operators that there are."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """An operator and its promises."""

    op: Operator
    magnitudes: int | None = None
    """Most magnitudes that kept weights take where there is a grid; None: as many as there are."""
    idempotent: bool | None = False
    """Whether a second application changes nothing, ever; None: almost, chance may have it so."""
    odd: bool = True
    """Whether op(-w) is -op(w)."""
    by_size: bool = True
    """Whether a larger weight of a tensor is never written smaller than another."""
    near: bool = True
    """Whether rounding alone moves a kept weight: grids that end below some move those further."""
    alone: bool = True
    """Whether a tensor of a set is written as if it were alone."""
    random: bool = False
    """Whether it draws random numbers."""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The same operator for the oracle."""
        return settings_of(self.op)

    def of(self, count: int) -> Operator:
        """Return the operator for a set of so many tensors: bits of each have to be named."""
        if isinstance(self.op, MixedBits):
            return replace(self.op, each=self.op.each[:1] * max(1, count))
        return self.op


def kinds_of(op: Any) -> set[type]:
    """Return the operators that an operator is made of, itself among them."""
    names = ("first", "second", "prune", "quantize")
    parts = [getattr(op, name) for name in names if hasattr(op, name)]
    return {type(op)}.union(*map(kinds_of, parts))


NAMED: dict[type, str] = {
    StdThreshold: "gamma strict zeros correction",
    GlobalMagnitude: "density",
    Lamp: "density least",  # of a first pass ``every`` says nothing
    UniformQuantizer: "bits rounding",
    ClippedQuantizer: "bits quantile",
    EntropyQuantizer: "bits price quantile",
    LearnedStep: "bits",
    PruneThenQuantize: "gamma strict bits rounding",
    QuantizeThenPrune: "gamma strict bits rounding",
}
"""Settings that the oracle calls by the same names."""
MARKS: dict[type, str] = {
    Lamp: "lamp",
    LearnedStep: "learned",
    QuantizeThenPrune: "quantize_first",
}
"""What it has to be told besides."""


def settings_of(op: Any) -> dict[str, Any]:
    """Return an operator's settings by the names that the oracle has for them."""
    match op:
        case Then():
            return settings_of(op.first) | settings_of(op.second)
        case Chain():
            how = {"quantize_first": op.quantize_first, "jointly": op.jointly}
            return settings_of(op.prune) | settings_of(op.quantize) | how
        case MixedBits():
            return settings_of(op.quantize) | {"bits": op.each[0]}
        case LearnedThreshold():
            return {"gamma": op.start}
        case FilterMagnitude():
            return {"filters": (op.density, op.least, op.keep_last)}
    named = {name: getattr(op, name) for name in NAMED[type(op)].split()}
    return named | ({MARKS[type(op)]: True} if type(op) in MARKS else {})


def _both(kind: Any, gamma: float, bits: int, rounding: str = "nearest", **promises: Any) -> Row:
    strict = promises.pop("strict", False)
    op = kind(gamma=gamma, bits=bits, rounding=rounding, strict=strict)
    return Row(op=op, **promises)


STD, HALF, LAMP = StdThreshold(gamma=0.5), GlobalMagnitude(density=0.4), Lamp(density=0.4)
FILTERS = FilterMagnitude(density=0.4)
Q1, Q3, Q4 = (UniformQuantizer(bits=bits) for bits in (1, 3, 4))
Q4_FLOOR = UniformQuantizer(bits=4, rounding="floor")
Q4_STOCHASTIC = UniformQuantizer(bits=4, rounding="stochastic")

SHARED: dict[str, Any] = {"alone": False}
BY_FILTER: dict[str, Any] = {"alone": False, "by_size": False}
FLOOR: dict[str, Any] = {"odd": False}
STOCHASTIC: dict[str, Any] = {"odd": False, "alone": False, "random": True}


def _ending(bits: int, **promises: Any) -> dict[str, Any]:
    """Promises of grids that end below some weights, with zero on them."""
    return {"magnitudes": 2 ** (bits - 1) - 1, "near": False} | promises


ROWS = {
    "std": Row(op=STD),
    "std-strict": Row(op=StdThreshold(gamma=0.5, strict=True)),
    "std-0": Row(op=StdThreshold(gamma=0), idempotent=True),
    "std-0-strict": Row(op=StdThreshold(gamma=0, strict=True), idempotent=True),
    "std-without-zeros": Row(op=StdThreshold(gamma=0.5, zeros=False)),
    "std-sample": Row(op=StdThreshold(gamma=0.5, correction=1)),
    "std-sample-without-zeros-strict": Row(
        op=StdThreshold(gamma=0.7, zeros=False, correction=1, strict=True)
    ),
    "threshold": Row(op=LearnedThreshold(pressure=1.0, start=0.5)),
    "global": Row(op=HALF, idempotent=True, **SHARED),
    "global-0": Row(op=GlobalMagnitude(density=0), idempotent=True, **SHARED),
    "global-1": Row(op=GlobalMagnitude(density=1), idempotent=True, **SHARED),
    "lamp": Row(op=LAMP, idempotent=True, **SHARED),
    "lamp-0": Row(op=Lamp(density=0), idempotent=True, **SHARED),
    "lamp-1": Row(op=Lamp(density=1), idempotent=True, **SHARED),
    "lamp-every": Row(op=Lamp(density=0.4, every=5), idempotent=True, **SHARED),
    "lamp-least": Row(op=Lamp(density=0.7, least=1), idempotent=True, **SHARED),
    "filters": Row(op=FILTERS, idempotent=True, **BY_FILTER),
    "filters-0": Row(op=FilterMagnitude(density=0, least=0), idempotent=True, **BY_FILTER),
    "filters-1": Row(op=FilterMagnitude(density=1), idempotent=True, **SHARED),
    "filters-least": Row(op=FilterMagnitude(density=0.1, least=2), idempotent=True, **BY_FILTER),
    "filters-but-last": Row(
        op=FilterMagnitude(density=0.3, keep_last=True), idempotent=True, **BY_FILTER
    ),
    "filters-std": Row(op=Then(first=FilterMagnitude(density=0.6), second=STD), **BY_FILTER),
    "filters-pq-4": Row(
        op=Then(first=FilterMagnitude(density=0.6), second=PruneThenQuantize(gamma=0.5, bits=4)),
        magnitudes=9,
        **BY_FILTER,
    ),
    "filters-q4": Row(
        op=Chain(prune=FILTERS, quantize=Q4), magnitudes=8, idempotent=True, **BY_FILTER
    ),
    "filters-q1": Row(
        op=Chain(prune=FILTERS, quantize=Q1), magnitudes=1, idempotent=True, **BY_FILTER
    ),
    "filters-q4-stochastic": Row(
        op=Chain(prune=FILTERS, quantize=Q4_STOCHASTIC),
        magnitudes=10,
        idempotent=None,
        **BY_FILTER | STOCHASTIC,
    ),
    "q1": Row(op=Q1, magnitudes=1),
    "q2": Row(op=UniformQuantizer(bits=2), magnitudes=2, idempotent=True),
    "q3": Row(op=Q3, magnitudes=4, idempotent=True),
    "q8": Row(op=UniformQuantizer(bits=8), magnitudes=128, idempotent=True),
    "q16": Row(op=UniformQuantizer(bits=16), magnitudes=2**15, idempotent=True),
    "q24": Row(op=UniformQuantizer(bits=24), magnitudes=2**23 + 1),
    "q32": Row(op=UniformQuantizer(bits=32), idempotent=True),
    "q4-floor": Row(op=Q4_FLOOR, magnitudes=10, **FLOOR),
    "q4-stochastic": Row(op=Q4_STOCHASTIC, magnitudes=10, idempotent=None, **STOCHASTIC),
    "mixed-3": Row(op=MixedBits(quantize=Q4, each=(3,)), magnitudes=4, idempotent=True),
    "mixed-3-clipped": Row(
        op=MixedBits(quantize=ClippedQuantizer(bits=8, quantile=0.9), each=(3,)),
        **_ending(3, idempotent=True),
    ),
    "clipped-2": Row(op=ClippedQuantizer(bits=2, quantile=0.5), **_ending(2, idempotent=True)),
    "clipped-3": Row(op=ClippedQuantizer(bits=3, quantile=0.9), **_ending(3, idempotent=True)),
    "clipped-8": Row(op=ClippedQuantizer(bits=8, quantile=0.995), **_ending(8, idempotent=True)),
    "clipped-3-all": Row(op=ClippedQuantizer(bits=3, quantile=1.0), **_ending(3, idempotent=True)),
    "learned-2": Row(op=LearnedStep(bits=2), **_ending(2)),
    "learned-3": Row(op=LearnedStep(bits=3), **_ending(3)),
    "learned-8": Row(op=LearnedStep(bits=8), **_ending(8)),
    "coded-2": Row(
        op=EntropyQuantizer(bits=2, price=0.1, quantile=0.7), **_ending(2, idempotent=None)
    ),
    "coded-3": Row(
        op=EntropyQuantizer(bits=3, price=0.2, quantile=0.95), **_ending(3, idempotent=None)
    ),
    "coded-3-0": Row(
        op=EntropyQuantizer(bits=3, price=0.0, quantile=1.0), **_ending(3, idempotent=None)
    ),
    "coded-5": Row(
        op=EntropyQuantizer(bits=5, price=2.0, quantile=1.0), **_ending(5, idempotent=None)
    ),
    "pq-8": _both(PruneThenQuantize, 0.375, 8, magnitudes=129),
    "pq-3": _both(PruneThenQuantize, 0.5, 3, magnitudes=5),
    "pq-3-strict": _both(PruneThenQuantize, 0.5, 3, magnitudes=5, strict=True),
    "pq-2": _both(PruneThenQuantize, 0.75, 2, magnitudes=3),
    "pq-1": _both(PruneThenQuantize, 0.5, 1, magnitudes=1, idempotent=True),
    "pq-32": _both(PruneThenQuantize, 0.5, 32),
    "pq-4-floor": _both(PruneThenQuantize, 0.75, 4, "floor", magnitudes=10, **FLOOR),
    "pq-4-stochastic": _both(PruneThenQuantize, 0.75, 4, "stochastic", magnitudes=10, **STOCHASTIC),
    "qp-8": _both(QuantizeThenPrune, 0.375, 8, magnitudes=128),
    "qp-3-strict": _both(QuantizeThenPrune, 1.0, 3, magnitudes=4, strict=True),
    "qp-1": _both(QuantizeThenPrune, 0.5, 1, magnitudes=1),
    "qp-4-floor": _both(QuantizeThenPrune, 0.5, 4, "floor", magnitudes=10, **FLOOR),
    "qp-4-stochastic": _both(
        QuantizeThenPrune, 0.5, 4, "stochastic", magnitudes=10, idempotent=None, **STOCHASTIC
    ),
    "qp-4-without-zeros": Row(
        op=Chain(prune=StdThreshold(gamma=0.5, zeros=False), quantize=Q4, quantize_first=True),
        magnitudes=8,
    ),
    "jointly-pq-4": Row(op=Chain(prune=STD, quantize=Q4, jointly=True), magnitudes=9, **SHARED),
    "jointly-pq-1": Row(
        op=Chain(prune=StdThreshold(gamma=0.5, strict=True), quantize=Q1, jointly=True),
        magnitudes=1,
        idempotent=True,
        **SHARED,
    ),
    "jointly-qp-3": Row(
        op=Chain(
            prune=StdThreshold(gamma=0.75, zeros=False),
            quantize=Q3,
            jointly=True,
            quantize_first=True,
        ),
        magnitudes=4,
        **SHARED,
    ),
    "global-q4": Row(op=Chain(prune=HALF, quantize=Q4), magnitudes=9, **SHARED),
    "global-q1": Row(op=Chain(prune=HALF, quantize=Q1), magnitudes=1, **SHARED),
    "lamp-q4": Row(op=Chain(prune=LAMP, quantize=Q4), magnitudes=9, **SHARED),
    "lamp-clipped-3": Row(
        op=Chain(prune=LAMP, quantize=ClippedQuantizer(bits=3, quantile=0.8)),
        **_ending(3, idempotent=True, alone=False),
    ),
    "lamp-learned-3": Row(
        op=Chain(prune=LAMP, quantize=LearnedStep(bits=3)), **_ending(3, alone=False)
    ),
    "lamp-coded-4": Row(
        op=Chain(
            prune=Lamp(density=0.6), quantize=EntropyQuantizer(bits=4, price=0.1, quantile=0.9)
        ),
        **_ending(4, idempotent=None, alone=False),
    ),
    "std-clipped-3": Row(
        op=Chain(prune=StdThreshold(gamma=0.75), quantize=ClippedQuantizer(bits=3, quantile=0.7)),
        **_ending(3, idempotent=None),
    ),
    "std-q3-seeded": Row(
        op=Chain(
            prune=STD, quantize=UniformQuantizer(bits=3, rounding="stochastic", random_seed=7)
        ),
        magnitudes=6,
        **STOCHASTIC,
    ),
}


def _chosen(names: tuple[str, ...], promises: dict[str, Any]) -> dict[str, Row]:
    return {
        name: row
        for name, row in ROWS.items()
        if (not names or name in names)
        and all(getattr(row, promise) == value for promise, value in promises.items())
    }


def over(*names: str, **promises: Any) -> pytest.MarkDecorator:
    """Parametrize over the rows of these names, or over all that make these promises."""
    chosen = _chosen(names, promises)
    return pytest.mark.parametrize("row", chosen.values(), ids=chosen.keys())


def each(*names: str, **promises: Any) -> Iterator[Row]:
    """Go through the same rows within one drawn example; the last one noted is the one at fault.

    Drawing an example takes longer than applying every operator to it.
    """
    for name, row in _chosen(names, promises).items():
        note(f"row {name}")
        yield row
