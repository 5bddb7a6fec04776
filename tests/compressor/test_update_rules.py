"""hybrid, inplace and latent, every step and every epoch, against a slow loop without hooks."""

import numpy as np
import pytest
import torch

from espalier.compressor import attach
from espalier.errors import ConfigError
from espalier.ops import (
    Cubic,
    Linear,
    PruneThenQuantize,
    QuantizeThenPrune,
    StdThreshold,
    UniformQuantizer,
)

STEPS, EPOCH = 7, 3
UPDATES = ("hybrid", "inplace", "latent")


class Lion(torch.optim.Optimizer):
    """An optimizer that the package has never seen: moves by the sign of a running mean."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.mul_(0.9).add_(p.grad, alpha=0.1)
                p.add_(mean.sign(), alpha=-group["lr"])
        return loss


OPTIMIZERS = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda ps: torch.optim.Adam(ps, lr=0.01),
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=0.01, weight_decay=0.1),
    "adamw_fused": lambda ps: torch.optim.AdamW(ps, lr=0.01, weight_decay=0.1, fused=True),
    "lion": lambda ps: Lion(ps, lr=0.003),
}


def both(small, operator, prune, compress, *, make=OPTIMIZERS["sgd"], update, **options):
    """Return an attached model, its optimizer and compressor, and the slow loop beside them."""
    model, twin = small.network(), small.network()
    optimizer, slow = make(model.parameters()), make(twin.parameters())
    compressor = attach(model, optimizer, operator, update=update, **options)
    loop = small.Loop(
        twin,
        slow,
        small.weights,
        prune,
        compress,
        update,
        cadence=options.get("cadence", "every_step"),
        start_step=options.get("start_step", 0),
    )
    return model, optimizer, compressor, loop


def assert_same(model, twin, when=""):
    """Compare all weights and buffers bit for bit."""
    for (name, mine), (_, theirs) in zip(
        model.state_dict().items(), twin.state_dict().items(), strict=True
    ):
        assert torch.equal(mine, theirs), f"{name} differs {when}"


def fixed(gamma, bits, rounding="nearest"):
    """Return P then Q, P alone and P then Q as functions of one tensor."""
    op = PruneThenQuantize(gamma=gamma, bits=bits, rounding=rounding)
    return op, lambda w, _: StdThreshold(gamma=gamma)(w), lambda w, _: op(w)


def run(small, model, optimizer, compressor, loop, *, signal, steps=STEPS, epoch=EPOCH):
    """Train both and compare after every step and every epoch."""
    for i, batch in enumerate(small.batches(steps)):
        small.gradient(model, batch)
        optimizer.step()
        loop.step(batch)
        if signal == "end_epoch" and (i + 1) % epoch == 0:
            assert_same(model, loop.model, f"before the epoch's end at step {i}")
            compressor.end_epoch()
        if signal and (i + 1) % epoch == 0:
            loop.end_epoch()
        assert_same(model, loop.model, f"after step {i}")


@pytest.mark.parametrize(
    ("kind", "cadence", "signal"),
    [
        ("sgd", "every_step", None),
        ("sgd", "every_step", "steps_per_epoch"),
        ("sgd", "every_step", "end_epoch"),
        ("sgd", "every_epoch", "steps_per_epoch"),
        ("sgd", "every_epoch", "end_epoch"),
        ("adam", "every_step", "steps_per_epoch"),
        ("adamw", "every_epoch", "end_epoch"),
        ("adamw_fused", "every_step", "end_epoch"),
        ("lion", "every_step", "steps_per_epoch"),
    ],
)
@pytest.mark.parametrize("update", UPDATES)
def test_weights_follow_the_slow_loop(small, update, cadence, signal, kind):
    """Every rule, cadence and way to end an epoch, with all kinds of optimizers, bit for bit."""
    steps_per_epoch = EPOCH if signal == "steps_per_epoch" else None
    parts = both(
        small,
        *fixed(0.5, 4),
        make=OPTIMIZERS[kind],
        update=update,
        cadence=cadence,
        steps_per_epoch=steps_per_epoch,
    )
    run(small, *parts, signal=signal)
    assert parts[2].steps == STEPS
    assert parts[2].epochs == (STEPS // EPOCH if signal else 0)


@pytest.mark.parametrize(("gamma", "bits"), [(0.0, 3), (0.75, 1), (0.25, 8), (0.5, 32)])
@pytest.mark.parametrize("update", UPDATES)
def test_settings_follow_the_slow_loop(small, way, update, gamma, bits):
    """Quantization alone, one bit, many bits and pruning alone, compiled and in torch."""
    parts = both(small, *fixed(gamma, bits), update=update, steps_per_epoch=EPOCH)
    run(small, *parts, signal="steps_per_epoch")


@pytest.mark.parametrize("rounding", ["floor", "stochastic"])
@pytest.mark.parametrize("update", UPDATES)
def test_roundings_follow_the_slow_loop(small, update, rounding):
    """Floor from the operator alone; stochastic from apply() with the state handed on."""
    op, prune, compress = fixed(0.3, 4, rounding)
    if rounding == "stochastic":
        parts = both(small, op, prune, None, update=update, steps_per_epoch=EPOCH)
        weights = {n: p for n, p in parts[0].named_parameters() if n in small.weights}
        state = op.init(weights)
        passes = {}

        def compress(w, step):  # the set is one draw: made at the first tensor of a step
            nonlocal state
            if not passes.get(step):
                dense = {n: p.detach().clone() for n, p in parts[3].chosen().items()}
                found, state = op.apply(dense, state)
                passes[step] = list(found.values())
            return passes[step].pop(0)

        parts[3].compress = compress
    else:
        parts = both(small, op, prune, compress, update=update, steps_per_epoch=EPOCH)
    run(small, *parts, signal="steps_per_epoch")


@pytest.mark.parametrize("update", UPDATES)
def test_quantize_then_prune_follows_the_slow_loop(small, way, update):
    """Hybrid's updates start from the weights at full precision, zero where Q then P is zero."""
    op = QuantizeThenPrune(gamma=0.5, bits=4)

    def prune(w, _):
        quantized = UniformQuantizer(bits=4)(w)
        beta = torch.tensor(0.5 * quantized.double().std(correction=0).item(), dtype=torch.float32)
        return torch.where(quantized.abs() >= beta, w, 0.0)

    parts = both(small, op, prune, lambda w, _: op(w), update=update, steps_per_epoch=EPOCH)
    run(small, *parts, signal="steps_per_epoch")


