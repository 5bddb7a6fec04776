"""A tensor's line in the header: what it is, and where its payload lies."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from espalier.artifact.cursor import Cursor, float32_bytes, varint
from espalier.artifact.matrix import matrix_shape
from espalier.encoded import Grid, Raw, Table, Uniform
from espalier.errors import ArtifactHeaderError, ArtifactLengthError, ArtifactLimitError

__all__ = ["CODERS", "DENSE_TYPES", "MAX_WEIGHTS", "Compression", "TensorInfo", "read_tensor_info"]

MAX_WEIGHTS = 2**31 - 1
MAX_RANK, MAX_NAME, MAX_LEVELS, MAX_BITS, MAX_KERNEL = 8, 512, 65_536, 32, 255
MAX_CODE = 2**62
UNIFORM, TABLE, RAW = 16, 17, 18
DENSE_TYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("<f4"),
    1: np.dtype("<f2"),
    2: np.dtype("<i8"),
    3: np.dtype("u1"),
}
"""Kinds of dense tensors: how their elements lie in the payload."""
CODERS = {0: "static", 1: "contexts"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """How a compressed tensor's payload is to be read."""

    grid: Grid
    bits: int
    kept: int
    nonzero: int
    coder: int = 1
    """Key of :data:`CODERS`."""
    kernel: tuple[int, int] = (1, 1)
    """Height and width of the kernels that columns are grouped into."""
    offset: int = 0
    """The least magnitude of a code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """A tensor as the header has it."""

    name: str
    shape: tuple[int, ...]
    kind: int
    """0 to 3 dense, see :data:`DENSE_TYPES`; 16 to 18 compressed."""
    compression: Compression | None
    """None for dense tensors."""
    length: int
    """Bytes of the payload."""
    checksum: int
    """CRC-32 of the payload."""
    at: int = 0
    """The payload's offset in the file."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def dense_bytes(self) -> int:
        """Bytes of the decoded elements: what counts against a reader's cap."""
        width = 4 if self.kind in (1, UNIFORM, TABLE, RAW) else DENSE_TYPES[self.kind].itemsize
        return self.size * width

    def to_bytes(self, before: str) -> bytes:
        """Return the section's content.

        Args:
            before: name of the tensor before; the part in common is left out.
        """
        name, last = self.name.encode(), before.encode()
        shared = 0
        while shared < min(len(name), len(last), 255) and name[shared] == last[shared]:
            shared += 1
        out = bytearray([shared]) + varint(len(name) - shared) + name[shared:]
        out += bytes([self.kind, len(self.shape)]) + b"".join(map(varint, self.shape))
        if self.compression is not None:
            out += _compression_bytes(self.compression)
        return bytes(out + varint(self.length) + self.checksum.to_bytes(4, "little"))


def _compression_bytes(c: Compression) -> bytes:
    out = bytes([c.bits]) + varint(c.kept) + varint(c.nonzero)
    match c.grid:
        case Uniform(step):
            out += float32_bytes(step)
        case Table(levels):
            out += varint(len(levels)) + float32_bytes(*levels)
        case Raw():
            pass
    if c.nonzero:
        out += bytes([c.coder, *c.kernel])
        if not isinstance(c.grid, Raw):
            out += varint(c.offset)
    return out


