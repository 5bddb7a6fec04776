"""Bits by sensitivity under a budget: the best combination, within the bytes of a real file."""

from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import espalier
from espalier import artifact, bridge
from espalier.compressor import allocate_bits, attach, mixed_rules
from espalier.errors import ConfigError, NonFiniteError
from espalier.ops import Chain, GlobalMagnitude, PruneThenQuantize, UniformQuantizer

CHOICES = (2, 4, 8)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 8), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(8, 3))


X, Y = torch.randn(64, 6, generator=torch.Generator().manual_seed(1)), torch.arange(64) % 3


def loss(model: nn.Module) -> torch.Tensor:
    return F.cross_entropy(model(X), Y)


def errors(model: nn.Module, bits: int) -> dict[str, float]:
    """Return each weight's squared error, without the library's own bookkeeping."""
    quantize = UniformQuantizer(bits=bits)
    found = {n: p.detach() for n, p in model.named_parameters() if not n.startswith("1.")}
    return {n: float((quantize(w).double() - w).square().sum()) for n, w in found.items()}


def test_the_error_is_the_least_that_the_bits_allow() -> None:
    """No other combination within the mean has a smaller squared error."""
    model = network()
    sizes = {n: p.numel() for n, p in model.named_parameters() if not n.startswith("1.")}
    by_bits = {bits: errors(model, bits) for bits in CHOICES}
    found = allocate_bits(model, mean_bits=3.7, choices=CHOICES)
    assert list(found) == list(sizes)

    def total(bits: dict[str, int]) -> float:
        return sum(by_bits[b][n] for n, b in bits.items())

    budget = 3.7 * sum(sizes.values())
    combinations = (dict(zip(sizes, c, strict=True)) for c in product(CHOICES, repeat=len(sizes)))
    fitting = [c for c in combinations if sum(sizes[n] * b for n, b in c.items()) <= budget]
    assert found in fitting
    assert total(found) == pytest.approx(min(map(total, fitting)), rel=1e-12)


@pytest.mark.parametrize("sensitivity", ["loss", "gradient", "error"])
def test_the_file_keeps_the_budget(tmp_path: Path, sensitivity: str) -> None:
    """A network that is compressed so packs into the bytes that were asked, and not far below."""
    model, prune = network(), GlobalMagnitude(density=0.6)

    def operator(bits: int) -> Chain:
        return Chain(prune=prune, quantize=UniformQuantizer(bits=bits))

    bits = allocate_bits(
        model,
        max_bytes=900,
        choices=(2, 3, 4, 8, 12),
        loss=loss,
        sensitivity=sensitivity,
        operator=operator,
    )
    each = espalier.MixedBits(quantize=UniformQuantizer(bits=8), each=tuple(bits.values()))
    op = Chain(prune=prune, quantize=each)
    weights = {n: p for n, p in model.named_parameters() if n in bits}
    codes = op.encode(*op.apply(weights, op.init(weights)))
    size = len(artifact.pack(bridge.network_tensors(model.state_dict(), codes)))
    assert 860 < size <= 900
    assert len(set(bits.values())) > 1


def test_measuring_leaves_the_model_alone() -> None:
    """Weights, gradients, statistics and modes are as before; dropout is off while it measures."""
    model = network().train()
    model[1].eval()
    state = {n: t.clone() for n, t in model.state_dict().items()}
    seen = []

    def counted(given: nn.Module) -> float:
        seen.append(float(loss(given)))
        return seen[-1]

    allocate_bits(model, mean_bits=4, choices=CHOICES, loss=counted)
    assert len(seen) == 1 + 6 * (len(CHOICES) - 1)
    assert len(set(seen)) > 6
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
    assert (model.training, model[1].training) == (True, False)
    assert torch.is_grad_enabled()
    assert all(p.grad is None for p in model.parameters())


