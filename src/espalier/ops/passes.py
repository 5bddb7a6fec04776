"""The pass: an operator's sweeps over a set of tensors, in place. All of them run here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from espalier.encoded import DENSE_BITS
from espalier.errors import ConfigError, NonFiniteError
from espalier.ops import kernels
from espalier.ops.kernels import NO_TIES, Cut, Moments, Shadow
from espalier.ops.parts import (
    Laid,
    Quantizer,
    State,
    Sweep,
    Written,
    carried_by,
    carries,
    lays,
)

__all__ = ["Spared", "Swept", "compress_"]

Spared = Literal["quantization", "everything"]
"""What of a pass the shadow weights, which take the next update, don't see."""


class Swept(Protocol):
    """What names its sweeps: an operator."""

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """The sweeps over the weights, in order."""


def compress_(
    operator: Swept,
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
        state = _sweep(sweep, i, work, state, copies, mode, frozen is not None, check)
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
    index: int,
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
    cut, grid, carried = _decide(sweep, index, tensors, moments, state, frozen)
    kernel = sweep.quantize.kernel if sweep.quantize and _has_grid(sweep) else "nearest"
    noise, rng = grid.offsets, state.rng
    if grid.offsets is None and kernel == "stochastic":
        noise, rng = _noise(tensors, state.rng)
    kept, nonzero = kernels.write(
        tensors, cut, grid.step, rounding=kernel, noise=noise, shadows=shadows, shadow=shadow
    )
    if grid.top is not None:
        kernels.clip(tensors, grid.step, grid.top)
    before = state.written  # by a sweep of the same pass
    written = Written(
        threshold=cut.threshold,
        step=grid.step
        if sweep.quantize or before is None
        else before.step,  # pruning leaves the grid
        kept=kept if before is None else torch.minimum(kept, before.kept),
        nonzero=nonzero,
        max_abs=moments.max_abs if before is None else before.max_abs,
        finite=finite if before is None else before.finite,
    )
    return replace(state, written=written, rng=rng, carried=carried)


def _decide(
    sweep: Sweep,
    index: int,
    tensors: Sequence[Tensor],
    moments: Moments,
    state: State,
    frozen: bool,
) -> tuple[Cut, Laid, Mapping[str, Tensor]]:
    """Return what stays of each tensor, its grid, and what the parts carry to the next pass."""
    if sweep.jointly:
        whole = [torch.cat([t.reshape(-1) for t in tensors])]
        one = replace(sweep, jointly=False)
        cut, grid, _ = _decide(one, index, whole, kernels.measure(whole), state, frozen)
        return *_spread(cut, grid, rows=len(tensors)), state.carried
    nothing = moments.max_abs.new_zeros(len(tensors))
    carried: dict[str, Tensor | None] = {}
    if frozen:  # what the mask leaves out is zero already
        cut = Cut(nothing, NO_TIES)
    elif carries(sweep.prune):
        name = carried_by(index, "prune")
        last = state.carried.get(name)
        cut, carried[name] = sweep.prune.cut_from(tensors, moments, state.now, last)
    else:
        cut = sweep.prune.cut(tensors, moments, state.now) if sweep.prune else Cut(nothing)
    if sweep.quantize is None or not _has_grid(sweep):
        grid = Laid(nothing)
    else:
        name = carried_by(index, "quantize")
        grid = _lay(sweep.quantize, tensors, moments, cut, state.carried.get(name))
        carried[name] = grid.rows
    if not any(rows is not None for rows in carried.values()):
        return cut, grid, state.carried
    found = {  # in memory of their own, as files of tensors want it
        name: rows.clone() for name, rows in carried.items() if rows is not None
    }
    return cut, grid, {**state.carried, **found}


def _lay(
    quantize: Quantizer,
    tensors: Sequence[Tensor],
    moments: Moments,
    cut: Cut,
    rows: Tensor | None,
) -> Laid:
    if cut.filters:  # the grid is that of the nonzeros which stay
        tensors = kernels.filtered(tensors, cut.filters)
        moments, cut = kernels.measure(tensors), Cut(cut.threshold, NO_TIES)
    if lays(quantize):
        return quantize.lay(tensors, moments, cut, rows)
    return Laid(quantize.steps(tensors, moments, cut))


def _has_grid(sweep: Sweep) -> bool:
    return sweep.quantize is not None and sweep.quantize.bits < DENSE_BITS


def _spread(cut: Cut, grid: Laid, *, rows: int) -> tuple[Cut, Laid]:
    """Give every tensor of a set the threshold and the grid of the set as one tensor."""
    if not isinstance(cut.ties, int):
        raise ConfigError(
            "jointly=True is for thresholds; a pruner that keeps a quota of a set, such as "
            "GlobalMagnitude, looks at the set as a whole already."
        )
    if grid.offsets is not None or grid.rows is not None:
        raise ConfigError(
            "jointly=True is for grids of one step for all; what is learned or chosen by its code "
            "has a row a tensor. Leave jointly out, or quantize by UniformQuantizer."
        )
    threshold = cut.threshold.expand(rows).contiguous()
    return Cut(threshold, cut.ties), Laid(grid.step.expand(rows).contiguous(), grid.top)


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
