"""The cluster engine: each run a task of Ray's, on whichever node has room for it."""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espalier.errors import BusyError, ConfigError, StorageError
from espalier.files import make_directory, write_atomically
from espalier.records.claim import take_claim
from espalier.records.study import FAILURE
from espalier.study.job import Ending, Job, ending_of
from espalier.study.joining import first_sentence, join_cluster
from espalier.study.node import PLACE, News, carried, carry_out, deliver, versions

__all__ = ["ClusterShare", "RayEngine", "runs_that_fit", "share_cluster"]

HEAR_S = 60.0
"""How long files may take from a node."""
PATIENCE_S = 120.0
"""How long runs that were asked to stop may take to save."""
SHIP_S = 5.0
"""How often a run's files are sent from a node that doesn't see the study's directory."""
LOOK_S = 1.0
"""How often the cluster's nodes are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterShare:
    """What is asked of a cluster."""

    address: str
    """``auto``, or ``host:port`` of its head."""
    jobs: int | None
    """Most runs at once; None leaves it to the room that there is."""
    threads: int
    """CPUs of each run."""
    gpus: float
    """Share of one GPU that each run gets; 0 computes on the CPU."""

    @property
    def device(self) -> str:
        """What runs compute on, ``cpu`` or ``cuda``; Ray chooses which GPU."""
        return "cuda" if self.gpus else "cpu"


def share_cluster(
    address: str | None, jobs: str, threads: int | None, *, device: str, gpus: float | None
) -> ClusterShare:
    """Read the options of a study that runs on a cluster.

    Args:
        address: ``auto`` or ``host:port``.
        jobs: most runs at once, or ``auto``: as many as there is room for.
        threads: of each run; None gives it one.
        device: ``auto``, ``cpu`` or ``cuda``; ``auto`` is the GPU where ``gpus`` asks for one.
        gpus: share of a GPU; None is a whole one for ``cuda``.

    Raises:
        ConfigError: says what doesn't fit.

    Example:
        >>> share = share_cluster("auto", "auto", None, device="auto", gpus=0.25)
        >>> share.device, share.threads, share.jobs
        ('cuda', 1, None)
    """
    if address is None:
        raise ConfigError(
            "--engine ray needs --address: auto on a machine of the cluster, or host:port of its "
            "head. docs/studies.md says how to start one."
        )
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and "/" not in host and port.isdigit()):
        raise ConfigError(f"--address {address}: expected auto or host:port.")
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: expected an integer >= 1.")
    if jobs != "auto" and not (jobs.isdecimal() and int(jobs)):
        raise ConfigError(f"--jobs {jobs}: expected auto or an integer >= 1.")
    return ClusterShare(
        address=address,
        jobs=None if jobs == "auto" else int(jobs),
        threads=threads or 1,
        gpus=_gpus(device, gpus),
    )


def _gpus(device: str, gpus: float | None) -> float:
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"--device {device}: on a cluster, Ray chooses the device of each run; expected cpu or "
            "cuda, and --gpus for each run's share."
        )
    if gpus is None:
        return 1.0 if device == "cuda" else 0.0
    if not 0.0 <= gpus <= 1.0:
        raise ConfigError(f"--gpus {gpus:g}: a run computes on one GPU; expected 0 to 1.")
    if bool(gpus) != (device == "cuda") and device != "auto":
        raise ConfigError(f"--gpus {gpus:g} contradicts --device {device}; keep one of them.")
    return gpus


def runs_that_fit(resources: Mapping[str, float], threads: int, gpus: float) -> int:
    """Return how many runs a node has room for; a run's share is of one GPU.

    Example:
        >>> runs_that_fit({"CPU": 8.0, "GPU": 2.0}, threads=1, gpus=0.4)
        4
    """
    runs = int(resources.get("CPU", 0.0)) // threads
    if gpus:
        runs = min(runs, int(resources.get("GPU", 0.0)) * int(1.0 / gpus + 1e-9))
    return runs


class Bell:
    """Rings when the runs are asked to save and stop; lives in a process of the cluster."""

    def __init__(self) -> None:
        """Be silent."""
        self.event = asyncio.Event()

    async def ring(self) -> None:
        """Ask all to stop."""
        self.event.set()

    async def rung(self) -> None:
        """Return when it has rung."""
        await self.event.wait()


def run_on_node(
    line: str,
    word: str,
    expected: Mapping[str, str],
    files: Mapping[str, bytes],
    bell: Any,
    every_s: float,
) -> Iterator[News]:
    """Be the task: see :func:`espalier.study.node.carry_out`."""
    rung = bell.rung.remote().future()  # asking again and again would give the task's CPUs away
    yield from carry_out(
        Job.from_json(line),
        word=word,
        expected=expected,
        files=files,
        asked_to_stop=rung.done,
        every_s=every_s,
    )


@dataclass(slots=True, eq=False)
class _Running:
    """A job and its task."""

    job: Job
    claim: int
    """Holds the cell as long as this file is open."""
    news: Any
    """Ray's stream of :class:`News`."""
    host: str = ""
    """Where it runs; ``""`` as long as it waits for a node."""


