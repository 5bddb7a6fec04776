"""From torch to the graph: the same outputs, grids kept, and errors that say where."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from espalier.artifact import Metadata, write
from espalier.encoded import Encoded, Uniform, encode
from espalier.errors import ArtifactError, ConfigError, ExportError
from espalier.export import graph as g
from espalier.export.reference import run
from espalier.export.trace import graph_of, trace
from espalier.models import build_model

IMAGE, SIGNAL = (3, 12, 12), (2, 24)


def exact(model: nn.Module) -> nn.Module:
    """Give a network numbers whose folding needs no rounding, so that float64 is the same."""
    rng = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = 0.25
            choice = torch.randint(0, 2, module.running_var.shape, generator=rng)
            module.running_var.copy_(torch.where(choice > 0, 0.75, 3.75))
            module.running_mean.copy_(_dyadic(module.running_mean, rng))
        for parameter in module.parameters(recurse=False):
            if parameter.ndim == 1:
                parameter.data = _dyadic(parameter.data, rng)
    return model.eval()


def _dyadic(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randint(-16, 17, like.shape, generator=rng) / 8


def check(model: nn.Module, shape: tuple[int, ...], rtol: float = 1e-10) -> g.Graph:
    """Trace a network and compare its outputs with torch's in float64."""
    traced = trace(model, shape)
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1)).double()
    expected = model.double()(x).detach().numpy()
    model.float()
    found = run(traced, x.numpy())
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= rtol * np.abs(expected).max()
    assert traced.output.shape == expected.shape[1:]
    check_names(traced)
    for node, layer in traced.weighted():
        assert layer.scale.dtype == layer.shift.dtype == np.float32, node.name
    return traced


