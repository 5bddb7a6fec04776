"""A data set of each kind and a network for both, small enough to train in a blink."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from espalier.data import Dataset, Split
from espalier.records import RunResult, RunSpec
from espalier.train import resolve_spec, train

CLASSES = ("a", "b", "c")
CPU = torch.device("cpu")


def _split(samples: int, seed: int, *, images: bool) -> Split:
    """Samples whose mean says their class, in noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % len(CLASSES)
    if images:
        noise = torch.randint(0, 120, (samples, 3, 8, 8), generator=generator)
        inputs = (noise + 40 * labels[:, None, None, None]).to(torch.uint8)
    else:
        inputs = torch.randn(samples, 2, 16, generator=generator) + labels[:, None, None]
    return Split(inputs, labels)


def tiny_dataset(*, images: bool) -> Dataset:
    """Make three splits, the last training batch of 8 not full."""
    train_split = _split(44, 1, images=images)
    channels = train_split.inputs.shape[1]
    return Dataset(
        name="tiny_images" if images else "tiny_signals",
        train=train_split,
        validation=_split(24, 2, images=images),
        test=_split(30, 3, images=images),
        classes=CLASSES,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        source=f"tiny {'images' if images else 'signals'} of the tests",
    )


def tiny_images_cnn(*, classes: int, channels: int, dropout: float = 0.3) -> nn.Module:
    """Convolution, normalization, dropout: all that has a state of its own."""
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(5, classes),
    )


def tiny_signals_cnn(*, classes: int, channels: int, dropout: float = 0.3) -> nn.Module:
    """Do the same in one dimension."""
    return nn.Sequential(
        nn.Conv1d(channels, 5, 3),
        nn.BatchNorm1d(5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(5 * 14, classes),
    )


def tiny_spec(kind: str = "images", **settings: Any) -> RunSpec:
    """Return a spec of three epochs on a tiny data set."""
    base: dict[str, Any] = {
        "data": f"tiny_{kind}",
        "model": f"tiny_{kind}_cnn",
        "gamma": 0.2,
        "bits": 4,
        "epochs": 3,
        "batch_size": 8,
        "lr": 0.05,
        "precision": "fp32",
    }
    return resolve_spec(base | settings, device=CPU)


def run_tiny(spec: RunSpec, out: Path, **options: Any) -> RunResult:
    """Train on the CPU with one thread."""
    return train(spec, out, **({"device": "cpu", "threads": 1} | options))
