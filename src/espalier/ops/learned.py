"""Parts that learn: the step of a grid, the threshold of pruning, by gradients of the loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espalier.errors import ConfigError
from espalier.ops.base import Operator, Sweep
from espalier.ops.grids import check_few_bits, top_of
from espalier.ops.kernels import ALL_TIES, Cut, Moments, kept_mean, measure
from espalier.ops.parts import Laid, Written
from espalier.ops.quantize import LoneQuantizer, where_it_exists
from espalier.ops.schedules import Schedule, Step, ends_of, value_at

__all__ = ["LearnedStep", "LearnedThreshold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedStep(LoneQuantizer):
    """Put the kept weights on an even grid whose step is learned (LSQ, Esser et al., ICLR 2020).

    ``C = q * clip(round(H / q), -top, top)``, ties to even, ``top = 2**(bits - 1) - 1``; division,
    rounding and product are float32. Zero is a grid value: 2 bits make ternary weights. A tensor's
    step starts at ``2 * mean(abs(H)) / (top + 1)`` over the kept weights, so that the grid spans
    about twice their mean, and then follows the gradient of the loss. With ``g`` the gradient at
    the compressed weights and ``u = H / q``::

        slope = sum(g * (round(u) - u where abs(u) < top, else sign(u) * top))
        q = q - rate * slope / sqrt(kept * top)

    over the kept weights (eq. 3 of the paper and its scale), changed by a factor of 2 at most. It
    needs weights off the grid to learn from: attach with ``update="latent"`` or ``"hybrid"``; with
    ``"inplace"`` the slope is 0 but for what is clipped.

    Where there is no grid (nothing kept, a step below the smallest normal float32, a magnitude
    above 1e38) the kept weights stay as they are, and the step starts anew when there is one.

    Example:
        >>> import torch
        >>> LearnedStep(bits=2)(torch.tensor([0.25, -0.75, 1.0, 2.0]))
        tensor([ 0., -1.,  1.,  1.])
    """

    bits: int
    """Bits of a kept weight, sign and magnitude, 2 to 16."""
    rate: float | Schedule = 0.01
    """Learning rate of the steps, >= 0 and finite, or a schedule of it; 0 leaves them at their
    start."""

    def __post_init__(self) -> None:
        """Refuse grids without two values, and rates that are none."""
        check_few_bits(self.bits, 16)
        _check_rate(self.rate)

    def steps(self, tensors: Sequence[Tensor], moments: Moments, cut: Cut) -> Tensor:
        """Return the steps that learning starts from, float32 (n,); 0 where there is no grid."""
        start = 2 * kept_mean(tensors, cut) / (top_of(self.bits) + 1)
        return where_it_exists(start, moments)

    def lay(
        self, tensors: Sequence[Tensor], moments: Moments, cut: Cut, rows: Tensor | None
    ) -> Laid:
        """Return the steps learned so far, and where the grid ends."""
        if rows is None or not (_on_host(rows) and bool((rows > 0).all())):
            start = self.steps(tensors, moments, cut)
            rows = start if rows is None else torch.where(rows > 0, rows, start)
        return Laid(where_it_exists(rows.double(), moments), top=top_of(self.bits), rows=rows)

    def learn_rows(
        self,
        gradients: Sequence[Tensor],
        weights: Sequence[Tensor],
        written: Written,
        rows: Tensor,
        step: Step,
    ) -> Tensor:
        """Return the steps after one step of gradient descent."""
        top = top_of(self.bits)
        slopes = []
        for i, (g, w) in enumerate(_kept(gradients, weights, written)):
            u = w / rows[i]
            error = torch.where(u.abs() < top, u.round() - u, u.sign() * top)
            slopes.append((g * error).sum(dtype=torch.float64))
        scale = (written.kept.clamp(min=1) * top).double().rsqrt()
        moved = rows.double() - value_at(self.rate, step) * scale * torch.stack(slopes)
        moved = moved.clamp(rows.double() / 2, rows.double() * 2)
        return torch.where(written.step > 0, moved.float(), rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedThreshold(Operator):
    """Prune below a threshold that each tensor learns (as STR, Kusupati et al., ICML 2020).

    ``beta = min(gamma * std(w), max(abs(w)))`` with a gamma of its own for each tensor; a weight
    stays where ``abs(w) >= beta``, so that the largest always does. Gamma starts at ``start`` and
    rises by ``rate * pressure`` a step, against the gradient of the loss: with ``g`` taken at the
    compressed weights, by that of a soft threshold, which moves all kept weights towards zero::

        slope = -std(w) * sum(g * sign(w)) / sqrt(kept)
        gamma = max(gamma - rate * (slope - pressure), 0)

    over the kept weights. Where the loss doesn't need them weights go, layer by layer. The pressure
    sets where that ends; there is no budget. It is meant for ``update="latent"``, in which ``std``
    is that of the dense weights.

    Example:
        >>> import torch
        >>> LearnedThreshold(pressure=1.0, start=1.0)(torch.tensor([0.1, -0.2, 3.0, -4.0]))
        tensor([ 0.,  0.,  3., -4.])
    """

    pressure: float | Schedule
    """What pushes gamma up, >= 0 and finite, in units of the slope, or a schedule of it."""
    start: float = 0.0
    """Gamma before anything is learned, >= 0 and finite."""
    rate: float | Schedule = 0.01
    """Learning rate of gamma, >= 0 and finite, or a schedule of it."""

    def __post_init__(self) -> None:
        """Refuse settings that are negative or not finite."""
        _check_rate(self.rate)
        for name in ("pressure", "start"):
            for value in ends_of(getattr(self, name)):
                if not (math.isfinite(value) and value >= 0):
                    raise ConfigError(f"{name} is {value}; give a finite number >= 0.")

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """One: prune."""
        return (Sweep(prune=self),)

    def cut(self, tensors: Sequence[Tensor], moments: Moments, step: Step) -> Cut:
        """Return the thresholds that learning starts from."""
        return self.cut_from(tensors, moments, step, None)[0]

    def cut_from(
        self, tensors: Sequence[Tensor], moments: Moments, step: Step, rows: Tensor | None
    ) -> tuple[Cut, Tensor]:
        """Return the thresholds of the gammas learned so far, and these."""
        if rows is None:
            rows = torch.full_like(moments.max_abs, self.start)
        threshold = (rows.double() * moments.std).float()
        return Cut(torch.minimum(threshold, moments.max_abs), ALL_TIES), rows

    def budget(self, step: int) -> float | None:
        """Return None: the loss decides, not a budget."""
        return None

    def learn_rows(
        self,
        gradients: Sequence[Tensor],
        weights: Sequence[Tensor],
        written: Written,
        rows: Tensor,
        step: Step,
    ) -> Tensor:
        """Return the gammas after one step of gradient descent."""
        pulls = [
            (g * w.sign()).sum(dtype=torch.float64) for g, w in _kept(gradients, weights, written)
        ]
        scale = written.kept.clamp(min=1).double().rsqrt() * measure(weights).std
        rise = scale * torch.stack(pulls) + value_at(self.pressure, step)
        return (rows.double() + value_at(self.rate, step) * rise).clamp(min=0).float()


def _kept(
    gradients: Sequence[Tensor], weights: Sequence[Tensor], written: Written
) -> list[tuple[Tensor, Tensor]]:
    """Return gradients and weights of what the last pass kept; a device gets zeros elsewhere."""
    pairs = []
    for g, w, threshold in zip(gradients, weights, written.threshold, strict=True):
        keep = w.abs() >= threshold
        if _on_host(w):
            pairs.append((g[keep], w[keep]))
        else:  # choosing would make the host wait
            pairs.append((torch.where(keep, g, 0.0), w))
    return pairs


def _on_host(t: Tensor) -> bool:
    return t.device.type == "cpu"


def _check_rate(rate: float | Schedule) -> None:
    for value in ends_of(rate):
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(
                f"rate is {value}; it is a learning rate, so give a finite number >= 0."
            )