def read_tensor_info(content: bytes, offset: int, before: str, at: int) -> TensorInfo:
    """Read what :meth:`TensorInfo.to_bytes` gave.

    Args:
        content: of the section.
        offset: of its first byte in the file.
        before: name of the tensor before.
        at: offset of its payload in the file.

    Raises:
        ArtifactHeaderError: a field is out of its bounds.
        ArtifactLengthError: the section is too short or too long.
        ArtifactLimitError: more elements than the format can hold.
    """
    cursor = Cursor(content, offset, "a tensor of the header")
    name = _read_name(cursor, before)
    cursor = Cursor(content[len(content) - cursor.left :], cursor.place, f"tensor {name!r}")
    place, kind = cursor.place, cursor.u8()
    if kind not in (*DENSE_TYPES, UNIFORM, TABLE, RAW):
        raise ArtifactHeaderError(f"tensor {name!r}: unknown kind {kind}", offset=place)
    shape = _read_shape(cursor, name)
    compression = _read_compression(cursor, kind, shape) if kind >= UNIFORM else None
    length_place, length, checksum = cursor.place, cursor.varint(), cursor.u32()
    if cursor.left:
        raise ArtifactLengthError(
            f"tensor {name!r}: {cursor.left} bytes too many in its section", offset=cursor.place
        )
    expected = math.prod(shape) * DENSE_TYPES[kind].itemsize if compression is None else None
    if compression is not None and not compression.nonzero:
        expected = 0
    if expected is not None and length != expected:
        raise ArtifactLengthError(
            f"tensor {name!r}: payload of {length} bytes; expected {expected}", offset=length_place
        )
    return TensorInfo(
        name=name,
        shape=shape,
        kind=kind,
        compression=compression,
        length=length,
        checksum=checksum,
        at=at,
    )


def _read_name(cursor: Cursor, before: str) -> str:
    last = before.encode()
    shared = cursor.small("part of the name shared", 0, min(len(last), 255))
    place = cursor.place
    own = cursor.take(cursor.bounded("length of the name", 0, MAX_NAME - shared))
    try:
        name = (last[:shared] + own).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactHeaderError("a tensor's name is not UTF-8", offset=place) from error
    if not name:
        raise ArtifactHeaderError("a tensor has no name", offset=place)
    return name


def _read_shape(cursor: Cursor, name: str) -> tuple[int, ...]:
    place = cursor.place
    rank = cursor.small("rank", 0, MAX_RANK)
    shape = tuple(cursor.varint() for _ in range(rank))
    if math.prod(shape) > MAX_WEIGHTS or max(shape, default=0) > MAX_WEIGHTS:
        raise ArtifactLimitError(
            f"tensor {name!r}: shape {shape} has more than 2^31 - 1 elements", offset=place
        )
    return shape


def _read_compression(cursor: Cursor, kind: int, shape: tuple[int, ...]) -> Compression:
    size = math.prod(shape)
    bits = cursor.small("bits", 1, MAX_BITS)
    kept = cursor.bounded("kept", 0, size)
    nonzero = cursor.bounded("nonzero", 0, kept)
    grid = _read_grid(cursor, kind)
    if not nonzero:
        return Compression(grid=grid, bits=bits, kept=kept, nonzero=0)
    coder = cursor.small("coder", 0, len(CODERS) - 1)
    place = cursor.place
    kernel = (
        cursor.small("kernel height", 1, MAX_KERNEL),
        cursor.small("kernel width", 1, MAX_KERNEL),
    )
    columns = matrix_shape(shape)[1]
    if columns % (kernel[0] * kernel[1]):
        raise ArtifactHeaderError(
            f"kernels of {kernel[0]} x {kernel[1]} do not divide {columns} columns", offset=place
        )
    offset = 0
    if kind != RAW:
        offset = cursor.bounded("offset of the codes", int(kind == UNIFORM), MAX_CODE)
    return Compression(
        grid=grid, bits=bits, kept=kept, nonzero=nonzero, coder=coder, kernel=kernel, offset=offset
    )


def _read_grid(cursor: Cursor, kind: int) -> Grid:
    place = cursor.place
    if kind == UNIFORM:
        (step,) = cursor.float32s(1)
        if not (math.isfinite(step) and step > 0):
            raise ArtifactHeaderError(f"step is {step}; expected > 0 and finite", offset=place)
        return Uniform(step)
    if kind == TABLE:
        levels = cursor.float32s(cursor.bounded("number of levels", 1, MAX_LEVELS))
        if not all(math.isfinite(level) and level != 0 for level in levels):
            raise ArtifactHeaderError("a level is 0 or not finite", offset=place)
        return Table(levels)
    return Raw()
