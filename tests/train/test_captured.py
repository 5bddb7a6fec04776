"""Steps that are captured once and replayed are the steps of the eager loop.

No GPU is needed: a replay is a plain call here, and what a GPU would be asked is asked of tensors
without values, which answer no question of the host.
"""

import contextlib
from typing import Any

import pytest
import torch
from tests.train.tiny import CPU, tiny_dataset, tiny_spec
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from espalier.compressor.replay import reading
from espalier.ops.schedules import Clock
from espalier.records import RunSpec
from espalier.train.captured import WARM_UP_STEPS, Work, why_not_captured
from espalier.train.optimizers import set_learning_rate
from espalier.train.run import Run

META = torch.device("meta")
BATCHES = 6
"""Of an epoch of the tiny data set; the last one is not full."""
SETTINGS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "dense": {"gamma": 0.0, "bits": 32},
    "gamma and learning rate by schedules": {
        "schedule": "linear",
        "ramp_end": 0.9,
        "lr_schedule": "cosine",
        "warmup_epochs": 1,
    },
    "a budget by a schedule": {
        "gamma": 0.0,
        "update": "latent",
        "schedule": "cubic",
        "target_density": 0.3,
    },
    "an operator that begins later": {"dense_epochs": 1},
    "lamp": {
        "gamma": 0.0,
        "update": "latent",
        "schedule": "cubic",
        "target_density": 0.3,
        "budget": "lamp",
        "layer_least": 2,
        "augment": True,
    },
    "filters": {"filter_density": 0.6, "update": "latent", "schedule": "linear"},
    "learned": {
        "quantizer": "lsq",
        "pressure": 0.1,
        "gamma": 0.0,
        "update": "latent",
        "schedule": "linear",
    },
    "codes by cost": {"quantizer": "rdoq"},
    "inplace": {"update": "inplace", "optimizer": "adam", "lr": 0.01},
    "at the end of epochs": {"cadence": "every_epoch", "optimizer": "adamw", "lr": 0.01},
    "jointly": {"jointly": True, "std_correction": 1, "order": "qp"},
    "layers' own bits": {"layer_bits": {"0.weight": 3}},
    "bytes": {
        "gamma": 0.0,
        "update": "latent",
        "schedule": "cubic",
        "budget": "lamp",
        "max_bytes": 1100,
    },
    "bfloat16": {"precision": "bf16"},
}
AT_EPOCHS = ("at the end of epochs", "bytes", "bfloat16")


class PlainCalls:
    """Records nothing: a replay is the work itself, done anew."""

    def warm_up(self, work: Work) -> None:
        """Do it."""
        work()

    def record(self, work: Work) -> Work:
        """Return it; not done yet."""
        return work


class Broken(PlainCalls):
    """Fails with words as CUDA has them."""

    def record(self, work: Work) -> Work:
        """Fail."""
        raise RuntimeError("operation not permitted when stream is capturing\nat some place")


def build(spec: RunSpec, recorder: PlainCalls | None) -> Run:
    """Build a run on the CPU, from the same seed."""
    torch.manual_seed(spec.seed)
    return Run.build(spec, tiny_dataset(images=True), CPU, recorder=recorder)


def train(run: Run) -> list[Any]:
    """Train all epochs; return what was recorded, times left out, and all weights."""
    torch.manual_seed(5)
    records = []
    for _ in range(run.spec.epochs):
        assert run.train_epoch(lambda: False, lambda moment: None)
        record, _ = run.finish_epoch()
        records.append({k: v for k, v in record.to_json().items() if k != "times"})
    state = None if run.compressor is None else run.compressor.state_dict()["config"]
    return [records, state, [p.detach().clone() for p in run.model.state_dict().values()]]


@pytest.mark.parametrize("name", SETTINGS)
def test_replayed_epochs_are_the_eager_ones(name: str) -> None:
    """Records, compressor and weights are equal bit for bit; most steps were replays."""
    spec = tiny_spec(**SETTINGS[name])
    eager, replayed = build(spec, PlainCalls()), build(spec, PlainCalls())
    eager.captured = None
    expected, found = train(eager), train(replayed)
    assert found[:2] == expected[:2]
    assert all(torch.equal(a, b) for a, b in zip(found[2], expected[2], strict=True))
    assert replayed.captured is not None
    assert replayed.captured.refused == ""
    assert replayed.captured.replays >= BATCHES - WARM_UP_STEPS


def test_the_first_step_of_an_epoch_and_a_smaller_batch_are_not_replayed() -> None:
    """All others are, once libraries are set up: what changes the kernels is done outside."""
    run = build(tiny_spec(), PlainCalls())
    run.train_epoch(lambda: False, lambda moment: None)
    run.finish_epoch()
    assert run.captured is not None
    assert run.captured.replays == BATCHES - WARM_UP_STEPS - 1
    run.train_epoch(lambda: False, lambda moment: None)
    assert run.captured.replays == 2 * BATCHES - WARM_UP_STEPS - 3


