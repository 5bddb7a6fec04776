"""Quantizers: on which grid the kept weights are put."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from espalier.encoded import DENSE_BITS
from espalier.errors import ConfigError, nearest
from espalier.ops.base import Operator, Sweep
from espalier.ops.kernels import Cut, Kernel, Moments, kept_mean

__all__ = ["LoneQuantizer", "Rounding", "UniformQuantizer", "where_it_exists"]

LARGEST = 1e38
"""No grid above it: its top value, at most twice the largest magnitude, must stay finite."""

Rounding = Literal["nearest", "floor", "stochastic"]
"""``nearest`` (ties to even), ``floor`` (towards minus infinity), ``stochastic`` (up or down in
proportion to the distance, so that the mean is the weight itself)."""


class LoneQuantizer(Operator):
    """A quantizer that is an operator as well: one sweep, nearest values, nothing drawn."""

    __slots__ = ()

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """One: quantize."""
        return (Sweep(quantize=self),)

    @property
    def seed(self) -> int | None:
        """None: nothing is drawn."""
        return None

    @property
    def kernel(self) -> Kernel:
        """To the nearest grid value."""
        return "nearest"

    @abstractmethod
    def steps(self, tensors: Sequence[Tensor], moments: Moments, cut: Cut) -> Tensor:
        """Return each tensor's step, float32 (n,); 0 where there is no grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformQuantizer(LoneQuantizer):
    """Put the kept weights on an even grid: ``C = q * round(H / q)`` (eq. 3 and 4).

    ``q = (max(abs(H)) - beta) / (2**(bits - 1) - 1)``, computed in float64 and rounded to float32;
    ``beta`` is the threshold of the pruning that comes before in the same pass, 0 when alone.
    Division, rounding and product are float32.

    With ``nearest``, the kept weights take at most ``2**(bits - 1)`` magnitudes times a sign, plus
    one more magnitude where a tie or float32 falls so; alone, up to 23 bits, a second application
    changes nothing. ``floor`` and ``stochastic`` may take one more at each end.

    Where there is no grid the kept weights stay as they are: 32 bits, nothing kept, largest
    magnitude equal to the threshold, ``q`` below the smallest normal float32, or a magnitude above
    1e38, where the top of the grid could overflow. With 1 bit there is one magnitude, the mean of
    what is kept, and ``rounding`` has no say.

    Example:
        >>> import torch
        >>> UniformQuantizer(bits=3)(torch.tensor([0.2, -0.9, 1.4, -3.0]))
        tensor([ 0., -1.,  1., -3.])
    """

    bits: int
    """Bits of a kept weight, 1 to 32; 32 means no quantization."""
    rounding: Rounding = "nearest"
    """How a weight between two grid values is rounded."""
    random_seed: int = 0
    """Where the generator of ``stochastic`` starts."""

    def __post_init__(self) -> None:
        """Refuse bits that no weight has and roundings that don't exist."""
        if isinstance(self.bits, bool) or not isinstance(self.bits, int):
            raise ConfigError(f"bits is {self.bits!r}; give a whole number from 1 to 32.")
        if not 1 <= self.bits <= DENSE_BITS:
            raise ConfigError(
                f"bits is {self.bits}; give 1 to {DENSE_BITS}, where {DENSE_BITS} means no "
                "quantization."
            )
        if self.rounding not in get_args(Rounding):
            raise ConfigError(
                f"rounding is {self.rounding!r}; it is one of {', '.join(get_args(Rounding))}."
                f"{nearest(str(self.rounding), get_args(Rounding))}"
            )

    @property
    def seed(self) -> int | None:
        """Seed of the generator; None where rounding needs none."""
        return self.random_seed if self.rounding == "stochastic" else None

    @property
    def kernel(self) -> Kernel:
        """How a kept weight is put on the grid."""
        return "sign" if self.bits == 1 else self.rounding

    def steps(self, tensors: Sequence[Tensor], moments: Moments, cut: Cut) -> Tensor:
        """Return each tensor's step q (eq. 3), float32 (n,); 0 where there is no grid."""
        if self.bits == 1:
            step = kept_mean(tensors, cut)
        else:
            extent = moments.max_abs.double() - cut.threshold.double()
            step = extent / (2 ** (self.bits - 1) - 1)
        return where_it_exists(step, moments)


def where_it_exists(step: Tensor, moments: Moments) -> Tensor:
    """Return steps (float64) in float32; 0 where too fine, or where the grid could overflow."""
    exists = (step >= torch.finfo(torch.float32).tiny) & (moments.max_abs <= LARGEST)
    return torch.where(exists, step, 0.0).float()
