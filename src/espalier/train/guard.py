"""Finds the first loss that isn't finite: at once on the CPU, by a note on a GPU."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from espalier.errors import NonFiniteError

__all__ = ["LossGuard", "diverged"]


class LossGuard:
    """Looks at each step's loss; on a device it counts the good ones, so that nobody waits."""

    def __init__(self, device: torch.device) -> None:
        """Begin with nothing seen."""
        self.finite = torch.ones((), dtype=torch.bool, device=device)
        """Whether all losses were finite so far."""
        self.good = torch.zeros((), dtype=torch.int64, device=device)
        """Steps before the first loss that was not."""

    def begin(self) -> None:
        """Forget what was seen, in the same memory."""
        self.finite.fill_(True)
        self.good.zero_()

    def look(self, loss: Tensor, position: Callable[[], str]) -> None:
        """Look at a step's loss, before it moves any weight.

        Raises:
            NonFiniteError: on the CPU, where it isn't finite.
        """
        if loss.device.type == "cpu":
            if not math.isfinite(loss.item()):
                raise diverged(f"the loss is {loss.item()} in {position()}")
            return
        self.finite.logical_and_(loss.detach().isfinite())
        self.good.add_(self.finite)

    def first_bad(self) -> int | None:
        """Return which of the steps since the beginning was the first bad one, from 1; or None."""
        if self.finite.device.type == "cpu" or bool(self.finite.item()):
            return None
        return int(self.good.item()) + 1


def diverged(what: str) -> NonFiniteError:
    """Return the error of a run whose numbers left the finite ones."""
    return NonFiniteError(f"{what}: the training has diverged. Lower the learning rate.")
