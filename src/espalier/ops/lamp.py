"""The layer-adaptive budget: a pruner that shares one budget among tensors by score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from espalier.errors import ConfigError
from espalier.ops import kernels
from espalier.ops.base import Operator, Sweep, later
from espalier.ops.counted import either, kth
from espalier.ops.kernels import ALL_TIES, Cut, Moments, keep_largest
from espalier.ops.prune import check_density, count_of
from espalier.ops.schedules import Clock, Schedule, Step, value_at

__all__ = ["Lamp"]

SAMPLE = 64
"""One weight in so many tells how far down each tensor the budget will reach."""
WHOLE = 8192
"""Tensors up to this size are looked at whole."""
MARGIN = 1.3
"""How much further down than the sample said."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Lamp(Operator):
    """Share one budget among layers by the layer-adaptive score (Lee et al., ICLR 2021).

    A weight's score is ``w**2 / sum(v**2)`` over the weights ``v`` of its tensor that are as large
    or larger: what it adds to them. Exactly the ``k = floor(density * n + 0.5)`` best scores of the
    ``n`` weights of the set stay; in each tensor these are its largest magnitudes. Every tensor's
    largest scores 1, so that none dies while ``k`` is at least the number of tensors. Where
    magnitudes are equal the first entries count as the larger; among equal scores the first
    tensors stay. A density of 1 keeps everything, zeros included.

    With ``prices`` a score is divided by what a weight of its tensor costs, so that a tensor whose
    weights cost more keeps fewer. Its largest then scores 1 over its price.

    The sum is one of whole numbers, so that it is the same in any order and on any device: squares
    rounded down to multiples of ``2**(2 * e + b - 62)``, where the tensor's largest magnitude is
    below ``2**e`` and its size below ``2**b``, ``e`` and ``b`` as small as can be. Divisions are
    float64's, and no score is above 1.

    Example:
        >>> import torch
        >>> Lamp(density=0.5)(torch.tensor([1.0, -3.0, 1.0, 0.5]))
        tensor([ 1., -3.,  0.,  0.])
    """

    density: float | Schedule
    """Fraction of the weights that stay, 0 to 1, or a schedule of it."""
    least: int = 0
    """Weights of every tensor that stay whatever their score, >= 0; all of a smaller tensor. It
    protects biases and small first and last layers. A budget that is too small for it goes to the
    largest of every tensor first, then to the second largest."""
    every: int = later(1)
    """Training steps from one selection to the next, >= 1. Between two the thresholds stay, and
    with the weights the number of those that pass them moves a little; it saves the sorting."""
    prices: tuple[float, ...] = later(())
    """What a weight of each tensor of the set costs, in its order, finite and >= 1; empty where all
    cost the same. :func:`espalier.operation_prices` tells those that spare operations."""

    def __post_init__(self) -> None:
        """Refuse a fraction outside 0 to 1, and less than no weights."""
        check_density(self.density)
        object.__setattr__(self, "prices", tuple(self.prices))  # JSON gives a list
        for price in self.prices:
            if not (math.isfinite(price) and price >= 1):
                raise ConfigError(
                    f"prices has {price}; a score is divided by what its weight costs, so give "
                    "finite numbers >= 1, the cheapest tensor's 1."
                )
        if isinstance(self.least, bool) or not isinstance(self.least, int) or self.least < 0:
            raise ConfigError(
                f"least is {self.least!r}; it is the number of weights of every tensor that stay, "
                "so give a whole number >= 0."
            )

        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ConfigError(
                f"every is {self.every!r}; it is the number of steps from one selection of weights "
                "to the next, so give a whole number >= 1."
            )

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """One: prune."""
        return (Sweep(prune=self),)

    def cut(self, tensors: Sequence[Tensor], moments: Moments, step: Step) -> Cut:
        """Return each tensor's threshold and quota of ties."""
        prices = self.prices or (1.0,) * len(tensors)
        if len(prices) != len(tensors):
            raise ConfigError(
                f"prices names what a weight costs in {len(prices)} tensors, and the set has "
                f"{len(tensors)}; give as many as there are."
            )
        k = count_of(self.density, tensors, step)
        return _keep_best(tensors, k, self.least, prices, moments.max_abs)

    def cut_from(
        self, tensors: Sequence[Tensor], moments: Moments, step: Step, rows: Tensor | None
    ) -> tuple[Cut, Tensor | None]:
        """Return the cut: a new one every so many steps, the thresholds of the last one between."""
        if rows is not None and not isinstance(step, Clock) and step % self.every:
            return Cut(rows, ALL_TIES), rows
        cut = self.cut(tensors, moments, step)
        if rows is not None and isinstance(step, Clock):
            cut = either(step.number % self.every != 0, Cut(rows), cut)
        return cut, None if self.every == 1 else cut.threshold

    def budget(self, step: int) -> float | None:
        """Return the fraction of weights that stay."""
        return value_at(self.density, step)


