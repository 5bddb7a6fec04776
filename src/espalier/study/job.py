"""What an engine is asked to do and what it answers: values that fit through a pipe."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from espalier.errors import BusyError, DataError, EspalierError, StoppedError, StorageError
from espalier.records import RunSpec, cell_directory, run_id

__all__ = ["HELD", "Ending", "Engine", "Job", "Outcome", "ending_of"]

HELD = "held"
"""Tells a worker that it has inherited the claim on its cell."""

Outcome = Literal["done", "stopped", "busy", "failed", "crashed", "storage", "data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One cell to be run, or to go on, in a study's directory."""

    study: Path
    """The study's directory."""
    spec: RunSpec
    data_dir: Path | None
    device: str
    """``cpu``, ``cuda`` or ``cuda:N``."""
    threads: int | None
    """Of a run that begins; one that goes on keeps its own. None leaves it to torch."""
    tensorboard: bool = False
    """Write curves for TensorBoard too."""

    @property
    def run_id(self) -> str:
        """The cell's name."""
        return run_id(self.spec)

    @property
    def directory(self) -> Path:
        """Where the run keeps its files."""
        return cell_directory(self.study, self.run_id)

    def to_json(self) -> str:
        """Return the job as one line."""
        return json.dumps(
            {
                "study": str(self.study),
                "spec": self.spec.to_json(),
                "data_dir": None if self.data_dir is None else str(self.data_dir),
                "device": self.device,
                "threads": self.threads,
                "tensorboard": self.tensorboard,
            }
        )

    @classmethod
    def from_json(cls, line: str) -> "Job":
        """Read what :meth:`to_json` gave."""
        values: dict[str, Any] = json.loads(line)
        data_dir = values.pop("data_dir")
        return cls(
            study=Path(values.pop("study")),
            spec=RunSpec.from_json(values.pop("spec")),
            data_dir=None if data_dir is None else Path(data_dir),
            **values,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a job ended.

    ``done``: the result is written. ``stopped``: it was asked to, and has saved. ``busy``: another
    process runs the cell. ``failed``: it would fail again. ``crashed``: it was killed, or fell over
    something that may pass. ``storage``: a file can't be written. ``data``: the data set can't be
    read.
    """

    outcome: Outcome
    kind: str = ""
    """Name of the error."""
    reason: str = ""
    """For people."""

    def to_json(self) -> str:
        """Return the ending as one line."""
        return json.dumps({"outcome": self.outcome, "kind": self.kind, "reason": self.reason})

    @classmethod
    def from_json(cls, line: str) -> "Ending":
        """Read what :meth:`to_json` gave.

        Raises:
            ValueError: it isn't one.
        """
        values = json.loads(line)
        if not isinstance(values, dict) or values.keys() != {"outcome", "kind", "reason"}:
            raise ValueError(f"{line!r} is no ending")
        return cls(**values)


def ending_of(error: Exception) -> Ending:
    """Return the ending of a job that this error has ended."""
    outcomes: tuple[tuple[type[Exception], Outcome], ...] = (
        (BusyError, "busy"),
        (StoppedError, "stopped"),
        (StorageError, "storage"),
        (DataError, "data"),
        (EspalierError, "failed"),
        (OSError, "storage"),
    )
    kind = type(error).__name__
    for of, outcome in outcomes:
        if isinstance(error, of):
            return Ending(outcome=outcome, kind=kind, reason=str(error) or kind)
    return Ending(outcome="crashed", kind=kind, reason=f"{kind}: {error}")


class Engine(Protocol):
    """Runs jobs somewhere, several at once; knows nothing of studies."""

    @property
    def slots(self) -> int:
        """How many jobs it can run at once, at this moment."""

    def start(self, job: Job) -> None:
        """Start a job. The engine has a free slot."""

    def ended(self, timeout_s: float) -> Sequence[tuple[Job, Ending]]:
        """Return the jobs that have ended, at once if there are some, else after the time."""

    def close(self) -> Sequence[tuple[Job, Ending]]:
        """Ask the jobs that still run to save and stop; return how they ended."""