def test_what_the_loss_depends_on_gets_more() -> None:
    """A layer that the output hardly feels gets the fewest bits, whatever its own errors are."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.deaf, self.heard = nn.Linear(6, 9, bias=False), nn.Linear(6, 9, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 1e-4 * self.deaf(x) + self.heard(x)

    torch.manual_seed(0)
    model = Two()
    with torch.no_grad():
        model.deaf.weight *= 3
    teacher = (X @ model.heard.weight.T).detach()

    def distance(given: nn.Module) -> torch.Tensor:
        return F.mse_loss(given(X), teacher + 0.01)

    by = {
        how: allocate_bits(model, mean_bits=5, choices=(2, 8), loss=distance, sensitivity=how)
        for how in ("error", "gradient", "loss")
    }
    assert by["error"] == {"deaf.weight": 8, "heard.weight": 2}
    assert by["gradient"] == by["loss"] == {"deaf.weight": 2, "heard.weight": 8}


def test_rules_for_a_loop(tmp_path: Path) -> None:
    """Rules give each parameter its bits in training, in the report, in RC and in the file."""
    model = network()
    bits = {"0.weight": 3, "0.bias": 8, "3.*": 4, "6.*": 8}
    rules = mixed_rules(bits, lambda b: PruneThenQuantize(gamma=0.5, bits=b))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compressor = attach(model, optimizer, rules)
    loss(model).backward()
    optimizer.step()
    compressor.end_epoch()
    report = compressor.report()
    assert [row.bits for row in report.compressed] == [3, 8, 4, 4, 8, 8]
    stored = sum(row.kept * row.bits for row in report.compressed)
    assert report.ratio == pytest.approx(stored / sum(32 * r.parameters for r in report.compressed))
    espalier.save(compressor, tmp_path / "net.espalier")
    found = bridge.inspect(tmp_path / "net.espalier")
    assert [row.bits for row in found.rows if row.bits] == [3, 8, 4, 4, 8, 8]


def test_one_budget_in_a_loop() -> None:
    """A chain with mixed bits says each parameter's bits in report and codes."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    each = espalier.MixedBits(quantize=UniformQuantizer(bits=8), each=(3, 8, 4, 4, 8, 2))
    operator = Chain(prune=GlobalMagnitude(density=0.5), quantize=each)
    compressor = attach(model, optimizer, operator, update="latent")
    loss(model).backward()
    optimizer.step()
    assert [row.bits for row in compressor.report().compressed] == [3, 8, 4, 4, 8, 2]
    assert [e.bits for e in compressor.encoded().values()] == [3, 8, 4, 4, 8, 2]
    compressor.load_state_dict(compressor.state_dict())


def test_refused() -> None:
    """What can't be is said with what to do."""
    model = network()
    for budgets in ({}, {"max_bytes": 5000, "mean_bits": 3}):
        with pytest.raises(ConfigError, match="give one of them as the budget"):
            allocate_bits(model, **budgets)
    with pytest.raises(ConfigError, match=r"mean_bits=1 is below 2, the fewest of the choices"):
        allocate_bits(model, mean_bits=1)
    with pytest.raises(ConfigError, match=r"max_bytes=100: the fewest bits of \(2, 4, 8\) take \d"):
        allocate_bits(model, max_bytes=100, choices=CHOICES)
    with pytest.raises(ConfigError, match="choices is empty"):
        allocate_bits(model, mean_bits=3, choices=())
    with pytest.raises(ConfigError, match="'fisher'; it is one of loss, gradient, error"):
        allocate_bits(model, mean_bits=3, sensitivity="fisher")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="sensitivity='gradient' needs a loss"):
        allocate_bits(model, mean_bits=3, sensitivity="gradient")
    with pytest.raises(ConfigError, match="the loss has no gradient"):
        allocate_bits(model, mean_bits=3, sensitivity="gradient", loss=lambda m: loss(m).item())
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        allocate_bits(model, mean_bits=3, loss=lambda _: float("nan"))
