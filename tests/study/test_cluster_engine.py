"""The cluster engine with a Ray that says what the test wants."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from espalier.errors import ConfigError, StorageError
from espalier.records import claim, is_claimed
from espalier.study import cluster
from espalier.study.cluster import RayEngine, share_cluster
from espalier.study.job import Ending, Job
from espalier.study.node import PLACE, News, carried

from .fakes import SPECS

DONE = News(host="b", ending=Ending(outcome="done").to_json(), files={"result.json": b"{}"})
BEGUN = News(host="b")


class RayError(Exception):
    """Root of Ray's."""


class TaskCancelledError(RayError):
    """A task was cancelled."""


class FakeRay:
    """A cluster of one node; its tasks tell ``news``, errors among them are raised."""

    exceptions = SimpleNamespace(RayError=RayError, TaskCancelledError=TaskCancelledError)

    def __init__(self) -> None:
        self.news: list[Any] = []
        self.arguments: list[Any] = []
        self.cancelled: list[bool] = []
        self.cpus, self.alive, self.left = 2.0, True, False

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"Alive": self.alive, "Resources": {"CPU": self.cpus}},
            {"Alive": False, "Resources": {"CPU": 64.0}},
        ]

    def remote(self, function: object) -> Any:
        def start(*arguments: Any) -> Iterator[Any]:
            self.arguments.append(arguments)
            return iter(self.news)

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=start))

    def wait(self, streams: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return streams[:1], streams[1:]

    def get(self, news: Any, *, timeout: float) -> Any:
        if isinstance(news, Exception):
            raise news
        return news

    def cancel(self, stream: Any, *, force: bool = False) -> None:
        self.cancelled.append(force)

    def shutdown(self) -> None:
        self.left = True


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(cluster, "join_cluster", lambda address: fake)
    ring = SimpleNamespace(remote=lambda: None)
    bell = SimpleNamespace(ring=ring)
    monkeypatch.setattr(RayEngine, "_hang_bell", lambda self: bell)
    monkeypatch.setattr(cluster, "LOOK_S", 0.0)
    return fake


def engine(jobs: str = "auto", threads: int | None = None) -> RayEngine:
    return RayEngine(share_cluster("auto", jobs, threads, device="cpu", gpus=None))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(study=tmp_path, spec=SPECS[0], data_dir=Path("data"), device="cpu", threads=1)


def end(one: RayEngine) -> Ending:
    ((_, ending),) = one.ended(5.0)
    return ending


def test_slots_are_the_room_of_nodes_that_are_there(ray: FakeRay) -> None:
    """At most as many as were asked for; none when the nodes are gone."""
    free, bounded = engine(), engine("1")
    assert (free.slots, bounded.slots) == (2, 1)
    ray.cpus = 8.0
    assert (free.slots, bounded.slots) == (8, 1)
    ray.alive = False
    assert (free.slots, bounded.slots) == (0, 0)


def test_a_share_that_no_node_has_room_for(ray: FakeRay) -> None:
    """Is refused with what they have, and the cluster is left."""
    with pytest.raises(ConfigError, match="has 3 CPUs and 0 GPUs for a run; they have 2 CPUs"):
        engine(threads=3)
    assert ray.left


def test_a_job_is_held_until_it_ends_and_its_files_arrive(ray: FakeRay, job: Job) -> None:
    """What was there goes along, under paths that hold everywhere."""
    ray.news = [BEGUN, DONE]
    job.directory.mkdir(parents=True)
    (job.directory / "checkpoint.safetensors").write_bytes(b"all")
    (job.directory / "failure.json").write_text("{}")
    one = engine()
    one.start(job)
    assert is_claimed(job.directory)
    assert not (job.directory / "failure.json").exists()
    assert (job.directory / PLACE).read_text() == one.word

    assert end(one) == Ending(outcome="done")

    line, word, _, files, *_ = ray.arguments[0]
    assert Job.from_json(line).data_dir == Path("data").absolute()
    assert (word, files) == (one.word, {"checkpoint.safetensors": b"all"})
    assert carried(job.directory).keys() == {"checkpoint.safetensors", "result.json"}
    assert not is_claimed(job.directory)
    assert not (job.directory / PLACE).exists()
    assert ray.cancelled == []


@pytest.mark.parametrize(
    ("news", "ending"),
    [
        ([BEGUN, RayError("The node is dead. So.")], "crashed: on b: RayError: The node is dead"),
        ([RayError("Lost.")], "crashed: RayError: Lost"),
        ([BEGUN], "crashed: its task ended without a word"),
        ([TaskCancelledError()], "stopped: stopped before it began"),
        (
            [News(host="c", ending=Ending(outcome="data", reason="no images").to_json())],
            "data: on c: no images",
        ),
    ],
)
def test_troubles_are_endings(ray: FakeRay, job: Job, news: list[Any], ending: str) -> None:
    """With the node's name where it is known; the cell is free again."""
    ray.news = news
    one = engine()
    one.start(job)

    found = end(one)

    assert f"{found.outcome}: {found.reason}" == ending
    assert not is_claimed(job.directory)


def test_a_disk_that_is_full_here_ends_the_task(
    ray: FakeRay, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could take what it finds."""

    def full(*_: Any) -> None:
        raise StorageError("No space left on device")

    ray.news = [BEGUN, DONE]
    one = engine()
    one.start(job)
    monkeypatch.setattr(cluster, "deliver", full)

    assert end(one).outcome == "storage"
    assert ray.cancelled == [True]


def test_a_cell_that_is_held_is_busy(ray: FakeRay, job: Job) -> None:
    """No task is made of it."""
    job.directory.mkdir(parents=True)
    one = engine()
    with claim(job.directory):
        one.start(job)

    assert end(one).outcome == "busy"
    assert ray.arguments == []


def test_closing_asks_and_waits_a_while(
    ray: FakeRay, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks that haven't begun are cancelled, those that don't stop are ended; claims go."""
    monkeypatch.setattr(cluster, "PATIENCE_S", 0.0)
    one = engine()
    one.start(job)

    ((_, ending),) = one.close()

    assert ending.kind == "late"
    assert ray.cancelled == [False, True]
    assert ray.left
    assert not is_claimed(job.directory)
