"""What weights cost: multiplications by hand, and layers that give more where they cost more."""

import pytest
import torch
from torch import Tensor, nn

import espalier
from espalier.compressor import Rule, attach, operation_prices
from espalier.errors import ConfigError
from espalier.models import build_model
from espalier.ops import Lamp

NETWORK = nn.Sequential(
    nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16 * 4, 6)
)
"""36 weights and 4 biases at 16 positions, 384 weights and 6 biases at one."""


def test_prices_by_hand() -> None:
    """In the order of the parameters that are compressed, normalizations left out."""
    whole = operation_prices(NETWORK, torch.zeros(1, 2, 6, 6), share=1.0)
    assert whole == (16.0, 16.0, 1.0, 1.0)
    assert operation_prices(NETWORK, torch.zeros(1, 2, 6, 6), share=0.0) == (1.0,) * 4
    mean = (40 * 16 + 390) / 430
    half = (0.5 + 8 / mean) / (0.5 + 0.5 / mean)
    assert operation_prices(NETWORK, torch.zeros(1, 2, 6, 6), share=0.5) == (
        round(half, 3),
        round(half, 3),
        1.0,
        1.0,
    )


def test_of_the_networks_that_come_along() -> None:
    """Output positions of each convolution: 30, 28, 14, 12 and 10 squared."""
    prices = operation_prices(build_model("paper_cnn"), torch.zeros(1, 3, 32, 32), share=1.0)
    assert prices[::2] == (900.0, 784.0, 196.0, 144.0, 100.0, 1.0, 1.0, 1.0, 1.0)
    residual = operation_prices(build_model("resnet20"), torch.zeros(1, 3, 32, 32), share=1.0)
    assert set(residual) == {1024.0, 256.0, 64.0, 1.0}


class Own(nn.Module):
    """A network that calls one layer twice, and another one never."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.body = nn.Linear(5, 5)
        self.unused = nn.Linear(5, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Go through the body twice."""
        self.seen = self.training, torch.is_grad_enabled()
        out: Tensor = self.head(self.body(self.body(x).relu()))
        return out


def test_a_layer_that_is_called_twice() -> None:
    """Costs twice as much; the network runs as in evaluation and is left as it was."""
    network = Own()
    assert operation_prices(network, torch.zeros(1, 5), share=1.0) == (2.0, 2.0, 1.0, 1.0, 1.0, 1.0)
    assert network.seen == (False, False)
    assert network.training


def test_prices_follow_the_rules() -> None:
    """Those of the first set, as the operator will see it."""
    rules = [Rule(operator=Lamp(density=0.5), biases=False)]
    found = operation_prices(NETWORK, torch.zeros(1, 2, 6, 6), share=1.0, rules=rules)
    assert found == (16.0, 1.0)


def test_in_a_loop_of_ones_own() -> None:
    """As many weights stay, fewer of them where each costs more."""
    kept = {}
    for share in (0.0, 0.75):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
        prices = espalier.operation_prices(network, torch.zeros(1, 3, 6, 6), share=share)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        compressor = attach(network, optimizer, Lamp(density=0.1, prices=prices))
        network(torch.ones(2, 3, 6, 6)).sum().backward()
        optimizer.step()
        report = compressor.report()
        kept[share] = {row.name: row.kept for row in report.layers}
    assert sum(kept[0.0].values()) == sum(kept[0.75].values())
    assert kept[0.75]["0.weight"] < kept[0.0]["0.weight"] / 2


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none(share: float) -> None:
    """From 0 to 1."""
    with pytest.raises(ConfigError, match=r"share is .*0 \(weights alone\) to 1"):
        operation_prices(NETWORK, torch.zeros(1, 2, 6, 6), share=share)
