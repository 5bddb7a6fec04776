"""What a weight costs: a share of the network's weights, and a share of its operations."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from espalier.compressor.select import Rule, select
from espalier.errors import ConfigError
from espalier.ops import StdThreshold

__all__ = ["operation_prices"]

DIGITS = 3
"""Decimals of a price; they stand in every record and file."""


def operation_prices(
    model: nn.Module,
    example: Tensor,
    *,
    share: float,
    rules: Sequence[Rule] | None = None,
) -> tuple[float, ...]:
    """Return what a weight of each compressed parameter costs, for ``Lamp(prices=...)``.

    A weight takes part in as many multiplications a sample as its layer has output positions: one
    where it is fully connected, hundreds in a convolution. Its price is ``1 - share`` for its place
    in the file and ``share`` for its multiplications, in units of their mean over all compressed
    weights, divided by the least such price and rounded to 3 decimals. A bias costs as much as its
    layer's weights.

    Args:
        model: the network; runs once, in evaluation mode, without gradients.
        example: input of one sample, with its batch axis.
        share: 0 counts weights alone, 1 operations alone.
        rules: as :func:`attach` takes them; prices are those of the first set. None: all parameters
            but those of normalizations.

    Raises:
        ConfigError: the share is none.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
        >>> operation_prices(net, torch.zeros(1, 1, 4, 4), share=1.0)
        (4.0, 4.0, 1.0, 1.0)
    """
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise ConfigError(
            f"share is {share}; it says how much operations count in what a weight costs, so give "
            "a number from 0 (weights alone) to 1 (operations alone)."
        )
    rules = rules or [Rule(operator=StdThreshold(gamma=0.0))]
    members = select(model, rules).groups[0][1]
    each = _multiplications(model, example)
    counts = [each.get(name.rpartition(".")[0], 1.0) for name in members]
    sizes = [p.numel() for p in members.values()]
    mean = sum(n * size for n, size in zip(counts, sizes, strict=True)) / sum(sizes)
    prices = [1 - share + share * n / mean for n in counts]
    return tuple(round(price / min(prices), DIGITS) for price in prices)


def _multiplications(model: nn.Module, example: Tensor) -> dict[str, float]:
    """Return the multiplications of a weight, by the name of the module that owns it."""
    training = model.training
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.eval()(example)
    finally:
        model.train(training)
    flops = counter.get_flop_counts()
    root, found = type(model).__name__, {}
    for name, module in model.named_modules():
        weights = sum(p.numel() for p in module.parameters() if p.dim() > 1)
        counted = sum(flops.get(f"{root}.{name}" if name else root, {}).values())
        if weights and counted:
            found[name] = counted / 2 / weights
    return found
