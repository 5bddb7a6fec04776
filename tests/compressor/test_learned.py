"""Steps and thresholds that learn: by the gradients at the compressed weights, in a user's loop."""

import pytest
import torch
from torch.nn import functional as F

from espalier.compressor import Rule, attach
from espalier.ops import (
    Chain,
    GlobalMagnitude,
    Lamp,
    LearnedStep,
    LearnedThreshold,
    StdThreshold,
    UniformQuantizer,
)

RATE = 0.05


def steps_of(compressor):
    """Return the steps of the last pass, by parameter."""
    return {layer.name: layer.step for layer in compressor.report().layers if layer.compressed}


def snapped(w, s, gamma, top):
    """LSQ by autograd alone: pruned by deviation, straight through rounding and pruning."""
    keep = w.detach().abs() >= (gamma * w.detach().double().std(unbiased=False)).float()
    u = (w / s).clamp(-top, top)
    on_grid = (u + (u.round() - u).detach()) * s
    return torch.where(keep, on_grid, 0.0), keep


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_steps_learn_as_autograd_has_it(small, bits):
    """The step's gradient is that of autograd through clip, rounding and product."""
    model, top, gamma = small.network(), 2 ** (bits - 1) - 1, 0.5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    op = Chain(prune=StdThreshold(gamma=gamma), quantize=LearnedStep(bits=bits, rate=RATE))
    rules = [Rule(name="fc1.weight", operator=op), Rule(operator=None)]
    compressor = attach(model, optimizer, rules, update="latent")
    p = model.fc1.weight
    small.gradient(model, small.batches(1)[0])
    optimizer.step()
    s = torch.tensor(steps_of(compressor)["fc1.weight"], dtype=torch.float64)
    for batch in small.batches(6, seed=3):
        w = compressor._groups[0].shadows[0].double().requires_grad_()
        leaf = s.clone().requires_grad_()
        written, keep = snapped(w, leaf, gamma, top)
        assert torch.allclose(written, p.double(), atol=1e-6)
        small.gradient(model, batch)
        (written * p.grad).sum().backward()
        s = s - RATE * leaf.grad / (keep.sum() * top).sqrt()
        optimizer.step()
        assert steps_of(compressor)["fc1.weight"] == pytest.approx(s.item(), rel=1e-5)


def test_a_learned_step_finds_the_best_grid():
    """Where the loss is the distance to the weights, it ends at the nearest grid."""
    w = torch.randn(4000, generator=torch.Generator().manual_seed(1))
    p = torch.nn.Parameter(w.clone())
    model = torch.nn.ParameterList([p])
    optimizer = torch.optim.SGD([p], lr=0.0)
    compressor = attach(model, optimizer, LearnedStep(bits=3, rate=0.01), update="latent")

    def distance(step):
        return ((w / step).round().clamp(-3, 3) * step - w).square().mean().item()

    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        (p - w).square().sum().backward()
        optimizer.step()
        losses.append(distance(steps_of(compressor)["0"]))
    best = min(distance(s) for s in torch.linspace(0.3, 1.2, 181).tolist())
    assert losses[0] > 1.1 * best
    assert losses[-1] == pytest.approx(best, rel=0.01)


def test_a_rate_of_zero_learns_nothing(small):
    """The steps stay at their start."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    op = Chain(prune=Lamp(density=0.5), quantize=LearnedStep(bits=3, rate=0.0))
    compressor = attach(model, optimizer, op, update="latent")
    found = []
    for batch in small.batches(3):
        small.gradient(model, batch)
        optimizer.step()
        found.append(steps_of(compressor))
    assert found[0] == found[1] == found[2]


def test_parameters_without_a_gradient_learn_nothing(small):
    """A layer that the loss did not reach keeps its step and its threshold."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    op = Chain(prune=LearnedThreshold(pressure=1.0), quantize=LearnedStep(bits=3, rate=RATE))
    compressor = attach(model, optimizer, op, update="latent")
    state = []
    for batch in small.batches(3):
        small.gradient(model, batch)
        model.fc2.weight.grad = None
        optimizer.step()
        state.append(compressor._groups[0].state.carried)
    row = compressor._groups[0].names.index("fc2.weight")
    for name in ("0.prune", "0.quantize"):
        still = state[0][name] == state[2][name]
        assert still[row]
        assert not still.all()


