"""Weights that the user writes between two steps are what the next update starts from."""

import pytest
import torch

from espalier.compressor import attach
from espalier.ops import PruneThenQuantize, StdThreshold

UPDATES = ("hybrid", "inplace", "latent")
OPERATORS = {
    "both": (PruneThenQuantize(gamma=0.5, bits=4), StdThreshold(gamma=0.5)),
    "pruned": (StdThreshold(gamma=0.5), StdThreshold(gamma=0.5)),
    "fine": (PruneThenQuantize(gamma=0.5, bits=16), StdThreshold(gamma=0.5)),
}


def both(small, operator, prune, update):
    model, twin = small.network(), small.network()
    optimizer, slow = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, twin))
    compressor = attach(model, optimizer, operator, update=update)
    loop = small.Loop(
        twin, slow, small.weights, lambda w, _: prune(w), lambda w, _: operator(w), update
    )
    return model, optimizer, compressor, loop


def train(small, model, optimizer, loop, seed):
    for batch in small.batches(3, seed):
        small.gradient(model, batch)
        optimizer.step()
        loop.step(batch)
        for (name, a), b in zip(model.named_parameters(), loop.model.parameters(), strict=True):
            assert torch.equal(a, b), name


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("update", UPDATES)
def test_loaded_weights_are_where_training_goes_on(small, way, update, operator):
    """As when the best weights so far come back; no copy of others stays."""
    model, optimizer, _, loop = both(small, *OPERATORS[operator], update)
    train(small, model, optimizer, loop, seed=1)
    best = {k: v.clone() for k, v in model.state_dict().items()}
    train(small, model, optimizer, loop, seed=2)
    for one in (model, loop.model):
        one.load_state_dict(best)
    loop.start = {}
    train(small, model, optimizer, loop, seed=3)


@pytest.mark.parametrize("update", UPDATES)
def test_only_what_was_written_starts_anew(small, update):
    """One layer is clipped; the others keep their copies."""
    model, optimizer, _, loop = both(small, *OPERATORS["both"], update)
    train(small, model, optimizer, loop, seed=1)
    for one in (model, loop.model):
        with torch.no_grad():
            one.fc1.weight.clamp_(-0.05, 0.05)
    loop.start.pop("fc1.weight")
    train(small, model, optimizer, loop, seed=2)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("update", UPDATES)
def test_weights_lent_and_brought_back_change_nothing(small, update, operator):
    """As when averaged weights are evaluated between two steps."""
    model, optimizer, compressor, loop = both(small, *OPERATORS[operator], update)
    train(small, model, optimizer, loop, seed=1)
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(small.network(seed=9).state_dict())
    model.load_state_dict(kept)
    assert compressor.encoded()
    train(small, model, optimizer, loop, seed=2)


@pytest.mark.parametrize("update", UPDATES)
def test_a_closure_goes_on_from_what_was_written(small, update):
    """The copies come back after it, and only where they still hold."""
    model, optimizer, _, loop = both(small, *OPERATORS["both"], update)
    train(small, model, optimizer, loop, seed=1)
    for one in (model, loop.model):
        one.load_state_dict(small.network(seed=9).state_dict())
    loop.start = {}
    batch = small.batches(1, seed=4)[0]
    optimizer.step(lambda: small.gradient(model, batch))
    loop.step(batch)
    train(small, model, optimizer, loop, seed=2)
