"""What activations reach over calibration data, and how their values are spread."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.errors import DataError, NonFiniteError
from espalier.export.graph import Graph

__all__ = ["CHUNK", "SHRINKS", "Histogram", "check_calibration", "histograms"]

Floats = NDArray[np.float32]
BINS = 2048
SHRINKS = np.linspace(0.3, 1.0, 29)
"""Parts of the range seen that are tried."""
CHUNK = 32
"""Samples at once, since every value is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Even bins over what a value reached, zero included."""

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def middles(self) -> NDArray[np.float64]:
        """The middle of each bin."""
        edges = np.linspace(*_span(self.low, self.high), BINS + 1)
        middles: NDArray[np.float64] = (edges[:-1] + edges[1:]) / 2
        return middles

    def error(self, rounded: NDArray[np.float64]) -> float:
        """Return the summed squares between the middles and what they are rounded to."""
        return float((self.counts * (rounded - self.middles) ** 2).sum())


def check_calibration(graph: Graph, calibration: Any) -> Floats:
    """Return calibration data as float32.

    Raises:
        DataError: of another shape than the network's input, empty, or not finite.
    """
    given = np.asarray(calibration)
    shape = ", ".join(map(str, graph.input.shape))
    if given.shape[1:] != graph.input.shape or not given.size:
        raise DataError(
            f"calibration has shape {given.shape}; the network takes (samples, {shape}), with at "
            "least one sample."
        )
    if given.dtype.kind != "f":
        raise DataError(
            f"calibration holds {given.dtype}; the network takes normalized inputs in float32."
        )
    if not np.isfinite(given).all():
        raise DataError("calibration holds NaN or infinity.")
    return given.astype(np.float32)


def histograms(
    graph: Graph, values: Callable[[], Iterable[tuple[str, Floats]]]
) -> dict[str, Histogram]:
    """Return how each value of a network is spread.

    Args:
        graph: the network.
        values: yields every value by its name, chunk after chunk; called twice, since ranges must
            be known before anything is counted.

    Raises:
        NonFiniteError: an activation exceeds float32; the message names its layer.
    """
    reached: dict[str, tuple[float, float]] = {}
    for name, chunk in values():
        least, most = float(chunk.min()), float(chunk.max())
        if not np.isfinite((least, most)).all():
            raise NonFiniteError(
                f"{_place(graph, name)}: calibration makes it exceed float32; look at its weights, "
                "and at how the data are normalized."
            )
        low, high = reached.get(name, (0.0, 0.0))
        reached[name] = (min(low, least), max(high, most))
    counts = {name: np.zeros(BINS, np.int64) for name in reached}
    for name, chunk in values():
        counts[name] += _count(chunk, *_span(*reached[name]))
    return {name: Histogram(*reached[name], counts[name]) for name in reached}


def _count(values: Floats, low: float, high: float) -> NDArray[np.int64]:
    """Count values in even bins; several times as fast as numpy's, which cares about edges."""
    factor = BINS / (high - low)
    scaled = values.reshape(-1) * np.float32(factor) - np.float32(low * factor)
    bins = scaled.astype(np.int32)
    return np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)


def _span(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (0.0, 1.0)


def _place(graph: Graph, name: str) -> str:
    return next((node.name for node in graph.nodes if node.output.name == name), name)
