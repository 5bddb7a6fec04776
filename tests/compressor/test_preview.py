"""preview() shows what an operator would do, from the operator itself, and changes nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from espalier.compressor import Rule, preview
from espalier.errors import NonFiniteError, SelectionError
from espalier.metrics import entropy_bytes
from espalier.ops import (
    Chain,
    GlobalMagnitude,
    PruneThenQuantize,
    QuantizeThenPrune,
    StdThreshold,
    UniformQuantizer,
)

OP = PruneThenQuantize(gamma=0.5, bits=4)
OPERATORS = [
    OP,
    QuantizeThenPrune(gamma=0.5, bits=4),
    StdThreshold(gamma=1.0),
    UniformQuantizer(bits=3, rounding="stochastic"),
    Chain(prune=GlobalMagnitude(density=0.3), quantize=UniformQuantizer(bits=5)),
]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda op: type(op).__name__)
def test_numbers_are_those_of_the_operator(small, operator):
    """Density, levels and bytes from apply() itself."""
    model = small.network()
    members = {n: p for n, p in model.named_parameters() if n in small.weights}
    written, state = operator.apply(members, operator.init(members))
    encoded = operator.encode(written, state)
    shown = preview(model, operator)
    assert [layer.name for layer in shown.layers] == [*small.weights, "norm.weight", "norm.bias"]
    for i, layer in enumerate(shown.layers[:6]):
        assert layer.parameters == members[layer.name].numel()
        assert layer.density == int(state.written.kept[i]) / layer.parameters
        assert layer.levels == written[layer.name].unique().numel()
        assert layer.size_bytes == entropy_bytes(encoded[layer.name])
        assert layer.status == f"compressed by {type(operator).__name__}"
    for layer in shown.layers[6:]:
        assert (layer.density, layer.size_bytes) == (1.0, 16.0)
        assert layer.status == "left dense because it belongs to a normalization"
    assert shown.size_bytes == sum(layer.size_bytes for layer in shown.layers)
    assert shown.dense_bytes == 4 * sum(p.numel() for p in model.parameters())


def test_bytes_are_the_entropy_of_mask_and_codes(small):
    """Counted by hand for one layer."""
    model = small.network()
    layer = next(x for x in preview(model, OP).layers if x.name == "fc1.weight")
    values = OP(model.fc1.weight).detach().numpy().reshape(-1)

    def entropy(symbols):
        counts = np.unique(symbols, return_counts=True)[1] / symbols.size
        return -symbols.size * (counts * np.log2(counts)).sum() / 8

    assert layer.size_bytes == pytest.approx(entropy(values != 0) + entropy(values[values != 0]))


def test_nothing_changes(small):
    """No weight, no gradient, no hook, no random number."""
    model = small.network()
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    preview(model, UniformQuantizer(bits=3, rounding="stochastic"))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_table_has_a_line_for_each_parameter_and_the_total(small):
    """With thousands marked, percent and the factor."""
    shown = preview(small.network(), OP)
    lines = str(shown).splitlines()
    assert lines[0].split() == ["parameter", "weights", "density", "levels", "bytes,", "about"]
    for line, layer in zip(lines[2:], shown.layers, strict=False):
        assert line.startswith(layer.name)
        assert f"{100 * layer.density:.2f} %" in line
        assert f"{layer.size_bytes:,.0f}" in line
        assert line.endswith(layer.status)
    times = shown.dense_bytes / shown.size_bytes
    assert lines[-1].startswith("total")
    assert lines[-1].endswith(f"{times:.1f} x smaller than float32")


def test_rules_choose_as_in_attach(small):
    """Mixed operators and dense layers; frozen ones stay dense."""
    model = small.network()
    model.fc2.weight.requires_grad_(requires_grad=False)
    rules = [
        Rule(name="fc1.*", operator=StdThreshold(gamma=1.0)),
        Rule(name="conv.*", operator=None),
        Rule(operator=OP),
    ]
    status = {layer.name: layer.status for layer in preview(model, rules).layers}
    assert status == {
        "fc1.weight": "compressed by StdThreshold",
        "fc1.bias": "compressed by StdThreshold",
        "fc2.bias": "compressed by PruneThenQuantize",
        "fc2.weight": "left dense because it is frozen: requires_grad is False",
        "conv.weight": "left dense because rule 'conv.*' leaves it dense",
        "conv.bias": "left dense because rule 'conv.*' leaves it dense",
        "norm.weight": "left dense because it belongs to a normalization",
        "norm.bias": "left dense because it belongs to a normalization",
    }
    with pytest.raises(SelectionError, match=r"rule 'head' matches no parameter"):
        preview(model, [Rule(name="head", operator=OP)])


def test_weights_that_are_not_finite_are_named(small):
    """The tensor, not only the fact."""
    model = small.network()
    with torch.no_grad():
        model.fc1.bias[0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"fc1.bias"):
        preview(model, OP)


def test_odd_models_have_a_preview():
    """Empty, single and half-precision parameters."""
    model = nn.Module()
    model.none = nn.Parameter(torch.empty(0))
    model.one = nn.Parameter(torch.tensor(2.0))
    model.short = nn.Parameter(torch.linspace(-1, 1, 64, dtype=torch.bfloat16))
    model.zero = nn.Parameter(torch.zeros(8))
    shown = {layer.name: layer for layer in preview(model, OP).layers}
    assert shown["none"].size_bytes == 0.0
    assert shown["one"].levels == 1
    assert shown["zero"].levels == 1
    assert shown["short"].levels == OP(model.short).unique().numel()
    assert str(preview(model, OP))
