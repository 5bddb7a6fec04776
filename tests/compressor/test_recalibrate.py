"""Statistics of normalizations, taken anew under the compressed weights."""

import pytest
import torch
from torch import nn

import espalier
from espalier.errors import ConfigError

PAIRS = [(torch.randn(n, 6, generator=torch.Generator().manual_seed(n)), None) for n in (24, 9, 40)]


def network():
    """Return a network whose dropout must not draw while statistics are taken."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4)
    )


def test_statistics_are_means_over_the_batches():
    """Mean and variance of each batch, then their means, whatever they were before."""
    model = network()
    model[1].running_mean.fill_(7.0)
    assert espalier.recalibrate(model, PAIRS) == 73
    with torch.no_grad():
        outputs = [model[0](x) for x, _ in PAIRS]
    mean = torch.stack([y.mean(0) for y in outputs]).mean(0)
    variance = torch.stack([y.var(0) for y in outputs]).mean(0)
    assert torch.allclose(model[1].running_mean, mean, atol=1e-6)
    assert torch.allclose(model[1].running_var, variance, atol=1e-6)
    assert model[1].momentum == 0.1


def test_what_was_compressed_evaluates_as_in_training():
    """After pruning most weights the old statistics are far off, the new ones are not."""
    model = network()
    x = PAIRS[2][0]
    espalier.recalibrate(model, PAIRS)
    with torch.no_grad():
        model[0].weight.copy_(espalier.GlobalMagnitude(density=0.1)(model[0].weight))
        wanted = torch.batch_norm(
            model[0](x), model[1].weight, model[1].bias, None, None, True, 0.1, 1e-5, False
        )  # fmt: skip
        before = (model[:2].eval()(x) - wanted).abs().max()
        assert espalier.recalibrate(model, [x]) == 40
        after = (model[:2](x) - wanted).abs().max()
    assert after < 0.05 < before


@pytest.mark.parametrize("training", [True, False])
def test_nothing_else_changes(training):
    """Weights, gradients, every module's mode and the random generator stay."""
    model = network().train(training)
    model[3].train(not training)
    weights = [p.clone() for p in model.parameters()]
    state = torch.random.get_rng_state()
    espalier.recalibrate(model, PAIRS, samples=30)
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert [m.training for m in model] == [training] * 3 + [not training, training]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model[1].num_batches_tracked == 2


def test_attached_compressors_take_no_notice():
    """The codes of the weights are those from before."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    operator = espalier.PruneThenQuantize(gamma=0.5, bits=3)
    compressor = espalier.attach(model, optimizer, operator, update="latent")
    model(PAIRS[0][0]).square().mean().backward()
    optimizer.step()
    before = compressor.encoded()
    espalier.recalibrate(model, PAIRS)
    after = compressor.encoded()
    assert all((after[n].codes == e.codes).all() for n, e in before.items())


def test_networks_without_statistics():
    """There is nothing to take, and nothing is computed."""
    assert espalier.recalibrate(nn.Linear(2, 2), []) == 0
    assert espalier.recalibrate(nn.BatchNorm1d(3, track_running_stats=False), []) == 0


def test_batches_that_are_used_up():
    """No batch, no statistics: those from before stay."""
    model = network()
    model[1].running_mean.fill_(7.0)
    with pytest.raises(ConfigError, match="no batch to take statistics from"):
        espalier.recalibrate(model, iter([]))
    assert (model[1].running_mean == 7).all()


def test_a_failing_batch_leaves_modes_as_they_were():
    """An error in the network doesn't leave it half in training."""
    model = network()
    with pytest.raises(RuntimeError):
        espalier.recalibrate(model, [torch.randn(4, 5)])
    assert all(m.training for m in model)
    assert model[1].momentum == 0.1
