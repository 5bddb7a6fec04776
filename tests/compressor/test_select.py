"""Rules give every parameter to an operator, or leave it dense for a reason that is said."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.optim.swa_utils import AveragedModel

from espalier.compressor import Rule, attach
from espalier.compressor.select import select
from espalier.errors import ConfigError, SelectionError
from espalier.ops import Chain, GlobalMagnitude, PruneThenQuantize, StdThreshold, UniformQuantizer

OP = PruneThenQuantize(gamma=0.5, bits=4)
EIGHT, THREE = PruneThenQuantize(gamma=0.2, bits=8), PruneThenQuantize(gamma=0.7, bits=3)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def compressed(selection):
    return [name for _, members in selection.groups for name in members]


def reasons(selection):
    return {name: reason for name, (_, reason) in selection.dense.items()}


def test_one_operator_takes_kernels_and_biases_but_no_normalization(small):
    """The default of the group's code; names come in the model's order."""
    found = select(small.network(), [Rule(operator=OP)])
    assert compressed(found) == list(small.weights)
    assert reasons(found) == {
        "norm.weight": "it belongs to a normalization",
        "norm.bias": "it belongs to a normalization",
    }


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(4),
        nn.SyncBatchNorm(4),
        nn.InstanceNorm2d(4, affine=True),
        nn.LayerNorm(4),
        nn.GroupNorm(2, 4),
        nn.RMSNorm(4),
        type("Own", (nn.LayerNorm,), {})(4),
    ],
)
def test_every_kind_of_normalization_stays_dense(layer):
    """All of torch's, and classes made from them."""
    found = select(nn.Sequential(nn.Linear(4, 4), layer), [Rule(operator=OP)])
    assert compressed(found) == ["0.weight", "0.bias"]
    assert set(reasons(found).values()) == {"it belongs to a normalization"}


def test_a_rule_that_names_the_type_compresses_normalization(small):
    """Left out is a default, not a ban."""
    found = select(small.network(), [Rule(operator=OP, modules=(nn.BatchNorm2d,))])
    assert compressed(found) == ["norm.weight", "norm.bias"]


def test_module_types_choose_and_subclasses_count(small):
    """The type is that of the module that owns the parameter."""
    found = select(small.network(), [Rule(operator=OP, modules=(nn.Linear,))])
    assert compressed(found) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert reasons(found)["conv.weight"] == "no rule matches it"
    found = select(small.network(), [Rule(operator=OP, modules=(nn.Linear, nn.Conv2d))])
    assert compressed(found) == list(small.weights)
    own = nn.Sequential(type("Own", (nn.Linear,), {})(3, 3))
    assert compressed(select(own, [Rule(operator=OP, modules=(nn.Linear,))])) == [
        "0.weight",
        "0.bias",
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.weight", ["conv.weight", "fc1.weight", "fc2.weight"]),
        ("fc*", ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]),
        ("fc[2-9].bias", ["fc2.bias"]),
        ("conv.weight", ["conv.weight"]),
        ("?c1.*", ["fc1.weight", "fc1.bias"]),
    ],
)
def test_patterns_match_whole_names(small, pattern, expected):
    """As in a shell, case and all."""
    assert compressed(select(small.network(), [Rule(operator=OP, name=pattern)])) == expected


def test_biases_are_left_out_on_request(small):
    """And each is said to be a bias."""
    found = select(small.network(), [Rule(operator=OP, biases=False)])
    assert compressed(found) == ["conv.weight", "fc1.weight", "fc2.weight"]
    assert reasons(found)["fc1.bias"] == "it is a bias, which the rule leaves out"


@pytest.mark.parametrize(
    "layer", [nn.GRU(3, 4), nn.MultiheadAttention(4, 2, add_bias_kv=True), nn.LSTM(3, 4)]
)
def test_biases_with_longer_names_are_biases_too(layer):
    """Torch's own recurrent and attention modules call them bias_ih_l0 and in_proj_bias."""
    found = select(layer, [Rule(operator=OP, biases=False)])
    assert not [name for name in compressed(found) if "bias" in name]
    assert any("weight" in name for name in compressed(found))


def test_the_first_rule_that_matches_decides(small):
    """Mixed bits and a dense layer are three rules; nothing is taken twice."""
    rules = [
        Rule(name="fc1.*", operator=THREE),
        Rule(name="fc2.*", operator=None),
        Rule(operator=EIGHT),
    ]
    found = select(small.network(), rules)
    assert [(op, list(members)) for op, members in found.groups] == [
        (THREE, ["fc1.weight", "fc1.bias"]),
        (EIGHT, ["conv.weight", "conv.bias"]),
    ]
    assert reasons(found)["fc2.weight"] == "rule 'fc2.*' leaves it dense"


