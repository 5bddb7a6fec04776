"""Ranges of activations from data: which uint8 grid each value of a network gets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.export.graph import Graph
from espalier.export.onnx.builder import require
from espalier.export.ranges import CHUNK, SHRINKS, Histogram, histograms

__all__ = ["FINEST", "Range", "calibrate"]

Floats = NDArray[np.float32]
LEVELS = 255
"""The largest of the integers of an activation, uint8."""
FINEST = 1e-12
"""The least step of any grid, so that products of two are far from where float32 ends."""


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
    found = histograms(graph, lambda: _runs(graph, session, calibration))
    return {name: _least_error(histogram) for name, histogram in found.items()}


def _runs(graph: Graph, session: Any, calibration: Floats) -> Iterator[tuple[str, Floats]]:
    """Yield every value that the network computes, chunk by chunk, by its name."""
    names = [output.name for output in session.get_outputs()]
    for start in range(0, len(calibration), CHUNK):
        chunk = calibration[start : start + CHUNK]
        yield graph.input.name, chunk
        yield from zip(names, session.run(names, {graph.input.name: chunk}), strict=True)


def _least_error(histogram: Histogram) -> Range:
    tried = [Range.over(histogram.low * shrink, histogram.high * shrink) for shrink in SHRINKS]
    errors = [histogram.error(one.rounded(histogram.middles)) for one in tried]
    return tried[int(np.argmin(errors))]
