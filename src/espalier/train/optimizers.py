"""Optimizers by name, and their state as named tensors and JSON."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import Parameter
from torch.optim import Optimizer

from espalier.records import RunSpec

__all__ = [
    "learning_rate",
    "make_optimizer",
    "optimizer_state",
    "restore_optimizer",
    "set_learning_rate",
]


OURS = ("capturable", "foreach", "fused")
"""Settings that say how an optimizer computes, not what; a checkpoint doesn't decide them."""


def make_optimizer(
    spec: RunSpec, parameters: Iterable[Parameter], *, capturable: bool = False
) -> Optimizer:
    """Return the spec's optimizer over the parameters, at the learning rate it starts with.

    Args:
        spec: of the run.
        parameters: what it updates, all on one device.
        capturable: its steps can be captured as a CUDA graph: the learning rate and all that
            changes by the step are tensors of that device.
    """
    parameters = list(parameters)
    settings: dict[str, Any] = {"lr": spec.lr, "weight_decay": spec.weight_decay}
    if capturable:
        settings["fused"] = True
    if spec.optimizer == "sgd":
        settings |= {"momentum": spec.momentum, "nesterov": spec.nesterov}
        optimizer: Optimizer = torch.optim.SGD(parameters, **settings)
    else:
        settings["capturable"] = capturable
        kind = torch.optim.Adam if spec.optimizer == "adam" else torch.optim.AdamW
        optimizer = kind(parameters, **settings)
    if capturable:
        for group in optimizer.param_groups:
            group["lr"] = torch.full((), spec.lr, device=parameters[0].device)
    return optimizer


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of all parameters; one that is a tensor stays that tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def learning_rate(spec: RunSpec, planned_steps: int, step: int) -> float:
    """Return the learning rate of a step, counted from 0.

    ``cosine``: ``lr * (1 + cos(pi * step / planned_steps)) / 2`` (Loshchilov and Hutter, 2017,
    eq. 5, without restarts). In the first ``n`` steps, those of ``warmup_epochs``, it is multiplied
    by ``(step + 1) / n`` (Goyal et al., 2017).

    Example:
        >>> spec = RunSpec(lr=0.1, lr_schedule="cosine")
        >>> [round(learning_rate(spec, 100, step), 3) for step in (0, 50, 100)]
        [0.1, 0.05, 0.0]
    """
    warmup_steps = planned_steps * spec.warmup_epochs // max(spec.epochs, 1)
    lr = spec.lr * (step + 1) / warmup_steps if step < warmup_steps else spec.lr
    if spec.lr_schedule == "constant":
        return lr
    return lr * (1 + math.cos(math.pi * step / planned_steps)) / 2


def optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state as tensors, called ``<parameter's number>.<key>``, and the rest as JSON.

    Works for any optimizer whose state holds tensors, numbers, strings, None and tuples of those.
    """
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    values: dict[str, dict[str, Any]] = {}
    for number, entries in state["state"].items():
        values[str(number)] = {}
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{key}"] = value
            else:
                values[str(number)][key] = _to_json(value)
    groups = [{k: _to_json(v) for k, v in group.items()} for group in state["param_groups"]]
    return tensors, {"state": values, "param_groups": groups}


def restore_optimizer(
    optimizer: Optimizer, tensors: dict[str, Tensor], values: dict[str, Any]
) -> None:
    """Put back what :func:`optimizer_state` gave, bit for bit, layout of tensors included."""
    state: dict[int, dict[str, Any]] = {
        int(number): {key: _from_json(value) for key, value in entries.items()}
        for number, entries in values["state"].items()
    }
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        state[int(number)][key] = tensor
    groups = [{k: _from_json(v) for k, v in group.items()} for group in values["param_groups"]]
    for group, mine in zip(groups, optimizer.param_groups, strict=True):
        group |= {name: mine[name] for name in OURS if name in mine}
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(rate, Tensor):
            group["lr"] = rate.fill_(group["lr"])


def _to_json(value: Any) -> Any:
    """Mark tuples, which JSON would turn into lists; read numbers that lie on a device."""
    if isinstance(value, Tensor):
        return value.item()
    if isinstance(value, tuple):
        return {"tuple": [_to_json(item) for item in value]}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(_from_json(item) for item in value["tuple"])
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    return value
