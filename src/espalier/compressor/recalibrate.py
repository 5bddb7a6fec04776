"""Statistics of normalizations, taken anew under the compressed weights."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from espalier.errors import ConfigError

__all__ = ["recalibrate"]


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Any], *, samples: int | None = None) -> int:
    """Take batch normalizations' running means and variances anew, from the network as it is.

    While training they average over the networks of many steps; after a large change by compression
    they are those of another network. The new ones are plain means of the batches' own statistics
    (precise normalization: Wu and Johnson, 2021, section 3), the batches counting alike. Everything
    else of the network computes as in evaluation, so that no random number is drawn. Weights are
    untouched, no gradient is computed, and every module is left in the mode that it was in.

    Args:
        model: any module; without such statistics nothing happens.
        batches: inputs, or tuples whose first entry is the inputs, as a data loader gives them;
            brought to the model's device. Training data, prepared as in training, each batch large
            enough to tell a variance.
        samples: how many inputs to use; the batch that reaches it is the last. None uses all.

    Returns:
        The number of inputs that were used.

    Raises:
        ConfigError: there is no batch, and the statistics are as they were.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        >>> recalibrate(net, [torch.randn(16, 2), torch.randn(16, 2)])
        32
    """
    found = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not found:
        return 0
    device, seen = next(model.parameters()).device, 0
    with _averaging(model, found):
        for batch in batches:
            inputs: Tensor = batch[0] if isinstance(batch, tuple | list) else batch
            if not seen:
                for module in found:
                    module.reset_running_stats()
            model(inputs.to(device))
            seen += len(inputs)
            if samples is not None and seen >= samples:
                break
    if not seen:
        raise ConfigError(
            "there is no batch to take statistics from: pass an iterable of inputs, such as a "
            "DataLoader of the training data, that was not used up before."
        )
    return seen


@contextmanager
def _averaging(model: nn.Module, normalizations: list[_BatchNorm]) -> Iterator[None]:
    """Let these normalizations average over batches and all else evaluate, for a while."""
    modes = [(module, module.training) for module in model.modules()]
    momenta = [module.momentum for module in normalizations]
    model.eval()
    for module in normalizations:
        module.training = True
        module.momentum = None  # torch's way to say: the mean over all batches
    try:
        yield
    finally:
        for module, momentum in zip(normalizations, momenta, strict=True):
            module.momentum = momentum
        for any_module, mode in modes:
            any_module.training = mode
