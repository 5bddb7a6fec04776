"""Joins studies that were run in different places."""

from dataclasses import dataclass
from pathlib import Path

from espalier.errors import ConfigError, RecordError
from espalier.files import make_directory, write_atomically
from espalier.records import CellRecords, cell_directory, claim, read_cell, read_plan
from espalier.records.epoch import EpochRecord
from espalier.records.study import METRICS, RESULT, SPEC
from espalier.study.planning import write_plan

__all__ = ["Merged", "merge_studies"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge has found; names are of runs."""

    copied: tuple[str, ...]
    """Finished there and not here: their records are here now."""
    equal: tuple[str, ...]
    """Finished in both, with the same records but for times and machine."""
    missing: tuple[str, ...]
    """Finished in neither."""


def merge_studies(into: Path, other: Path) -> Merged:
    """Copy the records of the other study's finished runs; the other one stays as it is.

    Records are text (``spec.json``, ``metrics.jsonl``, ``result.json``); weights and checkpoints
    stay where they are.

    Raises:
        RecordError: one of them is no study, has damaged records, or both have finished a run with
            different findings; then nothing is copied.
        ConfigError: they are different studies, or the same directory.
        BusyError: a run that would be copied is running here.
        StorageError: a file can't be written; merging again goes on.
    """
    if into.resolve() == other.resolve():
        raise ConfigError(f"{into} and {other} are the same directory.")
    union = read_plan(into).extended(read_plan(other))
    copied, equal, missing, differing = [], [], [], []
    for name, spec in union.cells.items():
        ours, theirs = read_cell(into, name, spec), read_cell(other, name, spec)
        _refuse_damaged(other, theirs)
        if theirs.result is None:
            if ours.result is None:
                missing.append(name)
        elif ours.result is None:
            copied.append(name)
        else:
            found = _differences(ours, theirs)
            if found:
                differing.append(f"{name} ({found})")
            equal.append(name)
    if differing:
        raise RecordError(
            f"both {into} and {other} have finished {len(differing)} runs with different findings: "
            f"{'; '.join(differing)}. Nothing was copied. Remove the runs that you don't trust "
            "from one of them."
        )
    write_plan(into, union)
    for name in copied:
        _copy(cell_directory(other, name), cell_directory(into, name))
    return Merged(copied=tuple(copied), equal=tuple(equal), missing=tuple(missing))


def _refuse_damaged(study: Path, cell: CellRecords) -> None:
    if cell.failure is not None and cell.failure.kind == RecordError.__name__:
        raise RecordError(f"{cell_directory(study, cell.run_id)}: {cell.failure.reason}")


def _differences(ours: CellRecords, theirs: CellRecords) -> str:
    """Say where two finished runs of the same cell first differ; ``""`` if they don't."""

    def lines(epochs: tuple[EpochRecord, ...]) -> list[str]:
        return [record.comparable() for record in epochs]

    one, other = lines(tuple(ours.epochs)), lines(tuple(theirs.epochs))
    for epoch, (mine, yours) in enumerate(zip(one, other, strict=False), start=1):
        if mine != yours:
            return f"from epoch {epoch}"
    if len(one) != len(other):
        return f"{len(one)} epochs, and {len(other)}"
    assert ours.result is not None  # noqa: S101 - both are finished
    assert theirs.result is not None  # noqa: S101
    return "" if ours.result.comparable() == theirs.result.comparable() else RESULT


def _copy(source: Path, target: Path) -> None:
    """Copy a run's records, the result last; what a cut-off run left here is replaced."""
    make_directory(target)
    with claim(target):
        for name in (SPEC, METRICS, RESULT):
            try:
                content = (source / name).read_bytes()
            except OSError as error:
                raise RecordError(f"can't read {source / name}: {error.strerror}.") from error
            write_atomically(target / name, content)
