"""An optimizer's state goes through JSON and tensors without a change."""

import json
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adadelta, Adam, AdamW, NAdam, Optimizer

from espalier.records import OPTIMIZERS, RunSpec
from espalier.train.optimizers import (
    learning_rate,
    make_optimizer,
    optimizer_state,
    restore_optimizer,
)

MAKERS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (Adam, {"lr": 0.1, "betas": (0.8, 0.95), "amsgrad": True}),
    (AdamW, {"lr": 0.1}),
    (NAdam, {"lr": 0.1}),
    (Adadelta, {"lr": 0.1}),
]


def steps(model: nn.Module, optimizer: Optimizer, count: int) -> None:
    for n in range(count):
        optimizer.zero_grad()
        model(torch.full((2, 3, 5, 5), n + 1.0)).square().sum().backward()
        optimizer.step()


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 2))
    return model.to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("kind", "options"), MAKERS, ids=[kind.__name__ for kind, _ in MAKERS])
def test_a_restored_optimizer_goes_on_bit_for_bit(
    kind: type[Optimizer], options: dict[str, Any]
) -> None:
    """Two steps, save, restore into a fresh one, two more: as four in a row."""
    whole, first, second = network(), network(), network()
    steps(whole, optimizer_whole := kind(whole.parameters(), **options), 2)
    steps(first, optimizer := kind(first.parameters(), **options), 2)
    tensors, values = optimizer_state(optimizer)
    second.load_state_dict(first.state_dict())
    restored = kind(second.parameters(), lr=99.0)
    restore_optimizer(restored, tensors, json.loads(json.dumps(values, allow_nan=False)))

    steps(whole, optimizer_whole, 2)
    steps(second, restored, 2)

    assert restored.state_dict()["param_groups"] == optimizer_whole.state_dict()["param_groups"]
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_name_makes_its_optimizer(name: str) -> None:
    """With the spec's learning rate and decay."""
    spec = RunSpec(optimizer=name, lr=0.5, weight_decay=0.25, momentum=0.75)
    optimizer = make_optimizer(spec, [nn.Parameter(torch.ones(1))])

    group = optimizer.param_groups[0]
    assert type(optimizer).__name__.lower() == name
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    assert name != "sgd" or group["momentum"] == 0.75


def test_the_learning_rate_grows_before_it_falls() -> None:
    """Warm-up is a straight line to the schedule, which it doesn't change afterwards."""
    spec = RunSpec(lr=0.4, epochs=10, lr_schedule="cosine", warmup_epochs=2)
    plain = RunSpec(lr=0.4, epochs=10, lr_schedule="cosine")
    rates = [learning_rate(spec, 100, step) for step in range(100)]
    cosine = [learning_rate(plain, 100, step) for step in range(100)]

    assert rates[20:] == cosine[20:]
    assert rates[:20] == pytest.approx([c * (n + 1) / 20 for n, c in enumerate(cosine[:20])])
    constant = RunSpec(lr=0.4, epochs=10, warmup_epochs=1)
    assert [learning_rate(constant, 100, step) for step in (0, 4, 9, 10, 99)] == pytest.approx(
        [0.04, 0.2, 0.4, 0.4, 0.4]
    )


def test_nesterov_reaches_the_optimizer() -> None:
    """And needs a momentum of SGD."""
    spec = RunSpec(nesterov=True)
    assert make_optimizer(spec, network().parameters()).defaults["nesterov"] is True
