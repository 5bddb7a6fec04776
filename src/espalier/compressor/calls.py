"""How an optimizer is called: closures, steps inside of steps, and compiled steps."""

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.optim import Optimizer

from espalier.errors import UnsupportedOptimizerError

__all__ = ["Closure", "outside_graphs", "runs_inside_step"]

Called = TypeVar("Called", bound=Callable[..., Any])


def outside_graphs(function: Called) -> Called:
    """Keep a function out of what torch.compile traces.

    As ``torch.compiler.disable``, but the tracer, which takes as long to import as the rest of
    torch, is imported at the first call. Torch's optimizers do it so too.
    """
    return cast(Called, _disable_dynamo(function))


class Closure:
    """A user's closure, evaluated once, at the compressed weights.

    Right after it the weights that take the update come back.
    """

    def __init__(
        self,
        closure: Callable[[], Any],
        parameters: Sequence[Tensor],
        restore: Callable[[], None],
        optimizer: str,
    ) -> None:
        """Take the closure over for one step."""
        self._closure = closure
        self._parameters = parameters
        self._versions = [p._version for p in parameters]
        self._restore = restore
        self._optimizer = optimizer
        self._evaluations = 0

    @outside_graphs
    def __call__(self) -> Any:
        """Evaluate the closure and return what it returns.

        Raises:
            UnsupportedOptimizerError: it was evaluated before, or the weights have changed.
        """
        self._evaluations += 1
        if self._evaluations > 1:
            raise self._unsupported("evaluates its closure many times a step")
        if [p._version for p in self._parameters] != self._versions:
            raise self._unsupported("moves the weights before it evaluates its closure")
        loss = self._closure()
        with torch.no_grad():
            self._restore()
        return loss

    def require_evaluated(self) -> None:
        """Refuse an optimizer that was given a closure and has not used it.

        Raises:
            UnsupportedOptimizerError: the closure was never evaluated.
        """
        if not self._evaluations:
            raise self._unsupported("never evaluates the closure that step() was given")

    def _unsupported(self, what: str) -> UnsupportedOptimizerError:
        return UnsupportedOptimizerError(
            f"{self._optimizer} {what}, which compression at every step can't follow; use an "
            "optimizer that takes one gradient a step, at the weights that it finds."
        )


def runs_inside_step(optimizer: Optimizer) -> bool:
    """Say whether a hook was called by a step that another step of its optimizer has called.

    A subclass whose ``step`` calls its parent's makes torch call the hooks for both; only the
    outer step is a step.
    """
    steps = [vars(kind).get("step") for kind in type(optimizer).__mro__]
    wrappers = [step.__code__ for step in steps if getattr(step, "hooked", False) and step]
    if len(wrappers) < 2:
        return False
    frame: FrameType | None = sys._getframe(1)
    running = 0
    while frame is not None and running < 2:
        running += frame.f_code in wrappers and frame.f_locals.get("self") is optimizer
        frame = frame.f_back
    return running > 1
