"""encoded() gives the codes of the pass that wrote the weights; decoding gives them bit for bit."""

import numpy as np
import pytest
import torch

from espalier.compressor import Rule, attach
from espalier.encoded import Raw, Uniform, decode
from espalier.errors import ConfigError
from espalier.ops import (
    Chain,
    GlobalMagnitude,
    PruneThenQuantize,
    QuantizeThenPrune,
    StdThreshold,
    UniformQuantizer,
)

OP = PruneThenQuantize(gamma=0.5, bits=4)
UPDATES = ("hybrid", "inplace", "latent")
OPERATORS = [
    OP,
    PruneThenQuantize(gamma=0.7, bits=1),
    PruneThenQuantize(gamma=0.3, bits=8, rounding="floor"),
    PruneThenQuantize(gamma=0.3, bits=3, rounding="stochastic"),
    PruneThenQuantize(gamma=0.3, bits=16),
    PruneThenQuantize(gamma=0.3, bits=31),
    PruneThenQuantize(gamma=0.3, bits=32),
    QuantizeThenPrune(gamma=0.5, bits=4),
    StdThreshold(gamma=1.0),
    UniformQuantizer(bits=5),
    Chain(prune=GlobalMagnitude(density=0.2), quantize=UniformQuantizer(bits=3)),
]


def assert_decodes(model, compressor):
    """Compare bits, so that -0 differs from 0."""
    encoded = compressor.encoded()
    weights = dict(model.named_parameters())
    rows = {row.name: row for row in compressor.report().compressed}
    assert encoded.keys() == rows.keys()
    for name, e in encoded.items():
        written = weights[name].detach().float().numpy()
        found = decode(e)
        assert found.shape == written.shape
        assert np.array_equal(found.view(np.int32), written.view(np.int32)), name
        assert (e.kept, e.nonzero, e.bits) == (
            rows[name].kept,
            np.count_nonzero(written),
            rows[name].bits,
        )


@pytest.mark.parametrize("operator", OPERATORS, ids=str)
@pytest.mark.parametrize("update", UPDATES)
def test_decodes_to_the_written_weights_at_any_time(small, way, update, operator):
    """After every step, every epoch's end and detach; for every operator and update rule."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    compressor = attach(model, optimizer, operator, update=update, on_dead_layer="ignore")
    for i, batch in enumerate(small.batches(4)):
        small.gradient(model, batch)
        optimizer.step()
        assert_decodes(model, compressor)
        if i == 1:
            compressor.end_epoch()
            assert_decodes(model, compressor)
    compressor.detach()
    assert_decodes(model, compressor)


@pytest.mark.parametrize("update", UPDATES)
def test_decodes_at_the_end_of_epochs(small, update):
    """every_epoch is compressed there, and only there."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compressor = attach(
        model, optimizer, OP, update=update, cadence="every_epoch", steps_per_epoch=2
    )
    for i, batch in enumerate(small.batches(5)):
        small.gradient(model, batch)
        optimizer.step()
        if i % 2:
            assert_decodes(model, compressor)
        elif i:
            with pytest.raises(ConfigError, match="steps were taken since the epoch ended"):
                compressor.encoded()
    compressor.detach()
    assert_decodes(model, compressor)


def test_grids_are_those_that_the_operator_promises(small):
    """Integers where there is a grid, values where there is none."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rules = [Rule(name="fc1.*", operator=StdThreshold(gamma=0.5)), Rule(operator=OP)]
    compressor = attach(model, optimizer, rules)
    small.gradient(model, small.batches(1)[0])
    optimizer.step()
    encoded = compressor.encoded()
    assert isinstance(encoded["fc1.weight"].grid, Raw)
    assert isinstance(encoded["fc2.weight"].grid, Uniform)
    step = {row.name: row.step for row in compressor.report().layers}["fc2.weight"]
    assert encoded["fc2.weight"].grid.step == step
    assert np.unique(np.abs(encoded["fc2.weight"].codes)).size <= 2**3 + 1


def test_raises_before_the_first_compression(small):
    """No step yet, or none that compresses."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compressor = attach(model, optimizer, OP, start_step=2)
    for taken, batch in enumerate(small.batches(2)):
        with pytest.raises(
            ConfigError, match=f"compression starts after step 2 and {taken} were taken"
        ):
            compressor.encoded()
        small.gradient(model, batch)
        optimizer.step()


@pytest.mark.parametrize("operator", [OP, UniformQuantizer(bits=8), StdThreshold(gamma=0.5)])
def test_raises_when_the_weights_were_changed_by_others(small, operator):
    """Training on after detach, or weights loaded from elsewhere, are not what was written."""

    def train_on(model, optimizer, compressor):
        compressor.detach()
        small.gradient(model, small.batches(1)[0])
        optimizer.step()

    def load(model, optimizer, compressor):
        model.load_state_dict(small.network(seed=9).state_dict())

    for change in (train_on, load):
        model = small.network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        compressor = attach(model, optimizer, operator)
        small.gradient(model, small.batches(1)[0])
        optimizer.step()
        change(model, optimizer, compressor)
        with pytest.raises(ConfigError, match=r"conv.weight is not what the last pass wrote"):
            compressor.encoded()


def test_weights_lent_and_brought_back_are_still_the_same(small):
    """As when averaged weights are evaluated in between."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compressor = attach(model, optimizer, OP, update="latent")
    small.gradient(model, small.batches(1)[0])
    optimizer.step()
    kept = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.load_state_dict(small.network(seed=9).state_dict())
    with torch.no_grad():
        for n, p in model.named_parameters():
            p.copy_(kept[n])
    assert_decodes(model, compressor)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_decode_to_their_float32_values(small, dtype):
    """Rounding to a smaller type may leave the grid; the bits still hold."""
    model = small.network().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compressor = attach(model, optimizer, OP)
    for x, y in small.batches(2):
        small.gradient(model, (x.to(dtype), y))
        optimizer.step()
        assert_decodes(model, compressor)
