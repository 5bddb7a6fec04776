"""A small network on generated radio signals that can be watched while it trains."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from espalier import attach
from espalier.data import load_dataset
from espalier.data.batches import Batches
from espalier.models import build_model
from espalier.ops import Operator

__all__ = ["STEPS_PER_EPOCH", "Watched"]

BATCH = 64
STEPS_PER_EPOCH = 124
"""7,920 signals in batches of 64."""


class Watched:
    """The modulation network in training, SGD with momentum .9, seed 0, one thread."""

    def __init__(self, operator: Operator | None, *, lr: float, update: str = "hybrid") -> None:
        """Build it; None leaves compressing to whoever watches."""
        torch.set_num_threads(1)
        torch.manual_seed(0)
        dataset = load_dataset("modulation")
        shape = dataset.input_shape
        self.model = build_model("modulation_cnn", classes=len(dataset.classes), length=shape[-1])
        self.batches = Batches(dataset.train, dataset, batch_size=BATCH, seed=0, device="cpu")
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=0.9)
        self.updated: dict[str, Tensor] = {}
        """Weights after the last update, before pruning and quantization."""
        self.optimizer.register_step_post_hook(self._remember)  # before the compressor's own
        self.compressor = None
        if operator is not None:
            self.compressor = attach(self.model, self.optimizer, operator, update=update)

    def _remember(self, *_: object) -> None:
        named = self.model.named_parameters()
        self.updated = {name: p.detach().clone() for name, p in named}

    def steps(self, count: int) -> Iterator[int]:
        """Train, and yield the number of each step after it, from 1."""
        done = 0
        while done < count:
            self.model.train()
            for inputs, labels in self.batches.epoch(done // STEPS_PER_EPOCH + 1):
                F.cross_entropy(self.model(inputs), labels).backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
                done += 1
                yield done
                if done == count:
                    return
            if self.compressor is not None:
                self.compressor.end_epoch()
