"""Decoded images, and the cache that keeps them so that decoding happens once."""

import contextlib
import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SIDE", "Decoded", "cache_folder", "cached"]

SIDE = 32
"""Height and width of CIFAR-10's images, in pixels."""

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels", "classes", "encoding")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Decoded:
    """The images of a source and their labels, in the source's order.

    Raises:
        ValueError: arrays of another type or shape, or a label without a class.
    """

    train_images: npt.NDArray[np.uint8]
    """Shape (N, 32, 32, 3)."""

    train_labels: npt.NDArray[np.uint8]
    """Shape (N,)."""

    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.uint8]
    classes: tuple[str, ...]
    encoding: str
    """How the source stores its images: ``official`` (raw bytes), ``JPEG``, ``PNG``, ..."""

    def __post_init__(self) -> None:
        """Check shapes and labels: what a cache returns is believed only then."""
        for images, labels in (
            (self.train_images, self.train_labels),
            (self.test_images, self.test_labels),
        ):
            if images.dtype != np.uint8 or images.shape != (len(labels), SIDE, SIDE, 3):
                raise ValueError(f"images are {images.dtype} of shape {images.shape}")
            if labels.dtype != np.uint8 or labels.shape != (len(images),):
                raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}")
            if len(labels) == 0 or int(labels.max()) >= len(self.classes):
                raise ValueError(f"{len(labels)} labels, {len(self.classes)} classes")


def cache_folder() -> Path:
    """Return where decoded images and downloads are kept.

    The environment's ``ESPALIER_CACHE``, else the platform's folder for caches.
    """
    asked = os.environ.get("ESPALIER_CACHE")
    if asked:
        return Path(asked)
    import pooch

    return Path(pooch.os_cache("espalier"))


def cached(key: str, folder: Path, decode: Callable[[], Decoded]) -> Decoded:
    """Return what the cache holds under ``key``, or else decode it and keep it.

    A damaged entry (each array carries a CRC-32) is decoded again. A cache that can't be written
    costs time only, so it is a warning.
    """
    path = folder / f"{key}.npz"
    kept = _load(path)
    if kept is not None:
        return kept
    decoded = decode()
    try:
        _save(path, decoded)
    except OSError as error:
        warnings.warn(
            f"can't keep the decoded images in {path.parent} ({error}), so the next run decodes "
            "them again. Name a folder that can be written with cache_dir or ESPALIER_CACHE.",
            stacklevel=2,
        )
    return decoded


def _load(path: Path) -> Decoded | None:
    """Return the entry, or None where there is none or it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
        found["classes"] = tuple(str(name) for name in found["classes"])
        found["encoding"] = str(found["encoding"])
        return Decoded(**found)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _save(path: Path, decoded: Decoded) -> None:
    """Write the entry whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                train_images=decoded.train_images,
                train_labels=decoded.train_labels,
                test_images=decoded.test_images,
                test_labels=decoded.test_labels,
                classes=np.array(decoded.classes),
                encoding=np.array(decoded.encoding),
            )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
