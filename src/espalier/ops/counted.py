"""Budgets whose count lies on a device, as where a captured graph's budget changes by the step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from espalier.ops.kernels import Cut, quotas

__all__ = ["either", "keep_counted", "kth"]


def keep_counted(tensors: Sequence[Tensor], k: Tensor) -> Cut:
    """Cut that keeps exactly the ``k`` largest magnitudes of all tensors together.

    The cut of :func:`espalier.ops.kernels.keep_largest`, found without reading ``k``.

    Args:
        tensors: float32, on one device.
        k: how many stay, int64 (), 0 to all.
    """
    magnitudes = [t.abs() for t in tensors]
    together = torch.cat([m.reshape(-1) for m in magnitudes])
    threshold = kth(together.sort(descending=True).values, k)
    threshold = torch.where(k == together.numel(), 0.0, threshold)
    above = torch.stack([(m > threshold).sum() for m in magnitudes])
    equal = torch.stack([(m == threshold).sum() for m in magnitudes])
    earlier = equal.cumsum(0) - equal
    stay = torch.minimum((k - above.sum() - earlier).clamp(min=0), equal)
    return Cut(threshold.expand(len(tensors)).contiguous(), quotas(stay, equal, read=False))


def kth(falling: Tensor, count: Tensor) -> Tensor:
    """Return the count-th of falling values; infinity for none."""
    padded = torch.cat([falling.new_full((1,), torch.inf), falling])
    return padded.gather(0, count.reshape(1)).squeeze(0)


def either(flag: Tensor, one: Cut, other: Cut) -> Cut:
    """Return one cut where the flag is set, else the other, without reading it."""
    return Cut(
        torch.where(flag, one.threshold, other.threshold),
        torch.where(flag, one.ties, other.ties),
    )