def test_scaled_gradients_teach_the_same(small):
    """What a fused optimizer is still to divide by is divided by for learning, too."""
    found = []
    for scale in (None, torch.tensor(1024.0)):
        model = small.network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0, fused=True)
        compressor = attach(model, optimizer, LearnedStep(bits=3, rate=RATE), update="latent")
        for batch in small.batches(2):
            small.gradient(model, batch)
            if scale is not None:
                optimizer.grad_scale, optimizer.found_inf = scale, torch.tensor(0.0)
                for p in model.parameters():
                    p.grad *= scale
            optimizer.step()
        found.append(steps_of(compressor))
    assert found[0] == found[1]


def test_a_skipped_step_teaches_nothing(small):
    """Rows come back as they were, gradients that are not finite change none."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    compressor = attach(model, optimizer, LearnedStep(bits=3, rate=RATE), update="latent")
    group = compressor._groups[0]
    first, second = small.batches(2)
    small.gradient(model, first)
    optimizer.step()
    small.gradient(model, second)
    for skipped in (1.0, 0.0):
        before = group.state.carried["0.quantize"]
        with torch.no_grad():
            group.remember()
            group.restore()
            group.learn(None)
            group.compress(1)
            group.undo_where(torch.tensor(skipped))
        assert torch.equal(group.state.carried["0.quantize"], before) == bool(skipped)
    before = group.state.carried["0.quantize"]
    model.fc1.weight.grad.fill_(torch.nan)
    group.learn(None)
    after = group.state.carried["0.quantize"]
    assert after.isfinite().all()
    row = group.names.index("fc1.weight")
    assert after[row] == before[row]


@pytest.mark.parametrize("update", ["latent", "hybrid", "inplace"])
def test_pressure_prunes(small, update):
    """Thresholds rise under pressure, and don't without; no tensor loses its last weight."""
    density = []
    for pressure in (0.0, 2.0):
        model = small.network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        op = LearnedThreshold(pressure=pressure, start=0.1, rate=0.05)
        compressor = attach(model, optimizer, op, update=update)
        for batch in small.batches(30):
            small.gradient(model, batch)
            optimizer.step()
        density.append(compressor.report().density_mask)
        assert all(layer.kept >= 1 for layer in compressor.report().compressed)
    assert density[1] < 0.8 * density[0]


def test_pruning_spares_what_the_loss_needs():
    """Of two layers the one that the loss leans on keeps more."""
    torch.manual_seed(0)
    needed, idle = torch.nn.Parameter(torch.randn(400)), torch.nn.Parameter(torch.randn(400))
    model = torch.nn.ParameterList([needed, idle])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    op = LearnedThreshold(pressure=1.0, start=0.2, rate=0.02)
    compressor = attach(model, optimizer, op, update="latent")
    for _ in range(40):
        optimizer.zero_grad()
        (F.relu(1 - needed.abs()).sum() + 0.001 * idle.square().sum()).backward()
        optimizer.step()
    kept = {layer.name: layer.kept for layer in compressor.report().layers}
    assert kept["0"] > 2 * kept["1"]


def test_pruned_weights_return_as_their_latents_grow(small):
    """With dense latents pruning is no end: the mask moves, at the same density."""
    model = small.network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    op = Chain(prune=Lamp(density=0.2), quantize=UniformQuantizer(bits=3))
    compressor = attach(model, optimizer, op, update="latent")
    masks = []
    for batch in small.batches(12):
        small.gradient(model, batch)
        optimizer.step()
        masks.append(torch.cat([p.detach().flatten() != 0 for p in compressor.held_parameters()]))
    gone = masks[0] & ~masks[5]
    assert (gone & masks[11]).any() or (~masks[0] & masks[11]).any()
    returned = [(~masks[i] & masks[i + 1] & masks[0]).sum() for i in range(11)]
    assert sum(returned) > 0
    assert len({layer.kept for layer in [compressor.report().layers[0]]}) == 1


@pytest.mark.parametrize("update", ["latent", "inplace"])
def test_only_latent_weights_return(update):
    """A pruned weight that its gradient keeps pulling returns; one set to zero starts anew."""
    p = torch.nn.Parameter(torch.tensor([1.0, 0.85, 0.5, 0.4]))
    optimizer = torch.optim.SGD([p], lr=0.1)
    model = torch.nn.ParameterList([p])
    attach(model, optimizer, GlobalMagnitude(density=0.5), update=update)
    alive = []
    for _ in range(6):
        p.grad = torch.tensor([0.0, 0.0, 0.0, -1.0])
        optimizer.step()
        alive.append(p[3].item() != 0)
    assert alive == ([False] * 4 + [True] * 2 if update == "latent" else [False] * 6)