class Calls(nn.Module):
    """A network that is one function."""

    def __init__(self, function: Callable[[Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def check_names(traced: g.Graph) -> None:
    """Values and nodes are named once, and are read after they are made."""
    made = {traced.input.name}
    for node in traced.nodes:
        assert set(node.inputs) <= made
        assert node.output.name.isidentifier()
        assert node.output.name not in made
        made.add(node.output.name)
    assert len({node.name for node in traced.nodes}) == len(traced.nodes)


def kinds(graph: g.Graph) -> list[str]:
    return [type(node.layer).__name__ for node in graph.nodes]


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet20", IMAGE), ("modulation_cnn", (2, 128)), ("paper_cnn", (3, 32, 32))],
)
def test_own_networks(name: str, shape: tuple[int, ...]) -> None:
    """Espalier's networks: no affine is left, names are the model's."""
    options = {"widths": (4, 6, 6, 8, 8), "hidden": (16,)} if name == "paper_cnn" else {}
    model = exact(build_model(name, **options))
    traced = check(model, shape)
    assert "Affine" not in kinds(traced)
    modules = dict(model.named_modules())
    names = [node.name for node in traced.nodes]
    assert len(set(names)) == len(names)
    for node, _ in traced.weighted():
        assert node.name in modules or node.name.rpartition(".")[2].startswith("pad")


def test_normalization_that_needs_rounding() -> None:
    """Folded in float64 and rounded once: within float32's precision."""
    model = build_model("resnet20", width=4).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_()
    check(model, IMAGE, rtol=1e-6)


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "same": (lambda: nn.Conv2d(3, 4, (4, 3), padding="same", dilation=2), IMAGE, "Convolution"),
    "valid": (lambda: nn.Conv2d(3, 4, 3, padding="valid"), IMAGE, "Convolution"),
    "depthwise": (lambda: nn.Conv2d(3, 6, 3, (2, 1), (1, 0), groups=3), IMAGE, "Convolution"),
    "one axis": (lambda: nn.Conv1d(2, 4, 5, 2, 2, bias=False), SIGNAL, "Convolution"),
    "norm first": (lambda: nn.BatchNorm2d(3), IMAGE, "Affine"),
    "plain norm": (lambda: nn.BatchNorm2d(3, affine=False), IMAGE, "Affine"),
    "relu": (lambda: nn.ReLU(inplace=True), IMAGE, "Activation"),
    "relu6": (nn.ReLU6, IMAGE, "Activation"),
    "hardtanh": (lambda: nn.Hardtanh(0, 6), IMAGE, "Activation"),
    "leaky": (lambda: nn.LeakyReLU(0.25), IMAGE, "Activation"),
    "hardswish": (nn.Hardswish, IMAGE, "Activation"),
    "max": (lambda: nn.MaxPool2d(3, 2, 1), IMAGE, "Pool"),
    "max dilated": (lambda: nn.MaxPool2d((2, 3), (1, 2), dilation=(3, 2)), IMAGE, "Pool"),
    "max ceil": (lambda: nn.MaxPool2d(5, 2, ceil_mode=True), IMAGE, "Pool"),
    "max1d": (lambda: nn.MaxPool1d(3, padding=1), SIGNAL, "Pool"),
    "average": (lambda: nn.AvgPool2d(3, 2, 1), IMAGE, "Pool"),
    "average inside": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE, "Pool"),
    "average ceil": (lambda: nn.AvgPool2d(5, 2, ceil_mode=True), IMAGE, "Pool"),
    "average1d": (lambda: nn.AvgPool1d(4), SIGNAL, "Pool"),
    "adaptive": (lambda: nn.AdaptiveAvgPool2d((4, 1)), IMAGE, "Pool"),
    "adaptive all": (lambda: nn.AdaptiveAvgPool2d((None, 1)), IMAGE, "Pool"),
    "adaptive max": (lambda: nn.AdaptiveMaxPool2d(6), IMAGE, "Pool"),
    "adaptive1d": (lambda: nn.AdaptiveAvgPool1d(3), SIGNAL, "Pool"),
    "adaptive max1d": (lambda: nn.AdaptiveMaxPool1d(8), SIGNAL, "Pool"),
    "zeros around": (lambda: nn.ZeroPad2d((1, 2, 0, 3)), IMAGE, "Convolution"),
    "flatten": (nn.Flatten, IMAGE, "Flatten"),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    """Each module becomes the one layer that it should, whatever surrounds it."""
    make, shape, kind = MODULES[name]
    network = nn.Sequential(nn.Dropout(0.5), make(), nn.Identity())
    traced = check(exact(network), shape)
    assert kinds(traced) == [kind]
    if not name.startswith("zeros"):
        assert traced.nodes[0].name == "1"


FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "relu": (F.relu, "Activation"),
    "relu in place": (lambda x: (x * 2).relu_(), "Affine Activation"),
    "clamp": (lambda x: x.clamp(min=0), "Activation"),
    "clamp6": (lambda x: torch.clamp(x, 0, 6), "Activation"),
    "leaky": (lambda x: F.leaky_relu(x, 0.5), "Activation"),
    "mean": (lambda x: x.mean((2, 3)), "Pool Flatten"),
    "mean kept": (lambda x: x.mean((-1, -2), keepdim=True), "Pool"),
    "means": (
        lambda x: x.mean((2, 3)) + (x + x).mean((2, 3)),
        "Pool Flatten Add Pool Flatten Add",
    ),
    "amax": (lambda x: x.amax((2, 3)), "Pool Flatten"),
    "view": (lambda x: x.view(x.size(0), -1), "Flatten"),
    "reshape": (lambda x: x.reshape(-1, 3 * 12 * 12), "Flatten"),
    "squeeze": (lambda x: x.mean((2, 3), keepdim=True).squeeze(), "Pool Flatten"),
    "in place on a view": (lambda x: F.relu(x.flatten(1), inplace=True), "Flatten Activation"),
    "there and back": (lambda x: x.view(-1, 9, 48).view(-1, 3, 12, 12).relu(), "Activation"),
    "zeros first": (
        lambda x: F.conv2d(F.pad(x, (1, 0, 2, 1)), torch.ones(2, 3, 2, 3).to(x), padding=(0, 1)),
        "Convolution",
    ),
    "sum": (lambda x: x + F.relu(x), "Activation Add"),
    "sum in place": (lambda x: F.relu(x).add_(x), "Activation Add"),
    "twice": (lambda x: x + x, "Add"),
    "joined": (lambda x: torch.cat([x, F.relu(x)], 1), "Activation Concat"),
    "numbers": (lambda x: 1 - (x * 2 + 3) / 4, "Affine"),
    "every other": (lambda x: x[:, :, ::2, ::3], "Pool"),
    "more channels": (lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)), "Convolution"),
    "softmax": (lambda x: x.flatten(1).softmax(-1), "Flatten Softmax"),
    "unused": (lambda x: (F.hardswish(x), F.relu(x))[1], "Activation"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    """What a network calls without a module is found too."""
    function, expected = FUNCTIONS[name]
    traced = check(Calls(function).eval(), IMAGE)
    assert " ".join(kinds(traced)) == expected


def test_normalization_goes_where_it_can() -> None:
    """Into the layer before, where that feeds it alone; else it stays."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.norm(y) + y

    assert kinds(check(exact(Shared()), IMAGE)) == ["Convolution", "Affine", "Add"]
    alone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    assert kinds(check(exact(alone), IMAGE)) == ["Convolution"]
    linear = nn.Sequential(nn.Flatten(), nn.Linear(432, 5), nn.BatchNorm1d(5), nn.ReLU())
    assert kinds(check(exact(linear), IMAGE)) == ["Flatten", "Linear", "Activation"]


def test_constants_of_the_model() -> None:
    """Buffers become affines, parametrized weights are computed."""

    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor([0.5, 0.25, -1]).view(1, 3, 1, 1))
            self.conv = nn.Conv2d(3, 4, 3)
            parametrize.register_parametrization(self.conv, "weight", Doubled())

        def forward(self, x: Tensor) -> Tensor:
            return self.conv((x - self.mean) / 0.5)

    traced = check(exact(Own()), IMAGE)
    assert kinds(traced) == ["Affine", "Convolution"]


def test_encoded_weights_keep_their_grids() -> None:
    """A weight that is given encoded is taken as it is, tied names included; others are raw."""
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2)
    )
    model[3].weight = model[1].weight
    weight = np.round(np.random.default_rng(0).normal(size=(8, 8))).astype(np.float32) * 0.25
    with torch.no_grad():
        model[1].weight.copy_(torch.from_numpy(weight))
    given = encode(weight, step=0.25, bits=4)
    traced = trace(model, (2, 4), encoded={"1.weight": given})
    first, second, third = (layer.weight for _, layer in traced.weighted())
    assert first is given
    assert second is given
    assert isinstance(third, Encoded)
    assert not isinstance(third.grid, Uniform)


def test_head() -> None:
    """A layer more at the end, unless the network has it; the mode comes back."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    model.train()
    assert kinds(trace(model, (2, 4)))[-1] == "Linear"
    assert kinds(trace(model, (2, 4), head="softmax"))[-1] == "Softmax"
    argmax = trace(model, (2, 4), head="argmax")
    assert argmax.output.shape == (1,)
    assert model.training
    soft = nn.Sequential(model, nn.Softmax(-1))
    assert kinds(trace(soft, (2, 4), head="softmax")) == ["Flatten", "Linear", "Softmax"]
    assert kinds(trace(soft, (2, 4), head="argmax")) == ["Flatten", "Linear", "Argmax"]
    chosen = check(Calls(lambda x: x.flatten(1).argmax(-1, keepdim=True)), (2, 4))
    assert kinds(chosen)[-1] == "Argmax"
    twice = nn.Sequential(soft, nn.Linear(3, 3))
    assert len(trace(twice, (2, 4), head="softmax").values()) == 6
    with pytest.raises(ExportError, match=r"head='argmax' needs one output a class; found \(3, 12"):
        trace(nn.ReLU(), IMAGE, head="argmax")


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "unknown": (torch.sigmoid, r"aten\.sigmoid in the model \(Calls\).* no target knows"),
    "adaptive": (
        lambda x: F.adaptive_avg_pool2d(x, 5),
        r"\[12, 12\] can't be divided into \[5, 5\]",
    ),
    "dropout": (lambda x: F.dropout(x, training=True), "drops in evaluation mode"),
    "statistics": (lambda x: F.batch_norm(x, None, None, training=True), "the batch's own"),
    "statistics in place": (
        lambda x: F.batch_norm(x.mul_(1), None, None, training=True),
        "the batch's own",
    ),
    "dropout in place": (lambda x: F.dropout(x.mul_(1), training=True), "drops in evaluation mode"),
    "product": (lambda x: x * x, "only sums of two values"),
    "difference": (lambda x: x - F.relu(x), "only sums of two values"),
    "alpha": (lambda x: torch.add(x, F.relu(x), alpha=2), "alpha is 2"),
    "broadcast": (lambda x: x + x.amax((2, 3), keepdim=True), "only equal shapes"),
    "a part": (lambda x: x[:, :, 1:], "only every n-th entry of a whole spatial axis"),
    "a channel": (lambda x: x[:, :2], "only every n-th entry"),
    "reshape": (lambda x: x.view(-1, 3, 144), r"turns \(3, 12, 12\) into \(3, 144\)"),
    "joined": (lambda x: torch.cat([x, x], 2), "joins along axis 2"),
    "padding": (lambda x: F.pad(x, (1, 1), value=2.0), "only zeros work"),
    "mean": (lambda x: x.mean(1), r"goes over axes \[1\]"),
    "linear": (lambda x: F.linear(x, torch.ones(2, 12)), "flatten it first"),
    "softmax": (lambda x: x.softmax(1), "only over the classes"),
    "argmax": (lambda x: x.argmax(1), "only over the classes"),
    "clamp": (lambda x: x.clamp(-1, 1), "cuts at -1 and 1"),
    "divisor": (lambda x: F.avg_pool2d(x, 2, divisor_override=3), "divisor_override=3"),
    "ceil": (lambda x: F.avg_pool2d(x, 5, 4, 1, ceil_mode=True), "ceil_mode"),
    "from the input": (lambda x: F.conv2d(x, x[:1].relu()), "computed from the input"),
    "constant": (lambda x: torch.ones(2, 3), "does not depend on its input"),
    "rounding": (lambda x: torch.div(x, 2, rounding_mode="floor"), "only a division by a constant"),
    "by zero": (lambda x: x / 0, "zero or not finite"),
    "a pixel each": (lambda x: x * torch.ones(12), "one number a channel works"),
    "random": (lambda x: x + torch.rand(1), "it is random"),
    "two": (lambda x: (x, x), "returns several values"),  # type: ignore[arg-type,return-value]
    "choice": (
        lambda x: x if x.sum() > 0 else -x,
        r"can't trace Calls with an input of \(3, 12, 12\): Guard.*At .*test_trace\.py:",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What no target can compute is named, with the reason."""
    function, message = REFUSED[name]
    with pytest.raises(ExportError, match=message):
        trace(Calls(function), IMAGE)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("shape", [(2**31 - 1, 2**31 - 1), (3, 0, 3)])
def test_inputs_beyond_all_bounds(shape: tuple[int, ...]) -> None:
    """Nothing is allocated for what a file claims."""
    with pytest.raises(ExportError, match=r"numbers; 1 to 268435456 work"):
        trace(nn.ReLU(), shape)


def test_an_input_that_does_not_fit() -> None:
    """The network's own complaint, in one line."""
    with pytest.raises(
        ExportError, match=r"can't trace Linear with an input of \(7,\): Runtime.*\.$"
    ):
        trace(nn.Linear(8, 2), (7,))


def test_refusals_say_where() -> None:
    """The module's path, and the line of the user's own code."""
    inner = nn.Sequential(nn.Conv2d(3, 3, 1), nn.GELU())
    with pytest.raises(ExportError, match=r"aten\.gelu in module '0\.1' \(GELU\) can't"):
        trace(nn.Sequential(inner), IMAGE)
    place = r"aten\.erf in module '0' \(Calls\), at .*test_trace\.py:\d+ \(return self\.func"
    with pytest.raises(ExportError, match=place):
        trace(nn.Sequential(Calls(lambda x: torch.erf(x))), IMAGE)


def artifact(path: Path, metadata: Metadata) -> nn.Module:
    model = build_model("modulation_cnn", length=32, widths=(4, 4), kernels=(3, 3), hidden=8).eval()
    tensors: dict[str, Encoded | np.ndarray] = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("weight") and tensor.ndim > 1:
            tensor.copy_(torch.round(tensor * 8) / 8)
            tensors[name] = encode(tensor.numpy(), step=0.125, bits=5)
        else:
            tensors[name] = tensor.numpy()
    write(path, tensors, metadata)
    return model


NETWORK = {
    "name": "modulation_cnn",
    "options": {"length": 32, "widths": [4, 4], "kernels": [3, 3], "hidden": 8},
}
INPUT = {"shape": [2, 32], "type": "float32", "scale": 1, "mean": [0.5, 1], "std": [1, 2]}


def test_graph_of_an_artifact(tmp_path: Path) -> None:
    """Weights on their grids, preprocessing and classes from the file."""
    path = tmp_path / "net.espalier"
    model = artifact(path, Metadata(network=NETWORK, input=INPUT, classes=("a", "b")))
    found = graph_of(path, head="softmax")
    assert (found.mean, found.std, found.classes) == ((0.5, 1.0), (1.0, 2.0), ("a", "b"))
    assert all(layer.weight.grid == Uniform(0.125) for _, layer in found.weighted())
    x = torch.randn(2, 2, 32)
    expected = model(x).softmax(-1).detach().numpy()
    np.testing.assert_allclose(run(found, x.numpy()), expected, rtol=1e-4, atol=1e-6)


def test_artifacts_that_do_not_say_enough(tmp_path: Path) -> None:
    """The shape can be given; a shape that contradicts the file, and a damaged file, are errors."""
    path = tmp_path / "net.espalier"
    artifact(path, Metadata(network=NETWORK))
    with pytest.raises(ConfigError, match="does not say the shape"):
        graph_of(path)
    assert graph_of(path, input_shape=(2, 32)).mean == ()
    artifact(path, Metadata(network=NETWORK, input=INPUT))
    with pytest.raises(ConfigError, match=r"takes \(2, 32\), not \(2, 64\)"):
        graph_of(path, input_shape=(2, 64))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="cut off"):
        graph_of(path)
