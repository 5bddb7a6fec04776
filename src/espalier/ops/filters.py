"""Structured pruning: whole filters and neurons stay or go; and two operators one after the other.

A filter is a row, an entry of the first axis, of a tensor of two axes or more: a convolution's
filter, a fully connected layer's neuron. :func:`espalier.shrink` takes dead ones out of a network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espalier.errors import ConfigError
from espalier.ops.base import Operator, Sweep
from espalier.ops.kernels import Cut, Moments
from espalier.ops.prune import check_density
from espalier.ops.schedules import Schedule, Step, share_of, value_at

__all__ = ["FilterMagnitude", "Then"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterMagnitude(Operator):
    """Keep whole filters, those of the largest mean square against their own layer's.

    The score of filter f of a tensor is ``mean(w[f]**2) / mean(w**2)``, computed in float64 and
    rounded to float32, so that layers of small weights count as much as others. Of the ``n``
    filters of all tensors together, ``k = floor(density * n + 0.5)`` stay, more only where
    ``least`` asks for it; all other filters become zero. Among equal scores the first stay: tensors
    in their order, filters in theirs. A density of 1 keeps everything.

    Tensors of fewer than two axes (biases, normalizations) and empty ones have no filters and are
    left as they are: a filter without weights gives its bias everywhere.

    The filters of a network's last layer are its classes. Keep them by ``keep_last``, where the
    set's last tensor is that layer's, or by a rule of its own that comes first:
    ``Rule(name="fc4.*", operator=...)``.

    Example:
        >>> import torch
        >>> FilterMagnitude(density=0.5)(torch.tensor([[1.0, -1.0], [0.0, 3.0]]))
        tensor([[0., 0.],
                [0., 3.]])
    """

    density: float | Schedule
    """Fraction of the filters that stay, 0 to 1, or a schedule of it."""
    least: int = 1
    """Filters that stay of every tensor at least, >= 0; its best ones."""
    keep_last: bool = False
    """Leave the last tensor that has filters whole; ``n`` is of the others then."""

    def __post_init__(self) -> None:
        """Refuse a fraction outside 0 to 1, and no count."""
        check_density(self.density, "filters")
        if isinstance(self.least, bool) or not isinstance(self.least, int) or self.least < 0:
            raise ConfigError(
                f"least is {self.least!r}; it is how many filters of every tensor stay, so give a "
                "whole number >= 0."
            )

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """One: prune."""
        return (Sweep(prune=self),)

    def cut(self, tensors: Sequence[Tensor], moments: Moments, step: Step) -> Cut:
        """Return which filters stay."""
        everything = torch.zeros_like(moments.max_abs)
        density = value_at(self.density, step)
        filtered = [i for i, t in enumerate(tensors) if t.dim() >= 2 and t.numel()]
        filtered = filtered[:-1] if self.keep_last else filtered
        filters: list[Tensor | None] = [None] * len(tensors)
        if not filtered or (not isinstance(density, Tensor) and density == 1):
            return Cut(everything, filters=tuple(filters))
        scores = [_scores(tensors[i]) for i in filtered]
        k = share_of(sum(len(s) for s in scores), density)
        masks = _best(scores, k, self.least)
        for i, mask in zip(filtered, masks, strict=True):
            filters[i] = mask
        return Cut(everything, filters=tuple(filters))

    def budget(self, step: int) -> float | None:
        """Return None: what is asked is a fraction of filters, not of weights."""
        return None


def _scores(t: Tensor) -> Tensor:
    """Return each filter's mean square over that of its tensor, float32; zeros of a zero tensor."""
    squares = t.reshape(len(t), -1).double().square().mean(1)
    mean = squares.mean()
    return torch.where(mean > 0, squares / mean, 0.0).float()


def _best(scores: Sequence[Tensor], k: int | Tensor, least: int) -> tuple[Tensor, ...]:
    """Return masks of the ``k`` best, first among equals, with ``least`` of each tensor."""
    ranked = []
    for s in scores:
        order = s.argsort(descending=True, stable=True)
        ranked.append(s.index_fill(0, order[:least], torch.inf))
    forced = sum(min(least, len(s)) for s in scores)
    together = torch.cat(ranked)
    order = together.argsort(descending=True, stable=True)
    rank = torch.arange(len(together), device=together.device)
    stays = rank < (k.clamp(min=forced) if isinstance(k, Tensor) else max(k, forced))
    keep = torch.zeros_like(stays).scatter(0, order, stays)
    return torch.split(keep, [len(s) for s in scores])


@dataclass(frozen=True, slots=True, kw_only=True)
class Then(Operator):
    """One operator, then another over what it wrote, as one pass: whole filters, then weights.

    What the first prunes stays pruned. The second sees its zeros as weights: a density is one of
    all weights, and a deviation is that of all.

    Example:
        >>> import torch
        >>> from espalier.ops import GlobalMagnitude
        >>> op = Then(first=FilterMagnitude(density=0.5), second=GlobalMagnitude(density=0.25))
        >>> op(torch.tensor([[1.0, -1.0], [2.0, 3.0]]))
        tensor([[0., 0.],
                [0., 3.]])
    """

    first: Operator
    """What is done first."""
    second: Operator
    """What is done then; it says the bits of what is kept, unless it has no grid."""

    def __post_init__(self) -> None:
        """Refuse what is no operator."""
        for name, part in (("first", self.first), ("second", self.second)):
            if not isinstance(part, Operator):
                raise ConfigError(
                    f"{name} is {part!r}, which is no operator; give one such as "
                    "FilterMagnitude(density=0.5)."
                )

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """Those of the first, then those of the second."""
        return (*self.first.sweeps, *self.second.sweeps)
