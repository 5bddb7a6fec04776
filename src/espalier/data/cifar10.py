"""CIFAR-10: the official binary version, or its images as files."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from espalier.data.archive import (
    FOLDER,
    Member,
    decode_binary,
    digest,
    folder_members,
    is_binary,
    members,
)
from espalier.data.dataset import Dataset, Split, stratified
from espalier.data.decoded import SIDE, Decoded, cache_folder, cached
from espalier.data.fetch import fetch
from espalier.data.images import decode_images, image_members
from espalier.errors import DataError

__all__ = ["OFFICIAL_HASH", "OFFICIAL_URL", "cifar10"]

OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
OFFICIAL_HASH = "md5:c32a1d4ab5d03f1284b67883e8d87530"

_OFFICIAL_ARCHIVE = "cifar-10-binary.tar.gz"
_ARCHIVES = (".tar.xz", ".tar.gz")
_CACHE_VERSION = 1
_VALIDATION_SEED = 10
"""Draws the validation set; its own, so that every run of every seed has the same one."""

_VALIDATION_SHARE = 10
"""One image in so many: 5,000 of CIFAR-10's 50,000."""


def cifar10(
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    url: str = OFFICIAL_URL,
    known_hash: str = OFFICIAL_HASH,
) -> Dataset:
    """Load CIFAR-10; the first time decodes it, later times read what was decoded.

    One training image in ten is the validation set, as many of each class; which ones never
    depends on a run's seed. Training has the others. Mean and deviation are those of all training
    images, validation included: the values that the field uses.

    Args:
        data_dir: a folder with ``cifar-10-binary.tar.gz``, with ``cifar-10-batches-bin``, with
            an image folder (``train/<class>/*.jpg`` or ``.png``, and ``test`` likewise) or with a
            ``.tar.xz`` or ``.tar.gz`` of one, looked for in this order; or the path of any of them.
            Default: the environment's ``ESPALIER_DATA``; where that is not set either, the
            official archive is downloaded, 170 MB, once.
        cache_dir: where decoded images and the download are kept. Default: the environment's
            ``ESPALIER_CACHE``, else the platform's folder for caches.
        url: where the official archive is downloaded from.
        known_hash: its checksum, ``algorithm:hexadecimal``.

    Raises:
        DataError: nothing usable in ``data_dir``, a damaged archive, images of another size, or a
            download that failed.
    """
    cache = cache_dir or cache_folder()
    asked = data_dir or (Path(os.environ["ESPALIER_DATA"]) if _data_is_set() else None)
    if asked is None:
        key = _key("download", known_hash)
        decoded = cached(key, cache, lambda: _decode_archive(fetch(url, known_hash, cache)))
    else:
        with _unreadable_named(asked):
            identity, decode = _opened(_find(asked))
            decoded = cached(_key(*identity), cache, decode)
    return _dataset(decoded, asked or Path(url))


@contextmanager
def _unreadable_named(asked: Path) -> Iterator[None]:
    """Say which data can't be read, and why, where the system refuses to read it."""
    try:
        yield
    except OSError as error:
        raise DataError(f"can't read {asked} ({error}). Check its permissions.") from error


def _data_is_set() -> bool:
    return bool(os.environ.get("ESPALIER_DATA"))


def _find(asked: Path) -> Path:
    """Return the archive, binary folder or image folder that ``asked`` names or holds."""
    if asked.is_file():
        return asked
    if not asked.is_dir():
        raise DataError(
            f"data folder {asked} doesn't exist. Name one that holds CIFAR-10, or leave out both "
            "data_dir and ESPALIER_DATA to download it."
        )
    names = sorted(path.name for path in asked.iterdir())
    if _OFFICIAL_ARCHIVE in names:
        return asked / _OFFICIAL_ARCHIVE
    if FOLDER in names:
        return asked / FOLDER
    if "train" in names or "test" in names or any(map(is_binary, names)):
        return asked
    archives = [name for name in names if name.endswith(_ARCHIVES)]
    of_cifar = [name for name in archives if "cifar" in name.lower()] or archives
    if len(of_cifar) == 1:
        return asked / of_cifar[0]
    if of_cifar:
        raise DataError(
            f"{asked} holds several archives: {', '.join(of_cifar)}. Name one of them itself."
        )
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    raise DataError(
        f"no CIFAR-10 in {asked}: looked for {_OFFICIAL_ARCHIVE}, {FOLDER}, an image folder with "
        f"train and test, and a .tar.xz or .tar.gz of one; found {shown or 'nothing'}. Name "
        "another folder, or leave out both data_dir and ESPALIER_DATA to download it."
    )


