"""Files made by hand, so that each can break one rule and keep all others."""

import struct
import zlib
from collections.abc import Sequence

from espalier.artifact import Metadata
from espalier.artifact.cursor import varint

__all__ = ["EMPTY", "assembled", "section", "tensor", "uniform"]

EMPTY = Metadata().to_bytes()
MAGIC = b"\x89ESP\r\n\x1a\n"


def section(kind: int, content: bytes) -> bytes:
    """Return a section of the header."""
    return bytes([kind]) + varint(len(content)) + content


def assembled(
    sections: Sequence[bytes],
    payloads: Sequence[bytes] = (),
    *,
    version: int = 1,
    reserved: int = 0,
    size: int | None = None,
    header_length: int | None = None,
) -> bytes:
    """Return a file of a header's sections and payloads, with a right checksum."""
    header, body = b"".join(sections), b"".join(payloads)
    length = len(header) if header_length is None else header_length
    total = 28 + len(header) + len(body) if size is None else size
    fixed = struct.pack("<HHIQ", version, reserved, length, total)
    checksum = zlib.crc32(fixed + header).to_bytes(4, "little")
    return MAGIC + fixed + checksum + header + body


def tensor(
    fields: bytes, payload: bytes = b"", *, name: bytes = b"w", shared: int = 0, tail: bytes = b""
) -> bytes:
    """Return a tensor's section: its kind and fields as given, its payload's length and CRC."""
    content = bytes([shared]) + varint(len(name)) + name + fields + varint(len(payload))
    return section(2, content + zlib.crc32(payload).to_bytes(4, "little") + tail)


def uniform(
    *,
    shape: Sequence[int] = (8,),
    bits: int = 3,
    kept: int = 2,
    nonzero: int = 2,
    step: float = 0.5,
    coder: Sequence[int] = (1, 1, 1),
    offset: int = 1,
) -> bytes:
    """Return the fields of a tensor on a uniform grid."""
    out = bytes([16, len(shape)]) + b"".join(map(varint, shape)) + bytes([bits])
    out += varint(kept) + varint(nonzero) + struct.pack("<f", step)
    return out + (bytes(coder) + varint(offset) if nonzero else b"")