def test_mixed_operators_compress_each_by_its_own(small):
    """Weights after a step are those of each rule's operator applied to what SGD wrote."""
    model, twin = small.network(), small.network()
    optimizer, plain = sgd(model), sgd(twin)
    rules = [
        Rule(name="fc1.weight", operator=THREE),
        Rule(name="fc1.bias", operator=None),
        Rule(name="conv.*", operator=UniformQuantizer(bits=6)),
        Rule(operator=StdThreshold(gamma=1.0)),
    ]
    compressor = attach(model, optimizer, rules, update="inplace")
    for one, its in ((model, optimizer), (twin, plain)):
        small.gradient(one, small.batches(1)[0])
        its.step()
    mine = dict(model.named_parameters())
    for name, dense in twin.named_parameters():
        if name == "fc1.weight":
            expected = THREE(dense)
        elif name.startswith("conv"):
            expected = UniformQuantizer(bits=6)(dense)
        elif name.startswith("fc2"):
            expected = StdThreshold(gamma=1.0)(dense)
        else:
            expected = dense
        assert torch.equal(mine[name], expected), name
    bits = {row.name: row.bits for row in compressor.report().layers}
    assert bits == {
        "fc1.weight": 3,
        "conv.weight": 6,
        "conv.bias": 6,
        "fc2.weight": 32,
        "fc2.bias": 32,
        "fc1.bias": 32,
        "norm.weight": 32,
        "norm.bias": 32,
    }


def test_a_rule_that_matches_nothing_is_an_error(small):
    """With the pattern, some names, and the nearest one."""
    with pytest.raises(
        SelectionError,
        match=r"rule 'fc1.wieght' matches no parameter; the model has conv.weight, .*, \.\.\.\. "
        r"Did you mean 'fc1.weight'\? Check the pattern, or pass allow_empty=True",
    ):
        select(small.network(), [Rule(name="fc1.wieght", operator=OP)])


def test_a_rule_for_a_type_that_is_not_there_names_the_type(small):
    """The pattern alone would not explain it."""
    with pytest.raises(SelectionError, match=r"rule '\*' of Conv3d matches no parameter"):
        select(small.network(), [Rule(modules=(nn.Conv3d,), operator=OP), Rule(operator=OP)])


def test_a_pattern_that_only_meets_normalization_says_so(small):
    """Otherwise the message would ask whether one meant the very name that one gave."""
    with pytest.raises(
        SelectionError,
        match=r"rule 'norm.\*' matches no parameter; .* norm.weight would, but it belongs",
    ):
        select(small.network(), [Rule(name="norm.*", operator=OP), Rule(operator=OP)])


def test_normalization_may_be_left_dense_by_name(small):
    """A rule that leaves things dense needs no protection against normalization."""
    rules = [Rule(name="norm.*", operator=None), Rule(operator=OP)]
    assert reasons(select(small.network(), rules)) == {
        "norm.weight": "rule 'norm.*' leaves it dense",
        "norm.bias": "rule 'norm.*' leaves it dense",
    }


def test_an_empty_rule_may_be_allowed(small):
    """Then the others decide."""
    rules = [Rule(name="head.*", operator=None, allow_empty=True), Rule(operator=OP)]
    assert compressed(select(small.network(), rules)) == list(small.weights)


@pytest.mark.parametrize("rules", [[], [Rule(operator=None)]])
def test_nothing_to_compress_is_an_error(small, rules):
    """It says why each parameter was left."""
    with pytest.raises(SelectionError, match="no parameter is left to compress: "):
        select(small.network(), rules)


def test_a_model_without_parameters_is_an_error():
    """Most often it has not been built yet."""
    with pytest.raises(SelectionError, match="the model has no parameters; attach after"):
        select(nn.ReLU(), [Rule(operator=OP)])


def test_an_optimizer_of_another_model_is_an_error(small):
    """Else nothing would ever be compressed."""
    with pytest.raises(SelectionError, match="the optimizer does not update it"):
        attach(small.network(), sgd(small.network()), OP)


