"""What a study is: all its cells, written out in ``plan.json``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from espalier.errors import ConfigError, RecordError
from espalier.records.serial import VERSION, canonical, check_keys, require_version
from espalier.records.spec import RunSpec, run_id

__all__ = ["MODEL_OPTION", "StudyPlan", "describe", "setting", "settings"]

MODEL_OPTION = "model_options."
"""Prefix of an axis that is an option of the network; ``dropout`` needs none."""


def settings(spec: RunSpec) -> dict[str, Any]:
    """Return all settings of a spec by the names that axes have, the network's options among them.

    Example:
        >>> named = settings(RunSpec(model_options={"dropout": 0.3, "hidden": [64]}))
        >>> named["dropout"], named["model_options.hidden"], named["bits"]
        (0.3, [64], 8)
    """
    named = {f.name: getattr(spec, f.name) for f in fields(spec) if f.name != "model_options"}
    for option, value in spec.model_options.items():
        named[option if option == "dropout" else MODEL_OPTION + option] = value
    return named


def setting(spec: RunSpec, axis: str) -> Any:
    """Return a spec's value on an axis; None where its network has no such option."""
    return settings(spec).get(axis)


def describe(spec: RunSpec, axes: Iterable[str]) -> str:
    """Return a spec's place on the axes, for people.

    Example:
        >>> describe(RunSpec(gamma=0.5, bits=4), ["gamma", "bits"])
        'gamma 0.5, bits 4'
    """
    named = settings(spec)
    values = ((axis, named.get(axis)) for axis in axes)
    return ", ".join(f"{a} {v:g}" if isinstance(v, float) else f"{a} {v}" for a, v in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """All cells of a study, so that a reader knows what is missing.

    Example:
        >>> plan = StudyPlan.of("bits", {"bits": (4, 8)}, [RunSpec(bits=b) for b in (4, 8)])
        >>> StudyPlan.from_json(plan.to_json()) == plan
        True
    """

    name: str
    """Of the study."""
    axes: Mapping[str, tuple[Any, ...]]
    """Names of settings, as :func:`settings` has them, with their values in order."""
    cells: Mapping[str, RunSpec]
    """Run id -> fully resolved spec, in the order in which they are run."""

    @classmethod
    def of(
        cls, name: str, axes: Mapping[str, Sequence[Any]], specs: Iterable[RunSpec]
    ) -> "StudyPlan":
        """Make a plan of specs; equal ones count once."""
        return cls(
            name=name,
            axes={axis: tuple(values) for axis, values in axes.items()},
            cells={run_id(spec): spec for spec in specs},
        )

    def extended(self, other: "StudyPlan") -> "StudyPlan":
        """Return the plan with the points of another one; equal cells count once.

        Raises:
            ConfigError: the other is of another study: its name, or a setting that is no axis.
        """
        if other.name != self.name:
            raise ConfigError(
                f"the directory holds study '{self.name}', not '{other.name}'. "
                "Choose another --out."
            )
        union = StudyPlan(
            name=self.name,
            axes={
                axis: _joined(self.axes.get(axis, ()), other.axes.get(axis, ()))
                for axis in [*self.axes, *(a for a in other.axes if a not in self.axes)]
            },
            cells={**self.cells, **other.cells},
        )
        _refuse_conflict(self, other, union.axes)
        return union

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        cells = [{"run_id": name, "spec": spec.to_json()} for name, spec in self.cells.items()]
        axes = {axis: list(values) for axis, values in self.axes.items()}
        return {"version": VERSION, "name": self.name, "axes": axes, "cells": cells}

    @classmethod
    def from_json(cls, data: Any, *, what: str = "plan") -> "StudyPlan":
        """Read what :meth:`to_json` gave.

        Raises:
            RecordError: an unknown or missing key, a newer version, or a cell of another name.
        """
        values = require_version(data, what)
        check_keys(values, ("name", "axes", "cells"), what)
        name, axes, cells = values["name"], values["axes"], values["cells"]
        if not (isinstance(name, str) and isinstance(axes, Mapping) and isinstance(cells, list)):
            raise RecordError(f"{what}: expected a name, an object of axes and a list of cells.")
        for axis, points in axes.items():
            if not isinstance(points, list):
                raise RecordError(f"{what}: axis '{axis}' is {points!r}; expected a list.")
        plan = cls.of(
            name, axes, (_read_cell(cell, f"{what}, cell {i}") for i, cell in enumerate(cells, 1))
        )
        if len(plan.cells) != len(cells):
            raise RecordError(f"{what} has a cell twice.")
        return plan


def _read_cell(cell: Any, what: str) -> RunSpec:
    if not isinstance(cell, Mapping):
        raise RecordError(f"{what} is {type(cell).__name__}; expected a JSON object.")
    check_keys(cell, ("run_id", "spec"), what)
    spec = RunSpec.from_json(cell["spec"], what=what)
    if run_id(spec) != cell["run_id"]:
        raise RecordError(f"{what} is called {cell['run_id']}; its spec's name is {run_id(spec)}.")
    return spec


def _joined(ours: Sequence[Any], theirs: Sequence[Any]) -> tuple[Any, ...]:
    """Return the values of both; numbers in order, others as they came."""
    known = {canonical(value) for value in ours}
    union = [*ours, *(value for value in theirs if canonical(value) not in known)]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in union):
        union.sort()
    return tuple(union)


def _refuse_conflict(ours: StudyPlan, theirs: StudyPlan, axes: Mapping[str, Any]) -> None:
    """Refuse another value of a setting that is no axis: it would be another study."""
    if not (ours.cells and theirs.cells):
        return
    mine, other = (settings(next(iter(plan.cells.values()))) for plan in (ours, theirs))
    for name in [*mine, *(n for n in other if n not in mine)]:
        of_network = name == "dropout" or name.startswith(MODEL_OPTION)
        if name in axes or (of_network and "model" in axes):
            continue
        if mine.get(name) != other.get(name):
            raise ConfigError(
                f"the directory holds study '{ours.name}' with {name} {mine.get(name)}, not "
                f"{other.get(name)}. Choose another --out, or make {name} an axis with both "
                "values."
            )
