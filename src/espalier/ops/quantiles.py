"""Quantiles of what a cut keeps of one tensor, where the compiled core doesn't serve it.

Of ``m`` kept magnitudes in rising order the ``ceil(quantile * m)``-th, 0 of none. What is kept are
the magnitudes above the threshold, and as many equal to it as ``ties`` says, all where negative.
"""

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["on_device", "on_host"]


def on_host(magnitude: Tensor, threshold: Tensor, ties: int | Tensor, quantile: float) -> Tensor:
    """Return the quantile, float32 (), sorting only as far as it has to."""
    values, limit, stay = magnitude.numpy(), float(threshold), int(ties)
    equal = int((values == limit).sum())
    first = equal if stay < 0 else min(stay, equal)  # as many equal the threshold
    values = values[values > limit]
    place = math.ceil(quantile * (values.size + first)) - first - 1
    if place < 0:
        return threshold.clone() if first else magnitude.new_zeros(())
    return magnitude.new_tensor(np.partition(values, place)[place])


def on_device(magnitude: Tensor, threshold: Tensor, ties: int | Tensor, quantile: float) -> Tensor:
    """Return the quantile, float32 (), without a word to the host."""
    equal = (magnitude == threshold).sum()
    first = equal.new_full((), ties) if isinstance(ties, int) else ties
    kept = (magnitude > threshold).sum() + torch.where(
        first < 0, equal, torch.minimum(first, equal)
    )
    rank = (quantile * kept.double()).ceil().long()
    rising = torch.cat([magnitude.new_zeros(1), magnitude.sort().values])
    place = torch.where(kept > 0, magnitude.numel() - kept + rank, 0)
    return rising.gather(0, place.clamp(0, magnitude.numel()).reshape(1)).squeeze(0)
