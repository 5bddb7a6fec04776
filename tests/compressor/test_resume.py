"""A run stopped at any step and resumed in a new process ends with the same bits."""

import copy
import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from espalier.compressor import Rule, attach
from espalier.errors import CheckpointError
from espalier.ops import (
    Chain,
    Cubic,
    EntropyQuantizer,
    GlobalMagnitude,
    Lamp,
    LearnedStep,
    LearnedThreshold,
    Linear,
    PruneThenQuantize,
    QuantizeThenPrune,
    UniformQuantizer,
)

OP = PruneThenQuantize(gamma=0.5, bits=4)
STOCHASTIC = PruneThenQuantize(gamma=0.3, bits=4, rounding="stochastic")
UPDATES = ("hybrid", "inplace", "latent")
PROGRAM = Path(__file__).with_name("parts.py")


@pytest.fixture(scope="module")
def parts():
    spec = importlib.util.spec_from_file_location("parts", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases(settings):
    """Return (settings, step to stop at): every rule and cadence, and every step of one run."""
    found = []
    for update, operator in itertools.product(UPDATES, (OP, STOCHASTIC)):
        found += [
            (settings(operator, update=update), 3),
            (settings(operator, optimizer="adam", update=update, steps_per_epoch=3), 4),
            (settings(operator, end_epoch=3, update=update), 6),
            (settings(operator, end_epoch=3, update=update, cadence="every_epoch"), 5),
            (settings(operator, update=update, cadence="every_epoch", steps_per_epoch=3), 6),
            (settings(operator, update=update, start_step=5), 2),
            (settings(operator, update=update, end_step=3), 5),
            (settings(operator, update=update, end_step=6, steps_per_epoch=3), 4),
        ]
    ramp = Linear(start=0.0, end=1.0, end_step=8)
    budget = GlobalMagnitude(density=Cubic(start=1.0, end=0.1, start_step=1, end_step=6))
    learned = Chain(prune=Lamp(density=0.4), quantize=LearnedStep(bits=3, rate=0.1))
    threshold = Chain(
        prune=LearnedThreshold(pressure=1.0, start=0.2), quantize=LearnedStep(bits=2, rate=0.1)
    )
    found += [
        (settings(learned, update="latent"), 4),
        (settings(Lamp(density=0.4, every=3), update="latent"), 4),
        (settings(EntropyQuantizer(bits=3, price=0.2), update="latent"), 4),
        (settings(learned, update="hybrid", steps_per_epoch=3), 4),
        (settings(threshold, optimizer="adam", update="latent", start_step=2), 5),
        (settings(PruneThenQuantize(gamma=ramp, bits=5), update="hybrid", steps_per_epoch=5), 4),
        (settings(QuantizeThenPrune(gamma=0.4, bits=3), update="hybrid", steps_per_epoch=5), 4),
        (settings(Chain(prune=budget, quantize=UniformQuantizer(bits=6)), update="latent"), 5),
        (settings(STOCHASTIC, OP, update="latent", steps_per_epoch=3, optimizer="adam"), 5),
        (settings(PruneThenQuantize(gamma=40.0, bits=4), update="hybrid"), 2),
    ]
    every = settings(STOCHASTIC, update="hybrid", steps_per_epoch=3, optimizer="adam")
    return found + [(every, step) for step in range(9)]


def test_resumed_runs_end_with_the_same_bits(parts, tmp_path):
    """Weights, rows, shadows, generators, counters and the optimizer's state; one new process."""
    expected = {}
    for i, (settings, stop) in enumerate(cases(parts.settings)):
        folder = tmp_path / f"{i:03}"
        run = parts.Run(settings)
        run.train(0, stop)
        run.save(folder, stop)
        run.train(stop, parts.STEPS)
        expected[folder] = (
            {k: v.clone() for k, v in run.tensors().items()},
            json.loads(json.dumps(run.plain())),
        )
    subprocess.run([sys.executable, "-W", "error", PROGRAM, tmp_path], check=True, timeout=300)
    for folder, (tensors, plain) in expected.items():
        found = load_file(folder / "tensors.safetensors")
        assert found.keys() == tensors.keys(), plain["settings"]
        for name, tensor in tensors.items():
            assert torch.equal(found[name], tensor), (name, plain["settings"])
        assert json.loads((folder / "plain.json").read_text()) == plain | {"step": parts.STEPS}


def trained(small, *, operator=OP, steps=3, seed=0, **options):
    model = small.network(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    compressor = attach(model, optimizer, operator, **options)
    for batch in small.batches(steps):
        small.gradient(model, batch)
        optimizer.step()
    return model, compressor


def test_report_and_codes_are_those_of_the_saved_run(small):
    """Without another step, too."""
    for options in (
        {"update": "hybrid"},
        {"update": "latent", "steps_per_epoch": 3, "cadence": "every_epoch"},
        {"operator": GlobalMagnitude(density=Linear(start=1.0, end=0.1, end_step=5))},
    ):
        model, compressor = trained(small, **options)
        twin, other = trained(small, steps=0, seed=4, **options)
        other.load_state_dict(copy.deepcopy(compressor.state_dict()))
        twin.load_state_dict(model.state_dict())
        assert other.report() == compressor.report()
        mine, theirs = compressor.encoded(), other.encoded()
        for name, e in mine.items():
            assert (e.codes == theirs[name].codes).all()
            assert (e.grid, e.kept) == (theirs[name].grid, theirs[name].kept)


def test_the_report_asks_for_the_density_of_its_last_pass(small):
    """A ramp goes on while every_epoch waits; resumed or not."""
    operator = GlobalMagnitude(density=Linear(start=1.0, end=0.0, end_step=10))
    options = {"operator": operator, "cadence": "every_epoch", "steps_per_epoch": 3}
    _, compressor = trained(small, steps=5, **options)
    _, other = trained(small, steps=0, **options)
    other.load_state_dict(compressor.state_dict())
    for one in (compressor, other):
        assert one.report().asked_density == pytest.approx(0.8)
        assert one.report().density_mask == pytest.approx(0.8, abs=1e-3)


def test_a_death_that_was_told_is_not_told_again(small):
    """The names go along; a new death still warns."""
    with pytest.warns(UserWarning, match="lost its last weight at step 0"):
        _, compressor = trained(small, operator=PruneThenQuantize(gamma=40.0, bits=4), steps=1)
    _, other = trained(small, operator=PruneThenQuantize(gamma=40.0, bits=4), steps=0)
    other.load_state_dict(compressor.state_dict())
    other.report()


def test_the_state_is_plain_data_and_tensors(small):
    """JSON gives the same back; tensors are flat and dense."""
    _, compressor = trained(small)
    state = compressor.state_dict()
    assert set(state) == {"version", "config", "tensors"}
    assert json.loads(json.dumps(state["config"])) == state["config"]
    assert all(isinstance(t, torch.Tensor) for t in state["tensors"].values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"operator": PruneThenQuantize(gamma=0.5, bits=5)},
            r"saved with operators = .*bits=4.* and this compressor has .*bits=5",
        ),
        ({"update": "latent"}, "saved with update = hybrid and this compressor has latent"),
        ({"cadence": "every_epoch"}, "saved with cadence = every_step and .* has every_epoch"),
        ({"steps_per_epoch": 7}, "saved with steps_per_epoch = None and this compressor has 7"),
        ({"start_step": 2}, "saved with start_step = 0 and this compressor has 2"),
        (
            {"operator": [Rule(name="fc1.*", operator=OP)]},
            r"saved with parameters = .*conv.weight.* and this compressor has \[\['fc1.weight'",
        ),
    ],
)
def test_the_state_of_another_run_is_refused(small, options, message):
    """With the setting, both values, and nothing taken over."""
    _, compressor = trained(small)
    _, other = trained(small, steps=0, **options)
    with pytest.raises(CheckpointError, match=f"{message}.*attach with the same settings"):
        other.load_state_dict(compressor.state_dict())
    assert other.steps == 0


