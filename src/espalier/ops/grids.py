"""Grids of few values: they end below the largest weight, or choose codes by what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from espalier.errors import ConfigError
from espalier.ops.kernels import Cut, Moments, kept_quantile
from espalier.ops.parts import Laid
from espalier.ops.quantize import LoneQuantizer, where_it_exists

__all__ = ["ClippedQuantizer", "check_few_bits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClippedQuantizer(LoneQuantizer):
    """Put the kept weights on an even grid that ends at a quantile: no outlier stretches it.

    ``q = t / (2**(bits - 1) - 1)`` with ``t`` the magnitude that the fraction ``quantile`` of the
    kept weights does not exceed (of m in rising order the ``ceil(quantile * m)``-th), computed in
    float64 and rounded to float32. Then ``C = q * clip(round(H / q), -top, top)``, ties to even,
    ``top = 2**(bits - 1) - 1``: weights beyond ``t`` are put at ``t``. Division, rounding and
    product are float32.

    Zero is always a grid value, so that 2 bits make ternary weights, ``-q``, 0 and ``q``. The kept
    weights take at most ``top`` magnitudes times a sign; a second application changes nothing.
    Where there is no grid (nothing kept, ``q`` below the smallest normal float32, a magnitude above
    1e38) the kept weights stay as they are.

    Example:
        >>> import torch
        >>> op = ClippedQuantizer(bits=2, quantile=0.75)
        >>> op(torch.tensor([0.25, -0.75, 1.0, 100.0]))
        tensor([ 0., -1.,  1.,  1.])
    """

    bits: int
    """Bits of a kept weight, sign and magnitude, 2 to 24."""
    quantile: float = 0.995
    """Fraction of the kept weights that the grid spans, above 0 and up to 1."""

    def __post_init__(self) -> None:
        """Refuse grids without two values and quantiles that span nothing."""
        check_few_bits(self.bits, 24)
        if not 0 < self.quantile <= 1:
            raise ConfigError(
                f"quantile is {self.quantile}; it is the fraction of kept weights that the grid "
                "spans, so give a number above 0 and up to 1 (1 spans them all)."
            )

    def steps(self, tensors: Sequence[Tensor], moments: Moments, cut: Cut) -> Tensor:
        """Return each tensor's step, float32 (n,); 0 where there is no grid."""
        return where_it_exists(
            kept_quantile(tensors, cut, self.quantile).double() / top_of(self.bits), moments
        )

    def lay(
        self, tensors: Sequence[Tensor], moments: Moments, cut: Cut, rows: Tensor | None
    ) -> Laid:
        """Return the steps, and where the grid ends."""
        return Laid(self.steps(tensors, moments, cut), top=top_of(self.bits))


def top_of(bits: int) -> int:
    """Return the largest code of a sign and a magnitude."""
    return (1 << (bits - 1)) - 1


def check_few_bits(bits: int, most: int) -> None:
    """Refuse bits that such a grid has not.

    Raises:
        ConfigError: no whole number from 2 to ``most``.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= most:
        raise ConfigError(
            f"bits is {bits!r}; give a whole number from 2 (ternary: -q, 0, q) to {most}, or use "
            "UniformQuantizer."
        )
