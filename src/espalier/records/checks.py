"""Checks of settings: each says which setting it was, what was found and what is expected."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from espalier.errors import ConfigError, nearest
from espalier.records.serial import canonical

__all__ = ["at_least", "choice", "flag", "integer", "json_object", "number", "text"]


def number(name: str, value: Any) -> float:
    """Return a finite float; -0.0 becomes 0.0, so that equal numbers have one text."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name}={value!r}: expected a finite number.")
    return float(value) + 0.0


def at_least(name: str, value: float, least: float, note: str) -> None:
    """Refuse numbers below a bound."""
    if value < least:
        raise ConfigError(f"{name}={value}: expected a number >= {least:g} ({note}).")


def integer(name: str, value: Any, least: int, most: int | None = None, note: str = "") -> None:
    """Refuse what is no integer between two bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        pass
    elif most is None or value <= most:
        return
    bounds = f">= {least}" if most is None else f"from {least} to {most}"
    raise ConfigError(
        f"{name}={value!r}: expected an integer {bounds}{f' ({note})' if note else ''}."
    )


def choice(name: str, value: Any, known: Sequence[str]) -> None:
    """Refuse what is none of the known values."""
    if value not in known:
        raise ConfigError(
            f"{name}={value!r}: expected one of {', '.join(known)}.{nearest(str(value), known)}"
        )


def text(name: str, value: Any) -> None:
    """Refuse what is no text, or empty."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name}={value!r}: expected a name.")


def flag(name: str, value: Any) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}={value!r}: expected true or false.")


def json_object(name: str, options: Any) -> dict[str, Any]:
    """Return a copy in JSON's own types (tuples become lists), keys sorted."""
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise ConfigError(f"{name}={options!r}: expected names with their values.")
    try:
        copied: dict[str, Any] = json.loads(canonical(dict(options)))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}={options!r}: {error}; expected JSON values.") from error
    return copied
