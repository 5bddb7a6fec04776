"""Tensors as the compiled core takes them: addresses, sizes, rows of numbers."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["addresses", "fit", "in_order", "row", "sizes", "threads"]


def fit(tensors: Sequence[Tensor]) -> bool:
    """Whether the core can take these tensors: float32, on the CPU, without holes."""
    return all(
        t.dtype is torch.float32 and t.device.type == "cpu" and (t.is_contiguous() or _dense(t))
        for t in tensors
    )


def in_order(tensors: Sequence[Tensor], quota: NDArray[np.int64]) -> list[Tensor]:
    """Return the tensors, copies of those whose quota counts entries that don't lie in C order."""
    return [t.contiguous() if n > 0 else t for t, n in zip(tensors, quota, strict=False)]


def addresses(tensors: Sequence[Tensor]) -> NDArray[np.uint64]:
    """Return where each tensor lies, uint64 (n,)."""
    return np.array([t.data_ptr() for t in tensors], np.uint64)


def sizes(tensors: Sequence[Tensor]) -> NDArray[np.int64]:
    """Return each tensor's number of entries, int64 (n,)."""
    return np.array([t.numel() for t in tensors], np.int64)


def row(values: Tensor) -> NDArray[np.float32]:
    """Return a number a tensor, float32 (n,)."""
    numbers: NDArray[np.float32] = np.ascontiguousarray(values.numpy(), np.float32)
    return numbers


def threads() -> int:
    """Return how many threads torch would take."""
    return torch.get_num_threads()


def _dense(t: Tensor) -> bool:
    """Whether a tensor lies in memory without holes, its channels innermost."""
    return (t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last)) or (
        t.dim() == 5 and t.is_contiguous(memory_format=torch.channels_last_3d)
    )
