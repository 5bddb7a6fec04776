"""ResNet-20 has He et al.'s shape, and shortcuts without parameters."""

import pytest
import torch

from espalier.errors import ConfigError
from espalier.models import resnet20
from espalier.models.resnet20 import ResidualBlock


def test_has_the_published_number_of_parameters():
    """0.27 M: 269,722 with 10 classes, batch normalization and the last bias included."""
    assert sum(p.numel() for p in resnet20().parameters()) == 269_722


def test_has_twenty_weighted_layers():
    """Nineteen convolutions and one fully connected layer; none sits in a shortcut."""
    weights = [name for name, p in resnet20().named_parameters() if p.dim() > 1]
    assert len(weights) == 20
    assert weights[0] == "conv1.weight"
    assert weights[1] == "stage1.block1.conv1.weight"
    assert weights[-1] == "fc.weight"


def test_stages_halve_the_image_and_double_the_width():
    """32x32x16, 16x16x32, 8x8x64."""
    network, x = resnet20().eval(), torch.zeros(1, 3, 32, 32)
    shapes = []
    for name, layer in network.named_children():
        x = layer(x)
        if name.startswith("stage"):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert x.shape == (1, 10)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 8, 2), (3, 6, 2)])
def test_shortcut_keeps_every_other_pixel_and_adds_zeros(inputs, outputs, stride):
    """With its convolutions silenced a block is ReLU of the decimated, padded input."""
    block = ResidualBlock(inputs, outputs, stride).eval()
    torch.nn.init.zeros_(block.norm2.weight)
    x = torch.randn(2, inputs, 6, 6)
    before = (outputs - inputs) // 2
    y = block(x)
    kept = y[:, before : before + inputs]
    assert torch.equal(kept, x[:, :, ::stride, ::stride].relu())
    assert y.count_nonzero() == kept.count_nonzero()


def test_width_and_classes_are_options():
    """A narrower network with another number of classes."""
    network = resnet20(classes=3, width=4)
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    assert network.fc.in_features == 16


def test_options_out_of_bounds_are_named():
    """The message says which option and what is expected."""
    with pytest.raises(ConfigError, match="width=0: expected an integer >= 1"):
        resnet20(width=0)
