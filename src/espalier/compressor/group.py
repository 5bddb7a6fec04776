"""Parameters that one operator compresses as a set, and the copies that updates start from."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.parameter import Parameter

from espalier.encoded import Encoded, Uniform, encode
from espalier.errors import CheckpointError, ConfigError, NonFiniteError
from espalier.ops import Operator, Written, compress_, kernels

__all__ = ["Group", "Update", "on_host"]

Update = Literal["hybrid", "inplace", "latent"]
"""What the next update starts from. ``inplace``: the compressed weights. ``hybrid``: the pruned
weights, off the grid within an epoch. ``latent``: a dense copy that compression never touches."""


_CARRIED = "carried."
"""What the names of rows that parts carry start with in a checkpoint."""


class Group:
    """The parameters of one rule, its operator's state, and the weights that take the updates.

    Between steps the parameters hold the compressed weights. Where the update rule asks for it, a
    *shadow* of each holds what the next update is added to; it comes back for the update itself.
    """

    def __init__(
        self, operator: Operator, parameters: Mapping[str, Parameter], update: Update
    ) -> None:
        """Prepare; nothing is compressed yet."""
        self.operator = operator
        self.names = tuple(parameters)
        self.parameters = list(parameters.values())
        self.update: Update = update
        self.state = operator.init(parameters)
        self.shadows: list[Tensor] | None = None
        """What the next update starts from, where that is not what the parameters hold."""
        self.frozen: list[Tensor] | None = None
        """Masks of the weights that stay, once pruning has ended."""
        self._buffers: list[Tensor] | None = None
        self._versions: list[int] = []  # of the parameters, when the last pass had written them
        n, device = len(self.parameters), self.parameters[0].device
        self.died_at = torch.full((n,), -1, dtype=torch.int64, device=device)
        """Step at which a tensor lost its last weight; -1 where it never did."""
        self.diverged_at = self.died_at.clone()
        """Step at which a weight was not finite; -1 where none was."""

    @property
    def on_host(self) -> bool:
        """Whether reading a value makes nobody wait."""
        return on_host(self.parameters[0])

    @property
    def asked_density(self) -> float | None:
        """Density that a budget asked for in the last pass; None where a threshold decides."""
        return self.operator.asked_density(max(self.state.step - 1, 0))

    def restore(self) -> None:
        """Bring the weights that take the update back into the parameters."""
        self._follow()
        if self.shadows is not None:
            for i in self._overwritten():
                self.shadows[i].copy_(self.parameters[i])
            kernels.copy(self.parameters, self.shadows)

    def learn(self, scale: Tensor | None) -> None:
        """Let the operator's parts learn from the gradients at what the last pass wrote.

        The parameters hold the weights that take the update, which is still to come.

        Args:
            scale: what the gradients are still multiplied by; None where by nothing.
        """
        before = self.state.carried
        if not before or not self.operator.learns:
            return
        moved = [p.grad is not None for p in self.parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        gradients = [g.to_dense() if g.is_sparse else g for g in gradients]
        if scale is not None:
            gradients = [g / scale for g in gradients]
        self.state = self.operator.learn(gradients, self.parameters, self.state)
        if not all(moved):
            rows = torch.tensor(moved, device=self.died_at.device)
            self._keep_carried(~rows, before)

    def _keep_carried(self, where: Tensor, before: Mapping[str, Tensor]) -> None:
        """Take back what parts carry, where that is asked, without reading it."""
        carried = {}
        for name, after in self.state.carried.items():
            flags = where.reshape(-1, *[1] * (after.dim() - 1))
            carried[name] = torch.where(flags, before.get(name, after), after)
        self.state = replace(self.state, carried=carried)

    def compress(self, step: int) -> None:
        """Compress what the parameters hold.

        Raises:
            NonFiniteError: a weight is NaN or infinite; on the host at once, before anything is
                written; on other devices :meth:`check` says so later.
        """
        self._follow()
        self.state = replace(self.state, step=step)
        shadows = self._shadow_buffers()
        self.state = compress_(
            self.operator,
            self.parameters,
            self.state,
            shadows=shadows,
            spared="everything" if self.update == "latent" else "quantization",
            frozen=self.frozen,
            check=self.on_host,
        )
        self.shadows = shadows
        self._versions = [p._version for p in self.parameters]
        if self.state.written is not None:
            self._mark(step, self.state.written)

    def freeze(self) -> None:
        """End pruning: what is zero now stays zero."""
        if self.frozen is None and self.state.written is not None:
            self.frozen = [p.detach() != 0 for p in self.parameters]

    def remember(self) -> None:
        """Keep what a step that turns out to be skipped must leave as it was."""
        self._follow()
        weights = [p.detach().clone() for p in self.parameters]
        shadows = [s.clone() for s in self.shadows] if self.shadows else weights
        self._before = (weights, shadows, self.state.written or self._untouched(), self.died_at)
        self._carried_before = self.state.carried

    def undo_where(self, skipped: Tensor) -> None:
        """Take the last step back where ``skipped`` is not 0, without reading it."""
        weights, shadows, written, died_at = self._before
        skipped = skipped.reshape(()).bool()
        buffers = self._shadow_buffers()
        if buffers is not None and (self.shadows or shadows is not weights):
            now = self.shadows or self.parameters
            for buffer, before, after in zip(buffers, shadows, now, strict=True):
                buffer.copy_(torch.where(skipped, before, after))
            self.shadows = buffers
        for p, before in zip(self.parameters, weights, strict=True):
            p.copy_(torch.where(skipped, before, p))
        self.died_at = torch.where(skipped, died_at, self.died_at)
        if self.state.written is not None:
            rows = {
                f.name: torch.where(
                    skipped, getattr(written, f.name), getattr(self.state.written, f.name)
                )
                for f in fields(Written)
            }
            self.state = replace(self.state, written=Written(**rows))
        self._keep_carried(skipped, self._carried_before)
        self._versions = [p._version for p in self.parameters]

    def _untouched(self) -> Written:
        """Rows that say that nothing was pruned and nothing put on a grid."""
        device = self.died_at.device
        zeros = torch.zeros(len(self.names), dtype=torch.float32, device=device)
        sizes = torch.tensor([p.numel() for p in self.parameters], device=device)
        return Written(
            threshold=zeros,
            step=zeros,
            kept=sizes,
            nonzero=sizes,
            max_abs=zeros,
            finite=zeros == 0,
        )

    def encode(self) -> dict[str, Encoded]:
        """Return the codes of what the last pass wrote.

        Raises:
            ConfigError: a parameter holds something else by now.
        """
        changed = self._overwritten()
        if changed:
            raise ConfigError(
                f"{self.names[changed[0]]} is not what the last pass wrote: something else has "
                "changed it since, such as training after detach() or loaded weights. Take the "
                "codes before that."
            )
        return self.operator.encode(dict(zip(self.names, self.parameters, strict=True)), self.state)

    def _overwritten(self) -> list[int]:
        """Rows of what somebody else has written since the last pass.

        Values are read only where torch counted a write. They tell weights that were lent and
        brought back, as around an evaluation of averaged ones, from other weights: one tensor
        that differs speaks for all that were written, for a few values may lie on any fine grid.
        """
        written = self.state.written
        if written is None or not self._versions:
            return []
        pairs = enumerate(zip(self.parameters, self._versions, strict=True))
        touched = [i for i, (p, version) in pairs if p._version != version]
        return touched if not all(self._holds(i, written) for i in touched) else []

    def _holds(self, i: int, written: Written) -> bool:
        """Whether a parameter can be what a pass wrote: as many nonzeros, on the same grid."""
        p, step = self.parameters[i].detach(), float(written.step[i])
        if int(p.count_nonzero()) != int(written.nonzero[i]):
            return False
        if step == 0:
            shadow = self.shadows[i] if self.shadows else p
            return torch.equal(p, torch.where(p != 0, shadow, 0.0))
        one = encode(p.float().cpu().numpy(), step=step)
        return isinstance(one.grid, Uniform) or one.nonzero == 0

    def settle(self) -> None:
        """Let the next update start from the compressed weights."""
        self.shadows = None

    def check(self) -> list[tuple[str, int]]:
        """Return the tensors that died, with the step.

        Raises:
            NonFiniteError: a weight was not finite at some step.
        """
        diverged = [
            f"{name} at step {at}"
            for name, at in zip(self.names, self.diverged_at.tolist(), strict=True)
            if at >= 0
        ]
        if diverged:
            raise NonFiniteError(
                f"weights were NaN or infinite in {', '.join(diverged[:5])}. The training has "
                "diverged: lower the learning rate, clip the gradients or look at the data."
            )
        died = zip(self.names, self.died_at.tolist(), strict=True)
        return [(name, at) for name, at in died if at >= 0]

    def rows(self) -> dict[str, Tensor]:
        """Return what each step makes anew, a row a tensor."""
        found = {"died_at": self.died_at, "diverged_at": self.diverged_at}
        if self.state.written is not None:
            for f in fields(Written):
                found[f"written.{f.name}"] = getattr(self.state.written, f.name)
        for name, rows in self.state.carried.items():
            found[f"{_CARRIED}{name}"] = rows
        return found

    def keep_rows(self, rows: Mapping[str, Tensor]) -> None:
        """Take over tensors like those of :meth:`rows`, the very memory."""
        self.died_at, self.diverged_at = rows["died_at"], rows["diverged_at"]
        names = [f.name for f in fields(Written)]
        some = "written.step" in rows
        written = Written(**{name: rows[f"written.{name}"] for name in names}) if some else None
        carried = {n.removeprefix(_CARRIED): t for n, t in rows.items() if n.startswith(_CARRIED)}
        self.state = replace(self.state, written=written, carried=carried)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold besides the model."""
        found = self.rows()
        if self.state.rng is not None:
            found["rng"] = self.state.rng
        for name, shadow in zip(self.names, self.shadows or (), strict=bool(self.shadows)):
            found[f"shadow.{name}"] = shadow
        for name, mask in zip(self.names, self.frozen or (), strict=bool(self.frozen)):
            found[f"frozen.{name}"] = mask
        return found

    def load(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Take over what :meth:`tensors` gave.

        Raises:
            CheckpointError: a tensor is missing or of another shape.
        """
        self._follow()
        device = self.parameters[0].device
        self._versions = []  # the model's weights may be loaded later
        self.died_at, self.diverged_at = (
            _take(tensors, name, (len(self.names),)).to(device)
            for name in ("died_at", "diverged_at")
        )
        written = None
        if "written.step" in tensors:
            rows = {
                f.name: _take(tensors, f"written.{f.name}", (len(self.names),)).to(device)
                for f in fields(Written)
            }
            written = Written(**rows)
        rng = tensors["rng"].cpu() if "rng" in tensors else self.state.rng
        carried = {
            name.removeprefix(_CARRIED): _take(tensors, name, (len(self.names), *rows.shape[1:]))
            for name, rows in tensors.items()
            if name.startswith(_CARRIED)
        }
        carried = {name: rows.to(device) for name, rows in carried.items()}
        self.state = replace(self.state, step=step, written=written, rng=rng, carried=carried)
        self.shadows = None
        if any(name.startswith("shadow.") for name in tensors):
            buffers = self._shadow_buffers() or []
            for name, buffer in zip(self.names, buffers, strict=True):
                buffer.copy_(_take(tensors, f"shadow.{name}", tuple(buffer.shape)))
            self.shadows = buffers
        self.frozen = None
        if any(name.startswith("frozen.") for name in tensors):
            self.frozen = [
                _take(tensors, f"frozen.{name}", tuple(p.shape)).to(device)
                for name, p in zip(self.names, self.parameters, strict=True)
            ]

    def _shadow_buffers(self) -> list[Tensor] | None:
        if self.update == "inplace":
            return None
        if self._buffers is None:
            self._buffers = [torch.empty_like(p, requires_grad=False) for p in self.parameters]
        return self._buffers

    def _follow(self) -> None:
        """Go where the model went: another device, type or memory layout.

        The random generator of another device starts anew.
        """
        buffers = self._buffers or []
        for i, (p, buffer) in enumerate(zip(self.parameters, buffers, strict=bool(buffers))):
            same = (buffer.device, buffer.dtype) == (p.device, p.dtype)
            if not (same and buffer.stride() == p.stride()):
                buffers[i] = torch.empty_like(p, requires_grad=False).copy_(buffer)
        device = self.parameters[0].device
        if self.died_at.device == device:
            return
        self._versions = []  # moving is no writing
        self.died_at, self.diverged_at = self.died_at.to(device), self.diverged_at.to(device)
        if self.frozen is not None:
            self.frozen = [mask.to(device) for mask in self.frozen]
        written = self.state.written
        if written is not None:
            rows = {f.name: getattr(written, f.name).to(device) for f in fields(Written)}
            written = Written(**rows)
        fresh = self.operator.init(dict(zip(self.names, self.parameters, strict=True)))
        carried = {name: rows.to(device) for name, rows in self.state.carried.items()}
        self.state = replace(self.state, written=written, rng=fresh.rng, carried=carried)

    def _mark(self, step: int, written: Written) -> None:
        """Note on the device what a later check shall say."""
        at = step if self.state.clock is None else self.state.clock.number
        dead = (written.nonzero == 0) & (written.max_abs > 0) & (self.died_at < 0)
        self.died_at = torch.where(dead, at, self.died_at)
        if not self.on_host:
            lost = ~written.finite & (self.diverged_at < 0)
            self.diverged_at = torch.where(lost, at, self.diverged_at)


def on_host(tensor: Tensor) -> bool:
    """Whether reading a value of this tensor makes nobody wait."""
    return tensor.device.type == "cpu"


def _take(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    if name not in tensors:
        raise CheckpointError(
            f"the compressor's state has no '{name}'; it is of another model, or incomplete."
        )
    if tuple(tensors[name].shape) != shape:
        raise CheckpointError(
            f"'{name}' has shape {tuple(tensors[name].shape)} in the compressor's state and "
            f"{shape} in this model; load the state into the model that it was saved from."
        )
    return tensors[name]