def _keep_best(
    tensors: Sequence[Tensor],
    k: int | Tensor,
    least: int,
    prices: Sequence[float],
    max_abs: Tensor,
) -> Cut:
    """Cut that keeps exactly the ``k`` weights of the best scores of all tensors together.

    The score of a tensor's r-th largest magnitude ``m[r]`` is ``m[r]**2 / sum(m[1:r + 1]**2)`` over
    the tensor's price: 1 for the largest at price 1, falling from there, 0 for zeros. Among equal
    scores the first tensors, and in them the larger magnitudes, stay.

    Args:
        tensors: float32, finite, on one device.
        k: how many stay, 0 to all; int64 () on a device where the step is.
        least: how many of every tensor stay whatever their score, or all of a smaller one: the
            r-th largest scores ``least + 2 - r``.
        prices: what the scores of each tensor are divided by, >= 1.
        max_abs: each tensor's largest magnitude, float32 (n,).
    """
    if isinstance(k, Tensor):
        cut = _on_device(_magnitudes(tensors), k, least, prices)
        return either(k == sum(t.numel() for t in tensors), Cut(torch.zeros_like(max_abs)), cut)
    if k in (0, sum(t.numel() for t in tensors)):
        return keep_largest(tensors, k)
    if k > sum(min(least, t.numel()) for t in tensors):
        found = kernels.keep_best(tensors, k, least, prices, max_abs)
        if found is not None:
            return found
    flat = _magnitudes(tensors)
    if flat[0].device.type == "cpu":
        return _on_host([m.numpy() for m in flat], k, least, prices)
    return _on_device(flat, k, least, prices)


def _magnitudes(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.detach().abs().reshape(-1) for t in tensors]


# ---- on the host without the core: sorts only what may stay --------------------------------------


def _on_host(
    magnitudes: Sequence[NDArray[np.float32]], k: int, least: int, prices: Sequence[float]
) -> Cut:
    floors = _guess(magnitudes, k, least, prices)
    while True:
        tops = [_top(m, floor) for m, floor in zip(magnitudes, floors, strict=True)]
        sizes = [m.size for m in magnitudes]
        each = zip(tops, sizes, prices, strict=True)
        scores = [_scores(top, size, least, price) for top, size, price in each]
        counts, lowest = _best(scores, k)
        short = [  # the tensor's next weight may have had a better score than the last that stays
            top.size < m.size and not (top.size and scores[i][-1] < lowest)
            for i, (m, top) in enumerate(zip(magnitudes, tops, strict=True))
        ]
        if not any(short):
            return _cut(tops, counts)
        floors = [0.0 if again else floor for again, floor in zip(short, floors, strict=True)]


