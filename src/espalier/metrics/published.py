"""The paper's published numbers: its Tables I and II, as typed rows.

The paper measured them on CIFAR-10; each run of Table I is the best over six learning rates.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["PublishedEfficiency", "PublishedRun", "published_table1", "published_table2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRun:
    """A cell of Table I: the best run for a strength and a bit width."""

    gamma: float
    """Strength of the pruning (eq. 1)."""
    bits: int
    """Bits of a kept weight; 32 means no quantization."""
    test_accuracy: float
    """Percent, of the best epoch by test accuracy."""
    density: float
    """Share of weights kept, 0 to 1 (printed in percent)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedEfficiency:
    """A cell of Table II: the efficiency score (eq. 5) of a cell of Table I."""

    gamma: float
    """Strength of the pruning (eq. 1)."""
    bits: int
    """Bits of a kept weight."""
    rho: int
    """Weight of the accuracy."""
    efficiency: float
    """PE."""


@cache
def published_table1() -> tuple[PublishedRun, ...]:
    """Return Table I: 7 strengths x 5 bit widths.

    Example:
        >>> published_table1()[0]
        PublishedRun(gamma=0.0, bits=32, test_accuracy=87.21, density=1.0)
    """
    return tuple(
        PublishedRun(
            gamma=float(row["gamma"]),
            bits=int(row["bits"]),
            test_accuracy=float(row["test_accuracy_percent"]),
            density=float(row["density_percent"]) / 100,
        )
        for row in _rows("table1.csv")
    )


@cache
def published_table2() -> tuple[PublishedEfficiency, ...]:
    """Return Table II: 6 strengths x 8, 4 and 3 bits x rho of 1, 2 and 3.

    Example:
        >>> max(published_table2(), key=lambda row: row.efficiency * (row.rho == 2))
        PublishedEfficiency(gamma=0.625, bits=4, rho=2, efficiency=95.27)
    """
    return tuple(
        PublishedEfficiency(
            gamma=float(row["gamma"]),
            bits=int(row["bits"]),
            rho=int(row["rho"]),
            efficiency=float(row["efficiency_score"]),
        )
        for row in _rows("table2.csv")
    )


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = files("espalier.metrics").joinpath(name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())
