"""The contract table: every operator and what it promises. A new operator is one new row."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import note

from espalier.ops import (
    Chain,
    ClippedQuantizer,
    EntropyQuantizer,
    FilterMagnitude,
    GlobalMagnitude,
    Lamp,
    LearnedStep,
    LearnedThreshold,
    Operator,
    PruneThenQuantize,
    QuantizeThenPrune,
    StdThreshold,
    Then,
    UniformQuantizer,
)

__all__ = ["ROWS", "Row", "each", "over"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """An operator and its promises."""

    op: Operator
    settings: dict[str, Any] = field(hash=False)
    """The same operator for the oracle."""
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


def _quantizer(bits: int, rounding: str = "nearest", **promises: Any) -> Row:
    settings = {"bits": bits, "rounding": rounding}
    return Row(op=UniformQuantizer(**settings), settings=settings, **promises)


def _both(kind: type, gamma: float, bits: int, **promises: Any) -> Row:
    settings = {"gamma": gamma, "bits": bits}
    settings |= {k: promises.pop(k) for k in ("rounding", "strict") if k in promises}
    first = {"quantize_first": True} if kind is QuantizeThenPrune else {}
    return Row(op=kind(**settings), settings=settings | first, **promises)


def _chain(prune: Operator, quantize: Any, settings: dict[str, Any], **p: Any) -> Row:
    bits = {"bits": quantize.bits, "rounding": getattr(quantize, "rounding", "nearest")}
    how = {k: p.pop(k) for k in ("quantize_first", "jointly") if k in p}
    op = Chain(prune=prune, quantize=quantize, **how)
    return Row(op=op, settings=settings | bits | how, **p)


def _lamp(**settings: Any) -> Row:
    op = Lamp(**settings)
    settings.pop("every", None)  # of a first pass it says nothing
    return Row(op=op, settings={"lamp": True} | settings, idempotent=True, alone=False)


def _filters(
    density: float,
    least: int = 1,
    *,
    keep_last: bool = False,
    second: Operator | None = None,
    settings: Any = (),
    **p: Any,
) -> Row:
    first = FilterMagnitude(density=density, least=least, keep_last=keep_last)
    op = first if second is None else Then(first=first, second=second)
    given = {"filters": (density, least, keep_last), **dict(settings)}
    return Row(op=op, settings=given, **({"alone": False, "by_size": False} | p))


def _clipped(bits: int, quantile: float) -> Row:
    settings = {"bits": bits, "quantile": quantile}
    top = 2 ** (bits - 1) - 1
    op = ClippedQuantizer(**settings)
    return Row(op=op, settings=settings, magnitudes=top, near=False, idempotent=True)


def _learned(bits: int) -> Row:
    settings = {"bits": bits, "learned": True}
    op, top = LearnedStep(bits=bits), 2 ** (bits - 1) - 1
    return Row(op=op, settings=settings, magnitudes=top, near=False)


def _coded(bits: int, price: float, quantile: float) -> Row:
    settings = {"bits": bits, "price": price, "quantile": quantile}
    op, top = EntropyQuantizer(**settings), 2 ** (bits - 1) - 1
    return Row(op=op, settings=settings, magnitudes=top, near=False, idempotent=None)


FLOOR = {"rounding": "floor", "odd": False}
STOCHASTIC = {"rounding": "stochastic", "odd": False, "alone": False, "random": True}

ROWS = {
    "std": Row(op=StdThreshold(gamma=0.5), settings={"gamma": 0.5}),
    "std-strict": Row(
        op=StdThreshold(gamma=0.5, strict=True), settings={"gamma": 0.5, "strict": True}
    ),
    "std-0": Row(op=StdThreshold(gamma=0), settings={"gamma": 0}, idempotent=True),
    "std-0-strict": Row(
        op=StdThreshold(gamma=0, strict=True),
        settings={"gamma": 0, "strict": True},
        idempotent=True,
    ),
    "std-without-zeros": Row(
        op=StdThreshold(gamma=0.5, zeros=False), settings={"gamma": 0.5, "zeros": False}
    ),
    "std-sample": Row(
        op=StdThreshold(gamma=0.5, correction=1), settings={"gamma": 0.5, "correction": 1}
    ),
    "std-sample-without-zeros-strict": Row(
        op=StdThreshold(gamma=0.7, zeros=False, correction=1, strict=True),
        settings={"gamma": 0.7, "zeros": False, "correction": 1, "strict": True},
    ),
    "global": Row(
        op=GlobalMagnitude(density=0.4), settings={"density": 0.4}, idempotent=True, alone=False
    ),
    "global-0": Row(
        op=GlobalMagnitude(density=0), settings={"density": 0}, idempotent=True, alone=False
    ),
    "global-1": Row(
        op=GlobalMagnitude(density=1), settings={"density": 1}, idempotent=True, alone=False
    ),
    "lamp": _lamp(density=0.4),
    "lamp-0": _lamp(density=0),
    "lamp-1": _lamp(density=1),
    "lamp-every": _lamp(density=0.4, every=5),
    "lamp-least": _lamp(density=0.7, least=1),
    "filters": _filters(0.4, idempotent=True),
    "filters-0": _filters(0, 0, idempotent=True),
    "filters-1": _filters(1, idempotent=True, by_size=True),
    "filters-least": _filters(0.1, 2, idempotent=True),
    "filters-but-last": _filters(0.3, 1, keep_last=True, idempotent=True),
    "filters-q4": _chain(
        FilterMagnitude(density=0.4),
        UniformQuantizer(bits=4),
        {"filters": (0.4, 1)},
        magnitudes=8,
        idempotent=True,
        alone=False,
        by_size=False,
    ),
    "filters-q1": _chain(
        FilterMagnitude(density=0.4),
        UniformQuantizer(bits=1),
        {"filters": (0.4, 1)},
        magnitudes=1,
        idempotent=True,
        alone=False,
        by_size=False,
    ),
    "filters-q4-stochastic": _chain(
        FilterMagnitude(density=0.4),
        UniformQuantizer(bits=4, rounding="stochastic"),
        {"filters": (0.4, 1)},
        magnitudes=10,
        idempotent=None,
        by_size=False,
        odd=False,
        alone=False,
        random=True,
    ),
    "filters-std": _filters(0.6, second=StdThreshold(gamma=0.5), settings={"gamma": 0.5}),
    "filters-pq-4": _filters(
        0.6,
        second=PruneThenQuantize(gamma=0.5, bits=4),
        settings={"gamma": 0.5, "bits": 4},
        magnitudes=9,
    ),
    "q1": _quantizer(1, magnitudes=1),
    "q2": _quantizer(2, magnitudes=2, idempotent=True),
    "q3": _quantizer(3, magnitudes=4, idempotent=True),
    "q8": _quantizer(8, magnitudes=128, idempotent=True),
    "q16": _quantizer(16, magnitudes=2**15, idempotent=True),
    "q24": _quantizer(24, magnitudes=2**23 + 1),
    "q32": _quantizer(32, idempotent=True),
    "q4-floor": _quantizer(4, magnitudes=10, **FLOOR),
    "q4-stochastic": _quantizer(4, magnitudes=10, idempotent=None, **STOCHASTIC),
    "clipped-2": _clipped(2, 0.5),
    "clipped-3": _clipped(3, 0.9),
    "clipped-8": _clipped(8, 0.995),
    "clipped-3-all": _clipped(3, 1.0),
    "learned-2": _learned(2),
    "learned-3": _learned(3),
    "learned-8": _learned(8),
    "coded-2": _coded(2, 0.1, 0.7),
    "coded-3": _coded(3, 0.2, 0.95),
    "coded-3-0": _coded(3, 0.0, 1.0),
    "coded-5": _coded(5, 2.0, 1.0),
    "pq-8": _both(PruneThenQuantize, 0.375, 8, magnitudes=129),
    "pq-3": _both(PruneThenQuantize, 0.5, 3, magnitudes=5),
    "pq-3-strict": _both(PruneThenQuantize, 0.5, 3, magnitudes=5, strict=True),
    "pq-2": _both(PruneThenQuantize, 0.75, 2, magnitudes=3),
    "pq-1": _both(PruneThenQuantize, 0.5, 1, magnitudes=1, idempotent=True),
    "pq-32": _both(PruneThenQuantize, 0.5, 32),
    "pq-4-floor": _both(PruneThenQuantize, 0.75, 4, magnitudes=10, **FLOOR),
    "pq-4-stochastic": _both(PruneThenQuantize, 0.75, 4, magnitudes=10, **STOCHASTIC),
    "qp-8": _both(QuantizeThenPrune, 0.375, 8, magnitudes=128),
    "qp-3-strict": _both(QuantizeThenPrune, 1.0, 3, magnitudes=4, strict=True),
    "qp-1": _both(QuantizeThenPrune, 0.5, 1, magnitudes=1),
    "qp-4-floor": _both(QuantizeThenPrune, 0.5, 4, magnitudes=10, **FLOOR),
    "qp-4-stochastic": _both(
        QuantizeThenPrune, 0.5, 4, magnitudes=10, idempotent=None, **STOCHASTIC
    ),
    "jointly-pq-4": _chain(
        StdThreshold(gamma=0.5),
        UniformQuantizer(bits=4),
        {"gamma": 0.5},
        jointly=True,
        magnitudes=9,
        alone=False,
    ),
    "jointly-pq-1": _chain(
        StdThreshold(gamma=0.5, strict=True),
        UniformQuantizer(bits=1),
        {"gamma": 0.5, "strict": True},
        jointly=True,
        magnitudes=1,
        idempotent=True,
        alone=False,
    ),
    "jointly-qp-3": _chain(
        StdThreshold(gamma=0.75, zeros=False),
        UniformQuantizer(bits=3),
        {"gamma": 0.75, "zeros": False},
        jointly=True,
        quantize_first=True,
        magnitudes=4,
        alone=False,
    ),
    "qp-4-without-zeros": _chain(
        StdThreshold(gamma=0.5, zeros=False),
        UniformQuantizer(bits=4),
        {"gamma": 0.5, "zeros": False},
        quantize_first=True,
        magnitudes=8,
    ),
    "global-q4": _chain(
        GlobalMagnitude(density=0.4),
        UniformQuantizer(bits=4),
        {"density": 0.4},
        magnitudes=9,
        alone=False,
    ),
    "global-q1": _chain(
        GlobalMagnitude(density=0.4),
        UniformQuantizer(bits=1),
        {"density": 0.4},
        magnitudes=1,
        alone=False,
    ),
    "lamp-q4": _chain(
        Lamp(density=0.4),
        UniformQuantizer(bits=4),
        {"density": 0.4, "lamp": True},
        magnitudes=9,
        alone=False,
    ),
    "lamp-clipped-3": _chain(
        Lamp(density=0.4),
        ClippedQuantizer(bits=3, quantile=0.8),
        {"density": 0.4, "lamp": True, "quantile": 0.8},
        magnitudes=3,
        near=False,
        idempotent=True,
        alone=False,
    ),
    "lamp-learned-3": _chain(
        Lamp(density=0.4),
        LearnedStep(bits=3),
        {"density": 0.4, "lamp": True, "learned": True},
        magnitudes=3,
        near=False,
        alone=False,
    ),
    "threshold": Row(op=LearnedThreshold(pressure=1.0, start=0.5), settings={"gamma": 0.5}),
    "lamp-coded-4": _chain(
        Lamp(density=0.6),
        EntropyQuantizer(bits=4, price=0.1, quantile=0.9),
        {"density": 0.6, "lamp": True, "price": 0.1, "quantile": 0.9},
        magnitudes=7,
        near=False,
        idempotent=None,
        alone=False,
    ),
    "std-clipped-3": _chain(
        StdThreshold(gamma=0.75),
        ClippedQuantizer(bits=3, quantile=0.7),
        {"gamma": 0.75, "quantile": 0.7},
        magnitudes=3,
        near=False,
        idempotent=None,
    ),
    "std-q3-seeded": _chain(
        StdThreshold(gamma=0.5),
        UniformQuantizer(bits=3, rounding="stochastic", random_seed=7),
        {"gamma": 0.5},
        magnitudes=6,
        odd=False,
        alone=False,
        random=True,
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
