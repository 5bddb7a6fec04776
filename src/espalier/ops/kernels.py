"""The passes over memory: measure, cut, write. One compiled way, one in torch, the same results.

Everything works on a *set* of float32 tensors and gives rows, one a tensor, on the tensors' own
device; nothing here reads a value back to the host, so a GPU is never waited for.

The compiled way serves dense float32 tensors on the CPU. It reads every weight once to measure and
once to write, which is the floor. Statistics may differ from torch's in the last bit of float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from espalier.core import core
from espalier.ops import operands, quantiles

__all__ = [
    "ALL_TIES",
    "NO_TIES",
    "Cut",
    "Moments",
    "Shadow",
    "clip",
    "copy",
    "filtered",
    "keep_best",
    "keep_largest",
    "keep_mask",
    "keep_masks",
    "kept_mean",
    "kept_quantile",
    "measure",
    "quotas",
    "write",
]

ALL_TIES = -1
"""Keep every weight whose magnitude equals the threshold (eq. 2)."""
NO_TIES = 0
"""Keep none of them."""

Kernel = Literal["nearest", "floor", "stochastic", "sign", "chosen"]
"""How a kept weight is put on the grid; ``sign`` keeps the sign and takes the step as magnitude,
``chosen`` rounds down what an offset an entry was added to."""

Shadow = Literal["none", "copy", "pruned", "masked"]
"""What a write does to the shadow: nothing; holds the weights as they were; the same with the
pruned ones at zero; keeps its own values where the weights are kept."""

_ROUNDING = {"nearest": 0, "floor": 1, "stochastic": 2, "sign": 3, "chosen": 2}
_SHADOW = {"none": 0, "copy": 1, "pruned": 2, "masked": 3}


@dataclass(frozen=True, slots=True)
class Moments:
    """What one reading of the weights tells, a row a tensor."""

    std: Tensor
    """Population standard deviation over all entries, float64 (n,); NaN where not finite."""
    max_abs: Tensor
    """Largest magnitude, float32 (n,)."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which weights stay: magnitudes above the threshold, and some of those equal to it."""

    threshold: Tensor
    """float32 (n,)."""
    ties: int | Tensor = ALL_TIES
    """How many weights equal to the threshold stay, first ones first: all, none, or a quota for
    each tensor, int64 (n,), which may be either too."""
    filters: tuple[Tensor | None, ...] = ()
    """Which filters stay, before the threshold is looked at: bool (filters,) for each tensor, None
    where all do; empty where the threshold alone decides."""


def measure(tensors: Sequence[Tensor]) -> Moments:
    """Read every weight once: population std (float64) and largest magnitude of each tensor."""
    if _compiled(tensors):
        std, max_abs = np.empty(len(tensors)), np.empty(len(tensors), np.float32)
        core.measure(
            operands.addresses(tensors), operands.sizes(tensors), std, max_abs, operands.threads()
        )
        return Moments(torch.from_numpy(std), torch.from_numpy(max_abs))
    moments = [_measure_one(t) for t in tensors]
    return Moments(torch.stack([s for s, _ in moments]), torch.stack([m for _, m in moments]))


def _measure_one(t: Tensor) -> tuple[Tensor, Tensor]:
    if t.numel() == 0:
        return t.new_zeros((), dtype=torch.float64), t.new_zeros(())
    flat = t.reshape(-1).double()
    shifted = flat - flat[0]  # a constant tensor has a deviation of exactly 0
    std = shifted.square().mean().sub_(shifted.mean().square()).clamp_(min=0).sqrt_()
    return std, t.abs().max()


