"""What a data set is: three splits of tensors, the names of its classes, its statistics."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from espalier.errors import ConfigError, DataError

__all__ = ["Dataset", "Split", "limit", "stratified"]

_LIMIT_SEED = 0x11317
"""Seed of :func:`limit`; its own, so that a run's seed never changes which samples it sees."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Samples and their labels, side by side in memory.

    Raises:
        DataError: inputs and labels differ in number, or are of another type or shape.
    """

    inputs: Tensor
    """uint8 images (N, channels, height, width) or float32 signals (N, channels, length)."""

    labels: Tensor
    """int64, shape (N,): indices into the data set's classes."""

    def __post_init__(self) -> None:
        """Check that the two tensors belong together."""
        kinds = {torch.uint8: 4, torch.float32: 3}
        if self.inputs.ndim != kinds.get(self.inputs.dtype):
            raise DataError(
                f"inputs are {self.inputs.dtype} of shape {tuple(self.inputs.shape)}; expected "
                "uint8 images (N, channels, height, width) or float32 signals (N, channels, "
                "length)."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.inputs.shape[:1]:
            raise DataError(
                f"labels are {self.labels.dtype} of shape {tuple(self.labels.shape)}; expected "
                f"int64 of shape ({len(self.inputs)},), one for each input."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> "Split":
        """Return the samples at ``indices`` (int64, any order), copied."""
        return Split(self.inputs[indices], self.labels[indices])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Dataset:
    """A data set, ready to train on: everything in memory, nothing normalized yet."""

    name: str
    """Its key in ``DATASETS``."""

    train: Split
    validation: Split
    """Stops training and chooses; never overlaps with the other two."""

    test: Split
    classes: tuple[str, ...]
    """Names; a label is an index into them."""

    mean: tuple[float, ...]
    """A value a channel: of images scaled to [0, 1], of signals as they are."""

    std: tuple[float, ...]
    """Population standard deviation a channel, on the same scale as ``mean``; > 0."""

    source: str
    """Where the samples come from, in words that stand beside every number measured on them."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (channels, height, width) or (channels, length)."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def has_images(self) -> bool:
        """Whether samples are uint8 images (otherwise float32 signals)."""
        return self.train.inputs.dtype == torch.uint8


def stratified(labels: Tensor, count: int, *, seed: int) -> Tensor:
    """Draw ``count`` of the samples so that classes keep their proportions.

    Each class gives ``floor(count * class size / N)``; what is left over goes, one each, to the
    classes with the largest remainders (the first class among equals). Each sample has a random
    key, and a class gives the samples with its smallest ones. Keys are raw words of PCG64, a stream
    that NumPy keeps fixed over versions and platforms, so that the same samples are drawn anywhere.

    Args:
        labels: int64, shape (N,).
        count: how many to draw, 0 to N.
        seed: of the draw; the same labels, count and seed give the same indices.

    Returns:
        Indices, int64, shape (count,), ascending.

    Raises:
        ConfigError: ``count`` is negative or larger than N.

    Example:
        >>> picked = stratified(torch.tensor([0] * 6 + [1] * 3), 3, seed=0)
        >>> torch.tensor([0] * 6 + [1] * 3)[picked].tolist()
        [0, 0, 1]
    """
    total = len(labels)
    if not 0 <= count <= total:
        raise ConfigError(f"asked to draw {count} of {total} samples; give 0 to {total}.")
    classes = labels.numpy(force=True)
    sizes = np.bincount(classes)
    shares, remainders = np.divmod(sizes * count, max(total, 1))
    most_left = np.argsort(-remainders, kind="stable")
    shares[most_left[: count - int(shares.sum())]] += 1
    keys = np.random.PCG64(seed).random_raw(total)
    by_class_then_key = np.lexsort((keys, classes))
    starts = np.cumsum(sizes) - sizes
    rank_in_class = np.arange(total) - np.repeat(starts, sizes)
    drawn = by_class_then_key[rank_in_class < np.repeat(shares, sizes)]
    return torch.from_numpy(np.sort(drawn))


def limit(dataset: Dataset, count: int) -> Dataset:
    """Keep ``count`` training samples: stratified, the same ones every time.

    Validation and test stay whole, and so do the statistics used to normalize.

    Raises:
        ConfigError: ``count`` is below 1 or more than the data set has.
    """
    total = len(dataset.train)
    if not 1 <= count <= total:
        raise ConfigError(
            f"asked for {count} training samples; {dataset.name} has {total}. Give 1 to {total}."
        )
    kept = stratified(dataset.train.labels, count, seed=_LIMIT_SEED)
    return replace(dataset, train=dataset.train.take(kept))
