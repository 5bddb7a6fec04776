"""Dead filters are really removed from networks, and the function stays."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.errors import ConfigError, ExportError
from espalier.models import build_model, sizes_of
from espalier.structure import shrink

SHAPE = (2, 8, 8)


def sparse(model: nn.Module, seed: int, share: float = 0.5) -> nn.Module:
    """Kill filters, inputs and single weights at random; normalizations get statistics."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                weight = module.weight
                weight[torch.rand(len(weight)) < share] = 0
                weight[:, torch.rand(weight.shape[1]) < share / 3] = 0
                weight[torch.rand(weight.shape) < share / 3] = 0
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.weight.normal_()
                module.bias.normal_()
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model


def check(model: nn.Module, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    """Shrink; outputs stay, the model is untouched and nothing is left to remove."""
    state = {name: t.clone() for name, t in model.state_dict().items()}
    small = shrink(model, shape)
    assert small.training == model.training
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    x = torch.randn(3, *shape)
    with torch.no_grad():
        before, after = model.eval()(x), small.eval()(x)
    assert torch.allclose(before, after, rtol=1e-4, atol=1e-5 * max(1.0, float(before.abs().max())))
    sizes = [p.numel() for p in small.parameters()]
    assert [p.numel() for p in shrink(small, shape).parameters()] == sizes
    return small


class Mixed(nn.Module):
    """A sum, a depthwise and a grouped convolution, a concatenation, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.deep = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.grouped = nn.Conv2d(6, 4, 1, groups=2)
        self.last = nn.Conv2d(16, 5, 2)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.norm(self.first(x)).relu()
        b = self.second(a)
        joined = torch.cat([(a + b).relu(), self.deep(b), self.grouped(a)], 1)
        return self.fc(F.dropout(self.last(joined), training=self.training).mean((2, 3)))


@pytest.mark.parametrize("seed", range(2))
def test_sums_groups_and_joins(seed: int) -> None:
    """Tied channels go together or stay; grouped convolutions stay whole."""
    small = check(sparse(Mixed(), seed))
    assert small.deep.groups == small.deep.out_channels == small.deep.in_channels
    assert small.grouped.weight.shape == (4, 3, 1, 1)
    assert small.first.out_channels == small.norm.num_features


def test_only_what_is_tied_to_nothing_else() -> None:
    """A filter of a depthwise chain goes with everything along it."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 64, 3),
    )
    with torch.no_grad():
        model[0].weight[1] = 0
    small = check(model)
    assert [tuple(p.shape) for p in small.parameters()][:3] == [
        (3, 2, 1, 1),
        (3, 1, 3, 3),
        (3, 192),
    ]


def test_a_constant_stays_at_a_border() -> None:
    """A padded convolution reads zeros at the border: a constant above zero keeps its filter."""
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    with torch.no_grad():
        model[0].weight[:2] = 0
        model[0].bias[0], model[0].bias[1] = 1.0, -1.0
    assert check(model)[0].out_channels == 3
    model[2].padding = (0, 0)
    small = check(model)
    assert small[0].out_channels == 2
    assert not torch.equal(small[2].bias, model[2].bias)


def test_a_bias_is_made_where_a_constant_needs_one() -> None:
    """A layer without a bias takes the constant into a new one."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight[0] = 0
        model[0].bias[0] = 2.0
    small = check(model, (3,))
    assert torch.allclose(small[2].bias, 2 * model[2].weight[:, 0])


class Odd(nn.Module):
    """A layer that is called twice, tied weights, and weights that no known module holds."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.d, self.e, self.f = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.e.weight = self.d.weight
        self.own, self.scale = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.ones(6))
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.b(self.a(x)).relu()).relu()
        x = self.e(self.d(self.c(x)).relu()).relu()
        return self.last(self.f(F.linear(x, self.own).relu() * self.scale).relu())


def test_what_is_not_a_layer_of_its_own_stays_whole() -> None:
    """Shared and foreign weights keep their channels; the others go."""
    model = sparse(Odd(), 0)
    with torch.no_grad():
        model.f.weight[:2] = 0
        model.own[0] = 0
    small = check(model, (4,))
    for name in ("b.weight", "d.weight", "e.weight", "own", "scale"):
        assert small.state_dict()[name].shape == model.state_dict()[name].shape
    assert small.d.weight is small.e.weight
    assert small.f.out_features <= 4


class Fixed(nn.Module):
    """Says in its own code how many channels there are."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv, self.fc, self.size = nn.Conv2d(2, 4, 3), nn.Linear(144, 3), size

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().view(-1, self.size))


def test_code_that_counts_channels_is_refused() -> None:
    """The message says what to write instead."""
    model = Fixed(144)
    with torch.no_grad():
        model.conv.weight[0] = 0
    with pytest.raises(ExportError, match=r"its own code depends .* x.flatten\(1\)"):
        shrink(model, SHAPE)
    assert model.conv.out_channels == 4


def test_it_can_be_trained_on() -> None:
    """Gradients flow into what is left; what was frozen is still."""
    model = sparse(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), 1)
    model[0].bias.requires_grad_(False)
    small = shrink(model, (4,))
    small(torch.randn(5, 4)).sum().backward()
    assert small[2].weight.grad is not None
    assert not small[0].bias.requires_grad


NETWORKS = [
    ("paper_cnn", {"hidden": (24, 16), "widths": (6, 8, 8, 6, 6)}, (3, 32, 32)),
    ("paper_cnn", {"hidden": (24,), "widths": (6,) * 5, "normalize_hidden": True}, (3, 32, 32)),
    ("resnet20", {"width": 4}, (3, 8, 8)),
    ("modulation_cnn", {"length": 32, "hidden": 24}, (2, 32)),
]


@pytest.mark.parametrize(("name", "options", "shape"), NETWORKS)
def test_networks_of_ours(name: str, options: dict, shape: tuple[int, ...]) -> None:
    """The smaller network is the same one with other options."""
    model = build_model(name, **options)
    assert build_model(name, **options | sizes_of(name, model)).state_dict().keys() == (
        model.state_dict().keys()
    )
    last = "fc" if name == "resnet20" else list(dict(model.named_children()))[-1]
    whole = model.get_submodule(last).weight.detach().clone()
    sparse(model, 3)
    with torch.no_grad():
        model.get_submodule(last).weight.copy_(whole)
    small = check(model, shape)
    sizes = sizes_of(name, small)
    assert sizes != sizes_of(name, model)
    build_model(name, **options | sizes).load_state_dict(small.state_dict())


def test_sizes_of_others() -> None:
    """Only Espalier's own networks say their sizes by options."""
    with pytest.raises(ConfigError, match="the sizes of 'nets:small' are its own matter"):
        sizes_of("nets:small", nn.Linear(1, 1))
    with pytest.raises(ConfigError, match=r"inner=.* has 2 values; expected 9"):
        build_model("resnet20", inner=(3, 4))
