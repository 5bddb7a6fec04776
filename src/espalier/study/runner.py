"""Runs the cells of a study on an engine, until each is done or given up with its reason."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from espalier.errors import StorageError
from espalier.files import make_directory, write_atomically
from espalier.records import (
    CellRecords,
    RunFailure,
    RunSpec,
    cell_directory,
    read_cell,
)
from espalier.records.epoch import count_epochs
from espalier.records.study import FAILURE, METRICS
from espalier.study.job import Ending, Engine, Job
from espalier.train.outcome import pretty

__all__ = ["Observer", "Setup", "StudyOutcome", "run_cells"]

TICK_S = 0.5
"""How often an observer is called."""
LOOK_AGAIN_S = 2.0
"""How often cells are looked at that another process runs."""
FULL_DISK = 3
"""Runs in a row that couldn't write, after which no further one is begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Where and how runs are run."""

    data_dir: Path | None
    devices: Sequence[str]
    """Runs take turns on them."""
    threads: int | None
    """Of each run."""
    retries: int
    """How often a run that crashed is tried again without having finished another epoch."""
    retry_failed: bool = False
    """Try runs again that were given up before."""
    tensorboard: bool = False
    """Runs write curves for TensorBoard too."""


@dataclass(slots=True, kw_only=True)
class StudyOutcome:
    """What a call of :func:`run_cells` has done."""

    finished: list[str] = field(default_factory=list)
    """Runs that are done now and were not before, by this process or another one."""
    skipped: list[str] = field(default_factory=list)
    """Runs that were done before."""
    failed: dict[str, str] = field(default_factory=dict)
    """Runs that were given up, now or before, with the reason; recorded in ``failure.json``."""
    left: dict[str, str] = field(default_factory=dict)
    """Runs that can't be run now, with the reason; nothing is recorded, they can be run later."""

    @property
    def complete(self) -> bool:
        """Whether all runs are done."""
        return not self.failed and not self.left


class Observer(Protocol):
    """Is told how a study goes on; must be quick."""

    def started(self, job: Job) -> None:
        """A run begins, or goes on."""

    def ended(self, job: Job, ending: Ending, *, again: bool) -> None:
        """A run's process has ended; ``again`` says that the run will be tried again."""

    def tick(self) -> None:
        """Some time has passed."""


def run_cells(
    study: Path,
    cells: Mapping[str, RunSpec],
    engine: Engine,
    setup: Setup,
    observer: Observer,
) -> StudyOutcome:
    """Run cells until each is done, given up, or can't be run now.

    Finished runs are skipped; cut-off ones go on. Several processes may call this on the same
    directory: they run different cells, and wait for each other's.

    Args:
        study: the study's directory.
        cells: run id -> spec, in the order in which they are begun.
        engine: where they run; it is closed at the end, however that comes.
        setup: how.
        observer: who is told.

    Raises:
        KeyboardInterrupt: somebody asked to stop; the runs in progress have been saved.
    """
    queue = _Queue(study, cells, engine, setup, observer)
    try:
        queue.work()
    finally:
        for job, ending in engine.close():
            observer.ended(job, ending, again=False)
    return queue.outcome


