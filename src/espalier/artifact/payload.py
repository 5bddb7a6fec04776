"""From a tensor to its payload and back."""

import math
import zlib
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from espalier.artifact.coder import read_stream, write_stream
from espalier.artifact.cursor import Cursor
from espalier.artifact.histogram import MAX_SYMBOLS, histogram_of, read_histogram
from espalier.artifact.matrix import Matrix, matrix_shape
from espalier.artifact.status import StreamFault, stream_error
from espalier.artifact.tensor import (
    DENSE_TYPES,
    MAX_WEIGHTS,
    Compression,
    TensorInfo,
)
from espalier.encoded import Encoded, Raw, Table, Uniform
from espalier.errors import (
    ArtifactChecksumError,
    ArtifactError,
    ArtifactLimitError,
    ArtifactStreamError,
)

__all__ = ["CoderChoice", "Tensor", "pack_tensor", "unpack_tensor"]

Tensor = Encoded | NDArray[Any]
"""Compressed weights, or an array as it is."""

CoderChoice = Literal["smallest", "contexts", "static"]
"""Which model codes a tensor: the one that gives the fewest bytes, or always the same."""

STATIC, CONTEXTS = 0, 1
MAX_CODE = 2**62
MODELS = {"smallest": (CONTEXTS, STATIC), "contexts": (CONTEXTS,), "static": (STATIC,)}
SAMPLED_ROWS = 64
FLAT_KERNELS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (7, 7), (8, 8))
"""Kernels that are tried where a matrix may come after a flattened map."""


def pack_tensor(
    name: str, tensor: Tensor, *, coder: CoderChoice = "smallest", half: bool = False
) -> tuple[TensorInfo, bytes]:
    """Return a tensor's line of the header and its payload.

    Args:
        name: as the network calls it.
        tensor: compressed weights; or an array of float32, float64 (rounded to float32), float16,
            integers or booleans.
        coder: which model codes the compressed weights.
        half: store floats of a dense tensor in 16 bits.

    Raises:
        ArtifactError: the tensor holds what the format does not.
        ArtifactLimitError: it is too large for the format.
    """
    if np.prod(tensor.shape, dtype=object) > MAX_WEIGHTS:
        raise ArtifactLimitError(
            f"tensor {name!r} has {tensor.size} elements; the format holds up to 2^31 - 1."
        )
    if isinstance(tensor, Encoded):
        kind, compression, payload = _pack_encoded(name, tensor, coder)
    else:
        kind, payload = _pack_dense(name, tensor, half=half)
        compression = None
    info = TensorInfo(
        name=name,
        shape=tuple(tensor.shape),
        kind=kind,
        compression=compression,
        length=len(payload),
        checksum=zlib.crc32(payload),
    )
    return info, payload


def _pack_dense(name: str, array: NDArray[Any], *, half: bool) -> tuple[int, bytes]:
    array = np.asarray(array)
    if array.dtype.kind == "f":
        kind = 1 if half or array.dtype == np.float16 else 0
        with np.errstate(over="ignore"):
            stored = array.astype(DENSE_TYPES[kind])
        if not np.isfinite(stored).all():
            raise ArtifactError(
                f"tensor {name!r} holds values that are not finite"
                + (" in 16 bits; store it in 32." if np.isfinite(array).all() else ".")
            )
    elif array.dtype in (np.bool_, np.uint8):
        kind, stored = 3, array.astype(np.uint8)
    elif array.dtype.kind == "i":
        kind, stored = 2, array.astype(DENSE_TYPES[2])
    else:
        raise ArtifactError(
            f"tensor {name!r} is of type {array.dtype}; the format holds floats, signed integers, "
            "bytes and booleans."
        )
    return kind, stored.tobytes()


def _pack_encoded(name: str, e: Encoded, coder: CoderChoice) -> tuple[int, Compression, bytes]:
    kind = {Uniform: 16, Table: 17, Raw: 18}[type(e.grid)]
    plain = Compression(grid=e.grid, bits=e.bits, kept=e.kept, nonzero=e.nonzero)
    if not e.nonzero:
        return kind, plain, b""
    mask = np.ascontiguousarray(e.mask)
    if isinstance(e.grid, Raw):
        values = np.ascontiguousarray(e.codes, "<f4")
        if not np.isfinite(values).all() or not values.all():
            raise ArtifactError(f"tensor {name!r} holds nonzeros that are 0 or not finite.")
        front, codes, offset = values.tobytes(), None, 0
    else:
        codes = np.ascontiguousarray(e.codes, np.int64)
        offset = int(np.abs(codes).min())
        _check_codes(name, codes, e.grid)
        front = b""
    best: tuple[Compression, bytes] | None = None
    for number in MODELS[coder]:
        trial = replace(plain, coder=number, offset=offset)
        if number == CONTEXTS:
            trial = replace(trial, kernel=_kernel(mask, codes, trial))
        stream = _stream(mask, codes, trial)
        if stream is not None and (best is None or len(stream) < len(best[1])):
            best = trial, stream
    if best is None:
        raise ArtifactError(
            f"tensor {name!r} has more than {MAX_SYMBOLS} different codes, which a static model "
            "doesn't hold; choose contexts."
        )
    return kind, best[0], front + best[1]


def _check_codes(name: str, codes: NDArray[np.int64], grid: Uniform | Table) -> None:
    if isinstance(grid, Table):
        fits = codes.min() >= 0 and codes.max() < len(grid.levels)
        if not fits or not np.isfinite(grid.levels).all() or 0.0 in grid.levels:
            raise ArtifactError(f"tensor {name!r}: codes or levels do not fit a table of nonzeros.")
    elif not codes.all() or codes.min() < -MAX_CODE or codes.max() > MAX_CODE:
        raise ArtifactError(f"tensor {name!r} has codes that are 0 or beyond 2^62.")


