"""A stack computes what its layers compute one after the other, whatever way it takes."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from espalier.core import core
from espalier.models import Stack, drop, paper_cnn, stack

needs_core = pytest.mark.skipif(core is None, reason="the compiled core isn't built")


def layers(channels: int, *, pooled: bool) -> list[nn.Module]:
    """Return normalization with weights of either sign, ReLU and maybe pooling."""
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(channels))
        norm.bias.copy_(torch.randn(channels))
    return [norm, nn.ReLU(), *([nn.MaxPool2d(2)] if pooled else [])]


def a_map(channels: int, height: int, width: int, images: int = 3) -> Tensor:
    values = torch.randn(images, channels, height, width) * 3 + 5
    return values.bfloat16().contiguous(memory_format=torch.channels_last)


def results(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return what a step leaves: the result, gradients, and all buffers."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = model(x)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    y.backward(gradient.to(y.dtype))
    assert x.grad is not None
    found = {"y": y.detach(), "x": x.grad}
    found |= {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | dict(model.named_buffers())


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count the calls of the core."""
    seen: list[int] = []
    real = stack._call

    def counting(x: Tensor, *rest: object) -> None:
        seen.append(x.shape[1])
        real(x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(stack, "_call", counting)
    return seen


@needs_core
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("channels", "height", "width", "pooled"),
    [(32, 7, 5, False), (96, 1, 2, False), (32, 6, 4, True), (64, 2, 2, True)],
)
def test_in_one_go_as_in_float64(
    channels: int, height: int, width: int, pooled: bool, threads: int, calls: list[int]
) -> None:
    """Result, gradients and running statistics are float64's, up to one rounding to bfloat16."""
    torch.manual_seed(channels)
    x = a_map(channels, height, width)
    model = Stack(*layers(channels, pooled=pooled))
    exact = nn.Sequential(*copy.deepcopy(list(model))).double()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = results(model, x)
    finally:
        torch.set_num_threads(before)
    expected = results(exact, x.double())

    assert calls == [channels] * 2
    assert found.keys() == expected.keys()
    for name, value in found.items():
        near = 2**-8 if name in ("y", "x") else 3e-5
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(
            value.double(), expected[name].double(), rtol=near, atol=near * scale
        )


@needs_core
def test_threads_change_no_bit() -> None:
    """One thread and three give the same."""
    torch.manual_seed(0)
    x, model = a_map(64, 4, 6, images=7), Stack(*layers(64, pooled=True))
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(results(copy.deepcopy(model), x))
    finally:
        torch.set_num_threads(before)
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name])


@needs_core
def test_ties_go_to_the_first_and_nan_spreads() -> None:
    """Of equal entries in a window the first gets the gradient, as in PyTorch."""
    x = torch.zeros(2, 32, 2, 2).bfloat16().contiguous(memory_format=torch.channels_last)
    x[1] = 1
    norm = nn.BatchNorm2d(32)
    norm.bias.data.fill_(2)
    winners = results(Stack(norm, nn.ReLU(), nn.MaxPool2d(2)), x)["x"].abs()
    plain = results(nn.Sequential(norm, nn.ReLU(), nn.MaxPool2d(2)), x)["x"].abs()
    assert torch.equal(winners.argmax(dim=3), plain.argmax(dim=3))
    x[0, 0, 0, 0] = torch.nan
    assert Stack(norm, nn.ReLU(), nn.MaxPool2d(2))(x)[:, 0].isnan().all()


@pytest.mark.parametrize(
    "change",
    [
        lambda model, x: (model, x.float()),
        lambda model, x: (model.eval(), x),
        lambda model, x: (model, x.contiguous()),
        lambda model, x: (nn.Sequential(*model), x),
        lambda model, x: (hooked(model, 0), x),
        lambda model, x: (hooked(model, 1), x),
        lambda model, x: (without(model, "momentum"), x),
        lambda model, x: (without(model, "running_mean", "running_var"), x),
    ],
)
def test_else_the_layers_themselves_run(change: object, calls: list[int]) -> None:
    """Another type, mode or layout, a hook, other statistics: bit for bit what the layers give."""
    x = a_map(32, 4, 4)
    model, x = change(Stack(*layers(32, pooled=False)), x)  # type: ignore[operator]
    plain = nn.Sequential(*copy.deepcopy(list(model)))
    plain.train(model.training)
    found, expected = results(model, x), results(plain, x)
    assert not calls
    for name, value in found.items():
        assert torch.equal(value, expected[name])


