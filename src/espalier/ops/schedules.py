"""Settings that change with the training step."""

import math
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from espalier.errors import ConfigError

__all__ = ["Clock", "Cubic", "Linear", "Schedule", "Step", "ends_of", "share_of", "value_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """From ``start`` to ``end`` in a straight line, constant before and after.

    Example:
        >>> ramp = Linear(start=0.0, end=0.5, start_step=0, end_step=100)
        >>> ramp(0), ramp(50), ramp(100), ramp(1000)
        (0.0, 0.25, 0.5, 0.5)
    """

    start: float
    """Value up to ``start_step``."""
    end: float
    """Value from ``end_step`` on."""
    start_step: int = 0
    """Last step at the start value, >= 0."""
    end_step: int
    """First step at the end value, > ``start_step``."""

    def __post_init__(self) -> None:
        """Refuse what is not a ramp."""
        _check(self)

    def __call__(self, step: int) -> float:
        """Return the value at a step."""
        return _between(self, 1 - _progress(self, step))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cubic:
    """Fast first, then slow: ``v = end + (start - end) * (1 - t)**3`` (Zhu and Gupta, 2017, eq. 1).

    ``t`` runs from 0 at ``start_step`` to 1 at ``end_step``.

    Example:
        >>> ramp = Cubic(start=1.0, end=0.0, start_step=0, end_step=100)
        >>> ramp(0), ramp(50), ramp(100)
        (1.0, 0.125, 0.0)
    """

    start: float
    """Value up to ``start_step``."""
    end: float
    """Value from ``end_step`` on."""
    start_step: int = 0
    """Last step at the start value, >= 0."""
    end_step: int
    """First step at the end value, > ``start_step``."""

    def __post_init__(self) -> None:
        """Refuse what is not a ramp."""
        _check(self)

    def __call__(self, step: int) -> float:
        """Return the value at a step."""
        return _between(self, (1 - _progress(self, step)) ** 3)


Schedule = Linear | Cubic


class Clock:
    """A training step in a device's memory, with what schedules make of it.

    A graph of captured kernels repeats the numbers that it was captured with; what changes from
    step to step it must read from memory. Setting the clock only starts kernels: nobody waits.

    Example:
        >>> ramp, clock = Linear(start=0.0, end=0.5, end_step=100), Clock(torch.device("cpu"))
        >>> gamma = clock.read(ramp)
        >>> clock.set(50)
        >>> gamma
        tensor(0.2500, dtype=torch.float64)
    """

    def __init__(self, device: torch.device) -> None:
        """Stand at step 0."""
        self.number = torch.zeros((), dtype=torch.int64, device=device)
        """The step, counted from 0."""
        self._step = 0
        self._values: dict[Schedule, Tensor] = {}

    def set(self, step: int) -> None:
        """Go to a step, with all values that were read before."""
        self._step = step
        self.number.fill_(step)
        for schedule, value in self._values.items():
            value.fill_(schedule(step))

    def read(self, schedule: Schedule) -> Tensor:
        """Return the schedule's value, float64 (); the same tensor at every step."""
        if schedule not in self._values:
            self._values[schedule] = torch.full(
                (), schedule(self._step), dtype=torch.float64, device=self.number.device
            )
        return self._values[schedule]


Step = int | Clock
"""A training step, counted from 0, on the host or on a device."""


@overload
def value_at(setting: float | Schedule, step: int) -> float: ...
@overload
def value_at(setting: float | Schedule, step: Step) -> float | Tensor: ...
def value_at(setting: float | Schedule, step: Step) -> float | Tensor:
    """Return a setting's value at a step: itself where it is constant; on a clock's device else.

    Example:
        >>> value_at(0.375, 12)
        0.375
    """
    if not isinstance(setting, Linear | Cubic):
        return setting
    return step.read(setting) if isinstance(step, Clock) else setting(step)


@overload
def share_of(count: int, share: float) -> int: ...
@overload
def share_of(count: int, share: float | Tensor) -> int | Tensor: ...
def share_of(count: int, share: float | Tensor) -> int | Tensor:
    """Return a share of so many things, half a one as a whole one; int64 () on a device.

    Example:
        >>> share_of(5, 0.5)
        3
    """
    if isinstance(share, Tensor):
        return (share * count + 0.5).floor().long()
    return math.floor(share * count + 0.5)


def ends_of(setting: float | Schedule) -> tuple[float, ...]:
    """Return the values between which a setting stays: both ends of a schedule, or itself."""
    return (setting.start, setting.end) if isinstance(setting, Linear | Cubic) else (setting,)


def _progress(ramp: Schedule, step: int) -> float:
    fraction = (step - ramp.start_step) / (ramp.end_step - ramp.start_step)
    return min(max(fraction, 0.0), 1.0)


def _between(ramp: Schedule, left: float) -> float:
    """Return the value where a part of the way is left, from 1 to 0; both ends exactly."""
    return ramp.start if left == 1 else ramp.end + (ramp.start - ramp.end) * left


def _check(ramp: Schedule) -> None:
    if not (math.isfinite(ramp.start) and math.isfinite(ramp.end)):
        raise ConfigError(f"{ramp} has an end that is not finite; give two finite numbers.")
    if not 0 <= ramp.start_step < ramp.end_step:
        raise ConfigError(
            f"a ramp runs from start_step={ramp.start_step} to end_step={ramp.end_step}; "
            "give 0 <= start_step < end_step."
        )