def kept_mean(tensors: Sequence[Tensor], cut: Cut) -> Tensor:
    """Mean magnitude of the kept weights, float64 (n,); 0 where none is kept."""
    if _compiled(tensors):
        mean = np.empty(len(tensors))
        rows = operands.row(cut.threshold), _ties(cut, len(tensors))
        core.kept_mean(
            operands.addresses(tensors), operands.sizes(tensors), *rows, mean, operands.threads()
        )
        return torch.from_numpy(mean)
    means = []
    for t, threshold, ties in _rows(tensors, cut):
        keep = keep_mask(t, threshold, ties)
        means.append((t.abs() * keep).sum(dtype=torch.float64) / keep.sum().clamp(min=1))
    return torch.stack(means)


def kept_quantile(tensors: Sequence[Tensor], cut: Cut, quantile: float) -> Tensor:
    """Magnitude that a fraction of the kept weights don't exceed, float32 (n,); 0 of none.

    Of ``m`` kept magnitudes in rising order it is the ``ceil(quantile * m)``-th.
    """
    if _compiled(tensors):
        value = np.empty(len(tensors), np.float32)
        rows = operands.row(cut.threshold), _ties(cut, len(tensors))
        core.kept_quantile(
            operands.addresses(tensors), operands.sizes(tensors), *rows, value, quantile
        )
        return torch.from_numpy(value)
    find = quantiles.on_host if tensors[0].device.type == "cpu" else quantiles.on_device
    found = [find(t.abs().reshape(-1), at, ties, quantile) for t, at, ties in _rows(tensors, cut)]
    return torch.stack(found)


def keep_largest(tensors: Sequence[Tensor], k: int) -> Cut:
    """Cut that keeps exactly the ``k`` largest magnitudes of all tensors together.

    Among equal magnitudes the first stay: tensors in their order, entries in theirs.
    """
    n, total = len(tensors), sum(t.numel() for t in tensors)
    device = tensors[0].device
    if k == 0:
        return Cut(torch.full((n,), torch.inf, dtype=torch.float32, device=device), NO_TIES)
    if k == total:
        return Cut(torch.zeros(n, dtype=torch.float32, device=device), ALL_TIES)
    compiled = _compiled(tensors)
    if compiled:
        value, *rows = core.largest(
            operands.addresses(tensors), operands.sizes(tensors), k, operands.threads()
        )
        threshold = torch.tensor(value, dtype=torch.float32, device=device)
        above, equal = (torch.tensor(row, dtype=torch.int64, device=device) for row in rows)
    else:
        magnitudes = [t.abs() for t in tensors]
        threshold = torch.cat([m.reshape(-1) for m in magnitudes]).kthvalue(total - k + 1).values
        above = torch.stack([(m > threshold).sum() for m in magnitudes])
        equal = torch.stack([(m == threshold).sum() for m in magnitudes])
    earlier = equal.cumsum(0) - equal
    quota = torch.minimum((k - above.sum() - earlier).clamp(min=0), equal)
    return Cut(threshold.expand(n).contiguous(), quotas(quota, equal, read=compiled))


def keep_best(
    tensors: Sequence[Tensor], k: int, least: int, prices: Sequence[float], max_abs: Tensor
) -> Cut | None:
    """Cut that keeps the ``k`` best layer-adaptive scores (``lamp``); None where the core can't.

    Args:
        tensors: as :func:`measure` takes them.
        k: how many stay, more than ``least`` alone would keep and at most all.
        least: how many of every tensor stay whatever their score.
        prices: what the scores of each tensor are divided by, >= 1.
        max_abs: each tensor's largest magnitude, float32 (n,).
    """
    if not (_compiled(tensors) and max_abs.isfinite().all()):
        return None
    threshold, (stay, equal) = np.empty(len(tensors), np.float32), np.empty((2, len(tensors)), int)
    given = (
        operands.addresses(tensors),
        operands.sizes(tensors),
        operands.row(max_abs),
        np.array(prices, np.float64),
    )
    core.best(*given, threshold, stay, equal, k, least, operands.threads())
    ties = quotas(torch.from_numpy(stay), torch.from_numpy(equal), read=True)
    return Cut(torch.from_numpy(threshold), ties)