def hooked(model: nn.Sequential, place: int) -> nn.Sequential:
    model[place].register_forward_hook(_nothing)
    return model


def _nothing(*_: object) -> None:
    """Stand in for somebody who watches."""


def without(model: nn.Sequential, *names: str) -> nn.Sequential:
    for name in names:
        setattr(model[0], name, None)
    return model


@needs_core
def test_a_pooling_of_another_kind_stays_a_layer(calls: list[int]) -> None:
    """Normalization and ReLU run in one go, pooling by itself."""
    for pool, sides in ((nn.MaxPool2d(3, 1), (4, 4)), (nn.MaxPool2d(2), (5, 4))):
        calls.clear()
        model = Stack(*layers(32, pooled=False), pool)
        y = model(a_map(32, *sides))
        assert (y.shape[2], y.shape[3], calls) == (2, 2, [32])


@needs_core
def test_the_core_refuses_maps_that_it_cannot_take() -> None:
    """Channels in blocks of 32, two pixels at least, even sides where pooled."""
    settings = {"maps": (0,) * 4, "affine": (0, 0), "statistics": 0, "eps": 1e-5, "threads": 1}
    for sizes, won in (
        ((1, 2, 2, 33), (0, 0)),
        ((0, 2, 2, 32), (0, 0)),
        ((1, 1, 1, 32), (0, 0)),
        ((1, 3, 2, 32), (8, 8)),
    ):
        with pytest.raises(ValueError, match="expected channels by 32, two pixels or more"):
            core.norm_relu(sizes=sizes, won=won, **settings)


def test_compiled_and_exported_stacks_are_plain_graphs(calls: list[int]) -> None:
    """torch.compile and torch.export see the layers."""
    torch.manual_seed(0)
    model, x = Stack(*layers(32, pooled=True), nn.Dropout(0.5)), a_map(32, 4, 4)
    torch.compile(model, backend="eager", fullgraph=True)(x)
    exported = torch.export.export(model.eval(), (x,))
    assert not calls
    assert torch.equal(exported.module()(x), model(x))


@needs_core
def test_the_papers_network_trains_in_one_go(calls: list[int]) -> None:
    """Under autocast all five normalizations run in the core, each way."""
    network = paper_cnn().to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(x).float().sum()
    loss.backward()
    assert calls == [32, 64, 64, 128, 128, 128, 128, 64, 64, 32]
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("p", [0.3, 0.5, 0.001])
def test_dropping_keeps_the_mean_at_every_place(p: float) -> None:
    """The share that is dropped is p for each of the four entries that one number serves."""
    torch.manual_seed(0)
    x = torch.ones(400_003)
    y = drop(x, p)
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-4)
    for place in range(4):
        part = y[place::4]
        deviation = (p * (1 - p) / len(part)) ** 0.5
        assert float((part == 0).double().mean()) == pytest.approx(p, abs=5 * deviation)


def test_dropping_follows_the_generator_and_the_gradient_the_mask() -> None:
    """The same seed drops the same entries; gradients pass where entries stayed."""
    x = torch.randn(5, 7, dtype=torch.bfloat16, requires_grad=True)
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        x.grad = None
        y = drop(x, 0.5)
        y.sum().backward()
        assert x.grad is not None
        assert torch.equal(x.grad * x, y)
        masks.append(y != 0)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_stack_drops_nothing_or_all_as_pytorch_does(p: float) -> None:
    """Probabilities that 16 bits can't tell from 0 or 1 are PyTorch's."""
    x = torch.ones(8)
    assert torch.equal(Stack(nn.Dropout(p))(x), x * (1 - p))
