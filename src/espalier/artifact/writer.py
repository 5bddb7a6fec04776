"""Writing a file: packed in memory, checked, then put in place in one move."""

import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

from espalier.artifact.cursor import varint
from espalier.artifact.metadata import Metadata
from espalier.artifact.payload import CoderChoice, Tensor, pack_tensor
from espalier.artifact.reader import (
    MAGIC,
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    METADATA,
    TENSOR,
    VERSION,
)
from espalier.errors import ArtifactError, ArtifactLimitError
from espalier.files import write_atomically

__all__ = ["pack", "write"]


def write(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    metadata: Metadata | None = None,
    *,
    coder: CoderChoice = "smallest",
    half: Collection[str] = (),
) -> int:
    """Write a network to a file, whole or not at all.

    Args:
        path: of the file; what was there is replaced.
        tensors: by name: ``Encoded`` for compressed ones, arrays for the others.
        metadata: what the file says about its network.
        coder: which model codes compressed tensors.
        half: names of dense tensors to store in 16 bits.

    Returns:
        The file's size in bytes.

    Raises:
        ArtifactError: a tensor or the metadata hold what the format does not.
        StorageError: the file can't be written; what was there stays.
    """
    content = pack(tensors, metadata, coder=coder, half=half)
    write_atomically(Path(path), content)
    return len(content)


def pack(
    tensors: Mapping[str, Tensor],
    metadata: Metadata | None = None,
    *,
    coder: CoderChoice = "smallest",
    half: Collection[str] = (),
) -> bytes:
    """Return the bytes of a file; arguments and errors are those of :func:`write`."""
    if len(tensors) > MAX_TENSORS:
        raise ArtifactLimitError(f"{len(tensors)} tensors; the format holds {MAX_TENSORS}.")
    unknown = sorted(set(half) - set(tensors))
    if unknown:
        raise ArtifactError(f"asked to store {unknown[0]!r} in 16 bits, which is not among them.")
    header = _section(METADATA, (metadata or Metadata()).to_bytes())
    payloads, before = [], ""
    for name, tensor in tensors.items():
        _check_name(name)
        info, payload = pack_tensor(name, tensor, coder=coder, half=name in half)
        header += _section(TENSOR, info.to_bytes(before))
        payloads.append(payload)
        before = name
    if len(header) > MAX_HEADER_BYTES:
        raise ArtifactLimitError(
            f"the header takes {len(header)} bytes; at most {MAX_HEADER_BYTES} are allowed."
        )
    size = 28 + len(header) + sum(map(len, payloads))
    fixed = VERSION.to_bytes(2, "little") + bytes(2) + len(header).to_bytes(4, "little")
    fixed += size.to_bytes(8, "little")
    checksum = zlib.crc32(header, zlib.crc32(fixed)).to_bytes(4, "little")
    return b"".join([MAGIC, fixed, checksum, header, *payloads])


def _section(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + varint(len(content)) + content


def _check_name(name: str) -> None:
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise ArtifactError(f"the name {name!r} can't be written as UTF-8.") from error
    if not 1 <= length <= 512:
        raise ArtifactError(f"the name {name[:40]!r} takes {length} bytes; expected 1 to 512.")
