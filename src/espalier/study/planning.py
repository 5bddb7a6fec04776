"""From a study file to its plan: every cell a fully resolved spec, written to ``plan.json``."""

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from espalier.errors import ConfigError, nearest
from espalier.files import make_directory, write_atomically
from espalier.models import MODELS, build_model
from espalier.records import RunSpec, StudyPlan, claim, describe, run_id
from espalier.records.plan import MODEL_OPTION
from espalier.records.serial import canonical
from espalier.records.study import PLAN, read_plan
from espalier.study.definition import (
    Definition,
    Source,
    parse_definition,
    read_definition,
    seeds_of,
)
from espalier.study.where import matching
from espalier.train import resolve_spec
from espalier.train.outcome import pretty

__all__ = ["builtin_names", "find_definition", "make_plan", "open_study", "write_plan"]

AUTO = "auto"


def builtin_names() -> list[str]:
    """Return the names of the studies that come with Espalier."""
    folder = resources.files("espalier.study") / "builtin"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def find_definition(asked: str) -> Definition:
    """Return a study by its name, or from its file.

    Raises:
        ConfigError: no such name or file, or the file says something wrong.
    """
    names = builtin_names()
    if asked in names:
        file = resources.files("espalier.study") / "builtin" / f"{asked}.toml"
        source = Source(f"study '{asked}'", file.read_text(encoding="utf-8"))
        return parse_definition(source, default_name=asked)
    path = Path(asked)
    if not path.suffix and not path.exists():
        raise ConfigError(
            f"no study '{asked}'; there are {', '.join(names)}, or give the path of a study file."
            + nearest(asked, names)
        )
    return read_definition(path)


def make_plan(definition: Definition, *, device: torch.device, precision: str = AUTO) -> StudyPlan:
    """Write out every cell of a study.

    Args:
        definition: what the study file says.
        device: where the study will compute.
        precision: of runs whose file leaves it to the device.

    Raises:
        ConfigError: a value is out of its bounds, two cells are the same run, or ``exclude``
            matches nothing or everything; with file and line.
    """
    _check_values(definition, device)
    grid = [_resolved(definition, cell, device, precision) for cell in definition.grid()]
    cells = _by_name(definition, grid, {})
    for rule in definition.exclude:
        try:
            left_out = matching(cells, rule, what="exclude")
        except ConfigError as error:
            raise definition.source.error(str(error), "", "exclude") from error
        cells = {name: spec for name, spec in cells.items() if name not in left_out}
    single = [
        _resolved(definition, {**definition.fixed, **point}, device, precision)
        for point in definition.singles()
    ]
    cells = _by_name(definition, single, cells)
    _check_networks(definition, cells.values())
    if not cells:
        raise definition.source.error("exclude leaves no runs.", "", "exclude")
    return StudyPlan.of(definition.name, definition.values(), cells.values())


def open_study(directory: Path, definition: Definition, *, device: torch.device) -> StudyPlan:
    """Return the plan of a study in a directory, the points that it has already included.

    Where the file leaves the precision to the device, the runs that are there decide it.

    Raises:
        ConfigError: the directory holds another study, or is none.
        RecordError: the plan there is damaged or of a newer version.
    """
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"--out {directory} is a file; give a directory.")
    if not (directory / PLAN).exists():
        return make_plan(definition, device=device)
    there = read_plan(directory)
    found = {spec.precision for spec in there.cells.values()}
    precision = found.pop() if len(found) == 1 else AUTO
    return there.extended(make_plan(definition, device=device, precision=precision))


def write_plan(directory: Path, plan: StudyPlan) -> StudyPlan:
    """Write ``plan.json``, together with what another process has added meanwhile; return that.

    Raises:
        ConfigError: the directory holds another study.
        StorageError: it can't be written.
    """
    make_directory(directory)
    with claim(directory, wait=True):
        path = directory / PLAN
        before = read_plan(directory) if path.exists() else None
        union = plan if before is None else before.extended(plan)
        if union != before:
            write_atomically(path, pretty(union.to_json()))
    return union


def _check_values(definition: Definition, device: torch.device) -> None:
    """Check each value alone, so that a wrong one is named with its line."""
    source = definition.source
    for name, value in definition.fixed.items():
        table = "stop" if name in ("epochs", "patience") else "fixed"
        _check_value(source, name, value, device, table, 1)
    for axis in definition.axes:
        for name, values in axis.settings.items():
            for value in values:
                _check_value(source, name, value, device, axis.table, axis.nth)
    for nth, point in enumerate(definition.points, start=1):
        for named in ({**point, **seed} for seed in seeds_of(point)):
            for name, value in named.items():
                _check_value(source, name, value, device, "points", nth)


def _check_value(
    source: Source, name: str, value: Any, device: torch.device, table: str, nth: int
) -> None:
    if name == "dropout" or name.startswith(MODEL_OPTION):
        return  # the network decides
    if name in ("ramp_start", "ramp_end", "layer_least", "spare_operations"):
        return  # each is right or wrong beside the other
    try:
        resolve_spec({name: value}, device=device)
    except ConfigError as error:
        raise source.error(str(error), table, name, nth) from error


def _check_networks(definition: Definition, specs: Iterable[RunSpec]) -> None:
    """Build each of Espalier's own networks once, without memory, so that its options are checked.

    Whether a network fits the data is known when a run begins.
    """
    networks = {canonical([spec.model, spec.model_options]): spec for spec in specs}
    for spec in networks.values():
        if spec.model in MODELS:
            try:
                with torch.device("meta"):
                    build_model(spec.model, **spec.model_options)
            except ConfigError as error:
                raise ConfigError(f"{definition.source.name}: {error}") from error


def _resolved(
    definition: Definition, cell: Mapping[str, Any], device: torch.device, precision: str
) -> RunSpec:
    given = {k: v for k, v in cell.items() if not k.startswith(MODEL_OPTION)}
    options = {k[len(MODEL_OPTION) :]: v for k, v in cell.items() if k.startswith(MODEL_OPTION)}
    if given.get("precision", AUTO) == AUTO:
        given["precision"] = precision
    try:
        return resolve_spec({**given, "model_options": options}, device=device)
    except ConfigError as error:
        raise ConfigError(f"{definition.source.name}: {error}") from error


def _by_name(
    definition: Definition, specs: list[RunSpec], before: Mapping[str, RunSpec]
) -> dict[str, RunSpec]:
    """Return the cells by their names.

    Raises:
        ConfigError: one is there twice.
    """
    cells = dict(before)
    axes = definition.values()
    for spec in specs:
        name = run_id(spec)
        if name in cells:
            raise ConfigError(
                f"{definition.source.name}: two cells are the same run, {describe(spec, axes)}."
            )
        cells[name] = spec
    return cells