def quotas(stay: Tensor, equal: Tensor, *, read: bool) -> int | Tensor:
    """Return how many of each tensor's ties stay, in the form that is least work to write.

    Only where some go have they to be counted, in their order. Whether none do is asked where it
    may be read; on a device the answer would be waited for.
    """
    if read and torch.equal(stay, equal):
        return ALL_TIES
    return torch.where(stay == equal, ALL_TIES, stay)


def write(
    tensors: Sequence[Tensor],
    cut: Cut,
    step: Tensor,
    *,
    rounding: Kernel,
    noise: Sequence[Tensor] | None = None,
    shadows: Sequence[Tensor] | None = None,
    shadow: Shadow = "none",
) -> tuple[Tensor, Tensor]:
    """Overwrite the tensors with what is kept, put on the grid; zeros become +0.

    Args:
        tensors: float32; changed in place.
        cut: which weights stay.
        step: distance of two grid values, float32 (n,); 0 leaves the kept weights as they are.
        rounding: how a kept weight is put on the grid; float32 arithmetic, a true division.
        noise: what is added to ``w / step`` before it is rounded down, one tensor a tensor: uniform
            on [0, 1) for ``stochastic``, offsets for ``chosen``.
        shadows: a second copy of each tensor, same shape and layout.
        shadow: what happens to it.

    Returns:
        Counts of the kept and of the nonzero weights, int64 (n,) each.
    """
    if cut.filters:
        shadow, dead = _clear(tensors, cut.filters, shadows, shadow)
        rest = Cut(cut.threshold, cut.ties)
        stay, left = write(
            tensors, rest, step, rounding=rounding, noise=noise, shadows=shadows, shadow=shadow
        )
        return stay - dead, left
    if _compiled([*tensors, *(shadows or ()), *(noise or ())]):
        n = len(tensors)
        kept, nonzero = np.empty(n, np.int64), np.empty(n, np.int64)
        quota = _ties(cut, n)
        w, copies, added = (
            operands.in_order(some, quota) for some in (tensors, shadows or (), noise or ())
        )
        core.write(
            operands.addresses(w),
            operands.sizes(tensors),
            operands.addresses(copies) if shadows else np.zeros(n, np.uint64),
            operands.addresses(added) if noise else np.zeros(n, np.uint64),
            operands.row(cut.threshold),
            quota,
            operands.row(step),
            _ROUNDING[rounding],
            _SHADOW[shadow],
            kept,
            nonzero,
            operands.threads(),
        )
        for there, here in zip((*tensors, *(shadows or ())), (*w, *copies), strict=True):
            if here is not there:
                there.copy_(here)
        return torch.from_numpy(kept), torch.from_numpy(nonzero)
    counts = []
    for i, (t, threshold, ties) in enumerate(_rows(tensors, cut)):
        keep = keep_mask(t, threshold, ties)
        if shadows is not None:
            _write_shadow(shadows[i], t, keep, shadow)
        value = _round(t, step[i], rounding, noise[i] if noise else None)
        t.copy_(torch.where(keep, value, 0.0) + 0.0)
        counts.append((keep.sum(), (t != 0).sum()))
    return torch.stack([k for k, _ in counts]), torch.stack([z for _, z in counts])


def clip(tensors: Sequence[Tensor], step: Tensor, top: int | Tensor) -> None:
    """Put what was written beyond a grid's last value there, in place.

    Args:
        tensors: float32, multiples of their steps.
        step: distance of two grid values, float32 (n,); where it is 0 nothing is done.
        top: the largest code, >= 1 and below 2**24, of all or of each tensor, float32 (n,).
    """
    limits = torch.where(step > 0, step * top, torch.inf)
    for t, limit in zip(tensors, limits, strict=True):
        t.clamp_(-limit, limit)


def filtered(tensors: Sequence[Tensor], filters: Sequence[Tensor | None]) -> list[Tensor]:
    """Return the tensors with the filters that go at zero: copies, where any goes."""
    pairs = zip(tensors, filters, strict=True)
    return [t if keep is None else t.masked_fill(~_along(keep, t), 0.0) for t, keep in pairs]


