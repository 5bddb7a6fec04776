"""The compressor: hooks on a real optimizer, so that a user's loop stays as it is."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from espalier.compressor.calls import Closure, outside_graphs, runs_inside_step
from espalier.compressor.group import Group, Update, on_host
from espalier.compressor.options import Cadence, OnDeadLayer
from espalier.compressor.report import Report
from espalier.compressor.rows import compressed_rows, dense_row
from espalier.encoded import Encoded
from espalier.errors import (
    CheckpointError,
    ConfigError,
    DeadLayerError,
    DeadLayerWarning,
)
from espalier.ops import Operator

__all__ = ["Compressor"]

STATE_VERSION = 1


class Compressor:
    """Compresses after each step of an optimizer; made by :func:`attach`.

    Between steps the model's parameters hold the compressed weights.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        groups: list[Group],
        dense: dict[str, tuple[nn.Parameter, str]],
        *,
        update: Update,
        cadence: Cadence,
        steps_per_epoch: int | None,
        start_step: int,
        end_step: int | None,
        on_dead_layer: OnDeadLayer,
    ) -> None:
        """Hook into the optimizer."""
        self.model = model
        """The network as :func:`attach` got it."""
        self.steps = 0
        """Optimizer steps so far. A step that a gradient scaler skips doesn't count, but for one
        that a fused optimizer skips by itself on a device: the host does not know of it."""
        self.epochs = 0
        """Epochs that have ended so far."""
        self._groups = groups
        self._dense = dense
        self._update = update
        self._cadence = cadence
        self._steps_per_epoch = steps_per_epoch
        self._start_step = start_step
        self._end_step = end_step
        self._on_dead_layer = on_dead_layer
        self._named_dead: set[str] = set()
        self._current = False  # whether the parameters hold what the last pass wrote
        self._skipped = False
        self._maybe_skipped: Tensor | None = None
        self._gradient_scale: Tensor | None = None  # which a fused optimizer is to divide by
        self._closure: Closure | None = None
        self._handles = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    @property
    def operators(self) -> tuple[Operator, ...]:
        """What is done to the weights, one operator a rule."""
        return tuple(group.operator for group in self._groups)

    def held_parameters(self) -> list[Tensor]:
        """Return the parameters that it compresses; none once it is detached."""
        return [p for group in self._groups for p in group.parameters] if self._handles else []

    # ---- the step -------------------------------------------------------------------------------

    @outside_graphs
    @torch.no_grad()
    def _before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Bring back the weights that take the update."""
        if runs_inside_step(optimizer):
            return None
        skip = getattr(optimizer, "found_inf", None)  # a scaler lets the optimizer skip by itself
        self._skipped = skip is not None and on_host(skip) and bool(skip.item())
        if self._skipped:
            return None
        self._maybe_skipped = None if skip is None or on_host(skip) else skip
        if self._maybe_skipped is not None:
            for group in self._groups:
                group.remember()
        self._gradient_scale = getattr(optimizer, "grad_scale", None)
        self._closure = None
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._restore()
            return None
        parameters = [p for group in self._groups for p in group.parameters]
        self._closure = Closure(closure, parameters, self._restore, type(optimizer).__name__)
        if "closure" in kwargs:
            return args, {**kwargs, "closure": self._closure}
        return (args[0], self._closure, *args[2:]), kwargs

    def _restore(self) -> None:
        for group in self._groups:
            group.restore()
            if self._current:
                group.learn(self._gradient_scale)

    @outside_graphs
    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Compress what the optimizer has updated."""
        if self._skipped or runs_inside_step(optimizer):
            return
        if self._closure is not None:
            self._closure.require_evaluated()
        step = self.steps
        self.steps += 1
        self._current = False
        for group in self._groups:
            group.settle()
        if self._cadence == "every_step" and step >= self._start_step:
            self._compress(step)
        if self._maybe_skipped is not None:
            for group in self._groups:
                group.undo_where(self._maybe_skipped)
        if self._cadence == "every_step":
            self._freeze_at_end()
        if self._steps_per_epoch and self.steps % self._steps_per_epoch == 0:
            self._end_epoch()

    def _freeze_at_end(self) -> None:
        if self._end_step is not None and self.steps >= self._end_step:
            for group in self._groups:
                group.freeze()

    def _compress(self, step: int) -> None:
        for group in self._groups:
            group.compress(step)
        self._current = True
        for group in self._groups:
            if group.on_host:
                self._check(group)

    # ---- the epoch ------------------------------------------------------------------------------

    def end_epoch(self) -> None:
        """Say that an epoch has ended: ``hybrid`` writes, ``every_epoch`` compresses.

        Raises:
            ConfigError: the compressor counts epochs itself, by ``steps_per_epoch``; or it was
                detached.
            NonFiniteError, DeadLayerError: what was found on the device since the last check.
        """
        if self._steps_per_epoch:
            raise ConfigError(
                f"epochs end by themselves every steps_per_epoch={self._steps_per_epoch} steps; "
                "either give that or call end_epoch(), not both."
            )
        if not self._handles:
            raise ConfigError(
                "the compressor was detached; attach again to compress at the end of more epochs."
            )
        self._end_epoch()

    @torch.no_grad()
    def _end_epoch(self) -> None:
        self.epochs += 1
        if self._cadence == "every_epoch" and self.steps > self._start_step:
            self._compress(self.steps - 1)
            self._freeze_at_end()
        if self._update == "hybrid":
            for group in self._groups:
                group.settle()
        self._check_all()

    def _check_all(self) -> None:
        for group in self._groups:
            self._check(group)

    def _check(self, group: Group) -> None:
        """Speak of tensors that died, each once."""
        for name, at in group.check():
            if name in self._named_dead or self._on_dead_layer == "ignore":
                continue
            self._named_dead.add(name)
            message = (
                f"{name} lost its last weight at step {at}: every magnitude fell below the "
                "threshold. Compress it less by a rule of its own, Rule(name="
                f"{name!r}, operator=...), or leave it dense with operator=None."
            )
            if self._on_dead_layer == "error":
                raise DeadLayerError(message)
            warnings.warn(message, DeadLayerWarning, stacklevel=3)

    # ---- what was done --------------------------------------------------------------------------

    def report(self) -> Report:
        """Say what was done to each parameter; ``print`` of it is a table.

        Raises:
            ConfigError: compression is due at an epoch's end and no epoch has ended yet.
        """
        self._require_epochs()
        self._check_all()
        layers = [row for group in self._groups for row in compressed_rows(group)]
        for name, (parameter, reason) in self._dense.items():
            layers.append(dense_row(name, parameter, reason))
        asked = [group.asked_density for group in self._groups]
        return Report(
            layers=tuple(layers),
            steps=self.steps,
            epochs=self.epochs,
            asked_density=asked[0] if len(asked) == 1 else None,
            notes=self._notes(),
        )

    def encoded(self) -> dict[str, Encoded]:
        """Return the codes of each compressed parameter, by name.

        Raises:
            ConfigError: the weights are not what the last pass wrote: nothing was compressed yet,
                the optimizer has stepped since, or somebody else has changed them.
            NonFiniteError, DeadLayerError: what was found on the device since the last check.
        """
        self._require_epochs()
        self._check_all()
        if not self._current:
            raise ConfigError(
                "the weights are not compressed at this moment: "
                + (
                    f"compression starts after step {self._start_step} and {self.steps} were taken."
                    if self._cadence == "every_step"
                    else "steps were taken since the epoch ended; call end_epoch() or detach()."
                )
            )
        found: dict[str, Encoded] = {}
        for group in self._groups:
            found |= group.encode()
        return found

    def detach(self) -> None:
        """Take the hooks off; the model keeps the compressed weights. Again does nothing.

        Raises:
            ConfigError: compression is due at an epoch's end and no epoch has ended yet.
            NonFiniteError, DeadLayerError: what was found since the last check; the hooks are off.
        """
        self._require_epochs()
        handles, self._handles = self._handles, []
        for handle in handles:
            handle.remove()
        if handles and not self._current and self.steps > self._start_step:
            with torch.no_grad():
                self._compress(self.steps - 1)
        for group in self._groups:
            group.settle()
        self._check_all()

    def _require_epochs(self) -> None:
        if self._cadence == "every_epoch" and self.steps and not self.epochs:
            raise ConfigError(
                f"{self.steps} steps were taken and no epoch has ended, so that nothing was "
                "compressed: pass steps_per_epoch=..., or call end_epoch() at each epoch's end."
            )

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self._update == "hybrid" and self.steps and not self.epochs and self._handles:
            notes.append(
                "hybrid: no epoch has ended yet, so that quantization has been straight-through "
                "only; it is written when weights are saved or the compressor is detached."
            )
        if not self._current:
            notes.append(f"the weights are not compressed at this moment (step {self.steps}).")
        return tuple(notes)

    # ---- stop and resume ------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs besides the model's and the optimizer's states.

        Returns:
            ``version``, ``config`` (plain data) and ``tensors`` (a flat dict), all of which
            safetensors and JSON can hold. Tensors are the compressor's own, as in torch.

        Raises:
            NonFiniteError, DeadLayerError: what was found on the device since the last check.
        """
        self._check_all()
        tensors = {
            f"{i}.{name}": tensor
            for i, group in enumerate(self._groups)
            for name, tensor in group.tensors().items()
        }
        config = {
            **self._identity(),
            "steps": self.steps,
            "epochs": self.epochs,
            "operator_steps": [group.state.step for group in self._groups],
            "current": self._current,
            "named_dead": sorted(self._named_dead),
            "tensors": sorted(tensors),
        }
        return {"version": STATE_VERSION, "config": config, "tensors": tensors}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; load the model's and the optimizer's states too.

        Raises:
            CheckpointError: the state is incomplete, of a newer version, of another operator,
                update rule or cadence, or of another model.
        """
        if state.get("version") != STATE_VERSION:
            raise CheckpointError(
                f"the compressor's state has version {state.get('version')} and this software "
                f"reads {STATE_VERSION}; use the version that wrote it."
            )
        _require(("config", "tensors"), state)
        config = state["config"]
        for setting, mine in self._identity().items():
            if config.get(setting) != mine:
                raise CheckpointError(
                    f"the compressor's state was saved with {setting} = {config.get(setting)} and "
                    f"this compressor has {mine}; attach with the same settings to resume."
                )
        _require(config["tensors"], state["tensors"])
        for i, group in enumerate(self._groups):
            prefix = f"{i}."
            mine = {
                name.removeprefix(prefix): tensor
                for name, tensor in state["tensors"].items()
                if name.startswith(prefix)
            }
            group.load(mine, config["operator_steps"][i])
        self.steps, self.epochs = config["steps"], config["epochs"]
        self._current, self._named_dead = config["current"], set(config["named_dead"])

    def _identity(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share."""
        return {
            "update": self._update,
            "cadence": self._cadence,
            "steps_per_epoch": self._steps_per_epoch,
            "start_step": self._start_step,
            "end_step": self._end_step,
            "operators": [repr(group.operator) for group in self._groups],
            "parameters": [list(group.names) for group in self._groups],
        }


def _require(names: Sequence[str], found: Mapping[str, Any]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise CheckpointError(
            f"the compressor's state has no '{missing[0]}'; it is incomplete, so load the whole "
            "state that state_dict() gave."
        )
