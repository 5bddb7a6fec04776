"""Pruners: which weights stay. Each stands alone as an operator and chains with a quantizer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espalier.errors import ConfigError
from espalier.ops.base import Operator, Sweep, later
from espalier.ops.counted import keep_counted
from espalier.ops.kernels import ALL_TIES, NO_TIES, Cut, Moments, keep_largest, measure
from espalier.ops.schedules import Schedule, Step, ends_of, share_of, value_at

__all__ = ["GlobalMagnitude", "StdThreshold", "check_density", "count_of"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class StdThreshold(Operator):
    """Prune what is small against its own layer: ``beta = gamma * std(w)`` (eq. 1 and 2).

    ``std`` is the population standard deviation over all entries of the tensor, zeros included,
    accumulated in float64; ``beta`` is rounded to float32 once. A weight stays where
    ``abs(w) >= beta``. A constant tensor, and so one with a single entry, has ``beta = 0`` and
    stays whole; gamma 0 keeps everything, zeros included.

    Example:
        >>> import torch
        >>> StdThreshold(gamma=1.0)(torch.tensor([0.1, -0.2, 3.0, -4.0]))
        tensor([ 0.,  0.,  3., -4.])
    """

    gamma: float | Schedule
    """Strength, >= 0 and finite, or a schedule of it."""
    strict: bool = False
    """Keep only ``abs(w) > beta``; then gamma 0 prunes the zeros."""
    zeros: bool = later(True)
    """Whether the zeros count in the deviation. Without them it is that of the weights that are
    left, which doesn't shrink as more are pruned. On a GPU this waits for the device."""
    correction: int = later(0)
    """The variance is the sum of squares over ``n - correction``: 0 (population) or 1 (sample)."""

    def __post_init__(self) -> None:
        """Refuse a strength that is negative or not finite, and a correction of neither kind."""
        if self.correction not in {0, 1}:
            raise ConfigError(
                f"correction is {self.correction!r}; give 0 to divide the variance by n, or 1 to "
                "divide it by n - 1."
            )
        for gamma in ends_of(self.gamma):
            if not (math.isfinite(gamma) and gamma >= 0):
                raise ConfigError(
                    f"gamma is {gamma}; the threshold is gamma * std(w), so give a finite number "
                    ">= 0 (the paper uses 0 to 0.75)."
                )

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """One: prune."""
        return (Sweep(prune=self),)

    def cut(self, tensors: Sequence[Tensor], moments: Moments, step: Step) -> Cut:
        """Return each tensor's threshold (eq. 1)."""
        threshold = (value_at(self.gamma, step) * self._deviation(tensors, moments)).float()
        return Cut(threshold, NO_TIES if self.strict else ALL_TIES)

    def _deviation(self, tensors: Sequence[Tensor], moments: Moments) -> Tensor:
        counted = tensors if self.zeros else [t[t != 0] for t in tensors]
        std = moments.std if self.zeros else measure(counted).std
        if not self.correction:
            return std
        sizes = [t.numel() for t in counted]
        scale = [std.new_full((), n / max(n - 1, 1)) for n in sizes]  # filled there, not sent there
        return std * torch.stack(scale).sqrt()

    def budget(self, step: int) -> float | None:
        """Return None: the threshold decides, not a budget."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalMagnitude(Operator):
    """Keep exactly the largest magnitudes of all tensors together (Han et al., 2015).

    ``k = floor(density * n + 0.5)`` of the ``n`` weights of the set stay. Among equal magnitudes
    the first stay: tensors in their order, entries in theirs. A density of 1 keeps everything,
    zeros included.

    Example:
        >>> import torch
        >>> GlobalMagnitude(density=0.5)(torch.tensor([1.0, -3.0, 1.0, 0.5]))
        tensor([ 1., -3.,  0.,  0.])
    """

    density: float | Schedule
    """Fraction of the weights that stay, 0 to 1, or a schedule of it."""

    def __post_init__(self) -> None:
        """Refuse a fraction outside 0 to 1."""
        check_density(self.density)

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """One: prune."""
        return (Sweep(prune=self),)

    def cut(self, tensors: Sequence[Tensor], moments: Moments, step: Step) -> Cut:
        """Return the threshold that all tensors share, and each one's quota of ties."""
        k = count_of(self.density, tensors, step)
        return keep_counted(tensors, k) if isinstance(k, Tensor) else keep_largest(tensors, k)

    def budget(self, step: int) -> float | None:
        """Return the fraction of weights that stay."""
        return value_at(self.density, step)


def check_density(setting: float | Schedule, of: str = "weights") -> None:
    """Refuse a fraction of weights, or of what ``of`` says, outside 0 to 1.

    Raises:
        ConfigError: the density, or an end of its schedule, is no such fraction.
    """
    for density in ends_of(setting):
        if not 0 <= density <= 1:
            raise ConfigError(
                f"density is {density}; it is the fraction of {of} that stay, so give a "
                "number from 0 to 1."
            )


def count_of(density: float | Schedule, tensors: Sequence[Tensor], step: Step) -> int | Tensor:
    """Return how many weights of the set stay; where the step lies on a device, int64 () there."""
    return share_of(sum(t.numel() for t in tensors), value_at(density, step))
