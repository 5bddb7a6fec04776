"""A study's directory as it stands: its plan, and what each cell has found so far.

``<study>/plan.json`` names the cells; ``<study>/runs/<run id>/`` has a run's records, see
:func:`read_cell`. A study can be read at any moment, also while it runs.
"""

import lzma
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Literal

from espalier.errors import RecordError
from espalier.records.claim import is_claimed
from espalier.records.epoch import EpochRecord, read_epochs
from espalier.records.failure import RunFailure
from espalier.records.plan import StudyPlan
from espalier.records.result import RunResult
from espalier.records.serial import read_json
from espalier.records.spec import RunSpec

__all__ = [
    "FAILURE",
    "METRICS",
    "PLAN",
    "RESULT",
    "SPEC",
    "CellRecords",
    "CellState",
    "StudyRecords",
    "cell_directory",
    "read_cell",
    "read_plan",
    "read_study",
]

PLAN, SPEC, METRICS, RESULT, FAILURE = (
    "plan.json",
    "spec.json",
    "metrics.jsonl",
    "result.json",
    "failure.json",
)
RUNS = "runs"

CellState = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRecords:
    """What is known of one cell."""

    run_id: str
    spec: RunSpec
    state: CellState
    """A cut-off run waits, with the epochs that it has finished."""
    epochs: Sequence[EpochRecord]
    """Finished ones, in order."""
    result: RunResult | None
    """Of a run that is done."""
    failure: RunFailure | None
    """Of a run that was given up, or whose records can't be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecords:
    """A study at the moment it was read."""

    directory: Path
    plan: StudyPlan
    cells: tuple[CellRecords, ...]
    """One for each cell of the plan, in its order."""
    problems: tuple[str, ...]
    """What lies in the directory and doesn't belong there, or can't be read; for people."""

    def of_state(self, state: CellState) -> tuple[CellRecords, ...]:
        """Return the cells in this state."""
        return tuple(cell for cell in self.cells if cell.state == state)


def cell_directory(study: Path, run_id: str) -> Path:
    """Return where a run of a study keeps its files."""
    return study / RUNS / run_id


def read_plan(directory: Path) -> StudyPlan:
    """Read a study's plan.

    Raises:
        RecordError: there is none, it is damaged, or of a newer version.
    """
    path = directory / PLAN
    if not path.is_file():
        raise RecordError(f"{directory} holds no study: there is no {path}.")
    return StudyPlan.from_json(read_json(path), what=str(path))


def read_study(directory: Path) -> StudyRecords:
    """Read a study as it stands, however far it has come.

    What can't be read of a cell makes this cell a failed one; what is foreign is reported.

    Args:
        directory: of the study, or a ``.tar.xz`` with one in it.

    Raises:
        RecordError: the plan is missing, damaged, or of a newer version.
    """
    if directory.is_file():
        with TemporaryDirectory() as place:
            return read_study(_unpacked(directory, Path(place)))
    plan = read_plan(directory)
    cells = tuple(read_cell(directory, name, spec) for name, spec in plan.cells.items())
    problems = [
        f"{cell_directory(directory, cell.run_id)}: {cell.failure.reason}"
        for cell in cells
        if cell.failure is not None and cell.failure.kind == RecordError.__name__
    ]
    return StudyRecords(
        directory=directory,
        plan=plan,
        cells=cells,
        problems=(*problems, *_foreign(directory, plan)),
    )


def read_cell(study: Path, run_id: str, spec: RunSpec) -> CellRecords:
    """Read ``metrics.jsonl``, ``result.json``, ``failure.json`` and who holds the directory.

    A last line that was cut off is left out. A result counts for more than a failure before it.
    """
    directory = cell_directory(study, run_id)
    epochs: Sequence[EpochRecord] = ()
    result = failure = None
    state: CellState = "waiting"
    try:
        epochs = tuple(read_epochs(directory / METRICS))
        result = _read_result(directory, run_id, spec)
        if result is None and (directory / FAILURE).exists():
            path = directory / FAILURE
            failure = RunFailure.from_json(read_json(path), what=str(path))
    except RecordError as error:
        failure = RunFailure(
            run_id=run_id, kind=RecordError.__name__, reason=str(error), attempts=1
        )
    if result is not None and failure is None:
        state = "done"
    elif is_claimed(directory):
        state = "running"
    elif failure is not None:
        state = "failed"
    return CellRecords(
        run_id=run_id, spec=spec, state=state, epochs=epochs, result=result, failure=failure
    )


def _read_result(directory: Path, run_id: str, spec: RunSpec) -> RunResult | None:
    path = directory / SPEC
    if path.exists():
        differences = RunSpec.from_json(read_json(path), what=str(path)).differences(spec)
        if differences:
            raise RecordError(f"{path} is of another run, with {'; '.join(differences)}.")
    path = directory / RESULT
    if not path.exists():
        return None
    result = RunResult.from_json(read_json(path), what=str(path))
    if result.run_id != run_id:
        raise RecordError(f"{path} is of run {result.run_id}; expected {run_id}.")
    return result


def _unpacked(archive: Path, place: Path) -> Path:
    """Write an archive's records below a place, and return the study's directory."""
    found = None
    try:
        with tarfile.open(archive, "r:xz") as tar:
            for entry in tar:
                parts = PurePosixPath(entry.name).parts
                if not entry.isfile() or parts[-1] not in (PLAN, SPEC, METRICS, RESULT, FAILURE):
                    continue
                if ".." in parts or PurePosixPath(entry.name).is_absolute():
                    raise RecordError(f"{archive} holds {entry.name}, which lies outside of it.")
                content = tar.extractfile(entry)
                target = place.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read() if content else b"")
                found = target.parent if parts[-1] == PLAN else found
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise RecordError(f"{archive} is no .tar.xz, or cut off ({error}).") from error
    if found is None:
        raise RecordError(f"{archive} holds no study: there is no {PLAN} in it.")
    return found


def _foreign(directory: Path, plan: StudyPlan) -> list[str]:
    """Name what lies among the runs and is none of the plan's."""
    runs = directory / RUNS
    if not runs.is_dir():
        return []
    names = sorted(path.name for path in runs.iterdir())
    return [f"{runs / name} is no cell of the plan." for name in names if name not in plan.cells]
