"""detach() leaves model and optimizer as found, with the compressed weights in place."""

import copy

import pytest
import torch

from espalier.compressor import Rule, attach
from espalier.errors import ConfigError, NonFiniteError
from espalier.ops import PruneThenQuantize

OP = PruneThenQuantize(gamma=0.5, bits=4)
UPDATES = ("hybrid", "inplace", "latent")


def trained(small, steps=5, kind=torch.optim.Adam, **options):
    model = small.network()
    optimizer = kind(model.parameters(), lr=0.01)
    compressor = attach(model, optimizer, OP, **options)
    for batch in small.batches(steps):
        small.gradient(model, batch)
        optimizer.step()
    return model, optimizer, compressor


def hooks(optimizer):
    return [v for k, v in vars(optimizer).items() if "hooks" in k and v]


@pytest.mark.parametrize("update", UPDATES)
def test_nothing_is_left_behind(small, update):
    """No hook, no attribute and no state that a plain run would not have."""
    plain = small.network()
    untouched = torch.optim.Adam(plain.parameters(), lr=0.01)
    for batch in small.batches(5):
        small.gradient(plain, batch)
        untouched.step()
    model, optimizer, compressor = trained(small, update=update)
    assert hooks(optimizer)
    compressor.detach()
    assert not hooks(optimizer)
    assert type(optimizer) is torch.optim.Adam
    assert vars(optimizer).keys() == vars(untouched).keys()
    mine, theirs = optimizer.state_dict(), untouched.state_dict()
    assert mine["param_groups"] == theirs["param_groups"]
    for i, entry in theirs["state"].items():
        assert {k: (v.shape, v.dtype) for k, v in entry.items()} == {
            k: (v.shape, v.dtype) for k, v in mine["state"][i].items()
        }
    for one, other in zip(model.modules(), plain.modules(), strict=True):
        assert vars(one).keys() == vars(other).keys()
        assert not [k for k, v in vars(one).items() if "hooks" in k and v]
    assert model.state_dict().keys() == plain.state_dict().keys()
    for p in model.parameters():
        assert type(p) is torch.nn.Parameter
        assert not p._backward_hooks
        assert p.requires_grad


def test_hooks_of_others_stay(small):
    """Only its own are taken off."""
    model, optimizer, compressor = trained(small)
    calls = []
    optimizer.register_step_post_hook(lambda *args: calls.append(args))
    compressor.detach()
    small.gradient(model, small.batches(1)[0])
    optimizer.step()
    assert len(calls) == 1


@pytest.mark.parametrize("update", UPDATES)
def test_final_weights_are_the_compressed_ones(small, update):
    """The same bits as after the last step, and again after a second call."""
    model, _, compressor = trained(small, update=update)
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):
        compressor.detach()
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.fc1.weight.unique().numel() <= 19


@pytest.mark.parametrize("update", UPDATES)
def test_training_goes_on_densely(small, update):
    """From the compressed weights, with the optimizer's own state."""
    model, optimizer, compressor = trained(small, update=update)
    compressor.detach()
    twin = copy.deepcopy(model)
    plain = torch.optim.Adam(twin.parameters(), lr=0.01)
    plain.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for batch in small.batches(3, seed=5):
        for one, its in ((model, optimizer), (twin, plain)):
            small.gradient(one, batch)
            its.step()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
    assert model.fc1.weight.unique().numel() > 19


@pytest.mark.parametrize("update", UPDATES)
def test_within_an_epoch_the_weights_are_compressed_on_leaving(small, update):
    """every_epoch leaves compressed weights too, by the last step's schedule."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compressor = attach(model, optimizer, OP, update=update, cadence="every_epoch")
    for i, batch in enumerate(small.batches(5)):
        small.gradient(model, batch)
        optimizer.step()
        if i == 2:
            compressor.end_epoch()
    dense = copy.deepcopy(model)
    compressor.detach()
    for layer in ("conv", "fc1", "fc2"):
        expected = OP(dense.get_submodule(layer).weight)
        assert torch.equal(model.get_submodule(layer).weight, expected)


def test_before_any_step_the_weights_stay(small):
    """Nothing was asked of them yet."""
    model = small.network()
    compressor = attach(model, torch.optim.SGD(model.parameters(), lr=0.1), OP)
    compressor.detach()
    for a, b in zip(model.parameters(), small.network().parameters(), strict=True):
        assert torch.equal(a, b)


def test_before_the_start_step_the_weights_stay(small):
    """start_step counts here too."""
    model, _, compressor = trained(small, steps=3, start_step=3)
    compressor.detach()
    assert model.fc1.weight.unique().numel() > 700


def test_diverged_weights_do_not_keep_the_hooks(small):
    """The error speaks, and the optimizer is free."""
    model, optimizer, compressor = trained(small, cadence="every_epoch")
    compressor.end_epoch()
    small.gradient(model, small.batches(1)[0])
    model.fc1.weight.grad[0, 0] = torch.nan
    optimizer.step()
    with pytest.raises(NonFiniteError, match=r"fc1\.weight"):
        compressor.detach()
    assert not hooks(optimizer)


def test_an_epoch_can_not_end_after_detach(small):
    """Another pass over finished weights would change them: P then Q is not idempotent."""
    for cadence in ("every_step", "every_epoch"):
        model, _, compressor = trained(small, cadence=cadence)
        compressor.end_epoch()
        compressor.detach()
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ConfigError, match="compressor was detached; attach again"):
            compressor.end_epoch()
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_report_stays_after_detach(small):
    """With the same numbers, and without a note on what detach has settled."""
    _, _, compressor = trained(small)
    before = compressor.report()
    assert before.notes
    compressor.detach()
    after = compressor.report()
    assert after.layers == before.layers
    assert after.notes == ()


def test_another_compressor_may_follow(small):
    """Attach, detach, attach with something else."""
    model, optimizer, compressor = trained(small)
    compressor.detach()
    second = attach(model, optimizer, PruneThenQuantize(gamma=0.1, bits=2))
    small.gradient(model, small.batches(1)[0])
    optimizer.step()
    assert second.steps == 1
    assert compressor.steps == 5
    assert model.fc1.weight.unique().numel() <= 7


def test_two_compressors_at_once_are_refused(small):
    """A cell of a notebook run twice would otherwise compress twice a step."""
    model, optimizer, _ = trained(small)
    with pytest.raises(ConfigError, match=r"conv.weight, .* compressed by another.*detach\(\)"):
        attach(model, optimizer, OP)


def test_two_compressors_may_share_an_optimizer(small):
    """Each has parameters of its own."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    one = attach(model, optimizer, [Rule(name="fc1.*", operator=OP)], update="latent")
    two = attach(model, optimizer, [Rule(name="fc2.*", operator=OP)], update="inplace")
    small.gradient(model, small.batches(1)[0])
    optimizer.step()
    assert one.steps == two.steps == 1
    assert len(one.report().compressed) == len(two.report().compressed) == 2
