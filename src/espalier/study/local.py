"""The local engine: each run in a process of its own, on this machine."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from espalier.errors import BusyError, ConfigError, StorageError
from espalier.files import make_directory
from espalier.records.claim import take_claim
from espalier.study.job import HELD, Ending, Job, ending_of

__all__ = ["LocalEngine", "Share", "available_cores", "share_machine"]

LOG = "log.txt"
"""What a run's processes printed, beside its records."""
POLL_S = 0.05
PATIENCE_S = 90.0
"""How long a process that was asked to stop may take to save."""
TAIL = 400
"""Characters of a log that a reason quotes."""


@dataclass(frozen=True, slots=True)
class Share:
    """How a machine is divided."""

    jobs: int
    """Runs at once."""
    threads: int
    """Of each."""


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_machine(jobs: str, threads: int | None, *, device: str, cores: int) -> Share:
    """Divide a machine's cores among runs.

    ``auto`` runs one job a core with one thread each on the CPU, since runs side by side wait for
    nothing while threads of one run wait for each other: of two cores the best split, as
    ``benchmarks/study_throughput.py`` measured it (docs/results.md). On a GPU it runs one, which
    was never measured.

    Args:
        jobs: a number, or ``auto``.
        threads: of each run; None divides the cores.
        device: ``cpu`` or a GPU.
        cores: that may be used.

    Raises:
        ConfigError: not a number, or less than 1.

    Example:
        >>> share_machine("auto", None, device="cpu", cores=2)
        Share(jobs=2, threads=1)
        >>> share_machine("2", None, device="cpu", cores=8)
        Share(jobs=2, threads=4)
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: expected an integer >= 1.")
    if jobs == "auto":
        count = max(1, cores // (threads or 1)) if device == "cpu" else 1
    else:
        try:
            count = int(jobs)
        except ValueError:
            count = 0
        if count < 1:
            raise ConfigError(f"--jobs {jobs}: expected auto or an integer >= 1.")
    return Share(jobs=count, threads=threads or max(1, cores // count))


@dataclass(slots=True, eq=False)
class _Running:
    """A job and its process."""

    job: Job
    process: subprocess.Popen[bytes]


class LocalEngine:
    """Processes of this machine, which die with this one."""

    def __init__(self, jobs: int, *, claims: bool = True) -> None:
        """Allow so many runs at once, >= 1; without ``claims``, somebody else holds the cells."""
        self.jobs, self.claims = jobs, claims
        self.running: list[_Running] = []
        self.refused: list[tuple[Job, Ending]] = []
        """Jobs that could not be started."""

    @property
    def slots(self) -> int:
        """How many jobs it can run at once."""
        return self.jobs

    def start(self, job: Job) -> None:
        """Claim the cell and start a fresh interpreter with the job, which inherits the claim."""
        try:
            make_directory(job.directory)
            claim = [take_claim(job.directory)] if self.claims else []
        except (BusyError, StorageError) as error:
            self.refused.append((job, ending_of(error)))
            return
        inherited = claim if os.name == "posix" else []  # elsewhere there are no locks to inherit
        held = bool(inherited) or not self.claims
        command = [sys.executable, "-m", "espalier.study.worker", job.to_json()]
        try:
            with _log(job.directory) as log:
                process = subprocess.Popen(  # noqa: S603 - our own module with our own words
                    [*command, HELD] if held else command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches this process, which then asks them
                    pass_fds=inherited,
                )
        finally:
            for handle in claim:
                os.close(handle)
        self.running.append(_Running(job, process))

    def ended(self, timeout_s: float) -> Sequence[tuple[Job, Ending]]:
        """Return the jobs that have ended, waiting for the first at most that long."""
        until = time.monotonic() + timeout_s
        while not (found := self._reap()) and time.monotonic() < until:
            time.sleep(POLL_S)
        return found

    def close(self) -> Sequence[tuple[Job, Ending]]:
        """Ask all processes to save and stop; those that don't are killed after a while."""
        for one in self.running:
            one.process.send_signal(signal.SIGTERM)
        until, found = time.monotonic() + PATIENCE_S, []
        while self.running and time.monotonic() < until:
            found += self._reap()
            time.sleep(POLL_S)
        for one in self.running:
            one.process.kill()
            one.process.wait()
        return [*found, *self._reap()]

    def _reap(self) -> list[tuple[Job, Ending]]:
        over = [one for one in self.running if one.process.poll() is not None]
        self.running = [one for one in self.running if one not in over]
        refused, self.refused = self.refused, []
        return [*refused, *((one.job, _ending(one)) for one in over)]


@contextlib.contextmanager
def _log(directory: Path) -> Iterator[int]:
    """Open the log of a cell, or nothing where the disk doesn't allow it: the run will say why."""
    try:
        file = (directory / LOG).open("ab")
    except OSError:
        yield subprocess.DEVNULL
        return
    with file:
        yield file.fileno()


def _ending(one: _Running) -> Ending:
    """Return what the process has said, or what its exit code and its log say."""
    out, _ = one.process.communicate()
    code = one.process.returncode
    with contextlib.suppress(ValueError, IndexError):
        return Ending.from_json(out.decode().splitlines()[-1])
    if code == -signal.SIGTERM:
        return Ending(outcome="stopped", kind="SIGTERM", reason="stopped before training began")
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return Ending(outcome="crashed", kind="killed", reason=f"killed by {name}{hint}")
    return Ending(
        outcome="crashed",
        kind="crashed",
        reason=f"its process ended with code {code}: {_tail(one.job.directory / LOG)}",
    )


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return "it left no log"
    return lines[-1] if lines else "it left no log"