def test_what_a_graph_reads_lies_still() -> None:
    """Buffers, rates, clocks and rows keep their memory from the capture on, over epochs."""
    run = build(tiny_spec(schedule="linear", lr_schedule="cosine"), PlainCalls())
    run.train_epoch(lambda: False, lambda moment: None)

    def memory() -> list[int]:
        captured, compressor = run.captured, run.compressor
        assert captured is not None
        assert compressor is not None
        group = compressor._groups[0]
        held = [captured.inputs, captured.labels, captured.clock.number, *captured.memory.values()]
        held += [
            run.tally.loss,
            run.tally.hits,
            run.guard.good,
            run.optimizer.param_groups[0]["lr"],
        ]
        held += [*run.model.state_dict().values(), *(group._buffers or []), *group.parameters]
        held += [entry for s in run.optimizer.state.values() for entry in s.values()]
        held += list(captured.clock._values.values())
        return [t.data_ptr() for t in held]

    before = memory()
    run.finish_epoch()
    run.train_epoch(lambda: False, lambda moment: None)
    assert memory() == before


def test_a_step_that_cannot_be_captured_is_said_once_and_taken() -> None:
    """The run goes on kernel by kernel, with the bits of one that never tried."""
    spec = tiny_spec()
    eager, broken = build(spec, PlainCalls()), build(spec, Broken())
    eager.captured = None
    expected = train(eager)
    with pytest.warns(RuntimeWarning, match="can't be captured as a CUDA graph.*permitted when"):
        found = train(broken)
    assert found[:2] == expected[:2]
    assert all(torch.equal(a, b) for a, b in zip(found[2], expected[2], strict=True))


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"rounding": "stochastic"}, "generator"), ({"std_zeros": False}, "without zeros"), ({}, "")],
)
def test_specs_that_can_not_be_captured_are_known(settings: dict[str, Any], why: str) -> None:
    """Nothing is tried then; a dense run has no such settings."""
    found = why_not_captured(tiny_spec(**settings))
    assert why in found
    assert bool(found) == bool(why)
    assert why_not_captured(tiny_spec(**settings | {"gamma": 0.0, "bits": 32})) == ""


class NoNumbers(TorchFunctionMode):
    """Refuses to make tensors of the host's numbers, which are sent to a device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at each function before it is called."""
        assert func not in (torch.tensor, torch.as_tensor, torch.from_numpy), f"{func} sends"
        return func(*args, **kwargs or {})


class NoHost(TorchDispatchMode):
    """Refuses what makes a host wait for a GPU, or what a capture forbids."""

    READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique")

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        """Operations."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at each operation before it is done."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        assert not name.startswith(self.READS), f"{name} reads a value"
        tensors = [
            t for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)
        ]
        assert all(t.device == META for t in tensors), f"{name} sends a value"
        self.seen += 1
        return func(*args, **kwargs)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in AT_EPOCHS])
def test_no_step_asks_a_device_for_a_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward, backward, update and compression only start kernels, schedules and all.

    The device is ``meta``, whose tensors have no values; what a GPU's fused optimizers do is left
    to torch.
    """
    spec = tiny_spec(**SETTINGS[name] | {"optimizer": "sgd"})
    monkeypatch.setattr("espalier.train.run.autocast", lambda *of: contextlib.nullcontext())
    run = Run.build(spec, tiny_dataset(images=True), META)
    clock = Clock(META)
    batch = torch.empty(8, 3, 8, 8, device=META), torch.empty(8, dtype=torch.int64, device=META)
    by_clock = (
        contextlib.nullcontext() if run.compressor is None else reading(run.compressor, clock)
    )
    with by_clock:
        for _ in range(2):  # shadows, rows and moments are there
            run.compute(*batch)
        with NoNumbers(), NoHost() as mode:
            clock.set(3)
            set_learning_rate(run.optimizer, 0.1)
            run.compute(*batch)
    assert mode.seen > 30


def test_what_makes_a_device_wait_is_seen() -> None:
    """The test above relies on it: a value read, a shape that depends on values, a number sent."""
    ones = torch.ones(3, device=META)
    for work in (
        lambda: bool(ones.sum() > 0),
        lambda: ones[ones > 0],
        lambda: torch.tensor([1.0, 2.0], device=META),
        lambda: torch.where(ones > 0, torch.tensor(0.0), ones),
    ):
        refused = pytest.raises((AssertionError, NotImplementedError))
        with refused, NoNumbers(), NoHost():
            work()