def _guess(
    magnitudes: Sequence[NDArray[np.float32]], k: int, least: int, prices: Sequence[float]
) -> list[float]:
    """Return magnitudes that each tensor's cut will hardly be below; 0 where all are looked at."""
    samples = [_top(m[::SAMPLE], 0.0) for m in magnitudes]
    share = min(k // SAMPLE, sum(s.size for s in samples))
    each = zip(samples, prices, strict=True)
    counts, _ = _best([_scores(s, s.size, 0, price) for s, price in each], share)
    floors = []
    for m, sample, count in zip(magnitudes, samples, counts, strict=True):
        reach = int(MARGIN * max(count, least / SAMPLE)) + 16
        whole = m.size <= WHOLE or reach >= sample.size
        floors.append(0.0 if whole else float(sample[reach]))
    return floors


def _top(magnitudes: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """Return the magnitudes from a floor on, the largest first."""
    chosen = magnitudes if floor == 0 else magnitudes[magnitudes >= floor]
    return np.sort(chosen)[::-1]


def _scores(top: NDArray[np.float32], size: int, least: int, price: float) -> NDArray[np.float64]:
    squares = np.square(top, dtype=np.float64)
    if top.size:
        exponent = int(np.frexp(top[0])[1])
        squares *= 2.0 ** (_unit(size) - 2 * exponent)
    with np.errstate(invalid="ignore"):  # what is not finite is told elsewhere
        total: NDArray[np.int64] = np.cumsum(squares.astype(np.int64))
    scores: NDArray[np.float64] = np.divide(
        squares, total, out=np.zeros_like(squares), where=total > 0
    )
    scores = np.minimum(scores, 1) / price
    scores[:least] = np.arange(least + 1, 1, -1)[: scores.size]
    return scores


def _unit(size: int) -> int:
    """Return the power of two, of one over the units of a sum of so many squares below 1."""
    return 62 - size.bit_length()


def _best(scores: Sequence[NDArray[np.float64]], k: int) -> tuple[list[int], float]:
    """Return how many of each row of falling scores are among the k best, and the lowest such."""
    together = np.concatenate(scores)
    if k == 0 or k > together.size:
        return [s.size if k else 0 for s in scores], np.inf if k == 0 else -np.inf
    lowest = float(np.partition(together, together.size - k)[together.size - k])
    above = [int(np.searchsorted(-s, -lowest, "left")) for s in scores]
    equal = [
        int(np.searchsorted(-s, -lowest, "right")) - n for s, n in zip(scores, above, strict=True)
    ]
    left = k - sum(above)
    counts = []
    for n, ties in zip(above, equal, strict=True):
        more = min(left, ties)
        counts.append(n + more)
        left -= more
    return counts, lowest


def _cut(tops: Sequence[NDArray[np.float32]], counts: Sequence[int]) -> Cut:
    """Return the threshold and the quota of ties that keep so many of each tensor."""
    threshold = np.full(len(tops), np.inf, np.float32)
    stay, equal = np.zeros((2, len(tops)), np.int64)
    for i, (top, count) in enumerate(zip(tops, counts, strict=True)):
        if count:
            threshold[i] = top[count - 1]
            first, last = (np.searchsorted(-top, -threshold[i], side) for side in ("left", "right"))
            stay[i], equal[i] = count - first, last - first
    ties = kernels.quotas(torch.from_numpy(stay), torch.from_numpy(equal), read=True)
    return Cut(torch.from_numpy(threshold), ties)


# ---- on a device: sorts everything, and nobody waits --------------------------------------------


def _on_device(
    magnitudes: Sequence[Tensor], k: int | Tensor, least: int, prices: Sequence[float]
) -> Cut:
    tops = [m.sort(descending=True).values for m in magnitudes]
    scores = []
    for top, price in zip(tops, prices, strict=True):
        exponent = torch.frexp(top[:1]).exponent.long()
        power = _unit(top.numel()) - 2 * exponent
        scale = ((1023 + power) << 52).view(torch.float64)  # 2**power, exactly
        squares = top.double().square() * scale
        total = squares.long().cumsum(0)
        score = torch.where(total > 0, squares / total, 0.0).clamp(max=1.0) / price
        first = torch.arange(least + 1, 1, -1, device=top.device)
        score[:least] = first[: top.numel()]
        scores.append(score)
    together = torch.cat(scores)
    if isinstance(k, Tensor):
        lowest = kth(together.sort(descending=True).values, k)
    else:
        lowest = together.kthvalue(together.numel() - k + 1).values
    above = torch.stack([(s > lowest).sum() for s in scores])
    equal = torch.stack([(s == lowest).sum() for s in scores])
    earlier = equal.cumsum(0) - equal
    counts = above + torch.minimum((k - above.sum() - earlier).clamp(min=0), equal)
    threshold = torch.stack([kth(top, count) for top, count in zip(tops, counts, strict=True)])
    larger = torch.stack([(top > threshold[i]).sum() for i, top in enumerate(tops)])
    ties = torch.stack([(top == threshold[i]).sum() for i, top in enumerate(tops)])
    return Cut(threshold, kernels.quotas(counts - larger, ties, read=False))