class RayEngine:
    """Tasks of a Ray cluster that is already there, with bounded resources for each run.

    Ray doesn't repeat tasks by itself: the study does, from the last epoch that has arrived.
    """

    def __init__(self, share: ClusterShare) -> None:
        """Join the cluster; this machine must be one of its nodes.

        Raises:
            ConfigError: Ray isn't installed, no cluster answers in time, it refuses the token, or
                no node has room for a run.
        """
        self.share = share
        self.ray = join_cluster(share.address)
        self.running: list[_Running] = []
        self.refused: list[tuple[Job, Ending]] = []
        """Jobs that could not be started."""
        self.word = secrets.token_hex(16)
        self.room, self.counted = 0, -LOOK_S
        self._refuse_too_small()
        self.bell = self._hang_bell()
        self.task = self.ray.remote(run_on_node).options(
            num_returns="streaming", num_cpus=share.threads, num_gpus=share.gpus, max_retries=0
        )

    @property
    def slots(self) -> int:
        """How many runs the nodes that are there have room for, at most ``jobs``."""
        now = time.monotonic()
        if now >= self.counted + LOOK_S:
            threads, gpus = self.share.threads, self.share.gpus
            self.room = sum(runs_that_fit(node, threads, gpus) for node in self._nodes())
            self.counted = now
        return self.room if self.share.jobs is None else min(self.share.jobs, self.room)

    def start(self, job: Job) -> None:
        """Claim the cell and hand the job to the cluster, with the files of a run that goes on."""
        job = replace(job, study=job.study.absolute(), data_dir=_absolute(job.data_dir))
        try:
            make_directory(job.directory)
            claim = take_claim(job.directory)
        except (BusyError, StorageError) as error:
            self.refused.append((job, ending_of(error)))
            return
        try:
            write_atomically(job.directory / PLACE, self.word.encode())
            (job.directory / FAILURE).unlink(missing_ok=True)
            files = carried(job.directory)
        except OSError as error:
            os.close(claim)
            self.refused.append((job, ending_of(error)))
            return
        news = self.task.remote(job.to_json(), self.word, versions(), files, self.bell, SHIP_S)
        self.running.append(_Running(job, claim, news))

    def ended(self, timeout_s: float) -> Sequence[tuple[Job, Ending]]:
        """Return the jobs that have ended, waiting for the first at most that long."""
        until = time.monotonic() + timeout_s
        while True:
            found = self._hear(max(0.0, until - time.monotonic()))
            if found or time.monotonic() >= until:
                return found

    def close(self) -> Sequence[tuple[Job, Ending]]:
        """Ask all runs to save and stop, and leave the cluster; those that don't are ended."""
        found: list[tuple[Job, Ending]] = []
        try:
            if self.running:
                self._ask_to_stop()
            until = time.monotonic() + PATIENCE_S
            while self.running and time.monotonic() < until:
                found += self._hear(1.0)
            for one in list(self.running):
                late = Ending(outcome="crashed", kind="late", reason="it didn't stop when asked")
                found.append(self._over(one, late))
        finally:
            for one in self.running:
                os.close(one.claim)
            self.running = []
            self.ray.shutdown()
        return found

    def _hear(self, timeout_s: float) -> list[tuple[Job, Ending]]:
        """Wait for news, and return the jobs that they are the last of."""
        refused, self.refused = self.refused, []
        if refused:
            return refused
        if not self.running:
            time.sleep(timeout_s)
            return []
        streams = {one.news: one for one in self.running}
        ready, _ = self.ray.wait(list(streams), timeout=timeout_s, fetch_local=False)
        endings = [(streams[stream], self._next(streams[stream])) for stream in ready]
        return [self._over(one, ending) for one, ending in endings if ending is not None]

    def _next(self, one: _Running) -> Ending | None:
        """Take the next news of a job; return how it ended, if they say it."""
        try:
            news: News = self.ray.get(next(one.news), timeout=HEAR_S)
        except StopIteration:
            return Ending(outcome="crashed", kind="silent", reason="its task ended without a word")
        except self.ray.exceptions.TaskCancelledError:
            return Ending(outcome="stopped", kind="cancelled", reason="stopped before it began")
        except self.ray.exceptions.RayError as error:
            return _ending_of_ray(error, one.host)
        one.host = news.host
        try:
            deliver(one.job.directory, news.files)
        except StorageError as error:
            return ending_of(error)
        if not news.ending:
            return None
        ending = Ending.from_json(news.ending)
        return replace(ending, reason=_on(news.host, ending.reason)) if ending.reason else ending

    def _over(self, one: _Running, ending: Ending) -> tuple[Job, Ending]:
        """Let go of a job; a task that still works for it is ended."""
        self.running.remove(one)
        if ending.outcome != "done":
            with contextlib.suppress(Exception):
                self.ray.cancel(one.news, force=True)
        with contextlib.suppress(OSError):
            (one.job.directory / PLACE).unlink(missing_ok=True)
        os.close(one.claim)
        return one.job, ending

    def _ask_to_stop(self) -> None:
        """Ring the bell for the runs that have begun; the others never begin."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.get(self.bell.ring.remote(), timeout=HEAR_S)
        for one in self.running:
            if not one.host:
                self.ray.cancel(one.news)

    def _nodes(self) -> list[Mapping[str, float]]:
        """Return the resources of each node that is there."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _refuse_too_small(self) -> None:
        if self.slots:
            return
        nodes = [
            f"{node.get('CPU', 0.0):g} CPUs and {node.get('GPU', 0.0):g} GPUs"
            for node in self._nodes()
        ]
        self.ray.shutdown()
        raise ConfigError(
            f"no node of the cluster at {self.share.address} has {self.share.threads} CPUs and "
            f"{self.share.gpus:g} GPUs for a run; they have {', '.join(nodes) or 'nothing'}. "
            "Lower --threads or --gpus."
        )

    def _hang_bell(self) -> Any:
        """Start the bell on this machine, without whose node there is no study either."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = self.ray.get_runtime_context().get_node_id()
        options = {
            "num_cpus": 0,
            "max_concurrency": 100_000,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
        }
        return self.ray.remote(Bell).options(**options).remote()


def _ending_of_ray(error: Exception, host: str) -> Ending:
    """Return the ending of a job whose node or process is gone, or which Ray couldn't run."""
    kind, words = type(error).__name__, str(error)
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        kind, words = type(cause).__name__, str(cause)
    return Ending(
        outcome="crashed", kind=kind, reason=_on(host, f"{kind}: {first_sentence(words)}")
    )


def _on(host: str, reason: str) -> str:
    """Say on which node it was, where that is known."""
    return f"on {host}: {reason}" if host else reason


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()