@pytest.mark.parametrize(
    ("ramp", "value"),
    [
        (
            Linear(start=0.0, end=1.0, start_step=1, end_step=5),
            lambda s: min(max((s - 1) / 4, 0.0), 1.0),
        ),
        (
            Cubic(start=0.0, end=0.8, start_step=0, end_step=6),
            lambda s: 0.8 - 0.8 * (1 - min(s / 6, 1.0)) ** 3,
        ),
    ],
)
@pytest.mark.parametrize("cadence", ["every_step", "every_epoch"])
@pytest.mark.parametrize("update", UPDATES)
def test_gamma_follows_its_schedule(small, update, cadence, ramp, value):
    """The first step is step 0; an epoch's end takes the step before it."""
    parts = both(
        small,
        PruneThenQuantize(gamma=ramp, bits=5),
        lambda w, s: StdThreshold(gamma=value(s))(w),
        lambda w, s: PruneThenQuantize(gamma=value(s), bits=5)(w),
        update=update,
        cadence=cadence,
        steps_per_epoch=EPOCH,
    )
    run(small, *parts, signal="steps_per_epoch")


@pytest.mark.parametrize("start", [1, 3, 4, 100])
@pytest.mark.parametrize("cadence", ["every_step", "every_epoch"])
@pytest.mark.parametrize("update", UPDATES)
def test_first_steps_train_densely(small, update, cadence, start):
    """start_step is the number of optimizer steps before the first that compresses."""
    parts = both(
        small,
        *fixed(0.5, 4),
        update=update,
        cadence=cadence,
        steps_per_epoch=EPOCH,
        start_step=start,
    )
    model = parts[0]
    run(small, *parts, signal="steps_per_epoch")
    dense = small.network()
    slow = OPTIMIZERS["sgd"](dense.parameters())
    if start > STEPS:
        for batch in small.batches(STEPS):
            small.gradient(dense, batch)
            slow.step()
        assert_same(model, dense)


@pytest.mark.parametrize("end", [1, 3, 4, 100])
@pytest.mark.parametrize("cadence", ["every_step", "every_epoch"])
@pytest.mark.parametrize("update", UPDATES)
def test_after_the_end_step_zeros_stay(small, update, cadence, end):
    """Pruning ends with that step; what stays is put on a grid from 0, bit for bit the slow loop's.

    A quantizer alone, on weights whose zeros are put back before, is the oracle.
    """
    model, optimizer, compressor, loop = both(
        small, *fixed(0.5, 3), update=update, cadence=cadence, steps_per_epoch=EPOCH, end_step=end
    )
    loop.end_step, loop.quantize = end, UniformQuantizer(bits=3)
    run(small, model, optimizer, compressor, loop, signal="steps_per_epoch")
    ended = compressor.report().compressed[0].threshold == 0
    passes = range(1, STEPS + 1) if cadence == "every_step" else range(EPOCH, STEPS + 1, EPOCH)
    assert ended == (len([step for step in passes if step >= end]) > 1)


