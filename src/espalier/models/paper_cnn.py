"""The paper's network: five convolutions, four fully connected layers, 32x32 images."""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import nn

from espalier.errors import ConfigError, nearest
from espalier.models.checks import check_count, check_counts, check_dropout
from espalier.models.stack import Stack

__all__ = ["Initialization", "paper_cnn"]

Initialization = Literal["default", "xavier", "he"]
"""How kernels and biases start; :func:`paper_cnn` says what each means."""

PADDING = (0, 0, 1, 0, 0)
"""Padding of each 3x3 convolution."""
POOL_AFTER = (2, 5)
"""Convolutions, counted from 1, after which a 2x2 max-pooling halves the image."""
LAST_SIDE = 5
"""Side of the last feature map: 32 -> 30 -> 28 -> 14 -> 14 -> 12 -> 10 -> 5."""
XAVIER_BIAS = 0.1
"""Where biases start under "xavier", as in the group's code."""


def paper_cnn(
    *,
    classes: int = 10,
    channels: int = 3,
    widths: Sequence[int] = (32, 64, 64, 128, 128),
    hidden: Sequence[int] = (512, 256, 128),
    dropout: float = 0.3,
    normalize_hidden: bool = False,
    initialization: Initialization = "default",
) -> nn.Sequential:
    """Build the paper's network: (N, channels, 32, 32) -> (N, classes); 2,083,018 parameters.

    Convolutions are 3x3 with a bias, then batch normalization, then ReLU; the third is padded by 1,
    the others aren't; a 2x2 max-pooling follows the second and the fifth. Fully connected layers
    come after the flattened 5x5 map, each hidden one with dropout before it and ReLU after it.
    Layers are named ``conv1`` .. ``conv5``, ``norm1`` .., ``fc1`` .. ``fc4``.

    Args:
        classes: outputs, >= 1.
        channels: of the image, >= 1.
        widths: channels out of each of the five convolutions.
        hidden: widths of the hidden fully connected layers; any number of them.
        dropout: probability before each hidden fully connected layer, in [0, 1).
        normalize_hidden: batch normalization between a hidden layer and its ReLU
            (``hidden_norm1`` ..).
        initialization: "default" is PyTorch's own; "xavier" draws kernels from Xavier's uniform
            distribution and sets biases to .1 (the group's code); "he" draws them from He's normal
            distribution (fan out) and sets biases to 0.

    Raises:
        ConfigError: an option is out of its bounds.

    Example:
        >>> sum(p.numel() for p in paper_cnn().parameters())
        2083018
    """
    classes = check_count("classes", classes)
    widths = check_counts("widths", widths, length=len(PADDING))
    hidden = check_counts("hidden", hidden)
    dropout = check_dropout(dropout)
    _check_initialization(initialization)
    network = Stack()
    _add_convolutions(network, check_count("channels", channels), widths)
    network.add_module("flatten", nn.Flatten())
    flat = widths[-1] * LAST_SIDE**2
    _add_classifier(network, flat, hidden, classes, dropout, normalize=normalize_hidden)
    _initialize(network, initialization)
    return network


def _add_convolutions(network: nn.Sequential, channels: int, widths: Sequence[int]) -> None:
    for i, (width, padding) in enumerate(zip(widths, PADDING, strict=True), start=1):
        network.add_module(f"conv{i}", nn.Conv2d(channels, width, 3, padding=padding))
        network.add_module(f"norm{i}", nn.BatchNorm2d(width))
        network.add_module(f"relu{i}", nn.ReLU())
        if i in POOL_AFTER:
            network.add_module(f"pool{i}", nn.MaxPool2d(2))
        channels = width


def _add_classifier(
    network: nn.Sequential,
    inputs: int,
    hidden: Sequence[int],
    classes: int,
    dropout: float,
    *,
    normalize: bool,
) -> None:
    for i, width in enumerate(hidden, start=1):
        network.add_module(f"dropout{i}", nn.Dropout(dropout))
        network.add_module(f"fc{i}", nn.Linear(inputs, width))
        if normalize:
            network.add_module(f"hidden_norm{i}", nn.BatchNorm1d(width))
        network.add_module(f"hidden_relu{i}", nn.ReLU())
        inputs = width
    network.add_module(f"fc{len(hidden) + 1}", nn.Linear(inputs, classes))


def _check_initialization(asked: str) -> None:
    known = get_args(Initialization)
    if asked not in known:
        raise ConfigError(
            f"initialization={asked!r} is unknown; known: {', '.join(known)}."
            f"{nearest(str(asked), known)}"
        )


def _initialize(network: nn.Module, initialization: Initialization) -> None:
    if initialization == "default":
        return
    for module in network.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if initialization == "xavier":
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.constant_(module.bias, XAVIER_BIAS if initialization == "xavier" else 0.0)
