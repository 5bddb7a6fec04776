"""Operators as plain data and back, for records and checkpoints."""

from dataclasses import fields
from typing import Any

from espalier.errors import ConfigError, nearest
from espalier.ops.base import Operator, settings_in_use
from espalier.ops.chain import Chain, PruneThenQuantize, QuantizeThenPrune
from espalier.ops.coded import EntropyQuantizer
from espalier.ops.filters import FilterMagnitude, Then
from espalier.ops.grids import ClippedQuantizer
from espalier.ops.lamp import Lamp
from espalier.ops.learned import LearnedStep, LearnedThreshold
from espalier.ops.mixed import MixedBits
from espalier.ops.prune import GlobalMagnitude, StdThreshold
from espalier.ops.quantize import UniformQuantizer
from espalier.ops.schedules import Cubic, Linear

__all__ = ["from_json", "to_json"]

KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        Chain,
        ClippedQuantizer,
        Cubic,
        EntropyQuantizer,
        FilterMagnitude,
        GlobalMagnitude,
        Lamp,
        LearnedStep,
        LearnedThreshold,
        Linear,
        MixedBits,
        PruneThenQuantize,
        QuantizeThenPrune,
        StdThreshold,
        Then,
        UniformQuantizer,
    )
}
"""Every class that may stand in a record, by name."""


def to_json(operator: Operator) -> dict[str, Any]:
    """Return an operator as a dict of numbers, strings and such dicts.

    Example:
        >>> to_json(StdThreshold(gamma=0.375))
        {'kind': 'StdThreshold', 'gamma': 0.375, 'strict': False}
    """
    return _to_json(operator)


def _to_json(value: Any) -> dict[str, Any]:
    kind = type(value)
    if KINDS.get(kind.__name__) is not kind:
        raise ConfigError(
            f"{kind.__name__} has no place in a record; known are {', '.join(sorted(KINDS))}."
        )
    return {"kind": kind.__name__} | {
        name: _to_json(s) if type(s) in KINDS.values() else s
        for name, s in settings_in_use(value).items()
    }


def from_json(plain: dict[str, Any]) -> Operator:
    """Return the operator that :func:`to_json` wrote.

    Raises:
        ConfigError: no dict, an unknown kind or setting, or a value that the operator refuses.
    """
    operator = _from_json(plain)
    if not isinstance(operator, Operator):
        raise ConfigError(f"{plain.get('kind')} is no operator but a part of one.")
    return operator


def _from_json(plain: Any) -> Any:
    if not isinstance(plain, dict):
        raise ConfigError(
            f"an operator is recorded as a dict with a 'kind', and this is {plain!r}; "
            "to_json() gives such a dict."
        )
    settings = dict(plain)
    name = settings.pop("kind", None)
    if not isinstance(name, str) or name not in KINDS:
        raise ConfigError(
            f"unknown operator {name!r}; known are {', '.join(KINDS)}.{nearest(str(name), KINDS)}"
        )
    kind = KINDS[name]
    known = [f.name for f in fields(kind)]
    for setting in settings:
        if setting not in known:
            raise ConfigError(
                f"{name} has no setting {setting!r}; it has {', '.join(known)}."
                f"{nearest(setting, known)}"
            )
    try:
        return kind(**{k: _from_json(v) if isinstance(v, dict) else v for k, v in settings.items()})
    except TypeError as error:
        raise ConfigError(f"{name} can't be made from {settings}: {error}.") from error
