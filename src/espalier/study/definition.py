"""A study file: which runs a study is made of.

name = "bits-and-gamma"

[fixed]                        # settings of all runs; the others have their defaults, or those
recipe = "paper"               # of a recipe, for what stands nowhere in the file
data = "cifar10"

[stop]                         # the stopping rule
epochs = 200
patience = 15

[axes]                         # every combination of these
gamma = [0.0, 0.375, 0.75]
seed = [0, 1, 2]

[[together]]                   # an axis of several settings: first with first, and so on
bits = [4, 8]
lr = [0.05, 0.01]

[[points]]                     # single runs beside the grid; of several seeds, a run each
gamma = 0.0
bits = 32
seed = [0, 1]

# and, at the top: exclude = ["bits == 4 and gamma == 0"]
"""

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from espalier.errors import ConfigError, nearest
from espalier.records import RunSpec
from espalier.records.plan import MODEL_OPTION
from espalier.records.serial import canonical
from espalier.study.lines import line_of

__all__ = ["Axis", "Definition", "Source", "parse_definition", "read_definition", "seeds_of"]

TABLES = ("name", "exclude", "fixed", "stop", "axes", "together", "points")
STOPPING = ("epochs", "patience")
NO_SETTINGS = ("model_options", "initial", "teacher")
"""Fields of a spec that a study can't say: options have names of their own, weights a file."""
SETTINGS = (*(f.name for f in fields(RunSpec) if f.name not in NO_SETTINGS), "dropout")
SEED = "seed"
RECIPE = "recipe"
"""Stands for settings; of all runs alike, since a record doesn't know it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A study file's text, to say where in it something is wrong."""

    name: str
    text: str

    def error(self, message: str, table: str, key: str = "", nth: int = 1) -> ConfigError:
        """Return the error with the line of the key."""
        line = line_of(self.text, table, key, nth=nth)
        where = f"{self.name}, line {line}" if line else self.name
        return ConfigError(f"{where}: {message}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Settings that go together, value by value; mostly just one."""

    settings: Mapping[str, Sequence[Any]]
    table: str
    """Where in the file it stands."""
    nth: int = 1
    """Which of several tables of this name."""

    def points(self) -> list[dict[str, Any]]:
        """Return the settings at each of its points."""
        names = list(self.settings)
        rows = zip(*self.settings.values(), strict=True)
        return [dict(zip(names, row, strict=True)) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a study file says, before defaults are written out."""

    source: Source
    name: str
    fixed: Mapping[str, Any]
    """Setting -> value of all runs."""
    axes: tuple[Axis, ...]
    points: tuple[Mapping[str, Any], ...]
    """Single runs beside the grid, as the file has them; a list of seeds stands for a run each."""
    exclude: tuple[str, ...]
    """Conditions for runs of the grid to be left out."""

    def values(self) -> dict[str, list[Any]]:
        """Return each axis' values, those of single points too, in the order of the file."""
        named: dict[str, list[Any]] = {}
        for axis in self.axes:
            for setting, values in axis.settings.items():
                named[setting] = list(values)
        for point in self.singles():
            for setting, value in point.items():
                named.setdefault(setting, [])
                if canonical(value) not in {canonical(known) for known in named[setting]}:
                    named[setting].append(value)
        return {setting: _unique(values) for setting, values in named.items()}

    def singles(self) -> Iterator[dict[str, Any]]:
        """Yield the settings of each single run."""
        for point in self.points:
            for seed in seeds_of(point):
                yield {**point, **seed}

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yield the settings of every combination, the last axis fastest."""
        if not self.axes:
            return
        for chosen in itertools.product(*(axis.points() for axis in self.axes)):
            yield dict(itertools.chain(self.fixed.items(), *(part.items() for part in chosen)))


def seeds_of(point: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the seed of each run that a point stands for; nothing of it where it names none."""
    seed = point.get(SEED)
    if isinstance(seed, list):
        return [{SEED: one} for one in seed]
    return [{SEED: seed} if SEED in point else {}]


def read_definition(path: Path) -> Definition:
    """Read a study file.

    Raises:
        ConfigError: it can't be read, or says something wrong; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"can't read the study file {path}: {reason}.") from error
    return parse_definition(Source(str(path), text), default_name=path.stem)


def parse_definition(source: Source, *, default_name: str) -> Definition:
    """Parse a study file's text; names and forms are checked, values are not yet.

    Raises:
        ConfigError: what is wrong, with its line and the nearest name.
    """
    try:
        data = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source.name} is no TOML: {error}.") from error
    for key in data:
        if key not in TABLES:
            hint = nearest(key, TABLES) or f" Expected {', '.join(TABLES)}."
            table, name = (key, "") if isinstance(data[key], dict | list) else ("", key)
            raise source.error(f"there is no part '{key}' of a study file.{hint}", table, name)
    definition = Definition(
        source=source,
        name=_text(source, data.get("name", default_name)),
        fixed=_fixed(source, data),
        axes=_axes(source, data),
        points=_points(source, data),
        exclude=_exclude(source, data.get("exclude", [])),
    )
    if not definition.axes and not definition.points:
        raise ConfigError(f"{source.name} has no runs; give [axes], [[together]] or [[points]].")
    _refuse_twice(definition)
    return definition


def _text(source: Source, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise source.error(f"name={name!r}: expected the study's name.", "", "name")
    return name


def _fixed(source: Source, data: Mapping[str, Any]) -> dict[str, Any]:
    fixed = _table(source, data, "fixed")
    for key, value in _table(source, data, "stop").items():
        if key not in STOPPING:
            raise source.error(
                f"there is no stopping rule '{key}'; there are {', '.join(STOPPING)}."
                + nearest(key, STOPPING),
                "stop",
                key,
            )
        if key in fixed:
            raise source.error(f"{key} stands in [fixed] too; keep one of them.", "stop", key)
        fixed[key] = value
    return fixed


def _axes(source: Source, data: Mapping[str, Any]) -> tuple[Axis, ...]:
    axes: list[Axis] = []
    for name, values in _table(source, data, "axes").items():
        _check_values(source, values, name, "axes", 1)
        axes.append(Axis(settings={name: values}, table="axes"))
    for nth, group in enumerate(_tables(source, data, "together"), start=1):
        for name, values in group.items():
            _check_values(source, values, name, "together", nth)
        if len({len(values) for values in group.values()}) != 1:
            counts = ", ".join(f"{name} {len(values)}" for name, values in group.items())
            raise source.error(
                f"settings that go together need as many values each; found {counts or 'none'}.",
                "together",
                nth=nth,
            )
        axes.append(Axis(settings=group, table="together", nth=nth))
    return tuple(axes)


def _check_values(source: Source, values: Any, name: str, table: str, nth: int) -> None:
    if not isinstance(values, list):
        raise source.error(
            f"axis '{name}' is {values!r}; expected a list of values. One value for all runs "
            "belongs in [fixed].",
            table,
            name,
            nth,
        )
    if not values:
        raise source.error(f"axis '{name}' has no values.", table, name, nth)


def _points(source: Source, data: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    points = tuple(_tables(source, data, "points"))
    for nth, point in enumerate(points, start=1):
        if not seeds_of(point):
            raise source.error("seed=[]: expected a seed, or several.", "points", SEED, nth)
    return points


def _exclude(source: Source, rules: Any) -> tuple[str, ...]:
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise source.error(
            f"exclude={rules!r}: expected a list of conditions, for instance "
            '["bits == 4 and gamma == 0"].',
            "",
            "exclude",
        )
    return tuple(rules)


def _table(source: Source, data: Mapping[str, Any], table: str) -> dict[str, Any]:
    found = data.get(table, {})
    if not isinstance(found, dict):
        raise source.error(f"'{table}' is a table; write [{table}].", table)
    return _flat(source, found, table, 1)


def _tables(source: Source, data: Mapping[str, Any], table: str) -> list[dict[str, Any]]:
    found = data.get(table, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise source.error(f"there can be several '{table}'; write [[{table}]].", table)
    return [_flat(source, one, table, nth) for nth, one in enumerate(found, start=1)]


def _flat(source: Source, found: Mapping[str, Any], table: str, nth: int) -> dict[str, Any]:
    """Return settings by their names, options of the network with their prefix."""
    settings: dict[str, Any] = {}
    for key, value in found.items():
        if key == MODEL_OPTION[:-1] and isinstance(value, dict):
            for option, setting in value.items():
                settings["dropout" if option == "dropout" else MODEL_OPTION + option] = setting
            continue
        if table == "fixed" and key == RECIPE:
            settings[key] = value
            continue
        if table != "stop" and key not in SETTINGS and not key.startswith(MODEL_OPTION):
            raise source.error(
                f"there is no setting '{key}'."
                + (nearest(key, SETTINGS) or f" Options of a network: {MODEL_OPTION}{key}."),
                table,
                key,
                nth,
            )
        settings[key] = value
    return settings


def _refuse_twice(definition: Definition) -> None:
    """Refuse a setting that stands in two places, where it isn't clear which counts."""
    seen = dict.fromkeys(definition.fixed, "[fixed] or [stop]")
    for axis in definition.axes:
        for name in axis.settings:
            if name in seen:
                message = f"'{name}' stands in {seen[name]} too; keep one of them."
                raise definition.source.error(message, axis.table, name, axis.nth)
            seen[name] = f"[{axis.table}]"


def _unique(values: list[Any]) -> list[Any]:
    """Return values as the records have them: numbers in order, none twice."""
    by_text = {canonical(value): value for value in values}
    unique = list(by_text.values())
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in unique):
        unique.sort()
    return unique
