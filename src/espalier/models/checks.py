"""Bounds of what a network may be asked for."""

from collections.abc import Sequence

from espalier.errors import ConfigError

__all__ = ["check_count", "check_counts", "check_dropout"]


def check_count(name: str, value: object, *, least: int = 1) -> int:
    """Return ``value`` if it is an integer of at least ``least``.

    Raises:
        ConfigError: it isn't; ``name`` says which option it was.

    Example:
        >>> check_count("classes", 10)
        10
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name}={value!r}: expected an integer >= {least}.")
    return value


def check_counts(name: str, values: Sequence[int], *, length: int | None = None) -> tuple[int, ...]:
    """Return ``values`` as a tuple if each is a positive integer, ``length`` of them.

    Args:
        name: which option it is.
        values: a sequence of integers, as a tuple or as JSON's list.
        length: how many there must be; any number where None, and none is fine too.

    Raises:
        ConfigError: another type, another number of values, or one that isn't positive.

    Example:
        >>> check_counts("hidden", [512, 256])
        (512, 256)
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ConfigError(f"{name}={values!r}: expected a sequence of integers.")
    if length is not None and len(values) != length:
        raise ConfigError(
            f"{name}={tuple(values)!r} has {len(values)} values; expected {length}, one a layer."
        )
    return tuple(check_count(f"{name}[{i}]", value) for i, value in enumerate(values))


def check_dropout(value: object) -> float:
    """Return ``value`` if it is a probability in [0, 1).

    Raises:
        ConfigError: it isn't.

    Example:
        >>> check_dropout(0.3)
        0.3
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(f"dropout={value!r}: expected a probability in [0, 1).")
    return float(value)
