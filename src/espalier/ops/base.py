"""What an operator is: a value that names its sweeps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from espalier.encoded import DENSE_BITS, Encoded, encode
from espalier.errors import ConfigError
from espalier.ops.parts import (
    Learner,
    Pruner,
    Quantizer,
    State,
    Sweep,
    Written,
    carried_by,
    later,
    settings_in_use,
)
from espalier.ops.passes import compress_

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

    def bits_each(self, count: int) -> list[int]:
        """Return the bits of a kept weight of each tensor of a set."""
        rows = [[DENSE_BITS] * count]
        for sweep in self.sweeps:
            part = sweep.quantize
            if isinstance(part, Operator) and part is not self:
                rows.append(part.bits_each(count))
            elif part is not None:
                rows.append([part.bits] * count)
        return [min(column) for column in zip(*rows, strict=True)]

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
            self.bits_each(len(state.names)),
            strict=True,
        )
        return {
            name: encode(
                weights[name].detach().float().cpu().numpy(), step=step, bits=bits, kept=kept
            )
            for name, step, kept, bits in rows
        }

    @property
    def learns(self) -> bool:
        """Whether a part of it learns from gradients."""
        return any(isinstance(part, Learner) for _, part in self._parts())

    @torch.no_grad()
    def learn(self, gradients: Sequence[Tensor], weights: Sequence[Tensor], state: State) -> State:
        """Return the state after its parts have learned from one step's gradients.

        Call it before the optimizer's update. Where nothing learns, or no pass was made yet, the
        state comes back as it is; rows that would not be finite stay as they are.

        Args:
            gradients: of the loss, taken at the compressed weights; one a name of the state.
            weights: those that take the update, before it; same shapes.
            state: of the last pass.
        """
        if state.written is None:
            return state
        carried = dict(state.carried)
        for name, part in self._parts():
            if isinstance(part, Learner) and name in carried:
                rows = carried[name]
                new = part.learn_rows(
                    [g.detach().float() for g in gradients],
                    [w.detach().float() for w in weights],
                    state.written,
                    rows,
                    state.now,
                )
                carried[name] = torch.where(new.isfinite(), new, rows)
        return replace(state, carried=carried)

    def _parts(self) -> list[tuple[str, object]]:
        """Return the sweeps' pruners and quantizers under the names of what they carry."""
        return [
            (carried_by(i, name), part)
            for i, sweep in enumerate(self.sweeps)
            for name, part in (("prune", sweep.prune), ("quantize", sweep.quantize))
        ]

    def __call__(self, w: Tensor) -> Tensor:
        """Compress one tensor, from a fresh state."""
        weights = {"w": w}
        return self.apply(weights, self.init(weights))[0]["w"]


def _check_set(weights: Mapping[str, Tensor]) -> None:
    for name, w in weights.items():
        if not w.is_floating_point():
            raise ConfigError(f"{name} is {w.dtype}; only floating-point weights are compressed.")
    if len({w.device for w in weights.values()}) > 1:
        devices = sorted({str(w.device) for w in weights.values()})
        raise ConfigError(f"the weights lie on {', '.join(devices)}; bring them onto one device.")
