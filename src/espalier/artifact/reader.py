"""Reading a file tensor by tensor: everything is checked before anything is allocated for it."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from espalier.artifact.cursor import Cursor
from espalier.artifact.metadata import Metadata
from espalier.artifact.payload import Tensor, unpack_tensor
from espalier.artifact.tensor import TensorInfo, read_tensor_info
from espalier.errors import (
    ArtifactChecksumError,
    ArtifactError,
    ArtifactHeaderError,
    ArtifactLengthError,
    ArtifactLimitError,
    ArtifactMagicError,
    ArtifactVersionError,
)

__all__ = ["DEFAULT_MAX_BYTES", "Artifact", "ArtifactFile", "open_artifact", "read"]

MAGIC = b"\x89ESP\r\n\x1a\n"
VERSION = 1
PRELUDE_BYTES = 28
MAX_HEADER_BYTES, MAX_TENSORS = 2**20, 65_535
METADATA, TENSOR = 1, 2
DEFAULT_MAX_BYTES = 2**30
"""Cap on the decoded size where none is given: 1 GiB, 268 million weights."""


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """A whole file in memory."""

    metadata: Metadata
    tensors: dict[str, Tensor]
    """By name in the order of the file: ``Encoded``, or arrays of the tensors left dense."""


def read(path: str | Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Artifact:
    """Read a whole file.

    Args:
        path: of the file.
        max_bytes: most bytes that its tensors may take when decoded.

    Raises:
        ArtifactError: the file is not what docs/format.md says; the class says in which way.
    """
    with open_artifact(path, max_bytes=max_bytes) as file:
        return Artifact(file.metadata, dict(file.tensors()))


def open_artifact(path: str | Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> "ArtifactFile":
    """Open a file and read its header; tensors are read when they are asked for.

    Use it in a ``with`` statement. Arguments and errors are those of :func:`read`.
    """
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 - the ArtifactFile closes it
    except OSError as error:
        raise ArtifactError(f"can't read {path}: {error.strerror}.") from error
    try:
        return ArtifactFile(stream, max_bytes=max_bytes, path=str(path))
    except BaseException:
        stream.close()
        raise


class ArtifactFile:
    """A file whose header has been read and checked."""

    def __init__(
        self, stream: BinaryIO, *, max_bytes: int = DEFAULT_MAX_BYTES, path: str | None = None
    ) -> None:
        """Read the header of a stream that can seek; the stream is closed with this object."""
        self._stream = stream
        self._path = path
        self.size_bytes = stream.seek(0, os.SEEK_END)
        """Of the file."""
        stream.seek(0)
        with self._named():
            header = self._checked_header()
            self.header_bytes = PRELUDE_BYTES + len(header)
            """Of the prelude and the header."""
            self.metadata, self.infos = _read_sections(header)
            """What the file says of its network; its tensors by name, in order."""
            self._check_tiling()
            self._check_cap(max_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def tensor(self, name: str) -> Tensor:
        """Read and decode one tensor.

        Raises:
            KeyError: there is none of that name.
            ArtifactError: its payload is damaged.
        """
        info = self.infos[name]
        self._stream.seek(info.at)
        payload = self._stream.read(info.length)
        with self._named():
            if len(payload) < info.length:
                raise ArtifactLengthError(
                    f"tensor {name!r} ends early: the file has changed since it was opened",
                    offset=info.at + len(payload),
                )
            return unpack_tensor(info, payload)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Read and decode the tensors one by one; each is the caller's."""
        for name in self.infos:
            yield name, self.tensor(name)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let errors say which file it is."""
        try:
            yield
        except ArtifactError as error:
            error.path = self._path
            raise

    def _checked_header(self) -> bytes:
        prelude = self._stream.read(PRELUDE_BYTES)
        if prelude[: len(MAGIC)] != MAGIC[: len(prelude)] or not prelude:
            raise ArtifactMagicError("this is no Espalier file, or it was sent as text", offset=0)
        cursor = Cursor(prelude, 0, "the file")
        cursor.take(len(MAGIC))
        version = int.from_bytes(cursor.take(2), "little")
        if version != VERSION:
            raise ArtifactVersionError(
                f"the file has version {version}; this Espalier reads version {VERSION}. "
                "Use the version that wrote it",
                offset=len(MAGIC),
            )
        reserved, length = int.from_bytes(cursor.take(2), "little"), cursor.u32()
        stated, checksum = int.from_bytes(cursor.take(8), "little"), cursor.u32()
        if stated != self.size_bytes:
            raise ArtifactLengthError(
                f"the file has {self.size_bytes} bytes and was written with {stated}: it was "
                f"{'cut off' if self.size_bytes < stated else 'continued'}",
                offset=min(stated, self.size_bytes),
            )
        if length > min(MAX_HEADER_BYTES, self.size_bytes - PRELUDE_BYTES):
            raise ArtifactLengthError(
                f"a header of {length} bytes; at most {MAX_HEADER_BYTES} are allowed and "
                f"{self.size_bytes - PRELUDE_BYTES} are left",
                offset=12,
            )
        header = self._stream.read(length)
        if zlib.crc32(header, zlib.crc32(prelude[8:24])) != checksum:
            raise ArtifactChecksumError("the header has changed since it was written", offset=8)
        if reserved:
            raise ArtifactHeaderError(f"reserved bytes hold {reserved}; expected 0", offset=10)
        return header

    def _check_tiling(self) -> None:
        end = self.header_bytes + sum(info.length for info in self.infos.values())
        if end != self.size_bytes:
            raise ArtifactLengthError(
                f"header and payloads take {end} bytes and the file has {self.size_bytes}",
                offset=min(end, self.size_bytes),
            )

    def _check_cap(self, max_bytes: int) -> None:
        needed = sum(info.dense_bytes for info in self.infos.values())
        if needed > max_bytes:
            raise ArtifactLimitError(
                f"the tensors take {needed} bytes when decoded and max_bytes is {max_bytes}; "
                "raise it if you trust the file",
                offset=PRELUDE_BYTES,
            )


def _read_sections(header: bytes) -> tuple[Metadata, dict[str, TensorInfo]]:
    cursor = Cursor(header, PRELUDE_BYTES, "the header")
    metadata: Metadata | None = None
    infos: dict[str, TensorInfo] = {}
    name, at = "", PRELUDE_BYTES + len(header)
    while cursor.left:
        place, kind = cursor.place, cursor.u8()
        length = cursor.varint()
        content_place = cursor.place
        content = cursor.take(length)
        if (kind == METADATA) != (metadata is None):
            raise ArtifactHeaderError("metadata must come once, and first", offset=place)
        if kind == METADATA:
            metadata = Metadata.from_bytes(content, offset=content_place)
        elif kind == TENSOR:
            info = read_tensor_info(content, content_place, name, at)
            if info.name in infos:
                raise ArtifactHeaderError(f"two tensors are named {info.name!r}", offset=place)
            if len(infos) == MAX_TENSORS:
                raise ArtifactLimitError(f"more than {MAX_TENSORS} tensors", offset=place)
            infos[info.name] = info
            name, at = info.name, at + info.length
        else:
            raise ArtifactVersionError(f"unknown section of type {kind}", offset=place)
    if metadata is None:
        raise ArtifactHeaderError("the header has no metadata", offset=PRELUDE_BYTES)
    return metadata, infos
