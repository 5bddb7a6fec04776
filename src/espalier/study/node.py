"""One job on a node of a cluster: run as the local engine runs it, its files sent where need be."""

import importlib.metadata
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from espalier.errors import EspalierError
from espalier.files import make_directory, write_atomically
from espalier.study.job import Ending, Job, ending_of
from espalier.study.local import LOG, LocalEngine
from espalier.train import RunDirectory

__all__ = ["PLACE", "News", "carried", "carry_out", "deliver", "versions"]

PLACE = ".place"
"""In a run's directory: a word of the process that asked, by which a node sees that it's there."""
TICK_S = 0.25
LARGEST_LOG = 64 * 2**10
"""Bytes of a log's end that are sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a node tells of a job: first that it has begun, then files, last how it ended."""

    host: str
    """Name of the node."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Name -> content of those that have changed; none where the study's directory is seen."""
    ending: str = ""
    """Of the job, as :meth:`Ending.to_json` gives it; with the last news."""


def versions() -> dict[str, str]:
    """Return the versions that a run's bits depend on."""
    return {name: importlib.metadata.version(name) for name in ("espalier", "torch")}


def carry_out(
    job: Job,
    *,
    word: str,
    expected: Mapping[str, str],
    files: Mapping[str, bytes],
    asked_to_stop: Callable[[], bool],
    every_s: float,
) -> Iterator[News]:
    """Run a job, in the study's directory where this node sees it, else in a temporary one.

    Whoever asks holds the claim on the cell.

    Args:
        job: with the study's directory as the one who asks sees it.
        word: what :data:`PLACE` says in the directory of the run, if it is the same directory.
        expected: versions of the one who asks.
        files: of a run that goes on, by their names.
        asked_to_stop: whether the run is to save and stop.
        every_s: how often files are sent.
    """
    host = socket.gethostname()
    yield News(host=host)
    found = versions()
    if found != dict(expected):
        reason = f"{_listed(found)} are installed there; the study was begun with "
        ending = Ending(outcome="crashed", kind="versions", reason=reason + _listed(expected))
        yield News(host=host, ending=ending.to_json())
        return
    if _sees(job.directory, word):
        yield from _follow(job, host, asked_to_stop, every_s)
        return
    try:
        with tempfile.TemporaryDirectory(prefix="espalier-") as folder:
            here = replace(job, study=Path(folder))
            make_directory(here.directory)
            deliver(here.directory, files)
            parcels = _Parcels(here.directory)
            for news in _follow(here, host, asked_to_stop, every_s, parcels):
                yield replace(news, ending=news.ending.replace(folder, str(job.study)))
    except (EspalierError, OSError) as error:
        yield News(host=host, ending=ending_of(error).to_json())


def deliver(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write a run's files in the order in which the run does, the result last.

    Raises:
        StorageError: one can't be written.
    """
    for name in _names(directory):
        if name in files:
            write_atomically(directory / name, files[name])


def carried(directory: Path) -> dict[str, bytes]:
    """Return the files of a run by their names, whole; those that are not there are left out."""
    return {name: _content(directory / name) for name in _marks(directory)}


def _follow(
    job: Job,
    host: str,
    asked_to_stop: Callable[[], bool],
    every_s: float,
    parcels: "_Parcels | None" = None,
) -> Iterator[News]:
    """Run the job in a process of its own; yield its files now and then, and how it ended."""
    engine, due = LocalEngine(1, claims=False), time.monotonic() + every_s
    try:
        engine.start(job)
        while not (ended := engine.ended(TICK_S)):
            if asked_to_stop():
                ended = engine.close()
                break
            if parcels is not None and time.monotonic() >= due:
                files, due = parcels.changed(), time.monotonic() + every_s
                if files:
                    yield News(host=host, files=files)
    finally:  # the node's process is interrupted, or nobody listens any more
        engine.close()
    files = {} if parcels is None else parcels.changed()
    yield News(host=host, files=files, ending=ended[0][1].to_json())


class _Parcels:
    """What has changed in a run's directory since it was last sent."""

    def __init__(self, directory: Path) -> None:
        """Count what is there as sent."""
        self.directory, self.sent = directory, _marks(directory)

    def changed(self) -> dict[str, bytes]:
        """Return the files that have changed; none where one changes meanwhile.

        So that they belong together: a kill could have left them like this.
        """
        marks = _marks(self.directory)
        new = [name for name, mark in marks.items() if self.sent.get(name) != mark]
        try:
            files = {name: _content(self.directory / name) for name in new}
        except OSError:
            return {}
        if _marks(self.directory) != marks:
            return {}
        self.sent = marks
        return files


def _names(directory: Path) -> list[str]:
    """Return the names of a run's files, in the order in which an epoch writes them."""
    run = RunDirectory(directory)
    paths = (run.spec, run.best, run.best_by_validation, run.metrics, run.checkpoint)
    return [*(path.name for path in paths), LOG, run.result.name]


def _marks(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Return what tells a file's content from the one before, of the files that are there."""
    marks = {}
    for name in _names(directory):
        try:
            found = (directory / name).stat()
        except FileNotFoundError:
            continue
        marks[name] = (found.st_ino, found.st_size, found.st_mtime_ns)
    return marks


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    return content[-LARGEST_LOG:] if path.name == LOG else content


def _sees(directory: Path, word: str) -> bool:
    """Say whether this is the directory of the one who asks, and can be written to."""
    try:
        return (directory / PLACE).read_text() == word and os.access(directory, os.W_OK)
    except (OSError, UnicodeDecodeError):
        return False


def _listed(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
