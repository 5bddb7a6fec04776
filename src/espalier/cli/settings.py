"""Which settings somebody gave on a command line, so that a recipe fills in the others."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import typer

from espalier.cli.sizes import parse_size
from espalier.errors import ConfigError
from espalier.records import RunSpec

__all__ = [
    "bits_of_layers",
    "given_settings",
    "named_option",
    "one_of",
    "run_settings",
    "size_setting",
]


def run_settings(context: typer.Context) -> dict[str, Any]:
    """Return a command's parameters that are settings of a run and have their form."""
    names = {f.name for f in fields(RunSpec)} | {"recipe", "dropout"}
    return {n: v for n, v in context.params.items() if n in names - {"max_bytes", "teacher"}}


def given_settings(context: typer.Context, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings whose options were given, by the names of the command's parameters.

    A setting of another name is given unless it is None or empty.
    """
    return {
        name: value
        for name, value in settings.items()
        if (_is_given(context, name) if name in context.params else value)
    }


def one_of(options: Mapping[str, Any]) -> None:
    """Refuse two options of which each says how much to prune.

    Raises:
        ConfigError: names both.
    """
    given = [option for option, value in options.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(f"{given[0]} and {given[1]} both say what to prune; give one of them.")


def size_setting(max_bytes: str | None) -> dict[str, int]:
    """Return the setting that ``--max-bytes`` stands for; empty where it was not given.

    Raises:
        ConfigError: it is no size.
    """
    return {} if max_bytes is None else {"max_bytes": parse_size(max_bytes, option="--max-bytes")}


def named_option(given: str) -> tuple[str, Any]:
    """Return an option's name and its value: JSON where it reads as that, else the words."""
    name, equals, value = given.partition("=")
    if not (name and equals):
        raise ConfigError(f"--option {given}: expected NAME=VALUE, as in initialization=xavier.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def bits_of_layers(given: str) -> tuple[str, int]:
    """Return a pattern of names and its bits."""
    pattern, _, bits = given.rpartition("=")
    if not (pattern and bits.isascii() and bits.isdigit()):
        raise ConfigError(f"--layer-bits {given}: expected PATTERN=BITS, as in conv1.*=8.")
    return pattern, int(bits)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")
