"""Ranges of activations from data: which uint8 grid each value of a network gets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.errors import DataError, NonFiniteError
from espalier.export.graph import Graph
from espalier.export.onnx.builder import require

__all__ = ["FINEST", "Range", "calibrate", "check_calibration"]

Floats = NDArray[np.float32]
LEVELS = 255
"""The largest of the integers of an activation, uint8."""
BINS = 2048
SHRINKS = np.linspace(0.3, 1.0, 29)
"""Parts of the range seen that are tried."""
FINEST = 1e-12
"""The least step of any grid, so that products of two are far from where float32 ends."""
CHUNK = 32
"""Samples at once, since every value is kept."""


@dataclass(frozen=True, slots=True)
class Range:
    """``value = scale * (integer - zero)``, integers 0 to 255; zero is exact."""

    scale: np.float32
    zero: np.uint8

    @classmethod
    def over(cls, low: float, high: float) -> "Range":
        """Return the grid that reaches from ``low`` to ``high``, both widened to hold zero."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / LEVELS, FINEST)
        return cls(np.float32(scale), np.uint8(np.clip(round(-low / scale), 0, LEVELS)))

    def rounded(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the nearest values of the grid."""
        zero = float(self.zero)
        integers = np.clip(np.rint(values / float(self.scale)) + zero, 0, LEVELS)
        return (integers - zero) * float(self.scale)


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


def calibrate(graph: Graph, model: bytes, calibration: Floats) -> dict[str, Range]:
    """Choose a grid for the input and the output of every node.

    Of the ranges between 30 and 100 % of what the data reach, each value gets the one that leaves
    the least squared error over a histogram of the data.

    Args:
        graph: the network.
        model: the same as ONNX in float32, with every node's output as an output.
        calibration: (samples, *shape), normalized.

    Raises:
        NonFiniteError: an activation exceeds float32; the message names its layer.
    """
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    reached: dict[str, tuple[float, float]] = {}
    for name, values in _runs(graph, session, calibration):
        least, most = float(values.min()), float(values.max())
        if not np.isfinite((least, most)).all():
            raise NonFiniteError(f"{_place(graph, name)}: calibration makes it exceed float32.")
        low, high = reached.get(name, (0.0, 0.0))
        reached[name] = (min(low, least), max(high, most))
    counts = {name: np.zeros(BINS, np.int64) for name in reached}
    for name, values in _runs(graph, session, calibration):
        counts[name] += _histogram(values, *_span(*reached[name]))
    return {name: _least_error(counts[name], *reached[name]) for name in reached}


def _runs(graph: Graph, session: Any, calibration: Floats) -> Iterator[tuple[str, Floats]]:
    """Yield every value that the network computes, chunk by chunk, by its name."""
    names = [output.name for output in session.get_outputs()]
    for start in range(0, len(calibration), CHUNK):
        chunk = calibration[start : start + CHUNK]
        yield graph.input.name, chunk
        yield from zip(names, session.run(names, {graph.input.name: chunk}), strict=True)


def _histogram(values: Floats, low: float, high: float) -> NDArray[np.int64]:
    """Count values in even bins; several times as fast as numpy's, which cares about edges."""
    bins = ((values.reshape(-1) - np.float32(low)) * np.float32(BINS / (high - low))).astype(
        np.int32
    )
    return np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)


def _span(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (0.0, 1.0)


def _least_error(counts: NDArray[np.int64], low: float, high: float) -> Range:
    edges = np.linspace(*_span(low, high), BINS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    tried = [Range.over(low * shrink, high * shrink) for shrink in SHRINKS]
    errors = [float((counts * (one.rounded(middles) - middles) ** 2).sum()) for one in tried]
    return tried[int(np.argmin(errors))]


def _place(graph: Graph, name: str) -> str:
    return next((node.name for node in graph.nodes if node.output.name == name), name)
