"""Samples from files, as a network takes them: images or arrays, normalized as in training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from espalier.errors import ConfigError, DataError

__all__ = ["Inputs", "as_they_are", "find_inputs"]

Floats = NDArray[np.float32]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")
MODES = {1: "L", 3: "RGB"}
"""What pillow calls images of so many channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Samples that are read when they are asked for."""

    names: tuple[str, ...]
    """One a sample: the file, with a number where it holds several."""
    shape: tuple[int, ...]
    scale: float
    mean: Floats
    std: Floats
    paths: tuple[Path, ...] = ()
    """Of images, one a sample; empty where an array holds the samples."""
    array: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def batches(self, size: int) -> Iterator[Floats]:
        """Yield (up to size, *shape), normalized: ``(sample / scale - mean) / std``.

        Raises:
            DataError: a file is no image, or of another size.
        """
        for start in range(0, len(self), size):
            yield self.take(range(start, min(start + size, len(self))))

    def spread(self, count: int) -> Floats:
        """Return at most so many samples, evenly from all, as :meth:`batches` gives them."""
        chosen = np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int)
        return self.take(chosen.tolist())

    def take(self, places: Sequence[int]) -> Floats:
        """Return some samples, normalized."""
        if self.array is not None:
            raw = self.array[list(places)]
        else:
            raw = np.stack([_image(self.paths[i], self.shape) for i in places])
        channels = (-1,) + (1,) * (len(self.shape) - 1)
        scaled = raw.astype(np.float32) / np.float32(self.scale)
        return (scaled - self.mean.reshape(channels)) / self.std.reshape(channels)


def find_inputs(
    path: str | Path,
    description: Mapping[str, Any] | None,
    *,
    shape: tuple[int, ...] | None = None,
) -> Inputs:
    """Find samples: an image, a folder of images, or a ``.npy`` of samples before normalization.

    Args:
        path: of the file or folder; folders are searched in depth, hidden files left aside.
        description: the metadata's ``input``, which says how samples are normalized.
        shape: of a sample, where there is no description; samples are a ``.npy`` of normalized
            float32 then, since nothing says how to normalize them.

    Raises:
        ConfigError: there is no description, or no such path.
        DataError: no image is there; or the array is of another shape.
    """
    path = Path(path)
    if description is None:
        if shape is None or path.suffix != ".npy":
            raise ConfigError(
                "the network's file does not say how its inputs are normalized; pack it with "
                'input={"shape", "type", "scale", "mean", "std"}, or give --input-shape and a '
                ".npy of samples in float32 that are normalized already."
            )
        description = as_they_are(shape)
    if not path.exists():
        raise ConfigError(f"there is no {path}; expected an image, a folder of images or a .npy.")
    shape = tuple(description["shape"])
    known: dict[str, Any] = {
        "shape": shape,
        "scale": float(description["scale"]),
        "mean": np.asarray(description["mean"], np.float32),
        "std": np.asarray(description["std"], np.float32),
    }
    if path.suffix == ".npy":
        array = _array(path, shape, description["type"])
        return Inputs(names=tuple(f"{path}[{i}]" for i in range(len(array))), array=array, **known)
    _check_images(shape, description["type"])
    paths = tuple(_images(path)) if path.is_dir() else (path,)
    if not paths:
        raise DataError(f"{path} holds no image; looked for {', '.join(SUFFIXES)}.")
    return Inputs(names=tuple(map(str, paths)), paths=paths, **known)


def as_they_are(shape: tuple[int, ...]) -> dict[str, Any]:
    """Describe inputs that are normalized already."""
    plain = {"mean": [0.0] * shape[0], "std": [1.0] * shape[0]}
    return {"shape": shape, "type": "float32", "scale": 1, **plain}


def _images(folder: Path) -> list[Path]:
    found = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    return sorted(p for p in found if not any(n[0] == "." for n in p.relative_to(folder).parts))


def _check_images(shape: tuple[int, ...], kind: str) -> None:
    if kind != "uint8" or len(shape) != 3 or shape[0] not in MODES:
        raise ConfigError(
            f"the network takes {kind} of shape {list(shape)}, which are no images of 1 or 3 "
            "channels; give a .npy of (samples, ...)."
        )


def _array(path: Path, shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"can't read {path} as an array of numpy: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.dtype(kind):
        raise DataError(
            f"{path} holds {getattr(array, 'dtype', 'several arrays')}; the network takes {kind}, "
            "as they are before normalization."
        )
    array = array[None] if array.shape == shape else array
    if array.shape[1:] != shape or not len(array):
        wanted = ", ".join(map(str, shape))
        raise DataError(f"{path} has shape {array.shape}; the network takes (samples, {wanted}).")
    if not np.isfinite(array).all():
        raise DataError(f"{path} holds NaN or infinity.")
    return array


def _image(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an image as (channels, height, width)."""
    channels, height, width = shape
    try:
        with Image.open(path) as image:
            if image.size != (width, height):
                raise DataError(
                    f"{path} is {image.size[0]} x {image.size[1]} pixels; the network takes "
                    f"{width} x {height}. Crop or resize it first."
                )
            pixels = np.asarray(image.convert(MODES[channels]), np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is no image that can be read: {error}") from error
    return np.ascontiguousarray(pixels.reshape(height, width, channels).transpose(2, 0, 1))
