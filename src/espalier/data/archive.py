"""CIFAR-10's official binary files and tar archives, read as streams; nothing is unpacked."""

import gzip
import hashlib
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from espalier.data.decoded import SIDE, Decoded
from espalier.data.progress import Watch
from espalier.errors import DataError

__all__ = [
    "CLASSES",
    "FOLDER",
    "Member",
    "decode_binary",
    "digest",
    "folder_members",
    "is_binary",
    "members",
]

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
"""Names in the official order: a label in the binary files is an index into them."""

FOLDER = "cifar-10-batches-bin"
"""What the official archive unpacks to."""

_RECORD = 1 + 3 * SIDE * SIDE
"""Bytes an image: a label, then the red, the green and the blue plane, row by row."""

_IMAGES_A_FILE = 10_000
_TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST_FILE = "test_batch.bin"

_LARGEST_MEMBER = _RECORD * _IMAGES_A_FILE
_LARGEST_ARCHIVE = 2**30
"""Bytes; all of CIFAR-10 is a fifth of it, so that a decompression bomb ends here."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file or a folder of an archive."""

    name: str
    data: bytes | None
    """None: a folder."""


def is_binary(name: str) -> bool:
    """Say whether a file of this name belongs to the official binary version."""
    return re.fullmatch(r"(data_batch_\d+|test_batch)\.bin", Path(name).name) is not None


def folder_members(folder: Path) -> Iterator[Member]:
    """Yield the official binary files of a folder."""
    for path in sorted(folder.iterdir()):
        if is_binary(path.name):
            yield Member(path.name, path.read_bytes())


def members(path: Path) -> Iterator[Member]:
    """Yield folders and files of a ``.tar.xz`` or ``.tar.gz``, in the archive's order.

    Raises:
        DataError: the archive is truncated or damaged, its content is larger than CIFAR-10 can be,
            or it holds a link or a device in place of a file.
    """
    with (
        _damage_named(path),
        path.open("rb") as raw,
        Watch(f"decoding {path.name}", total=path.stat().st_size) as watch,
        tarfile.open(fileobj=_Bounded(path, _decompressed(path, raw)), mode="r|") as tar,
    ):
        for entry in tar:
            yield Member(entry.name, _content(path, tar, entry))
            watch.at(raw.tell())
        _check_end(tar)


def decode_binary(path: Path, files: Iterable[Member]) -> Decoded:
    """Decode the official binary files.

    Args:
        path: of the archive or folder, for messages.
        files: what it holds; what is none of the six files is left aside.

    Raises:
        DataError: a file is missing, of another size, or holds a label above 9.
    """
    found = {
        Path(file.name).name: file.data
        for file in files
        if file.data is not None and is_binary(file.name)
    }
    missing = [name for name in (*_TRAIN_FILES, _TEST_FILE) if name not in found]
    if missing:
        raise DataError(
            f"{path} lacks {', '.join(missing)}; found {', '.join(sorted(found)) or 'none'}. "
            "Fetch it again."
        )
    train = [_records(path, name, found[name]) for name in _TRAIN_FILES]
    test_images, test_labels = _records(path, _TEST_FILE, found[_TEST_FILE])
    return Decoded(
        train_images=np.concatenate([images for images, _ in train]),
        train_labels=np.concatenate([labels for _, labels in train]),
        test_images=test_images,
        test_labels=test_labels,
        classes=CLASSES,
        encoding="official",
    )


def _records(
    path: Path, name: str, data: bytes
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return images (N, 32, 32, 3) and labels (N,) of one binary file."""
    expected = _IMAGES_A_FILE * _RECORD
    if len(data) != expected:
        raise DataError(
            f"{name} in {path} has {len(data)} bytes; expected {expected}, which is "
            f"{_IMAGES_A_FILE} images of {_RECORD} bytes. Fetch it again."
        )
    records = np.frombuffer(data, dtype=np.uint8).reshape(_IMAGES_A_FILE, _RECORD)
    labels = records[:, 0].copy()
    if labels.max() >= len(CLASSES):
        raise DataError(
            f"{name} in {path} holds the label {labels.max()}; expected 0 to {len(CLASSES) - 1}. "
            "Fetch it again."
        )
    planes = records[:, 1:].reshape(_IMAGES_A_FILE, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def digest(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Bounded(io.RawIOBase):
    """A stream that refuses to yield more than an archive of CIFAR-10 can hold."""

    def __init__(self, path: Path, stream: gzip.GzipFile | lzma.LZMAFile) -> None:
        super().__init__()
        self._path = path
        self._stream = stream
        self._left = _LARGEST_ARCHIVE

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise DataError(
                f"{self._path} unpacks to more than {_LARGEST_ARCHIVE} bytes; CIFAR-10 has a fifth "
                "of that. Name another file."
            )
        return data


def _decompressed(path: Path, raw: IO[bytes]) -> gzip.GzipFile | lzma.LZMAFile:
    """Return the archive's content, by its first bytes and not by its name."""
    start = raw.read(6)
    raw.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(raw)
    raise DataError(
        f"{path} is neither gzip nor xz: it starts with {start.hex(' ') or 'nothing'}. "
        "Expected a .tar.gz or a .tar.xz; fetch it again."
    )


def _check_end(tar: tarfile.TarFile) -> None:
    """Read on to the end, where the compressed stream compares its own checksum.

    ``tarfile`` takes a damaged header, or no header, for the archive's end without a word; a real
    end is two blocks of zeros, of which one is left, and perhaps more.

    Raises:
        ReadError: the archive ends otherwise.
    """
    ended = False
    while tar.fileobj is not None and (rest := tar.fileobj.read(2**20)):
        ended = not any(rest)
        if not ended:
            raise tarfile.ReadError("a header in the middle is damaged")
    if not ended:
        raise tarfile.ReadError("the end is missing")


def _content(path: Path, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes | None:
    """Return the bytes of a file, None for a folder."""
    if entry.isdir():
        return None
    if not entry.isreg():
        raise DataError(
            f"{entry.name} in {path} is a link or a device; expected files and folders only. "
            "Pack the images themselves (tar --dereference --hard-dereference)."
        )
    if entry.size > _LARGEST_MEMBER:
        raise DataError(
            f"{entry.name} in {path} has {entry.size} bytes; no file of CIFAR-10 has more than "
            f"{_LARGEST_MEMBER}. Take it out of the archive."
        )
    stream = tar.extractfile(entry)
    data = stream.read() if stream else b""
    if len(data) != entry.size:
        raise tarfile.ReadError(f"{entry.name} ends after {len(data)} of {entry.size} bytes")
    return data


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what decompressors say of a damaged archive into words that name the file."""
    try:
        yield
    except (tarfile.TarError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise DataError(
            f"{path} is truncated or damaged ({error}). Fetch it again and compare its checksum."
        ) from error