def test_frozen_and_foreign_parameters_stay_dense_for_a_reason(small):
    """Frozen, not in the optimizer, and no floating-point number."""
    model = small.network()
    model.table = nn.Parameter(torch.arange(3), requires_grad=False)
    model.phase = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    model.conv.weight.requires_grad_(requires_grad=False)
    optimizer = torch.optim.SGD([model.fc1.weight, model.conv.weight, model.phase], lr=0.1)
    report = attach(model, optimizer, OP).report()
    status = {row.name: row.status for row in report.layers}
    assert set(status) == {name for name, _ in model.named_parameters()}
    assert status["fc1.weight"] == "to be compressed by PruneThenQuantize"
    assert status["fc2.weight"] == "left dense because the optimizer does not update it"
    assert status["conv.weight"] == "left dense because it is frozen: requires_grad is False"
    assert status["table"] == "left dense because it is torch.int64, not floating point"
    assert status["phase"] == "left dense because it is torch.complex64, not floating point"


def test_dense_parameters_train_as_ever(small):
    """What no rule takes gets exactly the plain update."""
    model, twin = small.network(), small.network()
    attach(model, optimizer := sgd(model), [Rule(name="fc2.weight", operator=OP)], update="inplace")
    plain = sgd(twin)
    small.gradient(model, small.batches(1)[0])
    small.gradient(twin, small.batches(1)[0])
    optimizer.step()
    plain.step()
    for name, p in twin.named_parameters():
        same = torch.equal(p, dict(model.named_parameters())[name])
        assert same == (name != "fc2.weight")


class Tied(nn.Module):
    """An embedding whose weights are the output layer's too."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.embed(x))


def test_tied_weights_count_once_and_match_by_any_name():
    """Under the first name; a rule for the second one finds them as well."""
    model = Tied()
    for pattern in ("*", "embed.weight", "head.*"):
        assert compressed(select(model, [Rule(operator=OP, name=pattern)])) == ["embed.weight"]
    optimizer = sgd(model)
    compressor = attach(model, optimizer, OP, update="inplace")
    dense = model.embed.weight.detach().clone()
    model(torch.arange(7)).square().sum().backward()
    dense -= 0.1 * model.embed.weight.grad
    optimizer.step()
    assert torch.equal(model.head.weight, OP(dense))
    assert len(compressor.report().layers) == 1


def test_a_module_under_two_names_matches_by_both():
    """Shared whole, not weight by weight."""
    shared = nn.Linear(3, 3)
    model = nn.ModuleDict({"encoder": shared, "decoder": shared})
    for pattern in ("encoder.*", "decoder.*"):
        found = select(model, [Rule(operator=OP, name=pattern)])
        assert compressed(found) == ["encoder.weight", "encoder.bias"]


def test_a_parameter_under_two_names_of_one_module_matches_by_both():
    """The second name is an alias."""
    model = nn.Module()
    model.a = model.b = nn.Parameter(torch.ones(2))
    assert compressed(select(model, [Rule(operator=OP, name="b")])) == ["a"]


def test_types_of_every_owner_of_a_tied_weight_count():
    """A weight shared by an embedding and a linear layer is of both."""
    for kind in (nn.Embedding, nn.Linear):
        found = select(Tied(), [Rule(operator=OP, modules=(kind,))])
        assert compressed(found) == ["embed.weight"]


WRAPPERS = {
    "compiled": lambda m: torch.compile(m, backend="eager"),
    "data_parallel": DataParallel,
    "averaged": AveragedModel,
    "averaged_of_compiled": lambda m: AveragedModel(torch.compile(m, backend="eager")),
    "compiled_of_parallel": lambda m: torch.compile(DataParallel(m), backend="eager"),
}


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrappers_add_nothing_to_names(small, wrap):
    """Rules written for the bare model go on working."""
    found = select(
        WRAPPERS[wrap](small.network()),
        [Rule(name="fc1.weight", operator=OP), Rule(name="conv.*", operator=EIGHT)],
    )
    assert compressed(found) == ["fc1.weight", "conv.weight", "conv.bias"]
    assert "norm.weight" in found.dense


def test_a_wrapped_part_adds_nothing_either(small):
    """Only a submodule was compiled."""
    model = nn.ModuleDict({"body": torch.compile(small.network(), backend="eager")})
    assert "body.fc1.weight" in compressed(select(model, [Rule(operator=OP)]))


def test_an_own_submodule_called_module_keeps_its_name():
    """Only torch's wrappers are seen through."""
    own = nn.Sequential()
    own.add_module("module", nn.Linear(2, 2))
    assert compressed(select(own, [Rule(operator=OP)])) == ["module.weight", "module.bias"]
    assert compressed(select(DataParallel(own), [Rule(operator=OP)])) == [
        "module.weight",
        "module.bias",
    ]