@pytest.mark.parametrize("update", UPDATES)
def test_a_frozen_zero_never_returns(small, update):
    """Whatever the gradients say, and the other order of P and Q too."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    operator = QuantizeThenPrune(gamma=0.7, bits=4)
    attach(model, optimizer, operator, update=update, end_step=2, on_dead_layer="ignore")
    zeros = {}
    for i, batch in enumerate(small.batches(5)):
        small.gradient(model, batch)
        optimizer.step()
        weights = {name: p.detach().clone() for name, p in model.named_parameters()}
        if i == 1:
            zeros = {name: weights[name] == 0 for name in small.weights}
        for name, mask in zeros.items():
            assert not weights[name][mask].any(), f"{name} came back at step {i}"
    assert sum(int(mask.sum()) for mask in zeros.values()) > 0


def test_inplace_quantization_swallows_small_updates(small):
    """The known trap that latent and hybrid avoid: coarse weights do not move at all."""
    moved = {}
    for update in UPDATES:
        model = small.network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        compressor = attach(model, optimizer, UniformQuantizer(bits=3), update=update)
        codes = []
        for batch in small.batches(5) * 4:
            small.gradient(model, batch)
            optimizer.step()
            codes.append(compressor.encoded()["fc1.weight"])
        moved[update] = not (
            np.array_equal(codes[0].mask, codes[-1].mask)
            and np.array_equal(codes[0].codes, codes[-1].codes)
        )
    assert moved == {"inplace": False, "hybrid": True, "latent": True}


@pytest.mark.parametrize("update", UPDATES)
def test_parameters_hold_compressed_weights_between_steps(small, update):
    """What the model computes with after a step is what is reported: few levels, many zeros."""
    model = small.network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    attach(model, optimizer, PruneThenQuantize(gamma=0.75, bits=3), update=update)
    for batch in small.batches(4):
        small.gradient(model, batch)
        optimizer.step()
        values = model.fc1.weight.detach().unique()
        assert values.numel() <= 2 * (2**2 + 1) + 1
        assert (model.fc1.weight == 0).sum() > 100


def test_hybrid_without_epochs_says_so_and_writes_at_detach(small):
    """Nobody ends an epoch: the report tells, and detach leaves the weights on the grid."""
    model, optimizer, compressor, loop = both(small, *fixed(0.5, 4), update="hybrid")
    run(small, model, optimizer, compressor, loop, signal=None)
    assert any("no epoch has ended" in note for note in compressor.report().notes)
    assert "no epoch has ended" in str(compressor.report())
    compressor.detach()
    assert_same(model, loop.model)
    small.gradient(model, small.batches(1)[0])
    optimizer.step()
    loop.start = {}
    loop.start_step = 10**6
    loop.step(small.batches(1)[0])
    assert_same(model, loop.model, "in the first dense step after detach")


@pytest.mark.parametrize("update", ["inplace", "latent"])
def test_other_rules_need_no_epochs(small, update):
    """The note about epochs is hybrid's alone, and it goes away once an epoch has ended."""
    for rule, ends in ((update, False), ("hybrid", True)):
        model, optimizer, compressor, _ = both(small, *fixed(0.5, 4), update=rule)
        small.gradient(model, small.batches(1)[0])
        optimizer.step()
        if ends:
            compressor.end_epoch()
        assert compressor.report().notes == ()


@pytest.mark.parametrize("call", ["report", "encoded", "detach"])
def test_every_epoch_without_an_epoch_raises(small, call):
    """Nothing was compressed, and that must not pass in silence."""
    model, optimizer, compressor, _ = both(
        small, *fixed(0.5, 4), update="inplace", cadence="every_epoch"
    )
    small.gradient(model, small.batches(1)[0])
    optimizer.step()
    with pytest.raises(ConfigError, match=r"1 steps were taken and no epoch has ended.*end_epoch"):
        getattr(compressor, call)()


def test_epochs_are_counted_by_one_side_only(small):
    """With steps_per_epoch a call of end_epoch() would count the epoch twice."""
    _, _, compressor, _ = both(small, *fixed(0.5, 4), update="hybrid", steps_per_epoch=2)
    with pytest.raises(ConfigError, match=r"steps_per_epoch=2 steps.*not both"):
        compressor.end_epoch()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"update": "hybird"}, "update is 'hybird'.*Did you mean 'hybrid'"),
        ({"cadence": "every_stp"}, "cadence is 'every_stp'.*Did you mean 'every_step'"),
        ({"on_dead_layer": "raise"}, "on_dead_layer is 'raise'; it is one of warn, error, ignore"),
        ({"steps_per_epoch": 0}, "steps_per_epoch is 0; an epoch has at least one step"),
        ({"steps_per_epoch": -3}, "steps_per_epoch is -3"),
        ({"start_step": -1}, "start_step is -1; give the number of dense steps"),
        ({"start_step": 5, "end_step": 5}, "end_step is 5 and start_step 5; .* give a later end"),
    ],
)
def test_options_out_of_bounds_are_named(small, options, message):
    """And nothing is hooked to the optimizer then."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match=message):
        attach(model, optimizer, PruneThenQuantize(gamma=0.5, bits=4), **options)
    assert not optimizer._optimizer_step_post_hooks
