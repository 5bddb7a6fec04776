"""A small network for the modulation data: four 1-D convolutions, two fully connected layers."""

from collections.abc import Sequence

from torch import nn

from espalier.errors import ConfigError
from espalier.models.checks import check_count, check_counts, check_dropout

__all__ = ["modulation_cnn"]

QUADRATURES = 2
"""Channels of a signal: in phase and in quadrature."""


def modulation_cnn(
    *,
    classes: int = 11,
    length: int = 128,
    widths: Sequence[int] = (24, 32, 48, 64),
    kernels: Sequence[int] = (7, 5, 3, 3),
    hidden: int = 96,
    dropout: float = 0.1,
) -> nn.Sequential:
    """Build a 1-D network for IQ signals: (N, 2, length) -> (N, classes); 68,819 parameters.

    Each convolution keeps the length and is followed by batch normalization, ReLU and a max-pooling
    that halves the length. Layers are named ``conv1`` .., ``norm1`` .., ``fc1``, ``fc2``.

    Args:
        classes: outputs, >= 1.
        length: samples of a signal, at least ``2 ** len(widths)``.
        widths: channels out of each convolution; at least one.
        kernels: samples that each convolution sees at once, odd; as many as widths.
        hidden: width of the hidden fully connected layer, >= 1.
        dropout: probability before each fully connected layer, in [0, 1).

    Raises:
        ConfigError: an option is out of its bounds.

    Example:
        >>> import torch
        >>> modulation_cnn()(torch.zeros(1, 2, 128)).shape
        torch.Size([1, 11])
    """
    classes, hidden = check_count("classes", classes), check_count("hidden", hidden)
    widths, kernels = _check_convolutions(widths, kernels)
    length = check_count("length", length, least=2 ** len(widths))
    dropout = check_dropout(dropout)
    network = nn.Sequential()
    channels = QUADRATURES
    for i, (width, kernel) in enumerate(zip(widths, kernels, strict=True), start=1):
        network.add_module(f"conv{i}", nn.Conv1d(channels, width, kernel, padding=kernel // 2))
        network.add_module(f"norm{i}", nn.BatchNorm1d(width))
        network.add_module(f"relu{i}", nn.ReLU())
        network.add_module(f"pool{i}", nn.MaxPool1d(2))
        channels, length = width, length // 2
    network.add_module("flatten", nn.Flatten())
    network.add_module("dropout1", nn.Dropout(dropout))
    network.add_module("fc1", nn.Linear(channels * length, hidden))
    network.add_module("hidden_relu1", nn.ReLU())
    network.add_module("dropout2", nn.Dropout(dropout))
    network.add_module("fc2", nn.Linear(hidden, classes))
    return network


def _check_convolutions(
    widths: Sequence[int], kernels: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    widths = check_counts("widths", widths)
    if not widths:
        raise ConfigError("widths=(): expected at least one convolution.")
    kernels = check_counts("kernels", kernels, length=len(widths))
    if any(kernel % 2 == 0 for kernel in kernels):
        raise ConfigError(f"kernels={kernels}: expected odd ones, which keep the length.")
    return widths, kernels