def test_all_parameter_groups_of_the_optimizer_count(small):
    """Groups with their own learning rates: each parameter takes its own group's update."""
    model, twin = small.network(), small.network()

    def groups(m):
        return torch.optim.SGD(
            [
                {"params": [m.fc1.weight, m.conv.weight], "lr": 0.5},
                {"params": [m.fc2.weight, m.norm.weight], "lr": 0.01, "momentum": 0.9},
            ],
            lr=0.1,
        )

    optimizer, plain = groups(model), groups(twin)
    compressor = attach(model, optimizer, OP, update="inplace")
    for one, its in ((model, optimizer), (twin, plain)):
        small.gradient(one, small.batches(1)[0])
        its.step()
    for layer in ("fc1", "conv", "fc2"):
        mine, dense = (m.get_submodule(layer).weight for m in (model, twin))
        assert torch.equal(mine, OP(dense))
    assert torch.equal(model.norm.weight, twin.norm.weight)
    assert {row.name for row in compressor.report().compressed} == {
        "fc1.weight",
        "conv.weight",
        "fc2.weight",
    }


@pytest.mark.parametrize("density", [0.0, 0.1, 1 / 3, 0.5, 0.999, 1.0])
def test_a_global_budget_keeps_exactly_k_over_all_layers(small, way, density):
    """Counted by a plain sort of all magnitudes; the report says what was asked."""
    model, twin = small.network(), small.network()
    optimizer, plain = sgd(model), sgd(twin)
    compressor = attach(
        model,
        optimizer,
        [Rule(operator=GlobalMagnitude(density=density), biases=False)],
        update="inplace",
        on_dead_layer="ignore",
    )
    for one, its in ((model, optimizer), (twin, plain)):
        small.gradient(one, small.batches(1)[0])
        its.step()
    layers = [(model.conv, twin.conv), (model.fc1, twin.fc1), (model.fc2, twin.fc2)]
    dense = torch.cat([b.weight.detach().reshape(-1) for _, b in layers])
    mine = torch.cat([a.weight.detach().reshape(-1) for a, _ in layers])
    k = int(density * dense.numel() + 0.5)
    keep = dense.abs().argsort(descending=True, stable=True)[:k]
    expected = torch.zeros_like(dense)
    expected[keep] = dense[keep]
    assert torch.equal(mine, expected)
    report = compressor.report()
    assert sum(row.kept for row in report.compressed) == k
    assert report.asked_density == density
    assert report.density_mask == k / dense.numel()
    assert f"density asked {100 * density:.2f} %, reached {100 * k / dense.numel():.2f} %" in str(
        report
    )


def test_each_rule_has_its_own_budget(small):
    """Two budgets are two sets, and the report says for each parameter what its set was asked."""
    model = small.network()
    optimizer = sgd(model)
    rules = [
        Rule(name="fc1.weight", operator=GlobalMagnitude(density=0.1)),
        Rule(operator=GlobalMagnitude(density=0.8)),
    ]
    compressor = attach(model, optimizer, rules)
    small.gradient(model, small.batches(1)[0])
    optimizer.step()
    rows = compressor.report().compressed
    asked = {row.name: row.asked_density for row in rows}
    assert asked.pop("fc1.weight") == 0.1
    assert set(asked.values()) == {0.8}
    assert rows[0].kept == int(0.1 * 768 + 0.5)
    rest = sum(row.parameters for row in rows[1:])
    assert sum(row.kept for row in rows[1:]) == int(0.8 * rest + 0.5)


def test_parameters_of_one_set_share_a_device(small):
    """A set over two devices has no single pass; the message names both."""
    model = small.network()
    model.fc2.to("meta")
    with pytest.raises(ConfigError, match="the weights lie on cpu, meta; bring them onto one"):
        attach(model, sgd(model), OP)


def test_a_rule_can_make_a_set_of_each_layer(small):
    """What an operator takes jointly is kernel and bias of a layer; the names stay in order."""
    model = small.network()
    joint = Chain(prune=StdThreshold(gamma=0.5), quantize=UniformQuantizer(bits=4), jointly=True)
    compressor = attach(model, sgd(model), [Rule(operator=joint, per_layer=True)])

    sets = [
        list(members) for _, members in select(model, [Rule(operator=joint, per_layer=True)]).groups
    ]
    assert sets == [[f"{n}.weight", f"{n}.bias"] for n in ("conv", "fc1", "fc2")]
    assert len(compressor.operators) == 3