def _kernel(
    mask: NDArray[np.bool_], codes: NDArray[np.int64] | None, trial: Compression
) -> tuple[int, int]:
    """Return the kernel's shape: a convolution's own, or the best for a few rows of a matrix."""
    if mask.ndim > 2:
        height, width = math.prod(mask.shape[2:-1]), mask.shape[-1]
        return (height, width) if max(height, width) <= 255 else (1, 1)
    kernels = [k for k in FLAT_KERNELS if mask.shape[-1:] and mask.shape[-1] % (k[0] * k[1]) == 0]
    if mask.ndim < 2 or len(kernels) == 1:
        return 1, 1
    rows = mask[:: max(1, len(mask) // SAMPLED_ROWS)][:SAMPLED_ROWS]
    if codes is not None:
        values = np.zeros(mask.shape, np.int64)
        values[mask] = codes
        codes = values[:: max(1, len(mask) // SAMPLED_ROWS)][:SAMPLED_ROWS][rows]
    sample = replace(trial, nonzero=int(np.count_nonzero(rows)))
    sizes = [len(_contexts(rows, codes, replace(sample, kernel=k))) for k in kernels]
    return kernels[sizes.index(min(sizes))]


def _contexts(
    mask: NDArray[np.bool_], codes: NDArray[np.int64] | None, compression: Compression
) -> bytes:
    return write_stream(np.ascontiguousarray(mask), codes, _matrix(compression, mask.shape))


def _matrix(c: Compression, shape: tuple[int, ...]) -> Matrix:
    rows, columns = matrix_shape(shape)
    return Matrix(
        rows=rows,
        columns=columns,
        kernel=c.kernel,
        nonzero=c.nonzero,
        offset=c.offset,
        signed=isinstance(c.grid, Uniform),
    )


def _stream(
    mask: NDArray[np.bool_], codes: NDArray[np.int64] | None, compression: Compression
) -> bytes | None:
    """Return a payload; None where there are more codes than a static model holds."""
    if compression.coder == CONTEXTS:
        return _contexts(mask, codes, compression)
    if codes is not None and len(np.unique(codes)) >= MAX_SYMBOLS:
        return None
    matrix = _matrix(compression, mask.shape)
    histogram = histogram_of(mask, codes, matrix)
    return histogram.to_bytes() + write_stream(mask, codes, matrix, histogram)


def unpack_tensor(info: TensorInfo, payload: bytes) -> Tensor:
    """Return a tensor of its payload.

    Raises:
        ArtifactChecksumError: the payload has changed since it was written.
        ArtifactStreamError: it does not decode to what the header says.
        ArtifactHeaderError, ArtifactLengthError: its table is damaged.
    """
    if zlib.crc32(payload) != info.checksum:
        raise ArtifactChecksumError(
            f"tensor {info.name!r}: the payload has changed since it was written", offset=info.at
        )
    if info.compression is None:
        return _unpack_dense(info, payload)
    mask = np.zeros(info.shape, np.bool_)
    raw = isinstance(info.compression.grid, Raw)
    codes = np.empty(info.compression.nonzero, "<f4" if raw else np.int64)
    if info.compression.nonzero:
        _unpack_stream(info, info.compression, payload, mask, codes)
    c = info.compression
    return Encoded(mask, codes, c.grid, c.bits, c.kept)


def _unpack_dense(info: TensorInfo, payload: bytes) -> NDArray[Any]:
    array = np.frombuffer(payload, DENSE_TYPES[info.kind]).reshape(info.shape)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ArtifactStreamError(
            f"tensor {info.name!r} holds values that are not finite", offset=info.at
        )
    return array.astype(np.float32) if info.kind == 1 else array.copy()


def _unpack_stream(
    info: TensorInfo,
    c: Compression,
    payload: bytes,
    mask: NDArray[np.bool_],
    codes: NDArray[Any],
) -> None:
    matrix = _matrix(c, info.shape)
    cursor = Cursor(payload, info.at, f"payload of tensor {info.name!r}")
    raw = isinstance(c.grid, Raw)
    if raw:
        codes[:] = np.frombuffer(cursor.take(4 * c.nonzero), "<f4")
        if not np.isfinite(codes).all() or not codes.all():
            raise ArtifactStreamError(
                f"tensor {info.name!r} holds nonzeros that are 0 or not finite", offset=info.at
            )
    histogram = read_histogram(cursor, matrix) if c.coder == STATIC else None
    place = cursor.place
    try:
        read_stream(cursor.take(cursor.left), mask, None if raw else codes, matrix, histogram)
    except StreamFault as fault:
        raise stream_error(fault.status, info.name, place) from fault
    if not raw:
        _check_values(info, c, codes)


def _check_values(info: TensorInfo, c: Compression, codes: NDArray[np.int64]) -> None:
    """Codes must give finite values."""
    if isinstance(c.grid, Table):
        if int(codes.max()) >= len(c.grid.levels):
            raise ArtifactStreamError(
                f"tensor {info.name!r}: code {int(codes.max())} of {len(c.grid.levels)} levels",
                offset=info.at,
            )
    elif isinstance(c.grid, Uniform):
        largest = np.float32(max(int(codes.max()), -int(codes.min())))
        with np.errstate(over="ignore"):
            finite = np.isfinite(largest * np.float32(c.grid.step))
        if not finite:
            raise ArtifactStreamError(
                f"tensor {info.name!r}: a code times the step is not finite", offset=info.at
            )
