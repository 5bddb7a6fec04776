"""What operators are made of: pruners, quantizers, sweeps, and the state between two passes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

from torch import Tensor

from espalier.ops.kernels import Cut, Kernel, Moments
from espalier.ops.schedules import Clock, Step

__all__ = [
    "CarryingPruner",
    "Laid",
    "LayingQuantizer",
    "Learner",
    "Pruner",
    "Quantizer",
    "State",
    "Sweep",
    "Written",
    "carried_by",
    "carries",
    "later",
    "lays",
    "settings_in_use",
]

Setting = TypeVar("Setting")


def later(default: Setting) -> Setting:
    """Return a dataclass field that came after the first records were written.

    It is recorded only where it differs from its default, so that earlier records, and the
    checkpoints of runs in progress, still name the same operator.
    """
    marked: Setting = field(default=default, metadata={"later": True})
    return marked


def settings_in_use(value: Any) -> dict[str, Any]:
    """Return a part's settings by name, later ones only where they differ from their defaults."""
    return {
        f.name: getattr(value, f.name)
        for f in fields(value)
        if "later" not in f.metadata or getattr(value, f.name) != f.default
    }


@dataclass(frozen=True, slots=True)
class Written:
    """What the last pass did to each tensor: rows in the order of the state's names."""

    threshold: Tensor
    """Magnitudes below it were pruned, float32 (n,)."""
    step: Tensor
    """Distance of two grid values, float32 (n,); 0 where kept weights were left as they were."""
    kept: Tensor
    """Weights that the threshold kept, int64 (n,)."""
    nonzero: Tensor
    """Weights that are not zero, int64 (n,)."""
    max_abs: Tensor
    """Largest magnitude before the pass, float32 (n,)."""
    finite: Tensor
    """Whether all weights were finite before the pass, bool (n,)."""


@dataclass(frozen=True, slots=True)
class State:
    """What an operator carries from one pass to the next; a value like the operator itself."""

    names: tuple[str, ...]
    """The tensors, in the order of the rows."""
    step: int = 0
    """Training steps so far; schedules read it."""
    written: Written | None = None
    """What the last pass did; None before the first."""
    rng: Tensor | None = None
    """State of the random generator of stochastic rounding."""
    carried: Mapping[str, Tensor] = field(default_factory=dict)
    """What parts carry from pass to pass, such as learned steps: by part, a row a tensor."""
    clock: Clock | None = None
    """Where parts read the step instead, on a device, while graphs are captured."""

    @property
    def now(self) -> Step:
        """The step, as parts read it."""
        return self.step if self.clock is None else self.clock


class Pruner(Protocol):
    """Says which weights of a set stay."""

    def cut(self, tensors: Sequence[Tensor], moments: Moments, step: Step) -> Cut:
        """Return the cut, from the weights (float32), their moments and the training step."""

    def budget(self, step: int) -> float | None:
        """Return the fraction of weights that shall stay at a step; None where none is asked."""


class Quantizer(Protocol):
    """Says on which grid the kept weights are put."""

    @property
    def bits(self) -> int:
        """Bits of a kept weight; 32 leaves the weights as they are."""

    @property
    def seed(self) -> int | None:
        """Seed of its random generator; None where it needs none."""

    @property
    def kernel(self) -> Kernel:
        """How a kept weight is rounded."""

    def steps(self, tensors: Sequence[Tensor], moments: Moments, cut: Cut) -> Tensor:
        """Return each tensor's grid step, float32 (n,)."""


@dataclass(frozen=True, slots=True)
class Laid:
    """A grid, laid over each tensor of a set."""

    step: Tensor
    """Distance of two grid values, float32 (n,); 0 leaves the kept weights as they are."""
    top: int | Tensor | None = None
    """Largest code, of all or float32 (n,): what lies beyond is put there; None where the grid has
    no end."""
    offsets: list[Tensor] | None = None
    """What is added to ``w / step`` before it is rounded down, float32, a tensor a tensor: how a
    quantizer chooses each code itself. None where its kernel rounds."""
    rows: Tensor | None = None
    """What the quantizer carries to its next pass, (n, ...); None for nothing."""


class CarryingPruner(Protocol):
    """A pruner that carries rows from pass to pass."""

    def cut_from(
        self, tensors: Sequence[Tensor], moments: Moments, step: Step, rows: Tensor | None
    ) -> tuple[Cut, Tensor | None]:
        """Return the cut, and the rows of this pass from those of the last; None at first."""


class LayingQuantizer(Protocol):
    """A quantizer whose grid has an end, that chooses codes itself, or that carries rows."""

    def lay(
        self, tensors: Sequence[Tensor], moments: Moments, cut: Cut, rows: Tensor | None
    ) -> Laid:
        """Return the grid, from the weights (float32), what stays, and the last pass's rows."""


@runtime_checkable
class Learner(Protocol):
    """A pruner or quantizer whose rows learn from gradients."""

    def learn_rows(
        self,
        gradients: Sequence[Tensor],
        weights: Sequence[Tensor],
        written: Written,
        rows: Tensor,
        step: Step,
    ) -> Tensor:
        """Return the rows after an update.

        Args:
            gradients: of the loss, taken at the compressed weights, float32.
            weights: those that take the update, before it, float32.
            written: what the last pass did.
            rows: what the last pass has carried over.
            step: training steps so far.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One reading and one writing of all weights: prune, quantize, or both at once."""

    prune: Pruner | None = None
    quantize: Quantizer | None = None
    jointly: bool = False
    """Whether threshold and grid are those of the set as one tensor."""


def carries(pruner: Pruner | None) -> TypeGuard[CarryingPruner]:
    """Say whether a pruner carries rows; isinstance would take far longer, at every step."""
    return hasattr(pruner, "cut_from")


def lays(quantizer: Quantizer) -> TypeGuard[LayingQuantizer]:
    """Say whether a quantizer lays its grid itself."""
    return hasattr(quantizer, "lay")


def carried_by(sweep: int, part: str) -> str:
    """Return the name of what a part of a sweep carries: ``0.prune``, ``0.quantize``."""
    return f"{sweep}.{part}"
