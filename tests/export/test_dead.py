"""Dead channels go, the outputs stay: held against the reference before and after."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from espalier.encoded import decode
from espalier.export import graph as g
from espalier.export.dead import without_dead
from espalier.export.reference import run
from espalier.export.trace import trace

from .networks import NETWORKS, Builder, inputs_for


def check(graph: g.Graph) -> g.Graph:
    """Remove what is dead; outputs are the same and weights lie on the same grids."""
    smaller = without_dead(graph)
    x = inputs_for(graph)
    before, after = run(graph, x), run(smaller, x)
    assert np.abs(before - after).max() <= 1e-6 * max(1.0, np.abs(before).max())
    assert smaller.input.shape == graph.input.shape
    assert smaller.output.shape == graph.output.shape
    by_name = {node.name: layer for node, layer in graph.weighted()}
    for node, layer in smaller.weighted():
        old = by_name[node.name].weight
        assert layer.weight.grid == old.grid
        assert layer.weight.nonzero <= layer.weight.kept <= layer.weight.size
        assert set(decode(layer.weight).ravel()) <= set(decode(old).ravel()) | {0.0}
        assert layer.scale.dtype == layer.shift.dtype == by_name[node.name].scale.dtype
    values = smaller.values()
    for node, layer in smaller.weighted():
        per_group = layer.groups if isinstance(layer, g.Convolution) else 1
        assert layer.weight.shape[0] == node.output.shape[0]
        assert layer.weight.shape[1] * per_group == values[node.inputs[0]].shape[0]
    return smaller


def shapes(graph: g.Graph) -> dict[str, tuple[int, ...]]:
    return {node.name: layer.weight.shape for node, layer in graph.weighted()}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_by_hand(name: str) -> None:
    """Whatever goes, nothing changes."""
    check(NETWORKS[name]())


def zeroed(model: nn.Module, **rows: list[int]) -> nn.Module:
    with torch.no_grad():
        for name, filters in rows.items():
            model.get_submodule(name).weight[filters] = 0
    return model


def network(*, padding: int = 0, between: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("a", nn.Conv2d(2, 4, 3))
    model.add_module("relu", nn.LeakyReLU(0.1))
    if between is not None:
        model.add_module("between", between)
    model.add_module("b", nn.Conv2d(4, 5, 3, padding=padding))
    model.add_module("flatten", nn.Flatten())
    side = 4 + 2 * padding if between is None else 0
    model.add_module("c", nn.LazyLinear(3) if not side else nn.Linear(5 * side**2, 3))
    model(torch.zeros(1, 2, 8, 8))
    return model


def both(model: nn.Module) -> tuple[g.Graph, g.Graph]:
    graph = trace(model, (2, 8, 8), remove_dead=False)
    return graph, check(graph)


def test_a_constant_moves_into_the_shift() -> None:
    """A filter without weights goes, and so do the inputs that read it."""
    _, smaller = both(zeroed(network(), a=[1, 2], b=[0]))
    assert shapes(smaller) == {"a": (2, 2, 3, 3), "b": (4, 2, 3, 3), "c": (3, 64)}


def test_the_first_channel_goes_as_well_as_others() -> None:
    """No channel stays because it is the first, however long the way to the layer that reads it."""
    _, smaller = both(zeroed(network(between=nn.MaxPool2d(2)), a=[0]))
    assert shapes(smaller)["a"][0] == 3


def test_zeros_around_are_not_the_constant() -> None:
    """A padded layer reads zeros at the border, so that only a constant of zero goes."""
    model = zeroed(network(padding=1), a=[1, 2])
    with torch.no_grad():
        model.a.bias[2] = 0
    _, smaller = both(model)
    assert shapes(smaller)["a"] == (3, 2, 3, 3)
    assert shapes(smaller)["b"] == (5, 3, 3, 3)


@pytest.mark.parametrize(
    ("between", "goes"),
    [
        (nn.MaxPool2d(2, padding=1), True),
        (nn.AvgPool2d(2), True),
        (nn.AvgPool2d(2, padding=1), False),
        (nn.AvgPool2d(2, padding=1, count_include_pad=False), True),
    ],
)
def test_through_pooling(between: nn.Module, *, goes: bool) -> None:
    """A pooling passes a constant on, unless it counts zeros around."""
    _, smaller = both(zeroed(network(between=between), a=[3]))
    assert shapes(smaller)["a"][0] == (3 if goes else 4)


def test_what_nobody_reads() -> None:
    """Filters go that only dead filters read, though they hold weights."""
    model = network()
    with torch.no_grad():
        model.b.weight[:, 1] = 0
        model.c.weight[:, : 2 * 16] = 0
    _, smaller = both(model)
    assert shapes(smaller) == {"a": (3, 2, 3, 3), "b": (3, 3, 3, 3), "c": (3, 48)}


def test_a_layer_without_any_weight() -> None:
    """One channel stays at least, everywhere; the output is what it was."""
    _, smaller = both(zeroed(network(), a=[0, 1, 2, 3]))
    assert shapes(smaller)["a"][0] == 1
    _, smaller = both(zeroed(network(), c=[0, 1, 2]))
    assert shapes(smaller)["b"][0] == 1
    assert shapes(smaller)["c"][0] == 3


class Block(nn.Module):
    """A residual connection, a depthwise convolution, a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.deep = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x).relu()
        b = self.b(a)
        return self.last(torch.cat([(a + b).relu(), self.deep(b)], 1))


def test_residual_depthwise_and_joined() -> None:
    """A channel goes where all that it is added to and joined with can do without."""
    model = Block()
    with torch.no_grad():
        for layer in (model.a, model.b):
            layer.weight[2] = 0
        model.a.bias[2] = 0
    _, smaller = both(model)
    sizes = {"a": (3, 2, 1, 1), "b": (3, 3, 3, 3), "deep": (3, 1, 3, 3), "last": (3, 6, 1, 1)}
    assert shapes(smaller) == sizes
    alone = Block()
    with torch.no_grad():
        alone.b.weight[2] = 0  # what it is added to stays
    assert shapes(both(alone)[1])["b"] == (4, 4, 3, 3)


def test_groups_stay_whole() -> None:
    """Grouped convolutions keep inputs and filters."""
    builder = Builder(4, 6, 6)
    builder.conv(4, (1, 1), density=0.0)
    builder.conv(6, (3, 3), groups=2, density=0.0)
    builder.conv(2, (1, 1))
    graph = builder.graph()
    assert shapes(check(graph)) == shapes(graph)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    density=st.floats(0.02, 0.3),
    padding=st.booleans(),
    kind=st.sampled_from(["relu", "leaky_relu", "hardswish"]),
)
def test_any_sparse_network(seed: int, density: float, padding: bool, kind: str) -> None:
    """Random sparse networks of random shifts compute the same; nothing is left to remove."""
    b = Builder(2, 7, 7, seed=seed)
    b.conv(5, (3, 3), padding=int(padding), density=density)
    first = b.activation(kind, 0.2)
    second = b.conv(5, (3, 3), padding=1, density=density)
    b.add(g.Add(), second.shape, first, of=second)
    b.pool("max", 2, 2)
    b.conv(6, (2, 2), density=density)
    b.activation(kind, 0.2)
    b.flatten()
    b.linear(8, density=density)
    b.activation(kind, 0.2)
    b.linear(3, density=density)
    smaller = check(b.graph())
    assert without_dead(smaller) is smaller
