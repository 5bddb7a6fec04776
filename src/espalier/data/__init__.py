"""Data sets by name, and batches of them.

Example:
    >>> sorted(DATASETS)
    ['cifar10', 'modulation']
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from espalier.data.augment import Augment
from espalier.data.batches import Batches
from espalier.data.cifar10 import cifar10 as _cifar10
from espalier.data.dataset import Dataset, Split, limit
from espalier.data.modulation import modulation as _modulation
from espalier.errors import ConfigError, nearest
from espalier.imports import imported

__all__ = ["DATASETS", "Augment", "Batches", "Dataset", "Split", "limit", "load_dataset"]


DATASETS: dict[str, Callable[..., Dataset]] = {"cifar10": _cifar10, "modulation": _modulation}
"""Every data set: its name and the function that loads it."""


def load_dataset(
    name: str,
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    seed: int | None = None,
    **options: Any,
) -> Dataset:
    """Load the data set called ``name``; what is left ``None`` keeps that data set's default.

    Args:
        name: a key of ``DATASETS``, or ``module:function`` for the user's own: a function that
            returns a :class:`Dataset`, and is given those of the options below that it takes.
        data_dir: where its files are (data sets made of files).
        cache_dir: where decoded arrays are kept (data sets made of files).
        seed: of the generator (generated data sets).
        options: whatever else the data set's own function takes.

    Raises:
        ConfigError: no such data set, or it has no such option.
        DataError: the files are missing, damaged or of another shape.
    """
    if ":" in name:
        return _own(name, {"data_dir": data_dir, "cache_dir": cache_dir, "seed": seed, **options})
    if name not in DATASETS:
        raise ConfigError(
            f"no data set '{name}'; there are {', '.join(sorted(DATASETS))}."
            + nearest(name, DATASETS)
        )
    load = DATASETS[name]
    given = {"data_dir": data_dir, "cache_dir": cache_dir, "seed": seed, **options}
    given = {option: value for option, value in given.items() if value is not None}
    known = list(inspect.signature(load).parameters)
    for option in given:
        if option not in known:
            raise ConfigError(
                f"data set '{name}' has no option '{option}'; it takes {', '.join(known)}."
                + nearest(option, known)
            )
    return load(**given)


def _own(name: str, options: dict[str, Any]) -> Dataset:
    """Return the data set of the user's own function."""
    load = imported(name, what="data", gives="an espalier.data.Dataset")
    takes = inspect.signature(load).parameters
    dataset = load(**{k: v for k, v in options.items() if v is not None and k in takes})
    if not isinstance(dataset, Dataset):
        raise ConfigError(
            f"data {name!r} returned {type(dataset).__name__}; expected an espalier.data.Dataset, "
            "which holds three splits: training, validation and test."
        )
    return dataset
