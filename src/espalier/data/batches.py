"""Batches from memory: one gather, one augmentation and one normalization a batch."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from espalier.core import core
from espalier.data.augment import Augment, Draws
from espalier.data.dataset import Dataset, Split
from espalier.errors import ConfigError

__all__ = ["Batches"]

_ORDER, _AUGMENT = 0, 1
"""Which use a random stream has, so that order and augmentation never share one."""


class Batches:
    """The batches of a split, epoch after epoch.

    Order and augmentation are pure functions of (seed, epoch, batch index): an epoch that starts at
    batch k yields, bit for bit, what the whole epoch yields from batch k on.

    Batches are normalized, ``(x - mean) / std``, images scaled to [0, 1] before. Images come in
    shape (batch, channels, height, width) and memory format channels_last; signals in shape
    (batch, channels, length).

    Args:
        split: what to take batches of.
        dataset: the data set it belongs to, for mean and std.
        batch_size: samples a batch, >= 1; the last batch of an epoch may be smaller.
        seed: of order and augmentation, >= 0.
        augment: augmentation of images; None leaves them as they are.
        shuffle: a new order every epoch; False keeps the split's own.
        drop_last: leave out a last batch that is not full.
        device: where batches are made. The whole split is kept there.
        dtype: of the inputs, ``torch.float32`` or ``torch.bfloat16`` (rounded once, at the end).

    Raises:
        ConfigError: a setting out of its bounds, augmentation of signals, or no batch at all.
    """

    def __init__(
        self,
        split: Split,
        dataset: Dataset,
        *,
        batch_size: int,
        seed: int = 0,
        augment: Augment | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch size is {batch_size}; give at least 1.")
        if seed < 0:
            raise ConfigError(f"seed is {seed}; give 0 or more.")
        if dtype not in (torch.float32, torch.bfloat16):
            raise ConfigError(f"dtype is {dtype}; give torch.float32 or torch.bfloat16.")
        if augment is not None and not dataset.has_images:
            raise ConfigError(
                f"data set '{dataset.name}' holds signals, and augmentation is for images only; "
                "leave it out."
            )
        full, rest = divmod(len(split), batch_size)
        self._count = full if drop_last or not rest else full + 1
        if self._count == 0:
            raise ConfigError(
                f"{len(split)} samples make no batch of {batch_size}"
                + (" and drop_last is on." if drop_last else ".")
            )
        if augment is not None:
            augment.check_fits(*split.inputs.shape[2:])
        self._samples = len(split)
        self._batch_size = batch_size
        self._seed = seed
        self._augment = augment
        self._shuffle = shuffle
        self._device = torch.device(device)
        self._dtype = dtype
        self._labels = split.labels.to(self._device)
        self._inputs = _channels_innermost(split.inputs).to(self._device)
        scale, shift = _scale_and_shift(dataset, self._inputs.shape[1:])
        self._scale = scale.to(self._device)
        self._shift = shift.to(self._device)

    def __len__(self) -> int:
        """Batches an epoch."""
        return self._count

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the epoch's batches, inputs and labels, from batch ``start`` on.

        Raises:
            ConfigError: ``epoch`` is negative, or ``start`` is none of 0 to ``len(self)``.
        """
        if epoch < 0:
            raise ConfigError(f"epoch is {epoch}; give 0 or more.")
        if not 0 <= start <= self._count:
            raise ConfigError(f"start is batch {start}; give 0 to {self._count}.")
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(self._samples)
        if self._shuffle:
            order = torch.from_numpy(self._rng(_ORDER, epoch).permutation(self._samples))
        there = self._moved(order)  # once an epoch, since sending makes the host wait
        for index in range(start, self._count):
            part = slice(index * self._batch_size, (index + 1) * self._batch_size)
            chosen, places = order[part], there[part]
            if self._augment is None:
                inputs = self._normalized(self._inputs.index_select(0, places))
            else:
                inputs = self._augmented(chosen, self._augment, self._rng(_AUGMENT, epoch, index))
            if inputs.ndim == 4:
                inputs = inputs.permute(0, 3, 1, 2)
            yield inputs.to(self._dtype), self._labels.index_select(0, places)

    def _augmented(self, chosen: Tensor, augment: Augment, rng: np.random.Generator) -> Tensor:
        height, width, channels = self._inputs.shape[1:]
        draws = Draws.draw(augment, len(chosen), height, width, rng)
        if core is not None and self._device.type == "cpu":
            inputs = self._taken(chosen, draws)
        else:
            pixels = self._moved(draws.pixels(chosen, height, width))
            images = self._inputs.view(-1, channels).index_select(0, pixels)
            inputs = self._normalized(images.view(-1, height, width, channels))
        if augment.cutout:
            cut = self._moved(draws.cut(augment.cutout, height, width))
            inputs.masked_fill_(cut[..., None], 0.0)
        return inputs

    def _taken(self, chosen: Tensor, draws: Draws) -> Tensor:
        """Gather, move, mirror and normalize by the compiled core: the same bits, in one pass."""
        inputs = torch.empty((len(chosen), *self._inputs.shape[1:]))
        core.take_pictures(
            set=self._inputs.numpy(),
            out=inputs.numpy(),
            sizes=tuple(self._inputs.shape[1:]),
            chosen=chosen.numpy(),
            down=draws.down.numpy(),
            right=draws.right.numpy(),
            flip=draws.flip.numpy(),
            scale=self._scale[0].numpy(),
            shift=self._shift[0].numpy(),
        )
        return inputs

    def _normalized(self, inputs: Tensor) -> Tensor:
        """Multiply and add, each rounded in float32: unfused, so that all ways give one result."""
        return inputs.to(torch.float32).mul_(self._scale).add_(self._shift)

    def _moved(self, tensor: Tensor) -> Tensor:
        """Send to the device; to a GPU from memory that it reads itself, so that nobody waits."""
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)

    def _rng(self, use: int, *position: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, use, *position])


def _channels_innermost(inputs: Tensor) -> Tensor:
    """Return images as (N, height, width, channels), signals as they are; contiguous both."""
    return (inputs.permute(0, 2, 3, 1) if inputs.ndim == 4 else inputs).contiguous()


def _scale_and_shift(dataset: Dataset, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return what turns a stored sample of ``shape`` into a normalized one: x * scale + shift.

    They are as large as a sample, since a multiply-add over equal shapes is the fastest one.
    """
    mean = torch.tensor(dataset.mean, dtype=torch.float64)
    std = torch.tensor(dataset.std, dtype=torch.float64)
    scale = 1 / (std * 255) if dataset.has_images else 1 / std
    shift = -mean / std
    if not dataset.has_images:
        scale, shift = scale[:, None], shift[:, None]
    return (
        scale.to(torch.float32).expand(shape).contiguous(),
        shift.to(torch.float32).expand(shape).contiguous(),
    )
