"""What a network is measured on: labelled data, the user's own samples, or random numbers."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from espalier.artifact import Metadata
from espalier.errors import ConfigError, DataError
from espalier.export.inputs import Inputs, find_inputs

if TYPE_CHECKING:
    from espalier.data import Dataset, Split

__all__ = ["Samples", "from_data", "from_files", "from_nothing"]

Floats = NDArray[np.float32]
CALIBRATION = 512
"""Samples that integer engines take their ranges from; some hundred do."""
GENERATED = ("modulation",)
"""Data sets that are made of nothing."""
BATCH = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Samples for timing, for integer engines, and for the accuracy where there are labels."""

    shape: tuple[int, ...]
    """Of one sample."""
    source: str
    """Where those that are run come from, in words."""
    inputs: Inputs | None
    """None: random numbers."""
    labels: NDArray[np.int64] | None
    """One a sample; None: no accuracy."""
    calibration: Floats
    """(samples, *shape), normalized."""
    calibration_source: str

    def first(self, count: int) -> Floats:
        """Return (count, *shape), normalized; samples begin anew where there are too few."""
        if self.inputs is None:
            return random_samples(count, self.shape)
        return _plain(self.inputs.take([i % len(self.inputs) for i in range(count)]))

    def labelled(self, limit: int | None = None) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
        """Yield normalized samples and their labels, batch by batch.

        Args:
            limit: take so many, evenly from all; all where None.
        """
        assert self.inputs is not None and self.labels is not None  # noqa: S101, PT018
        total = len(self.inputs)
        count = total if limit is None else min(limit, total)
        chosen = np.linspace(0, total - 1, count).round().astype(int)
        for start in range(0, count, BATCH):
            places = chosen[start : start + BATCH]
            yield _plain(self.inputs.take(places.tolist())), self.labels[places]


def random_samples(count: int, shape: tuple[int, ...]) -> Floats:
    """Return normally distributed numbers, the same every time."""
    return np.random.default_rng(0).standard_normal((count, *shape), np.float32)


def from_data(
    name: str, data_dir: Path | None, metadata: Metadata, shape: tuple[int, ...]
) -> Samples:
    """Take the test set of a data set, and its training set for calibration.

    Raises:
        ConfigError: no such data set, or its samples don't fit the network.
        DataError: its files are missing or damaged.
    """
    dataset = _load(name, data_dir, shape)
    description = metadata.input or _description(dataset)
    calibration, source = _from_training(dataset, description)
    return Samples(
        shape=shape,
        source=f"{dataset.source}, test set",
        inputs=_inputs(dataset.test, description),
        labels=dataset.test.labels.numpy(),
        calibration=calibration,
        calibration_source=source,
    )


def from_files(path: Path, metadata: Metadata, shape: tuple[int, ...]) -> Samples:
    """Take the user's images or array, for timing and for calibration; there are no labels.

    Raises:
        ConfigError: nothing is there, or the file does not say how to normalize it.
        DataError: samples of another size, or none.
    """
    inputs = find_inputs(path, metadata.input, shape=shape)
    calibration = inputs.spread(CALIBRATION)
    return Samples(
        shape=shape,
        source=f"{path}, {len(inputs):,} samples",
        inputs=inputs,
        labels=None,
        calibration=calibration,
        calibration_source=f"{len(calibration):,} samples of {path}",
    )


def from_nothing(metadata: Metadata, shape: tuple[int, ...]) -> Samples:
    """Take random numbers for timing; for calibration the data that the network was trained on.

    Where the file does not name them, or they are not at hand ($ESPALIER_DATA), calibration is on
    random numbers too, and says so.
    """
    calibration, source = random_samples(64, shape), "random numbers"
    name = metadata.metrics.get("data")
    if name in GENERATED or (isinstance(name, str) and os.environ.get("ESPALIER_DATA")):
        try:
            dataset = _load(name, None, shape)
            calibration, source = _from_training(dataset, metadata.input or _description(dataset))
        except (ConfigError, DataError) as error:
            source = f"random numbers, since {error}"
    return Samples(
        shape=shape,
        source="random numbers",
        inputs=None,
        labels=None,
        calibration=calibration,
        calibration_source=source,
    )


def _load(name: str, data_dir: Path | None, shape: tuple[int, ...]) -> "Dataset":
    from espalier.data import load_dataset

    dataset = load_dataset(name, data_dir=data_dir)
    if dataset.input_shape != shape:
        raise ConfigError(
            f"samples of data set '{name}' are {dataset.input_shape}; the network takes {shape}."
        )
    return dataset


def _description(dataset: "Dataset") -> dict[str, Any]:
    """Describe inputs as training normalizes them."""
    return {
        "scale": 255 if dataset.has_images else 1,
        "mean": dataset.mean,
        "std": dataset.std,
    }


def _inputs(split: "Split", description: Mapping[str, Any]) -> Inputs:
    array = split.inputs.numpy()
    return Inputs(
        names=tuple(map(str, range(len(array)))),
        shape=array.shape[1:],
        scale=float(description["scale"]),
        mean=np.asarray(description["mean"], np.float32),
        std=np.asarray(description["std"], np.float32),
        array=array,
    )


def _plain(samples: Floats) -> Floats:
    """Return samples in C order, so that no engine is charged for another one."""
    return np.ascontiguousarray(samples)


def _from_training(dataset: "Dataset", description: Mapping[str, Any]) -> tuple[Floats, str]:
    samples = _inputs(dataset.train, description).spread(CALIBRATION)
    return _plain(samples), f"{len(samples):,} training samples of {dataset.source}"
