"""Networks whose files are frozen, byte for byte, in golden/."""

from typing import Any

import numpy as np

from espalier.artifact import Metadata
from espalier.encoded import Encoded, Raw, Table, Uniform

__all__ = ["GOLDEN"]


def _codes(shape: tuple[int, ...], one_in: int, most: int) -> Any:
    """Return codes by a rule that no version of any library changes."""
    numbers = np.arange(int(np.prod(shape)), dtype=np.uint64)
    mixed = (numbers * 2654435761 + 12345) % 2**32 >> 7
    signs = np.where(mixed >> 9 & 1, -1, 1)
    codes = np.where(mixed % one_in == 0, (mixed >> 11) % most + 2, 0).astype(np.int64) * signs
    return codes.reshape(shape)


def _uniform(shape: tuple[int, ...], one_in: int, most: int, bits: int) -> Encoded:
    codes = _codes(shape, one_in, most)
    mask = codes != 0
    return Encoded(mask, codes[mask], Uniform(0.015625), bits, int(mask.sum()) + 1)


def _others() -> dict[str, Any]:
    mask = np.abs(_codes((4, 5), 2, 3)) > 0
    count = int(mask.sum())
    return {
        "table": Encoded(mask, np.arange(count) % 3, Table((-1.5, 0.25, 2.0)), 2, count),
        "raw": Encoded(mask, np.arange(1, count + 1, dtype=np.float32) / 8, Raw(), 32, count),
        "empty": Encoded(np.zeros((3, 0), bool), np.zeros(0, np.int64), Raw(), 32, 0),
        "zeros": Encoded(np.zeros((3, 2), bool), np.zeros(0, np.int64), Uniform(0.5), 4, 1),
        "scalar": Encoded(np.ones((), bool), np.array([-7]), Uniform(0.5), 8, 1),
        "float32": np.arange(3, dtype=np.float32) / 8,
        "float16": np.arange(3, dtype=np.float16) / 8,
        "int64": np.array([-1, 2**40]),
        "bytes": np.array([0, 255], np.uint8),
    }


METADATA = Metadata(
    network={"name": "paper_cnn", "options": {"dropout": 0.3}},
    folded=("norm1",),
    operator={"gamma": 0.375, "bits": 4},
    metrics={"test_accuracy": 80.25},
    input={"shape": [2, 8], "type": "uint8", "scale": 255, "mean": [0.5, 0.25], "std": [1, 2.5]},
    classes=("cat", "späte Birne"),
    writer="by hand",
)

GOLDEN: dict[str, tuple[dict[str, Any], Metadata, Any]] = {
    "nothing": ({}, Metadata(), "smallest"),
    "metadata": ({}, METADATA, "smallest"),
    "convolution": ({"conv.weight": _uniform((6, 4, 3, 3), 4, 6, 4)}, Metadata(), "contexts"),
    "matrix": ({"fc.weight": _uniform((12, 40), 3, 100, 8)}, Metadata(), "contexts"),
    "static": (
        {"fc.weight": _uniform((12, 40), 5, 4, 3), "fc.bias": _uniform((12,), 2, 4, 3)},
        Metadata(),
        "static",
    ),
    "every_kind": (_others(), Metadata(), "contexts"),
}
"""Tensors, metadata and coder of each."""
