"""Codes chosen by what they cost in a file besides how far they move a weight."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espalier.errors import ConfigError
from espalier.ops.grids import ClippedQuantizer, check_few_bits, top_of
from espalier.ops.kernels import Cut, Kernel, Moments, keep_masks
from espalier.ops.parts import Laid
from espalier.ops.quantize import LoneQuantizer

__all__ = ["EntropyQuantizer"]

FAR = 2.0**20
"""Steps from zero from where on the last code is taken, whatever it costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropyQuantizer(LoneQuantizer):
    """Put each kept weight where distance and bits together are least (as DeepCABAC and EC2T).

    On the grid of :class:`ClippedQuantizer` a weight ``u = abs(H) / q`` takes the code c from 0 to
    ``top = 2**(bits - 1) - 1`` for which::

        (u - c)**2 + price * b(c)

    is least, the larger code where two are equal. ``b(c)`` is what an ideal entropy coder takes:
    ``-log2((n(c) + 1) / (n + top + 1))``, and 1 more for the sign where c is not 0. ``n(c)`` counts
    how often the tensor took the code in the last pass, pruned weights and all; in the first pass,
    how often it does by distance alone. Rare codes get rarer, and zeros more.

    In a tensor the code rises with the magnitude, so that the choice is a threshold a code,
    computed in float64 and compared in float32. Kept weights take at most ``top`` magnitudes times
    a sign. Where there is no grid they stay as they are.

    Example:
        >>> import torch
        >>> w = torch.tensor([0.6, 0.6, -3.0, 1.0, 2.6, 0.1, 0.1, -0.1, 0.1, 0.1])
        >>> EntropyQuantizer(bits=3, price=0.0, quantile=1.0)(w)
        tensor([ 1.,  1., -3.,  1.,  3.,  0.,  0.,  0.,  0.,  0.])
        >>> EntropyQuantizer(bits=3, price=0.2, quantile=1.0)(w)
        tensor([ 0.,  0., -3.,  1.,  3.,  0.,  0.,  0.,  0.,  0.])
    """

    bits: int
    """Bits of a kept weight, sign and magnitude, 2 to 8."""
    price: float = 0.1
    """What a bit costs, in squares of the step, >= 0 and finite; 0 takes the nearest code."""
    quantile: float = 0.995
    """Fraction of the kept weights that the grid spans, above 0 and up to 1."""

    def __post_init__(self) -> None:
        """Refuse grids of too few or many values, prices that are none, and empty spans."""
        check_few_bits(self.bits, 8)
        if not (math.isfinite(self.price) and self.price >= 0):
            raise ConfigError(
                f"price is {self.price}; it is what a bit costs in squares of the step, so give a "
                "finite number >= 0 (0.05 to 0.5 is usual)."
            )
        _ = self._grid

    @property
    def kernel(self) -> Kernel:
        """By an offset a weight, which makes the chosen code."""
        return "chosen"

    @property
    def _grid(self) -> ClippedQuantizer:
        return ClippedQuantizer(bits=self.bits, quantile=self.quantile)

    def steps(self, tensors: Sequence[Tensor], moments: Moments, cut: Cut) -> Tensor:
        """Return each tensor's step, float32 (n,); 0 where there is no grid."""
        return self._grid.steps(tensors, moments, cut)

    def lay(
        self, tensors: Sequence[Tensor], moments: Moments, cut: Cut, rows: Tensor | None
    ) -> Laid:
        """Return the steps, the offsets that make the codes, and how often each was taken."""
        step, top = self.steps(tensors, moments, cut), top_of(self.bits)
        scaled = [
            _Scaled(t, keep, q)
            for t, keep, q in zip(tensors, keep_masks(tensors, cut), step, strict=True)
        ]
        if rows is None or step.device.type != "cpu" or not rows.sum(1).all():
            halves = torch.arange(1, top + 1, dtype=torch.float32, device=step.device) - 0.5
            nearest = torch.stack([s.counts(s.codes(halves), top) for s in scaled])
            known = nearest if rows is None else rows
            rows = torch.where(known.sum(1, keepdim=True) > 0, known, nearest)
        starts = _starts(_bits_of(rows), self.price)
        offsets, taken = [], []
        for s, row in zip(scaled, starts, strict=True):
            codes = s.codes(row)
            offsets.append(s.offsets(codes))
            taken.append(s.counts(codes, top))
        return Laid(step, top=top, offsets=offsets, rows=torch.stack(taken))


class _Scaled:
    """The kept weights of one tensor in units of its step; on a device all, pruned ones at 0."""

    def __init__(self, t: Tensor, keep: Tensor, step: Tensor) -> None:
        self.exists = step > 0
        self.ratio = torch.where(self.exists, t / step, 0.0)
        self.keep = keep if t.device.type == "cpu" else None  # choosing would make a host wait
        magnitude = self.ratio.abs()
        self.u = magnitude[keep] if self.keep is not None else torch.where(keep, magnitude, 0.0)

    def codes(self, starts: Tensor) -> Tensor:
        """Return the codes without their signs, by where each begins."""
        codes = torch.searchsorted(starts, self.u.contiguous(), right=True)
        return torch.where(self.u > 0, codes, 0)

    def counts(self, codes: Tensor, top: int) -> Tensor:
        """Return how often each code is taken, int64 (top + 1,); nothing where there is no grid."""
        counts = torch.zeros(top + 1, dtype=torch.int64, device=codes.device)
        counts.scatter_add_(0, codes.reshape(-1), torch.ones_like(codes).reshape(-1))
        counts[0] += self.ratio.numel() - codes.numel()
        return torch.where(self.exists, counts, 0)

    def offsets(self, codes: Tensor) -> Tensor:
        """Return what rounding down makes a code of, a weight each; far out the last one's end."""
        ratio = self.ratio if self.keep is None else self.ratio[self.keep]
        chosen = torch.where(self.u < FAR, ratio.sign() * codes + 0.5 - ratio, 0.5)
        if self.keep is None:
            return chosen
        offsets = torch.zeros_like(self.ratio)
        offsets[self.keep] = chosen
        return offsets


def _bits_of(counts: Tensor) -> Tensor:
    """Return what each code costs, float64, from how often each was taken."""
    smoothed = (counts + 1).double()
    bits = -(smoothed / smoothed.sum(1, keepdim=True)).log2()
    bits[:, 1:] += 1
    return bits


def _starts(bits: Tensor, price: float) -> Tensor:
    """Return from which magnitude on each code but 0 is taken, in steps, float32 (n, top).

    A code of at least c beats all below it from ``T(c) = min over j >= c of max over i < c`` of the
    place where the parabolas of i and j meet.
    """
    code = torch.arange(bits.shape[1], dtype=torch.float64, device=bits.device)
    low, high = code[:, None], code[None, :]
    rise = price * (bits[:, None, :] - bits[:, :, None]) / 2
    meet = (low + high) / 2 + rise / (high - low).clamp(min=1)  # read where low < high
    starts = [meet[:, :c, c:].amax(1).amin(1) for c in range(1, len(code))]
    return torch.stack(starts, 1).clamp(max=FAR).cummax(1).values.float()