def _opened(path: Path) -> tuple[tuple[str, ...], Callable[[], Decoded]]:
    """Return what identifies the source's content, and how to decode it."""
    if path.is_file():
        return ("archive", digest(path)), lambda: _decode_archive(path)
    if any(is_binary(entry.name) for entry in path.iterdir()):
        return _listing(path, path.iterdir()), lambda: decode_binary(path, folder_members(path))
    for split in ("train", "test"):
        if not (path / split).is_dir():
            raise DataError(
                f"image folder {path} has no folder '{split}'; expected train/<class>/<image> and "
                "test/<class>/<image>."
            )
    files = (file for split in ("train", "test") for file in (path / split).glob("**/*"))
    return _listing(path, files), lambda: decode_images(path, image_members(path))


def _listing(folder: Path, files: Iterator[Path]) -> tuple[str, ...]:
    """Identify a folder by where it is and by each file's name, size and time of change."""
    rows = []
    for file in files:
        status = file.stat()
        rows.append(f"{file.relative_to(folder)} {status.st_size} {status.st_mtime_ns}")
    return ("folder", str(folder.resolve()), *sorted(rows))


def _key(*identity: str) -> str:
    content = "\n".join((f"cifar10 {_CACHE_VERSION}", *identity))
    return f"cifar10-{hashlib.sha256(content.encode()).hexdigest()[:20]}"


def _decode_archive(path: Path) -> Decoded:
    """Decode an archive of the official binary files or of an image folder, whichever it is."""
    files = members(path)
    passed: list[Member] = []
    for file in files:
        passed.append(file)
        if file.data is not None:
            break
    whole = _chained(passed, files)
    if any(is_binary(file.name) or FOLDER in Path(file.name).parts for file in passed):
        return decode_binary(path, whole)
    return decode_images(path, whole)


def _chained(first: list[Member], rest: Iterator[Member]) -> Iterator[Member]:
    yield from first
    yield from rest


def _dataset(decoded: Decoded, origin: Path) -> Dataset:
    """Split off the validation set and describe the rest."""
    total = len(decoded.train_labels)
    if total < 2:
        raise DataError(f"{origin} has {total} training image; validation needs another one.")
    everything = _split(decoded.train_images, decoded.train_labels)
    held_out = stratified(
        everything.labels, max(1, total // _VALIDATION_SHARE), seed=_VALIDATION_SEED
    )
    kept = torch.ones(total, dtype=torch.bool)
    kept[held_out] = False
    mean, std = _statistics(decoded.train_images)
    return Dataset(
        name="cifar10",
        train=everything.take(kept.nonzero().flatten()),
        validation=everything.take(held_out),
        test=_split(decoded.test_images, decoded.test_labels),
        classes=decoded.classes,
        mean=mean,
        std=std,
        source="CIFAR-10 (official)"
        if decoded.encoding == "official"
        else f"CIFAR-10 ({decoded.encoding} copy)",
    )


def _split(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> Split:
    """Return images as (N, 3, 32, 32) in memory format channels_last, as batches want them."""
    pixels: Tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    return Split(pixels, torch.from_numpy(labels.astype(np.int64)))


def _statistics(images: npt.NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and population deviation a channel, of images scaled to [0, 1].

    Sums are exact (int64). A channel of one value has no deviation; 1 stands in for it.
    """
    sums = np.zeros(3, dtype=np.int64)
    squares = np.zeros(3, dtype=np.int64)
    for start in range(0, len(images), 256):
        rows = images[start : start + 256].reshape(-1, SIDE * SIDE * 3)
        sums += rows.sum(axis=0, dtype=np.int64).reshape(-1, 3).sum(axis=0)
        squared = np.multiply(rows, rows, dtype=np.uint16)
        squares += squared.sum(axis=0, dtype=np.int64).reshape(-1, 3).sum(axis=0)
    count = images.size // 3
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean * mean, 0))
    std = np.where(std > 0, std, 255)
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
