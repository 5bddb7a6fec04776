"""From a mask and its codes to a stream and back: the compiled core, or its twin in Python."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from espalier.artifact.contexts import read_contexts, write_contexts
from espalier.artifact.histogram import Histogram, symbols_of
from espalier.artifact.matrix import Matrix
from espalier.artifact.range_coder import RangeReader, RangeWriter
from espalier.artifact.status import Status, StreamFault
from espalier.core import core

__all__ = ["read_stream", "write_stream"]

MAX_CODE = 2**62


def write_stream(
    mask: NDArray[np.bool_],
    codes: NDArray[np.int64] | None,
    matrix: Matrix,
    histogram: Histogram | None = None,
) -> bytes:
    """Return the stream of a mask and its codes.

    Args:
        mask: of at least one element.
        codes: one a nonzero, magnitudes from the matrix's offset to 2^62; None codes the mask only.
        matrix: how the tensor is coded.
        histogram: of the static model; None is the model of contexts.
    """
    if core is not None:
        symbols, frequencies = _arrays(histogram)
        return cast(bytes, core.coder_write(mask, codes, symbols, frequencies, matrix.numbers))
    if histogram is None:
        return write_contexts(mask, codes, matrix)
    return _write_static(mask, codes, matrix, histogram)


def read_stream(
    stream: bytes,
    mask: NDArray[np.bool_],
    codes: NDArray[np.int64] | None,
    matrix: Matrix,
    histogram: Histogram | None = None,
) -> None:
    """Fill a mask of zeros and its codes from a stream.

    Raises:
        StreamFault: the stream is not one of that matrix.
    """
    if core is not None:
        symbols, frequencies = _arrays(histogram)
        status, _ = core.coder_read(mask, codes, stream, symbols, frequencies, matrix.numbers)
        if status:
            raise StreamFault(Status(status))
    elif histogram is None:
        read_contexts(stream, mask, codes, matrix)
    else:
        _read_static(stream, mask, codes, matrix, histogram)


def _arrays(histogram: Histogram | None) -> tuple[Any, Any]:
    return (None, None) if histogram is None else (histogram.symbols, histogram.frequencies)


def _starts(histogram: Histogram) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(histogram.frequencies.astype(np.int64))])


def _write_static(
    mask: NDArray[np.bool_],
    codes: NDArray[np.int64] | None,
    matrix: Matrix,
    histogram: Histogram,
) -> bytes:
    symbols = np.zeros(mask.size, np.int64)
    symbols[mask.ravel()] = 1 if codes is None else symbols_of(codes, matrix)
    places = np.searchsorted(histogram.symbols, symbols).tolist()
    starts, shares = _starts(histogram).tolist(), histogram.frequencies.tolist()
    coder = RangeWriter()
    for place in places:
        coder.part(starts[place], shares[place])
    return coder.end()


def _read_static(
    stream: bytes,
    mask: NDArray[np.bool_],
    codes: NDArray[np.int64] | None,
    matrix: Matrix,
    histogram: Histogram,
) -> None:
    starts, shares = _starts(histogram), histogram.frequencies.tolist()
    firsts, symbols = starts.tolist(), histogram.symbols.tolist()
    coder = RangeReader(stream)
    flat, found = mask.reshape(-1), 0
    for i in range(flat.size):
        place = int(np.searchsorted(starts, coder.find(), side="right")) - 1
        coder.part(firsts[place], shares[place])
        symbol = symbols[place]
        if symbol == 0:
            continue
        if found == matrix.nonzero:
            raise StreamFault(Status.TOO_MANY)
        flat[i] = True
        if codes is not None:
            below = symbol + matrix.offset - 1 if symbol > 0 else symbol - matrix.offset + 1
            codes[found] = below
        found += 1
    coder.end()
    if found != matrix.nonzero:
        raise StreamFault(Status.TOO_FEW)