def _clear(
    tensors: Sequence[Tensor],
    filters: Sequence[Tensor | None],
    shadows: Sequence[Tensor] | None,
    shadow: Shadow,
) -> tuple[Shadow, Tensor]:
    """Set filters to zero; return what is left to do with shadows, and how many weights went.

    The threshold is 0 then, so that all of them would count as kept.
    """
    if shadow == "copy" and shadows is not None:
        copy(shadows, tensors)
        shadow = "none"
    dead = []
    for i, (t, keep) in enumerate(zip(tensors, filters, strict=True)):
        if keep is None:
            dead.append(torch.zeros((), dtype=torch.int64, device=t.device))
            continue
        t.masked_fill_(~_along(keep, t), 0.0)
        if shadow == "masked" and shadows is not None:
            shadows[i].masked_fill_(~_along(keep, t), 0.0)
        dead.append((~keep).sum() * (t.numel() // len(keep)))
    return shadow, torch.stack(dead)


def _along(keep: Tensor, t: Tensor) -> Tensor:
    """Shape a flag a filter so that it spreads over a tensor."""
    return keep.view(-1, *[1] * (t.dim() - 1))


def keep_masks(tensors: Sequence[Tensor], cut: Cut) -> list[Tensor]:
    """Return where the cut lets weights stay, bool, a mask a tensor."""
    return [keep_mask(t, threshold, ties) for t, threshold, ties in _rows(tensors, cut)]


def keep_mask(t: Tensor, threshold: Tensor, ties: int | Tensor) -> Tensor:
    """Return where one tensor's weights stay, bool."""
    magnitude = t.abs()
    if isinstance(ties, int):
        return magnitude > threshold if ties == NO_TIES else magnitude >= threshold
    equal = magnitude == threshold
    rank = equal.reshape(-1).cumsum(0).view(equal.shape)
    return (magnitude > threshold) | (equal & ((rank <= ties) | (ties < 0)))


def _round(t: Tensor, step: Tensor, rounding: Kernel, noise: Tensor | None) -> Tensor:
    if rounding == "sign":
        rounded = torch.sign(t) * step
    elif rounding == "nearest":
        rounded = torch.round(t / step) * step
    elif rounding == "floor" or noise is None:
        rounded = torch.floor(t / step) * step
    else:
        rounded = torch.floor(t / step + noise) * step
    return torch.where(step > 0, rounded, t)


def _write_shadow(shadow: Tensor, t: Tensor, keep: Tensor, mode: Shadow) -> None:
    if mode == "copy":
        shadow.copy_(t)
    elif mode == "pruned":
        shadow.copy_(torch.where(keep, t, 0.0) + 0.0)
    elif mode == "masked":
        shadow.copy_(torch.where(keep, shadow, 0.0))


def copy(destinations: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source onto its destination; same shapes, layouts and types."""
    if _compiled([*destinations, *sources]):
        sizes = operands.sizes(destinations)
        core.copy(
            operands.addresses(destinations), operands.addresses(sources), sizes, operands.threads()
        )
    else:
        torch._foreach_copy_(list(destinations), list(sources))


def _rows(tensors: Sequence[Tensor], cut: Cut) -> list[tuple[Tensor, Tensor, int | Tensor]]:
    ties = cut.ties
    return [
        (t, cut.threshold[i], ties if isinstance(ties, int) else ties[i])
        for i, t in enumerate(tensors)
    ]


def _compiled(tensors: Sequence[Tensor]) -> bool:
    """Whether the compiled core is there and can serve these tensors."""
    return core is not None and operands.fit(tensors)


def _ties(cut: Cut, n: int) -> NDArray[np.int64]:
    if isinstance(cut.ties, int):
        return np.full(n, cut.ties, np.int64)
    ties: NDArray[np.int64] = cut.ties.numpy()
    return ties
