"""Statistics of batch normalizations, taken anew for the weights that are kept."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["recalibrate_"]


@torch.no_grad()
def recalibrate_(model: nn.Module, inputs: Iterable[Tensor], samples: int) -> None:
    """Replace running means and variances by those of the network as it is, in place.

    While training they average over networks of many steps; after a large change by compression
    they are those of another network. The new ones are plain means over the batches (precise
    normalization: Wu and Johnson, 2021, section 3). All else of the network computes as in
    evaluation, so that no random number is drawn. Without normalizations nothing happens.

    Args:
        model: left in evaluation mode.
        inputs: batches of training samples, normalized, without their labels.
        samples: how many of them to use; the batch that reaches it is the last.
    """
    model.eval()
    found = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [module.momentum for module in found]
    for module in found:
        module.reset_running_stats()
        module.momentum = None  # torch's way to say: the mean over all batches
        module.train()
    seen = 0
    for batch in inputs if found else ():
        model(batch)
        seen += len(batch)
        if seen >= samples:
            break
    for module, momentum in zip(found, momenta, strict=True):
        module.momentum = momentum
        module.eval()
