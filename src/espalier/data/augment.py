"""Augmentation of a whole batch of images at once: shifted crop, flip, cutout."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from espalier.errors import ConfigError

__all__ = ["Augment", "Draws"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """Which augmentations training images get; each image draws its own.

    Raises:
        ConfigError: a negative size.
    """

    flip: bool = True
    """Mirror left and right, with probability 1/2."""

    crop: int = 4
    """Shift by -crop to +crop pixels, each axis on its own; what comes in at the border is the
    image reflected there (``dcb|abcd|cba``), so no black edge; 0 leaves images where they are."""

    cutout: int = 0
    """Side, in pixels, of a square that is set to the data set's mean color. Its center is any
    pixel, so that it may stick out of the image; 0 cuts nothing out."""

    def __post_init__(self) -> None:
        """Check what can be checked without an image."""
        for name, size in (("crop", self.crop), ("cutout", self.cutout)):
            if size < 0:
                raise ConfigError(f"{name} is {size}; give 0 (off) or a number of pixels.")

    def check_fits(self, height: int, width: int) -> None:
        """Raise unless images of ``height`` x ``width`` pixels can be augmented so.

        Raises:
            ConfigError: the crop reflects further than the image is wide, or the cutout is larger.
        """
        side = min(height, width)
        if self.crop >= side or self.cutout > side:
            raise ConfigError(
                f"crop {self.crop} and cutout {self.cutout} don't fit images of {height} x {width} "
                f"pixels; give a crop of at most {side - 1} and a cutout of at most {side}."
            )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Draws:
    """What one batch drew; every field is an int64 or bool tensor of one value an image."""

    flip: Tensor
    down: Tensor
    """Shift of the window, in pixels: output row y comes from input row y + down."""

    right: Tensor
    cut_y: Tensor
    cut_x: Tensor

    @classmethod
    def draw(
        cls, augment: Augment, count: int, height: int, width: int, rng: np.random.Generator
    ) -> Self:
        """Draw for ``count`` images; what one augmentation draws doesn't depend on the others."""
        flip = rng.random(count) < 0.5
        cut_y = rng.integers(0, height, count)
        cut_x = rng.integers(0, width, count)
        shifts = rng.integers(-augment.crop, augment.crop, (2, count), endpoint=True)
        return cls(
            flip=torch.from_numpy(flip & augment.flip),
            down=torch.from_numpy(shifts[0]),
            right=torch.from_numpy(shifts[1]),
            cut_y=torch.from_numpy(cut_y),
            cut_x=torch.from_numpy(cut_x),
        )

    def pixels(self, images: Tensor, height: int, width: int) -> Tensor:
        """Say which pixel of which image each pixel of the batch comes from.

        Crop and flip only move pixels, so both are one gather.

        Args:
            images: int64, shape (count,): index of each image in the split.
            height: of the images, in pixels.
            width: of the images, in pixels.

        Returns:
            int64, shape (count * height * width,): indices into all pixels of the split, which are
            ordered by image, row and column.
        """
        rows = _reflect(torch.arange(height) + self.down[:, None], height)
        columns = _reflect(torch.arange(width) + self.right[:, None], width)
        columns = torch.where(self.flip[:, None], columns.flip(1), columns)
        starts = (images[:, None] * height + rows) * width
        return (starts[:, :, None] + columns[:, None, :]).flatten()

    def cut(self, side: int, height: int, width: int) -> Tensor:
        """Return where the squares of ``side`` pixels lie: bool, shape (count, height, width).

        A square of an even side reaches one pixel further up and left of its center.
        """
        down = torch.arange(height) - (self.cut_y[:, None] - side // 2)
        right = torch.arange(width) - (self.cut_x[:, None] - side // 2)
        inside_rows = (down >= 0) & (down < side)
        inside_columns = (right >= 0) & (right < side)
        return inside_rows[:, :, None] & inside_columns[:, None, :]


def _reflect(index: Tensor, size: int) -> Tensor:
    """Reflect indices of -size < index < 2 * size - 1 into 0 to size - 1, edges not repeated."""
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)
