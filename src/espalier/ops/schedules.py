"""Settings that change with the training step."""

import math
from dataclasses import dataclass

from espalier.errors import ConfigError

__all__ = ["Cubic", "Linear", "Schedule", "ends_of", "value_at"]


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


def value_at(setting: float | Schedule, step: int) -> float:
    """Return a setting's value at a step: itself where it is constant.

    Example:
        >>> value_at(0.375, 12)
        0.375
    """
    return setting(step) if isinstance(setting, Linear | Cubic) else setting


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
