"""A step that lies on a device gives what the same step on the host gives, bit for bit."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from espalier.ops import (
    Chain,
    Cubic,
    FilterMagnitude,
    GlobalMagnitude,
    Lamp,
    LearnedStep,
    LearnedThreshold,
    Linear,
    MixedBits,
    Operator,
    PruneThenQuantize,
    Then,
    UniformQuantizer,
    compress_,
    kernels,
)
from espalier.ops.counted import keep_counted
from espalier.ops.schedules import Clock, share_of, value_at

CPU = torch.device("cpu")
DOWN = Cubic(start=1.0, end=0.0, start_step=1, end_step=7)
UP = Linear(start=0.0, end=1.5, start_step=0, end_step=7)
MIXED = MixedBits(quantize=UniformQuantizer(bits=8), each=(2, 32, 3, 3))
OPERATORS: dict[str, Operator] = {
    "deviation": PruneThenQuantize(gamma=UP, bits=4),
    "global": Chain(prune=GlobalMagnitude(density=DOWN), quantize=UniformQuantizer(bits=4)),
    "lamp": Chain(prune=Lamp(density=DOWN, least=2), quantize=MIXED),
    "lamp, prices": Chain(
        prune=Lamp(density=DOWN, prices=(3.0, 1.0, 2.0, 1.0)), quantize=UniformQuantizer(bits=3)
    ),
    "lamp, every second": Lamp(density=DOWN, every=2),
    "filters": FilterMagnitude(density=DOWN),
    "filters, then weights": Then(
        first=FilterMagnitude(density=DOWN, keep_last=True), second=GlobalMagnitude(density=DOWN)
    ),
    "learned": Chain(
        prune=LearnedThreshold(pressure=UP, rate=UP), quantize=LearnedStep(bits=3, rate=UP)
    ),
}


def weights() -> dict[str, Tensor]:
    """Ties, zeros, a constant tensor, a scalar's worth of entries."""
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randn(4, 3, 2, 2, generator=generator)
    return {
        "a": drawn,
        "b": drawn[0].clone().round(),
        "c": torch.full((5,), 0.5),
        "d": torch.randn(6, 7, generator=generator),
    }


@pytest.fixture(autouse=True)
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the way of devices on the host: without the compiled core."""
    monkeypatch.setattr(kernels, "_compiled", lambda tensors: False)


@pytest.mark.parametrize("name", OPERATORS)
def test_passes_by_a_clock_are_passes_by_the_step(name: str) -> None:
    """Weights, shadows, rows and what is carried are equal over a whole schedule."""
    operator, clock = OPERATORS[name], Clock(CPU)
    sets = [weights(), weights()]
    shadows = [[w.clone() for w in one.values()] for one in sets]
    states = [operator.init(one) for one in sets]
    for step in range(9):
        clock.set(step)
        states = [replace(states[0], step=step), replace(states[1], step=step, clock=clock)]
        gradients = [torch.full_like(w, 0.1 * step) for w in sets[0].values()]
        for i, one in enumerate(sets):
            held = list(one.values())
            states[i] = operator.learn(gradients, shadows[i], states[i])
            for w, shadow in zip(held, shadows[i], strict=True):
                w.copy_(shadow)
            states[i] = compress_(operator, held, states[i], shadows=shadows[i])
        assert_same(*[list(one.values()) for one in sets])
        assert_same(*shadows)
        assert states[0].written is not None
        assert states[1].written is not None
        for field in ("threshold", "step", "kept", "nonzero"):
            assert torch.equal(getattr(states[0].written, field), getattr(states[1].written, field))
        assert_same(*[list(state.carried.values()) for state in states])
    assert states[1].step == 9


def assert_same(one: Sequence[Tensor], other: Sequence[Tensor]) -> None:
    """Both hold the same numbers."""
    assert len(one) == len(other)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("k", range(0, 83, 3))
def test_a_counted_budget_is_the_largest_ones(k: int) -> None:
    """Threshold and what stays are those of a count on the host, zero and all included."""
    tensors = list(weights().values())
    total = sum(t.numel() for t in tensors)
    k = min(k, total)
    one, other = kernels.keep_largest(tensors, k), keep_counted(tensors, torch.tensor(k))
    assert torch.equal(one.threshold, other.threshold)
    masks = [kernels.keep_masks(tensors, cut) for cut in (one, other)]
    assert_same(*masks)
    assert sum(int(mask.sum()) for mask in masks[1]) == k


def test_a_clock_fills_what_was_read_before() -> None:
    """The tensor that a graph reads is the same one at every step, and holds the step's value."""
    clock = Clock(CPU)
    value = clock.read(UP)
    for step in (0, 3, 8, 5):
        clock.set(step)
        assert clock.read(UP) is value
        assert (value.item(), clock.number.item()) == (UP(step), step)
    assert value_at(0.5, clock) == 0.5
    assert value_at(UP, clock) is value


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_shares_are_rounded_the_same_way(share: float) -> None:
    """Half a weight is a whole one, wherever it is counted."""
    for count in (0, 1, 5, 2_083_018):
        on_device = share_of(count, torch.tensor(share, dtype=torch.float64))
        assert isinstance(on_device, Tensor)
        assert on_device.item() == share_of(count, share)
