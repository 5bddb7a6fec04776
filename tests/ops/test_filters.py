"""Whole filters: how many stay, which ones, on a schedule, in a loop, before other operators."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from espalier.compressor import Rule, attach
from espalier.encoded import decode
from espalier.errors import ConfigError
from espalier.ops import (
    Chain,
    Cubic,
    FilterMagnitude,
    GlobalMagnitude,
    PruneThenQuantize,
    Then,
    UniformQuantizer,
    compress_,
)

from .strategies import quick


def drawn(*shapes, seed=0):
    """Return fixed weights without a zero."""
    generator = torch.Generator().manual_seed(seed)
    return {f"w{i}": torch.randn(s, generator=generator) for i, s in enumerate(shapes)}


def living(weights):
    """Count the filters that hold a weight, a tensor each."""
    return [int(w.flatten(1).any(1).sum()) for w in weights.values() if w.dim() >= 2]


@quick
@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=4),
    density=st.floats(0, 1),
    least=st.integers(0, 3),
)
def test_the_count_is_exact(sizes, density, least):
    """floor(density * n + 1/2) filters of all stay, or as many as every tensor's least asks for."""
    weights = drawn(*sizes)
    op = FilterMagnitude(density=density, least=least)
    written, _ = op.apply(weights, op.init(weights))
    asked = int(density * sum(n for n, _ in sizes) + 0.5)
    left = living(written)
    assert sum(left) == max(asked, sum(min(least, n) for n, _ in sizes))
    assert all(count >= min(least, n) for count, (n, _) in zip(left, sizes, strict=True))


def test_filters_compare_with_their_own_layer():
    """A layer of small weights keeps as many as one of large weights."""
    weights = drawn((8, 5), (8, 5))
    weights["w1"] = 1000 * weights["w0"]
    op = FilterMagnitude(density=0.5)
    written, _ = op.apply(weights, op.init(weights))
    assert living(written) == [4, 4]
    assert torch.equal(1000 * written["w0"], written["w1"])


def test_biases_stay():
    """What has one axis or none is left as it is, and counts as kept."""
    weights = drawn((6, 2, 3), (6,), ())
    weights["w1"][2] = 0
    op = FilterMagnitude(density=0.5)
    written, state = op.apply(weights, op.init(weights))
    assert torch.equal(written["w1"], weights["w1"])
    assert torch.equal(written["w2"], weights["w2"])
    assert state.written.kept.tolist() == [18, 6, 1]


def test_the_last_layer_can_be_kept():
    """It keeps its filters, and those of the others are counted without it."""
    weights = drawn((6, 5), (4, 6), (10, 4), (10,))
    op = FilterMagnitude(density=0.5, keep_last=True)
    written, _ = op.apply(weights, op.init(weights))
    assert sum(living(written)) == 5 + 10
    assert torch.equal(written["w2"], weights["w2"])
    assert torch.equal(op(weights["w2"]), weights["w2"])


def test_a_schedule():
    """Fewer filters stay from step to step."""
    weights, counts = drawn((10, 3)), []
    op = FilterMagnitude(density=Cubic(start=1.0, end=0.2, end_step=4))
    state = op.init(weights)
    for _ in range(6):
        written, state = op.apply(weights, state)
        counts += living(written)
    assert counts == [10, 5, 3, 2, 2, 2]


def test_the_grid_is_that_of_what_stays():
    """A large weight in a filter that goes does not widen the grid."""
    w = torch.tensor([[4.0, 0.0, 0.0, 0.0], [3.0, 3.0, 2.0, -1.0]])
    op = Chain(prune=FilterMagnitude(density=0.5), quantize=UniformQuantizer(bits=3))
    assert op(w).tolist() == [[0, 0, 0, 0], [3, 3, 2, -1]]


def test_then_one_after_the_other():
    """Weights go within the filters that stay; what was pruned first stays pruned."""
    weights = drawn((8, 10))
    filters = FilterMagnitude(density=0.5)
    op = Then(first=filters, second=GlobalMagnitude(density=0.25))
    written, state = op.apply(weights, op.init(weights))
    alone, _ = filters.apply(weights, filters.init(weights))
    assert not written["w0"][alone["w0"] == 0].any()
    assert int(written["w0"].count_nonzero()) == state.written.kept.item() == 20
    assert op.asked_density(0) == 0.25
    assert Then(first=filters, second=UniformQuantizer(bits=3)).bits == 3
    kept = Then(first=filters, second=UniformQuantizer(bits=3))
    assert kept.apply(weights, kept.init(weights))[1].written.kept.item() == 40


@pytest.mark.parametrize("spared", ["everything", "quantization"])
def test_shadows(spared):
    """Latent weights stay whole; hybrid ones lose their filters, and are not on the grid."""
    weights = drawn((8, 10))
    w, shadow = weights["w0"].clone(), torch.empty(8, 10)
    op = Then(first=FilterMagnitude(density=0.5), second=PruneThenQuantize(gamma=0.3, bits=3))
    compress_(op, [w], op.init(weights), shadows=[shadow], spared=spared)
    if spared == "everything":
        assert torch.equal(shadow, weights["w0"])
    else:
        assert torch.equal(shadow, torch.where(w.flatten(1).any(1, keepdim=True), shadow, 0.0))
        kept = shadow != 0
        assert torch.equal(shadow[kept], weights["w0"][kept])
        assert not w[~kept].any()


@pytest.mark.parametrize("update", ["latent", "hybrid", "inplace"])
def test_in_a_loop(update):
    """Two lines in somebody's loop; classes stay by a rule, and codes come out exactly."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    operator = Chain(
        prune=FilterMagnitude(density=Cubic(start=1.0, end=0.5, end_step=5)),
        quantize=UniformQuantizer(bits=4),
    )
    rules = [Rule(name="4.*", operator=UniformQuantizer(bits=8)), Rule(operator=operator)]
    compressor = attach(net, optimizer, rules, update=update)
    x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    compressor.detach()
    assert sum(living(dict(net[:3].named_parameters()))) == 12
    assert living({"w": net[4].weight}) == [3]
    codes = compressor.encoded()
    assert codes["0.weight"].bits == 4
    for name, parameter in net.named_parameters():
        assert torch.equal(torch.from_numpy(decode(codes[name])), parameter.detach())


@pytest.mark.parametrize("density", [-0.1, 1.5, float("nan"), Cubic(start=2, end=0, end_step=3)])
def test_refused_densities(density):
    """A fraction of filters lies between 0 and 1."""
    with pytest.raises(ConfigError, match="fraction of filters"):
        FilterMagnitude(density=density)


@pytest.mark.parametrize("least", [-1, 1.0, True])
def test_refused_counts(least):
    """At least so many is a whole number."""
    with pytest.raises(ConfigError, match="how many filters of every tensor stay"):
        FilterMagnitude(density=0.5, least=least)


def test_refused_parts():
    """Operators only, and no set taken as one tensor."""
    with pytest.raises(ConfigError, match="first is 3, which is no operator"):
        Then(first=3, second=FilterMagnitude(density=0.5))
    with pytest.raises(ConfigError, match="a budget, as of FilterMagnitude"):
        Chain(prune=FilterMagnitude(density=0.5), quantize=UniformQuantizer(bits=3), jointly=True)
