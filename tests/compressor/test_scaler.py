"""Steps that a gradient scaler skips leave everything as it was, whoever does the skipping."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from espalier.compressor import attach, compressor, group
from espalier.compressor.group import Group
from espalier.encoded import decode
from espalier.ops import (
    Chain,
    GlobalMagnitude,
    PruneThenQuantize,
    StdThreshold,
    UniformQuantizer,
    kernels,
)

OP = PruneThenQuantize(gamma=0.5, bits=4)
UPDATES = ("hybrid", "inplace", "latent")
OPTIMIZERS = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9),
    "adam": lambda ps: torch.optim.Adam(ps, lr=0.01),
    # no momentum: torch leaves its buffer uninitialized where the very first step is skipped
    "sgd_fused": lambda ps: torch.optim.SGD(ps, lr=0.05, fused=True),
    "adamw_fused": lambda ps: torch.optim.AdamW(ps, lr=0.01, fused=True),
}
SKIPPED = (0, 2, 5)  # the first step of all, as large initial scales make it, and two more


def slow_loop(small, make, update, **options):
    twin = small.network()
    return small.Loop(
        twin,
        make(twin.parameters()),
        small.weights,
        lambda w, _: StdThreshold(gamma=0.5)(w),
        lambda w, _: OP(w),
        update,
        **options,
    )


def same(model, twin):
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def flat(state):
    """Return all tensors and numbers of a nested state, copied."""
    if isinstance(state, torch.Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {k: flat(v) for k, v in state.items()}
    if isinstance(state, list | tuple):
        return [flat(v) for v in state]
    return state


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def scaled_step(small, model, optimizer, scaler, batch, *, overflow):
    """Take one step as the torch documentation shows it; an overflow is put in by hand."""
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
    scaler.scale(loss).backward()
    if overflow:
        model.fc2.weight.grad[0, 0] = torch.inf
    scaler.step(optimizer)
    scaler.update()


@pytest.fixture
def as_if_on_a_device(monkeypatch):
    """Make the package believe that reading any value would make somebody wait."""
    for module in (group, compressor):
        monkeypatch.setattr(module, "on_host", lambda tensor: False)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("update", UPDATES)
def test_skipped_steps_leave_no_trace(small, update, kind):
    """Weights, shadows, rows, counters and the optimizer's state, bit for bit."""
    model, slow = small.network(), slow_loop(small, OPTIMIZERS[kind], update)
    optimizer = OPTIMIZERS[kind](model.parameters())
    found = attach(model, optimizer, OP, update=update, steps_per_epoch=4)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for i, batch in enumerate(small.batches(8)):
        before = flat([model.state_dict(), optimizer.state_dict(), found.state_dict()])
        buffers = before[0]
        scaled_step(small, model, optimizer, scaler, batch, overflow=i in SKIPPED)
        if i in SKIPPED:
            with torch.no_grad():  # the forward pass moves the normalization's statistics
                for name, b in model.named_buffers():
                    buffers[name] = b.clone()
            if not optimizer.state_dict()["state"]:
                before[1]["state"] = {}
            after = flat([model.state_dict(), optimizer.state_dict(), found.state_dict()])
            if i > 0:  # in the first step fused optimizers make their empty state
                assert equal(after[1], before[1])
            assert equal([after[0], after[2]], [before[0], before[2]])
            slow.model(batch[0])
        else:
            slow.step(batch)
            if slow.steps % 4 == 0:
                slow.end_epoch()
        assert same(model, slow.model), f"batch {i}"
    assert found.steps == 8 - len(SKIPPED)


@pytest.mark.parametrize("kind", ["sgd_fused", "adamw_fused"])
@pytest.mark.parametrize("update", UPDATES)
def test_a_device_takes_skipped_steps_back_without_reading(small, as_if_on_a_device, update, kind):
    """The same weights as on the host; only the host's counter can't know."""
    model, slow = small.network(), slow_loop(small, OPTIMIZERS[kind], update)
    optimizer = OPTIMIZERS[kind](model.parameters())
    found = attach(model, optimizer, OP, update=update)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for i, batch in enumerate(small.batches(8)):
        scaled_step(small, model, optimizer, scaler, batch, overflow=i in SKIPPED)
        if i in SKIPPED:
            slow.model(batch[0])
        else:
            slow.step(batch)
        assert same(model, slow.model), f"batch {i}"
        decoded = found.encoded()
        for name, p in slow.chosen().items():
            assert torch.equal(torch.from_numpy(decode(decoded[name])), p.detach())
        if i == 0:
            assert found.report().density_mask == 1.0  # nothing was pruned yet
    assert found.steps == 8


@pytest.mark.parametrize("update", UPDATES)
def test_a_device_skips_dense_steps_and_ends_epochs(small, as_if_on_a_device, update):
    """An epoch's end compresses even where the last step before it was skipped."""
    make = OPTIMIZERS["sgd_fused"]
    model, slow = small.network(), slow_loop(small, make, update, cadence="every_epoch")
    optimizer = make(model.parameters())
    found = attach(model, optimizer, OP, update=update, cadence="every_epoch")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for i, batch in enumerate(small.batches(9)):
        skip = i in (2, 3, 8)  # the last of an epoch, the first of the next, the last of all
        scaled_step(small, model, optimizer, scaler, batch, overflow=skip)
        if skip:
            slow.model(batch[0])
        else:
            slow.step(batch)
        assert same(model, slow.model), f"batch {i}"
        if i % 3 == 2:
            found.end_epoch()
            slow.end_epoch()
            assert same(model, slow.model), f"epoch's end {i}"


