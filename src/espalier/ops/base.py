"""What an operator is: a value that names its sweeps. All passes over weights run here."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from espalier.encoded import DENSE_BITS, Encoded, encode
from espalier.errors import ConfigError, NonFiniteError
from espalier.ops import kernels
from espalier.ops.kernels import NO_TIES, Cut, Kernel, Moments, Shadow

__all__ = [
    "Operator",
    "Pruner",
    "Quantizer",
    "State",
    "Sweep",
    "Written",
    "compress_",
    "later",
    "settings_in_use",
]

Setting = TypeVar("Setting")

Spared = Literal["quantization", "everything"]
"""What of a pass the shadow weights, which take the next update, don't see."""


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


class Pruner(Protocol):
    """Says which weights of a set stay."""

    def cut(self, tensors: Sequence[Tensor], moments: Moments, step: int) -> Cut:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One reading and one writing of all weights: prune, quantize, or both at once."""

    prune: Pruner | None = None
    quantize: Quantizer | None = None
    jointly: bool = False
    """Whether threshold and grid are those of the set as one tensor."""


class Operator(ABC):
    """A rule that compresses a set of tensors; frozen, comparable, its state outside of it.

    A concrete operator is a frozen dataclass that says what its sweeps are. The rest follows:
    :meth:`init` and :meth:`apply` for sets of tensors with state, a call for a single tensor.

    All arithmetic is float32: tensors of another floating type are converted, compressed and
    rounded back to their type. In float16, whose largest number is 65504, a grid may end beyond it
    and write infinity, which the next pass refuses.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the code that makes it, for those who leave ``repr`` to it."""
        settings = ", ".join(f"{name}={value!r}" for name, value in settings_in_use(self).items())
        return f"{type(self).__name__}({settings})"

    @property
    @abstractmethod
    def sweeps(self) -> tuple[Sweep, ...]:
        """The sweeps over the weights, in order."""

    @property
    def bits(self) -> int:
        """Bits of a kept weight: those of the last grid, 32 without one."""
        return min([s.quantize.bits for s in self.sweeps if s.quantize], default=DENSE_BITS)

    def asked_density(self, step: int) -> float | None:
        """Return the fraction of weights that a budget lets stay at a step; None without one."""
        asked = [s.prune.budget(step) for s in self.sweeps if s.prune]
        return asked[-1] if asked else None

    def init(self, weights: Mapping[str, Tensor]) -> State:
        """Return the state before the first pass over these weights.

        Raises:
            ConfigError: a tensor is not of a floating type, or the devices differ.
        """
        _check_set(weights)
        seeds = [s.quantize.seed for s in self.sweeps if s.quantize and s.quantize.seed is not None]
        rng = None
        if seeds:
            device = next(iter(weights.values())).device if weights else torch.device("cpu")
            rng = torch.Generator(device).manual_seed(seeds[0]).get_state()
        return State(names=tuple(weights), rng=rng)

    def apply(self, weights: Mapping[str, Tensor], state: State) -> tuple[dict[str, Tensor], State]:
        """Return the compressed weights and the state after the pass; the input is untouched.

        Args:
            weights: the tensors that ``state`` was made for, any shapes.
            state: from :meth:`init` or the last pass.

        Raises:
            NonFiniteError: a weight is NaN or infinite; the message names the tensor.
            ConfigError: ``weights`` holds other tensors than the state.
        """
        _check_set(weights)
        if tuple(weights) != state.names:
            raise ConfigError(
                f"the state is of {list(state.names)} and the weights are {list(weights)}: "
                "pass the same tensors in the same order, or make a new state with init()."
            )
        compressed = {name: w.detach().clone() for name, w in weights.items()}
        with torch.no_grad():
            state = compress_(self, list(compressed.values()), state)
        return compressed, state

    def encode(self, weights: Mapping[str, Tensor], state: State) -> dict[str, Encoded]:
        """Return the codes of weights that the pass recorded in ``state`` has written.

        Raises:
            ConfigError: the state is of no pass yet.
        """
        if state.written is None:
            raise ConfigError("nothing was written yet: encode the weights that apply() returned.")
        rows = zip(
            state.names,
            state.written.step.tolist(),
            state.written.kept.tolist(),
            strict=True,
        )
        return {
            name: encode(
                weights[name].detach().float().cpu().numpy(), step=step, bits=self.bits, kept=kept
            )
            for name, step, kept in rows
        }

    def __call__(self, w: Tensor) -> Tensor:
        """Compress one tensor, from a fresh state."""
        weights = {"w": w}
        return self.apply(weights, self.init(weights))[0]["w"]


def compress_(
    operator: Operator,
    tensors: Sequence[Tensor],
    state: State,
    *,
    shadows: Sequence[Tensor] | None = None,
    spared: Spared = "everything",
    frozen: Sequence[Tensor] | None = None,
    check: bool = True,
) -> State:
    """Compress tensors in place and return the state after the pass.

    Args:
        operator: what to do.
        tensors: the weights, one a name of the state; overwritten.
        state: of the last pass.
        shadows: where the weights that take the next update are put, same shapes and types.
        spared: what those weights are spared: ``quantization`` leaves them pruned but off the
            grid, ``everything`` as they were before the pass.
        frozen: masks of the weights that stay, bool, same shapes. They decide instead of the
            pruner: the others are zero, shadows too, and the grid spans what stays, from 0.
        check: raise on the first weight that is not finite, before anything is written. Reading
            that makes a GPU wait; the rows of the new state tell later what was found.

    Raises:
        NonFiniteError: a weight is NaN or infinite; the message names the tensor.
    """
    if not tensors:
        return replace(state, step=state.step + 1)
    exact = all(t.dtype is torch.float32 for t in tensors)
    if shadows is not None and not exact and spared == "everything":
        kernels.copy(shadows, tensors)  # in their own type, which float32 may not hold
        shadows = None
    work = tensors if exact else [t.float() for t in tensors]
    copies = shadows if exact or shadows is None else [s.float() for s in shadows]
    modes = _shadow_modes(spared, len(operator.sweeps)) if shadows else None
    state = replace(state, written=None)
    for t, mask in zip(work, frozen or (), strict=frozen is not None):
        t.masked_fill_(~mask, 0.0)
    for i, sweep in enumerate(operator.sweeps):
        mode: Shadow = modes[i] if modes else "none"
        state = _sweep(sweep, work, state, copies, mode, frozen is not None, check)
    if not exact:
        kernels.copy(tensors, work)
        if shadows is not None and copies is not None:
            kernels.copy(shadows, copies)
        state = _recount(tensors, state)
    return replace(state, step=state.step + 1)


def _shadow_modes(spared: Spared, sweeps: int) -> list[Shadow]:
    first: Shadow = "copy" if spared == "everything" else "pruned"
    later: Shadow = "none" if spared == "everything" else "masked"
    return [first] + [later] * (sweeps - 1)


def _sweep(
    sweep: Sweep,
    tensors: Sequence[Tensor],
    state: State,
    shadows: Sequence[Tensor] | None,
    shadow: Shadow,
    frozen: bool,
    check: bool,
) -> State:
    moments = kernels.measure(tensors)
    finite = moments.std.isfinite()
    if check and not finite.all():
        _raise_not_finite(state.names, finite)
    if sweep.jointly:
        whole = [torch.cat([t.reshape(-1) for t in tensors])]
        pooled = _choose(sweep, whole, kernels.measure(whole), state.step, frozen)
        cut, step = _spread(*pooled, rows=len(tensors))
    else:
        cut, step = _choose(sweep, tensors, moments, state.step, frozen)
    kernel = sweep.quantize.kernel if sweep.quantize and _has_grid(sweep) else "nearest"
    noise, rng = _noise(tensors, state.rng) if kernel == "stochastic" else (None, state.rng)
    kept, nonzero = kernels.write(
        tensors, cut, step, rounding=kernel, noise=noise, shadows=shadows, shadow=shadow
    )
    before = state.written  # by a sweep of the same pass
    written = Written(
        threshold=cut.threshold,
        step=step if sweep.quantize or before is None else before.step,  # pruning leaves the grid
        kept=kept if before is None else torch.minimum(kept, before.kept),
        nonzero=nonzero,
        max_abs=moments.max_abs if before is None else before.max_abs,
        finite=finite if before is None else before.finite,
    )
    return replace(state, written=written, rng=rng)


def _choose(
    sweep: Sweep, tensors: Sequence[Tensor], moments: Moments, at: int, frozen: bool
) -> tuple[Cut, Tensor]:
    """Return each tensor's threshold and its grid's step, 0 where there is no grid."""
    nothing = moments.max_abs.new_zeros(len(tensors))
    if frozen:  # what the mask leaves out is zero already
        cut = Cut(nothing, NO_TIES)
    else:
        cut = sweep.prune.cut(tensors, moments, at) if sweep.prune else Cut(nothing)
    if sweep.quantize is None or not _has_grid(sweep):
        return cut, nothing
    if cut.filters:  # the grid is that of the nonzeros which stay
        tensors = kernels.filtered(tensors, cut.filters)
        rest = Cut(cut.threshold, NO_TIES)
        return cut, sweep.quantize.steps(tensors, kernels.measure(tensors), rest)
    return cut, sweep.quantize.steps(tensors, moments, cut)


def _has_grid(sweep: Sweep) -> bool:
    return sweep.quantize is not None and sweep.quantize.bits < DENSE_BITS


def _spread(cut: Cut, step: Tensor, *, rows: int) -> tuple[Cut, Tensor]:
    """Give every tensor of a set the threshold and the step of the set as one tensor."""
    if not isinstance(cut.ties, int):
        raise ConfigError(
            "jointly=True is for thresholds; a pruner that keeps a quota of a set, such as "
            "GlobalMagnitude, looks at the set as a whole already."
        )
    threshold = cut.threshold.expand(rows).contiguous()
    return Cut(threshold, cut.ties), step.expand(rows).contiguous()


def _recount(tensors: Sequence[Tensor], state: State) -> State:
    """Count what is left of the nonzeros in a type that may round them to zero."""
    if state.written is None:
        return state
    nonzero = torch.stack([t.count_nonzero() for t in tensors])
    return replace(state, written=replace(state.written, nonzero=nonzero))


def _noise(tensors: Sequence[Tensor], rng: Tensor | None) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator(tensors[0].device)
    if rng is not None:
        generator.set_state(rng)
    noise = [torch.empty_like(t).uniform_(generator=generator) for t in tensors]
    return noise, generator.get_state()


def _raise_not_finite(names: Sequence[str], finite: Tensor) -> None:
    bad = [name for name, ok in zip(names, finite.tolist(), strict=True) if not ok]
    raise NonFiniteError(
        f"weights of {', '.join(bad[:5])}{', ...' if len(bad) > 5 else ''} are NaN or infinite, "
        "and nothing was compressed. The step before has diverged: lower the learning rate, clip "
        "the gradients or look at the data."
    )


def _check_set(weights: Mapping[str, Tensor]) -> None:
    for name, w in weights.items():
        if not w.is_floating_point():
            raise ConfigError(f"{name} is {w.dtype}; only floating-point weights are compressed.")
    if len({w.device for w in weights.values()}) > 1:
        devices = sorted({str(w.device) for w in weights.values()})
        raise ConfigError(f"the weights lie on {', '.join(devices)}; bring them onto one device.")
