"""Mixed bits: one pruner over a set, and for each of its tensors bits of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from espalier.encoded import DENSE_BITS
from espalier.errors import ConfigError
from espalier.ops.base import Operator, Quantizer, Sweep
from espalier.ops.kernels import Cut, Kernel, Moments
from espalier.ops.parts import Laid, Learner, lays

__all__ = ["MixedBits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedBits(Operator):
    """A quantizer whose bits differ from tensor to tensor of a set.

    In a chain it lets one budget hold for all of them together, whatever their bits.

    Example:
        >>> import torch
        >>> from espalier.ops import UniformQuantizer
        >>> op = MixedBits(quantize=UniformQuantizer(bits=8), each=(2, 3))
        >>> weights = {"a": torch.tensor([1.0, 0.4]), "b": torch.tensor([3.0, 1.2])}
        >>> op.apply(weights, op.init(weights))[0]
        {'a': tensor([1., 0.]), 'b': tensor([3., 1.])}
    """

    quantize: Quantizer
    """How all are quantized, but for the bits."""
    each: tuple[int, ...]
    """Bits of each tensor of the set, in its order; 32 leaves a tensor's kept weights as they
    are."""

    def __post_init__(self) -> None:
        """Refuse quantizers of no bits, and bits that don't go together."""
        object.__setattr__(self, "each", tuple(self.each))  # JSON gives a list
        if not self.each:
            raise ConfigError("each is empty; give the bits of each tensor of the set.")
        if isinstance(self.quantize, Learner) or "bits" not in _settings(self.quantize):
            raise ConfigError(
                f"{self.quantize!r} can't be given other bits tensor by tensor; give a "
                "UniformQuantizer or a ClippedQuantizer, or a rule of its own to each parameter."
            )
        if len({self._of(bits).kernel for bits in self.each if bits != DENSE_BITS}) > 1:
            raise ConfigError(
                f"1 bit, of one magnitude, is rounded in another way than {max(self.each)} bits; "
                "give 2 bits at least, or a rule of its own to each parameter."
            )

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """One: quantize."""
        return (Sweep(quantize=self),)

    @property
    def bits(self) -> int:
        """The fewest of all; :meth:`bits_each` says those of each tensor."""
        return min(self.each)

    @property
    def seed(self) -> int | None:
        """That of the quantizer."""
        return self.quantize.seed

    @property
    def kernel(self) -> Kernel:
        """That of the quantizer."""
        return self._of(self.bits).kernel

    def bits_each(self, count: int) -> list[int]:
        """Return the bits of each tensor.

        Raises:
            ConfigError: the set has another number of tensors.
        """
        if count != len(self.each):
            raise ConfigError(
                f"MixedBits names the bits of {len(self.each)} tensors, and the set has {count}; "
                "give as many as there are."
            )
        return list(self.each)

    def steps(self, tensors: Sequence[Tensor], moments: Moments, cut: Cut) -> Tensor:
        """Return each tensor's step, float32 (n,); 0 where there is no grid."""
        return self.lay(tensors, moments, cut, None).step

    def lay(
        self, tensors: Sequence[Tensor], moments: Moments, cut: Cut, rows: Tensor | None
    ) -> Laid:
        """Return the grid of each tensor, of those with equal bits at once."""
        each = self.bits_each(len(tensors))
        step = torch.zeros_like(moments.max_abs)
        top, ends = torch.full_like(step, torch.inf), False
        for bits in sorted(set(each) - {DENSE_BITS}):
            places = [i for i, b in enumerate(each) if b == bits]
            grid = self._laid(bits, [tensors[i] for i in places], moments, cut, places)
            for row, i in enumerate(places):
                step[i] = grid.step[row]
                if grid.top is not None:
                    top[i], ends = grid.top[row] if isinstance(grid.top, Tensor) else grid.top, True
        return Laid(step, top=top if ends else None)

    def _laid(
        self, bits: int, tensors: list[Tensor], moments: Moments, cut: Cut, at: list[int]
    ) -> Laid:
        quantize = self._of(bits)
        moments = Moments(_rows(moments.std, at), _rows(moments.max_abs, at))
        ties = cut.ties if isinstance(cut.ties, int) else _rows(cut.ties, at)
        cut = Cut(_rows(cut.threshold, at), ties)
        if not lays(quantize):
            return Laid(quantize.steps(tensors, moments, cut))
        grid = quantize.lay(tensors, moments, cut, None)
        if grid.rows is not None or grid.offsets is not None:
            raise ConfigError(
                f"{quantize!r} chooses codes itself, which MixedBits can't spread over tensors; "
                "give a rule of its own to each parameter."
            )
        return grid

    def _of(self, bits: int) -> Quantizer:
        return cast(Quantizer, replace(cast(Any, self.quantize), bits=bits))


def _rows(values: Tensor, at: list[int]) -> Tensor:
    """Return some rows; a list of places would be sent to a device, which makes the host wait."""
    return torch.stack([values[i] for i in at])


def _settings(part: object) -> set[str]:
    return {f.name for f in fields(part)} if is_dataclass(part) else set()
