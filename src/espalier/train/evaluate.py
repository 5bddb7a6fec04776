"""Loss and accuracy of a network on a split."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.data.batches import Batches

__all__ = ["Tally", "autocast", "evaluate", "tally_of"]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context of the forward pass; under bf16 it computes in bfloat16 where sound."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


class Tally:
    """Sums of loss and hits, kept on the device so that no step waits for a number."""

    def __init__(self, device: torch.device) -> None:
        """Start at zero."""
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        """Sum over samples."""
        self.hits = torch.zeros((), dtype=torch.int64, device=device)
        self.samples = 0

    def clear(self) -> None:
        """Start at zero again, in the same memory."""
        self.loss.zero_()
        self.hits.zero_()
        self.samples = 0

    def take(self, other: "Tally") -> None:
        """Hold what another one holds."""
        self.loss.copy_(other.loss)
        self.hits.copy_(other.hits)
        self.samples = other.samples

    def add(self, loss: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Count a batch: its mean loss, outputs (N, classes) and labels (N,)."""
        self.loss += loss.detach() * len(labels)
        self.hits += (outputs.detach().argmax(1) == labels).sum()
        self.samples += len(labels)

    @property
    def mean_loss(self) -> float:
        """Mean over the samples so far; NaN before the first."""
        return self.loss.item() / self.samples if self.samples else math.nan

    @property
    def accuracy(self) -> float:
        """Percent of the samples so far; NaN before the first."""
        return 100 * self.hits.item() / self.samples if self.samples else math.nan


def evaluate(
    model: nn.Module, batches: Batches, device: torch.device, precision: str
) -> tuple[float, float]:
    """Return the mean cross-entropy and the accuracy in percent; leaves the model in eval mode."""
    tally = tally_of(model, batches, device, precision)
    return tally.mean_loss, tally.accuracy


@torch.inference_mode()
def tally_of(model: nn.Module, batches: Batches, device: torch.device, precision: str) -> Tally:
    """Return loss and hits over a split; leaves the model in eval mode."""
    model.eval()
    tally = Tally(device)
    for inputs, labels in batches.epoch(0):
        with autocast(device, precision):
            outputs = model(inputs)
        outputs = outputs.float()
        tally.add(F.cross_entropy(outputs, labels), outputs, labels)
    return tally