class _Queue:
    """Cells that wait, and what has become of the others."""

    def __init__(
        self,
        study: Path,
        cells: Mapping[str, RunSpec],
        engine: Engine,
        setup: Setup,
        observer: Observer,
    ) -> None:
        self.study, self.cells, self.engine = study, cells, engine
        self.setup, self.observer = setup, observer
        self.outcome = StudyOutcome()
        self.waiting: deque[str] = deque()
        self.elsewhere: deque[str] = deque()
        """Cells that another process runs."""
        self.in_flight: dict[str, Job] = {}
        self.attempts: dict[str, int] = {}
        """Of a cell, since it last finished an epoch."""
        self.progress: dict[str, int] = {}
        """Epochs that a cell had finished when it was last begun."""
        self.unreadable: dict[str, str] = {}
        """Data sets that can't be read, with the reason."""
        self.unwritten = 0
        """Runs in a row that couldn't write."""
        self.turn = 0

    def work(self) -> None:
        """Run until nothing is left to do."""
        for name in self.cells:
            self._admit(name)
        look_again = time.monotonic() + LOOK_AGAIN_S
        while self.waiting or self.in_flight or self.elsewhere:
            self._fill()
            if time.monotonic() >= look_again:
                self._look_elsewhere()
                look_again = time.monotonic() + LOOK_AGAIN_S
            for job, ending in self.engine.ended(TICK_S):
                self._end(job, ending)
            self.observer.tick()

    def _read(self, name: str) -> CellRecords:
        return read_cell(self.study, name, self.cells[name])

    def _admit(self, name: str) -> None:
        """Put a cell where it belongs, as its records have it."""
        cell = self._read(name)
        if cell.state == "done":
            self.outcome.skipped.append(name)
        elif cell.state == "running":
            self.elsewhere.append(name)
        elif cell.failure is not None and not self.setup.retry_failed:
            self.outcome.failed[name] = cell.failure.reason
        else:
            self.waiting.append(name)

    def _fill(self) -> None:
        while self.waiting and len(self.in_flight) < self.engine.slots:
            name = self.waiting.popleft()
            spec = self.cells[name]
            if spec.data in self.unreadable:
                self.outcome.left[name] = self.unreadable[spec.data]
            elif self.unwritten >= FULL_DISK:
                self.outcome.left[name] = "not begun, since other runs couldn't write their files"
            elif (state := self._read(name).state) == "done":
                self.outcome.finished.append(name)
            elif state == "running":
                self.elsewhere.append(name)
            else:
                self._start(name)

    def _start(self, name: str) -> None:
        self.progress[name] = count_epochs(cell_directory(self.study, name) / METRICS)
        self.attempts[name] = self.attempts.get(name, 0) + 1
        device = self.setup.devices[self.turn % len(self.setup.devices)]
        self.turn += 1
        job = Job(
            study=self.study,
            spec=self.cells[name],
            data_dir=self.setup.data_dir,
            device=device,
            threads=self.setup.threads,
            tensorboard=self.setup.tensorboard,
        )
        self.in_flight[name] = job
        self.engine.start(job)
        self.observer.started(job)

    def _look_elsewhere(self) -> None:
        """Take back cells that another process has let go of."""
        for _ in range(len(self.elsewhere)):
            name = self.elsewhere.popleft()
            cell = self._read(name)
            if cell.state == "done":
                self.outcome.finished.append(name)
            elif cell.state == "running":
                self.elsewhere.append(name)
            elif cell.failure is not None:
                self.outcome.failed[name] = cell.failure.reason
            else:
                self.waiting.append(name)

    def _end(self, job: Job, ending: Ending) -> None:
        name = job.run_id
        del self.in_flight[name]
        if count_epochs(job.directory / METRICS) > self.progress[name]:
            self.attempts[name] = 1
        again = False
        match ending.outcome:
            case "done":
                self.outcome.finished.append(name)
            case "busy":
                self.attempts[name] -= 1
                self.elsewhere.append(name)
            case "data":
                self.unreadable[job.spec.data] = self.outcome.left[name] = ending.reason
            case "storage":
                self.outcome.left[name] = ending.reason
            case "crashed" | "stopped" if self.attempts[name] <= self.setup.retries:
                again = True
                self.waiting.append(name)
            case _:
                self._give_up(job, ending)
        self.unwritten = self.unwritten + 1 if ending.outcome == "storage" else 0
        self.observer.ended(job, ending, again=again)

    def _give_up(self, job: Job, ending: Ending) -> None:
        """Record why, or keep the reason where even that can't be written."""
        name, attempts = job.run_id, self.attempts[job.run_id]
        reason = ending.reason if attempts == 1 else f"{ending.reason}, {attempts} times in a row"
        failure = RunFailure(run_id=name, kind=ending.kind, reason=reason, attempts=attempts)
        try:
            make_directory(job.directory)
            write_atomically(job.directory / FAILURE, pretty(failure.to_json()))
        except StorageError as error:
            self.outcome.left[name] = f"{reason}; and {error}"
            return
        self.outcome.failed[name] = reason
