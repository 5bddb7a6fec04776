"""Image folders, ``train/<class>/*.jpg`` and ``test/<class>/*.jpg``: on disk or in an archive."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from espalier.data.archive import CLASSES, Member
from espalier.data.decoded import SIDE, Decoded
from espalier.data.progress import Watch
from espalier.errors import DataError

__all__ = ["decode_images", "image_members"]

_SUFFIXES = (".jpg", ".jpeg", ".png")
_SPLITS = ("train", "test")
_MOST_CLASSES = 256

_Pixels = npt.NDArray[np.uint8]


@dataclass(slots=True)
class _Found:
    """Images met so far, by split, class and file name, and their encodings."""

    images: dict[str, dict[str, dict[str, _Pixels]]] = field(default_factory=dict)
    encodings: set[str] = field(default_factory=set)


def image_members(folder: Path) -> Iterator[Member]:
    """Yield folders and files of an image folder, as an archive of it would hold them."""
    paths = [path for split in _SPLITS for path in sorted((folder / split).glob("**/*"))]
    with Watch(f"decoding {folder}", total=len(paths)) as watch:
        for number, path in enumerate(paths):
            name = path.relative_to(folder).as_posix()
            yield Member(name, None if path.is_dir() else path.read_bytes())
            watch.at(number + 1)


def decode_images(path: Path, files: Iterable[Member]) -> Decoded:
    """Decode the images of a folder or archive.

    Classes have the official order where the names are CIFAR-10's, else they are sorted; images
    of a class are sorted by file name. Hidden files are left aside, and so is what lies outside
    of train and test.

    Args:
        path: of the folder or archive, for messages.
        files: what it holds; leading folders before ``train`` and ``test`` are allowed.

    Raises:
        DataError: a split is missing, a class is empty or in one split only, or a file is no image
            of 32 x 32 pixels.
    """
    found = _Found()
    for file in files:
        _take(path, file, found)
    classes = _classes(path, found)
    train_images, train_labels = _stacked(found.images["train"], classes)
    test_images, test_labels = _stacked(found.images["test"], classes)
    return Decoded(
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=classes,
        encoding=" and ".join(sorted(found.encodings)),
    )


def _take(path: Path, file: Member, found: _Found) -> None:
    """Decode one file and put it where it belongs."""
    parts = PurePosixPath(file.name).parts
    depth = next((place for place, part in enumerate(parts) if part in _SPLITS), None)
    if depth is None or any(part.startswith(".") and part != "." for part in parts[depth:]):
        return
    split, *rest = parts[depth:]
    classes = found.images.setdefault(split, {})
    if file.data is None:
        if len(rest) == 1:
            classes.setdefault(rest[0], {})
        return
    if len(rest) != 2 or not rest[1].lower().endswith(_SUFFIXES):
        raise DataError(
            f"{file.name} in {path} is not expected there; a split holds folders of classes, and "
            f"those hold {', '.join(_SUFFIXES)} files. Take it away."
        )
    images = classes.setdefault(rest[0], {})
    if rest[1] in images:
        raise DataError(f"{path} holds {file.name} twice. Take one away.")
    images[rest[1]] = _pixels(path, file.name, file.data, found.encodings)


def _pixels(path: Path, name: str, data: bytes, encodings: set[str]) -> _Pixels:
    """Decode one image: uint8, shape (32, 32, 3)."""
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        width, height = image.size
        if (width, height) == (SIDE, SIDE):
            encodings.add(str(image.format))
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{name} in {path} can't be read as an image ({error}). Replace it or take it away."
        ) from error
    raise DataError(
        f"{name} in {path} has {width} x {height} pixels; expected {SIDE} x {SIDE}. "
        "Resize it or take it away."
    )


def _classes(path: Path, found: _Found) -> tuple[str, ...]:
    """Return the classes in their order, after checking that both splits hold them all."""
    for split in _SPLITS:
        if not found.images.get(split):
            raise DataError(
                f"{path} has no images in '{split}'; expected {split}/<class>/<image>, with "
                f"{', '.join(_SUFFIXES)} files."
            )
        empty = sorted(name for name, images in found.images[split].items() if not images)
        if empty:
            raise DataError(
                f"class folder {split}/{empty[0]} in {path} is empty. Put its images there, or "
                "remove the class from both train and test."
            )
    train, test = (set(found.images[split]) for split in _SPLITS)
    if train != test:
        raise DataError(
            f"train and test in {path} have different classes: only train has "
            f"{', '.join(sorted(train - test)) or 'none'}, only test has "
            f"{', '.join(sorted(test - train)) or 'none'}. Give both the same ones."
        )
    if len(train) > _MOST_CLASSES:
        raise DataError(f"{path} has {len(train)} classes; at most {_MOST_CLASSES} are supported.")
    return CLASSES if train == set(CLASSES) else tuple(sorted(train))


def _stacked(
    images: dict[str, dict[str, _Pixels]], classes: tuple[str, ...]
) -> tuple[_Pixels, npt.NDArray[np.uint8]]:
    """Return all images of a split (N, 32, 32, 3) and their labels (N,)."""
    pixels = [images[name][file] for name in classes for file in sorted(images[name])]
    counts = [len(images[name]) for name in classes]
    return np.stack(pixels), np.repeat(np.arange(len(classes), dtype=np.uint8), counts)