@pytest.mark.parametrize("update", UPDATES)
def test_a_device_ends_an_epoch_after_a_skipped_step(small, as_if_on_a_device, update):
    """With hybrid the next update starts from the grid then."""
    make = OPTIMIZERS["adamw_fused"]
    model, slow = small.network(), slow_loop(small, make, update)
    optimizer = make(model.parameters())
    found = attach(model, optimizer, OP, update=update)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for i, batch in enumerate(small.batches(7)):
        skip = i in (2, 3)
        scaled_step(small, model, optimizer, scaler, batch, overflow=skip)
        if skip:
            slow.model(batch[0])
        else:
            slow.step(batch)
        if i % 3 == 2:
            found.end_epoch()
            slow.end_epoch()
        assert same(model, slow.model), f"batch {i}"
    found.detach()
    assert same(model, slow.model)


def test_a_tensor_does_not_die_in_a_step_that_is_skipped(small, as_if_on_a_device):
    """The flag is taken back with the weights."""
    model = small.network()
    optimizer = OPTIMIZERS["sgd_fused"](model.parameters())
    found = attach(model, optimizer, PruneThenQuantize(gamma=50.0, bits=4))
    scaler = torch.amp.GradScaler("cpu")
    batch = small.batches(1)[0]
    scaled_step(small, model, optimizer, scaler, batch, overflow=True)
    found.report()
    scaled_step(small, model, optimizer, scaler, batch, overflow=False)
    with pytest.warns(UserWarning, match="lost its last weight at step 1"):
        found.report()


class NoReading(TorchDispatchMode):
    """Refuses what brings a value from the device to the host."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert not any(name.startswith(f) for f in self.FORBIDDEN), f"{name} reads from the device"
        return func(*args, **(kwargs or {}))


class Subtract(torch.optim.Optimizer):
    """Takes plain gradient steps, and leaves skipping to whoever set ``found_inf``."""

    def __init__(self, params):
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p.sub_(p.grad, alpha=0.1)


OPERATORS = [
    OP,
    PruneThenQuantize(gamma=0.5, bits=1, rounding="floor"),
    StdThreshold(gamma=0.5, strict=True),
    UniformQuantizer(bits=4),
    Chain(prune=GlobalMagnitude(density=0.3), quantize=UniformQuantizer(bits=3)),
]


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("operator", OPERATORS, ids=lambda op: type(op).__name__)
@pytest.mark.parametrize("update", UPDATES)
def test_no_step_reads_from_the_device(
    small, as_if_on_a_device, monkeypatch, update, operator, skips
):
    """No operation of a step brings a value to the host, also where steps may be skipped."""
    monkeypatch.setattr(kernels, "core", None)
    model = small.network()
    optimizer = Subtract(model.parameters())
    attach(model, optimizer, operator, update=update, start_step=1)
    if skips:
        optimizer.found_inf = torch.zeros(())
    for batch in small.batches(3):
        small.gradient(model, batch)
        with NoReading():
            optimizer.step()


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("operator", OPERATORS, ids=lambda op: type(op).__name__)
@pytest.mark.parametrize("update", UPDATES)
def test_steps_run_where_there_is_nothing_to_read(small, update, operator, skips):
    """On the meta device any read raises, those that no dispatcher sees as well."""
    model = small.network().to("meta")
    optimizer = Subtract(model.parameters())
    compressor = attach(model, optimizer, operator, update=update, start_step=1)
    if skips:
        optimizer.found_inf = torch.zeros((), device="meta")
    for _ in range(3):
        for p in model.parameters():
            p.grad = torch.empty_like(p)
        optimizer.step()
    assert compressor.steps == 3
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        compressor.report()


def test_reading_is_noticed(small):
    """The two tests above would fail if a step did read."""
    with NoReading(), pytest.raises(AssertionError, match="_local_scalar_dense reads"):
        torch.ones(()).item()


def test_what_diverges_on_a_device_speaks_at_report_save_and_epoch_end(small, as_if_on_a_device):
    """The step itself is silent; the message names the tensor and the first such step."""
    for speak in ("report", "state_dict", "encoded", "end_epoch", "detach"):
        model = small.network()
        optimizer = Subtract(model.parameters())
        found = attach(model, optimizer, OP)
        for i, batch in enumerate(small.batches(3)):
            small.gradient(model, batch)
            if i == 1:
                model.fc1.weight.grad[0, 0] = torch.nan
            optimizer.step()
        with pytest.raises(ValueError, match=r"NaN or infinite in .*fc1.weight at step 1"):
            getattr(found, speak)()


def test_groups_read_nothing_without_the_check(small, monkeypatch):
    """A group on a device passes check=False to the operator."""
    monkeypatch.setattr(kernels, "core", None)
    monkeypatch.setattr(group, "on_host", lambda tensor: False)
    members = dict(small.network().named_parameters())
    one = Group(OP, members, "latent")
    with NoReading(), torch.no_grad():
        one.compress(0)
        one.restore()
        one.settle()