@pytest.mark.parametrize("version", [0, 2, None])
def test_another_version_is_refused(small, version):
    """It says which one is needed."""
    _, compressor = trained(small)
    state = compressor.state_dict() | {"version": version}
    with pytest.raises(CheckpointError, match=f"has version {version} and this software reads 1"):
        compressor.load_state_dict(state)
    del state["version"]
    with pytest.raises(CheckpointError, match="has version None"):
        compressor.load_state_dict(state)


@pytest.mark.parametrize("lost", ["0.died_at", "0.written.kept", "0.shadow.fc1.weight", "shadow"])
def test_an_incomplete_state_is_refused(small, lost):
    """One tensor or all of a kind; nothing is taken over."""
    _, compressor = trained(small, update="latent")
    state = compressor.state_dict()
    state["tensors"] = {k: v for k, v in state["tensors"].items() if lost not in k}
    _, other = trained(small, steps=0, update="latent")
    with pytest.raises(CheckpointError, match=rf"state has no '.*{lost}.*it is incomplete"):
        other.load_state_dict(state)
    assert other.steps == 0
    assert "0.shadow.fc1.bias" not in other.state_dict()["tensors"]


@pytest.mark.parametrize("part", ["config", "tensors"])
def test_a_state_without_its_parts_is_refused(small, part):
    """Not by a KeyError from within."""
    _, compressor = trained(small)
    state = compressor.state_dict()
    del state[part]
    with pytest.raises(CheckpointError, match=f"state has no '{part}'"):
        compressor.load_state_dict(state)


def test_the_state_of_other_shapes_is_refused(small):
    """The same names in another width."""
    model, compressor = trained(small, update="latent")
    state = compressor.state_dict()
    narrow = small.network()
    narrow.fc1 = torch.nn.Linear(64, 9)
    other = attach(narrow, torch.optim.SGD(narrow.parameters(), lr=0.1), OP, update="latent")
    with pytest.raises(
        CheckpointError, match=r"'shadow.fc1.weight' has shape \(12, 64\) in .* and \(9, 64\)"
    ):
        other.load_state_dict(state)
    assert model is not narrow
