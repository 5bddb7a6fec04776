"""Pruning and quantization in one pass, in either order."""

from dataclasses import dataclass

from espalier.errors import ConfigError
from espalier.ops.base import Operator, Pruner, Quantizer, Sweep, later
from espalier.ops.filters import FilterMagnitude
from espalier.ops.prune import GlobalMagnitude, StdThreshold
from espalier.ops.quantize import Rounding, UniformQuantizer
from espalier.ops.schedules import Schedule

__all__ = ["Chain", "PruneThenQuantize", "QuantizeThenPrune"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Chain(Operator):
    """Any pruner, then any quantizer: the grid spans what is left above the threshold.

    With ``quantize_first`` it is the other order, and the threshold is of the quantized weights.

    Example:
        >>> from espalier.ops import GlobalMagnitude, UniformQuantizer
        >>> import torch
        >>> op = Chain(prune=GlobalMagnitude(density=0.5), quantize=UniformQuantizer(bits=2))
        >>> op(torch.tensor([0.1, -1.0, 0.2, 3.0]))
        tensor([0., 0., 0., 4.])
    """

    prune: Pruner
    """Which weights stay."""
    quantize: Quantizer
    """Where they are put."""
    quantize_first: bool = later(False)
    """Quantize, then prune."""
    jointly: bool = later(False)
    """Take the set of tensors as one: one deviation, one threshold, one largest magnitude and one
    grid for all of them, as for kernel and bias of a layer. Not for a budget."""

    def __post_init__(self) -> None:
        """Refuse parts that can't do their job."""
        if not hasattr(self.prune, "cut"):
            raise ConfigError(
                f"prune is {self.prune!r}, which is no pruner; give a StdThreshold, a "
                "GlobalMagnitude or your own with cut() and budget()."
            )
        if not hasattr(self.quantize, "steps"):
            raise ConfigError(
                f"quantize is {self.quantize!r}, which is no quantizer; give a UniformQuantizer or "
                "your own with bits, seed, kernel and steps()."
            )
        if self.jointly and isinstance(self.prune, FilterMagnitude | GlobalMagnitude):
            raise ConfigError(
                f"jointly=True is for thresholds; a budget, as of {type(self.prune).__name__}, is "
                "of all tensors together already. Leave jointly out, or prune by StdThreshold."
            )

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """One: both at once; two where quantization comes first."""
        if not self.quantize_first:
            return (Sweep(prune=self.prune, quantize=self.quantize, jointly=self.jointly),)
        return (
            Sweep(quantize=self.quantize, jointly=self.jointly),
            Sweep(prune=self.prune, jointly=self.jointly),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneThenQuantize(Operator):
    """The paper's pass, P then Q (eq. 1 to 4): the grid's levels go to the weights that stay.

    It is not idempotent: what it wrote has another deviation and another largest magnitude.

    Example:
        >>> import torch
        >>> PruneThenQuantize(gamma=0.5, bits=2)(torch.tensor([0.1, -1.0, 0.2, 3.0]))
        tensor([0.0000, 0.0000, 0.0000, 2.2614])
    """

    gamma: float | Schedule
    """Strength of pruning, >= 0: ``beta = gamma * std(w)``."""
    bits: int
    """Bits of a kept weight, 1 to 32; 32 means no quantization."""
    rounding: Rounding = "nearest"
    """How a weight between two grid values is rounded."""
    strict: bool = False
    """Keep only ``abs(w) > beta``."""
    random_seed: int = 0
    """Where the generator of stochastic rounding starts."""

    def __post_init__(self) -> None:
        """Refuse what its parts refuse."""
        _ = self.sweeps

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """One: both at once."""
        prune = StdThreshold(gamma=self.gamma, strict=self.strict)
        return (Sweep(prune=prune, quantize=_grid(self)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeThenPrune(Operator):
    """The other order, Q then P: the grid spans all weights, then the small ones go.

    Example:
        >>> import torch
        >>> QuantizeThenPrune(gamma=0.5, bits=3)(torch.tensor([0.1, -1.0, 0.2, 3.0]))
        tensor([ 0., -1.,  0.,  3.])
    """

    gamma: float | Schedule
    """Strength of pruning, >= 0: ``beta = gamma * std(q)`` of the quantized weights."""
    bits: int
    """Bits of a kept weight, 1 to 32; 32 means no quantization."""
    rounding: Rounding = "nearest"
    """How a weight between two grid values is rounded."""
    strict: bool = False
    """Keep only ``abs(w) > beta``."""
    random_seed: int = 0
    """Where the generator of stochastic rounding starts."""

    def __post_init__(self) -> None:
        """Refuse what its parts refuse."""
        _ = self.sweeps

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """Two: quantize, then prune."""
        return (
            Sweep(quantize=_grid(self)),
            Sweep(prune=StdThreshold(gamma=self.gamma, strict=self.strict)),
        )


def _grid(operator: PruneThenQuantize | QuantizeThenPrune) -> UniformQuantizer:
    return UniformQuantizer(
        bits=operator.bits, rounding=operator.rounding, random_seed=operator.random_seed
    )
