"""A small network, its data, and a slow loop that trains with compression and knows no hooks."""

from collections import OrderedDict
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from espalier.ops import kernels


def network(seed=0):
    """Return a network with a convolution, a normalization and two fully connected layers."""
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(2, 4, 3),
            norm=nn.BatchNorm2d(4),
            relu=nn.ReLU(),
            flat=nn.Flatten(),
            fc1=nn.Linear(64, 12),
            act=nn.Tanh(),
            fc2=nn.Linear(12, 5),
        )
    )


def batches(count, seed=1):
    """Return seeded inputs and labels for :func:`network`."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(8, 2, 6, 6, generator=generator),
            torch.randint(5, (8,), generator=generator),
        )
        for _ in range(count)
    ]


def gradient(model, batch):
    """Put the gradient of one batch into the parameters and return the loss."""
    model.zero_grad()
    loss = F.cross_entropy(model(batch[0]), batch[1])
    loss.backward()
    return loss


@dataclass
class Loop:
    """Trains a model that nothing is attached to, compressing by plain assignments.

    ``prune`` and ``compress`` map one tensor and the step to what is left of it; ``quantize`` maps
    a tensor, for the steps after ``end_step``.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    names: tuple
    prune: object
    compress: object
    update: str
    cadence: str = "every_step"
    start_step: int = 0
    end_step: int | None = None
    quantize: object = None
    steps: int = 0
    start: dict = field(default_factory=dict)
    masks: dict = field(default_factory=dict)

    def chosen(self):
        """Return the parameters that are compressed, by name."""
        return {n: p for n, p in self.model.named_parameters() if n in self.names}

    @torch.no_grad()
    def squeeze(self, step):
        """Write the compressed weights; keep what the next update starts from."""
        for name, p in self.chosen().items():
            dense = p.detach().clone()
            if name in self.masks:
                dense = torch.where(self.masks[name], dense, 0.0)
                pruned, squeezed = dense, self.quantize(dense)
            else:
                pruned, squeezed = self.prune(dense, step), self.compress(dense, step)
            p.copy_(squeezed)
            starts = {"latent": dense, "hybrid": pruned, "inplace": p.detach().clone()}
            self.start[name] = starts[self.update]
            if self.end_step is not None and step + 1 >= self.end_step:
                self.masks.setdefault(name, p.detach() != 0)

    def step(self, batch):
        """Train on one batch."""
        gradient(self.model, batch)
        self.apply_update()

    @torch.no_grad()
    def apply_update(self):
        """Let the optimizer step with the gradients that are there."""
        for name, p in self.chosen().items():
            if name in self.start:
                p.copy_(self.start[name])
        self.optimizer.step()
        self.start = {}
        if self.cadence == "every_step" and self.steps >= self.start_step:
            self.squeeze(self.steps)
        self.steps += 1

    @torch.no_grad()
    def end_epoch(self):
        """End an epoch: ``every_epoch`` compresses now, ``hybrid`` goes on from the grid."""
        if self.cadence == "every_epoch" and self.steps > self.start_step:
            self.squeeze(self.steps - 1)
        if self.update == "hybrid":
            self.start = {}


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread: networks this small only lose time by more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small():
    """Return the builders ``network``, ``batches``, ``gradient`` and ``Loop``."""

    class Small:
        weights = ("conv.weight", "conv.bias", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")

    Small.network, Small.batches, Small.gradient, Small.Loop = (
        staticmethod(f) for f in (network, batches, gradient, Loop)
    )
    return Small


@pytest.fixture(params=["core", "torch"])
def way(request, monkeypatch):
    """Run a test with the compiled core and with its twin in torch."""
    if request.param == "torch":
        monkeypatch.setattr(kernels, "core", None)
    elif kernels.core is None:
        pytest.skip("the compiled core is not built")
    return request.param
