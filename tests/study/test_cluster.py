"""The cluster engine without a cluster: options, what is sent, what is said of troubles."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import Any

import pytest

from espalier.errors import ConfigError
from espalier.study import cluster, joining, node
from espalier.study.cluster import RayEngine, runs_that_fit, share_cluster
from espalier.study.job import Ending, Job
from espalier.study.node import PLACE, News, carried, carry_out, deliver, versions

from .fakes import SPECS

AUTO: dict[str, Any] = {"address": "auto", "jobs": "auto", "threads": None}
FILES = {
    "spec.json": b"{}",
    "best.safetensors": b"best",
    "metrics.jsonl": b"1\n2\n",
    "checkpoint.safetensors": b"all",
}


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        ("auto", None, ("cpu", 0.0)),
        ("auto", 0.25, ("cuda", 0.25)),
        ("auto", 0.0, ("cpu", 0.0)),
        ("cpu", None, ("cpu", 0.0)),
        ("cpu", 0.0, ("cpu", 0.0)),
        ("cuda", None, ("cuda", 1.0)),
        ("cuda", 0.5, ("cuda", 0.5)),
    ],
)
def test_the_share_decides_the_device(
    device: str, gpus: float | None, expected: tuple[str, float]
) -> None:
    """A run computes on the GPU if it gets some of one."""
    share = share_cluster(**AUTO, device=device, gpus=gpus)

    assert (share.device, share.gpus) == expected
    assert (share.threads, share.jobs) == (1, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"address": None}, "--engine ray needs --address: auto"),
        ({"address": "head"}, "--address head: expected auto or host:port"),
        ({"address": "head:x"}, "--address head:x: expected auto or host:port"),
        ({"address": "ray://head:10001"}, "expected auto or host:port"),
        ({"jobs": "0"}, "--jobs 0: expected auto or an integer >= 1"),
        ({"jobs": "two"}, "--jobs two: expected auto or an integer >= 1"),
        ({"threads": 0}, "--threads 0: expected an integer >= 1"),
        ({"device": "cuda:1"}, "--device cuda:1: on a cluster, Ray chooses"),
        ({"gpus": 2.0}, "--gpus 2: a run computes on one GPU"),
        ({"gpus": -0.5}, "--gpus -0.5: a run computes on one GPU"),
        ({"gpus": float("nan")}, "--gpus nan: a run computes on one GPU"),
        ({"gpus": 0.5, "device": "cpu"}, "--gpus 0.5 contradicts --device cpu"),
        ({"gpus": 0.0, "device": "cuda"}, "--gpus 0 contradicts --device cuda"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], words: str) -> None:
    """Each is named with what is expected."""
    with pytest.raises(ConfigError, match=words):
        share_cluster(**{**AUTO, "device": "auto", "gpus": None, **options})


@pytest.mark.parametrize(
    ("resources", "threads", "gpus", "expected"),
    [
        ({"CPU": 8.0}, 1, 0.0, 8),
        ({"CPU": 8.0}, 3, 0.0, 2),
        ({"CPU": 8.0}, 1, 1.0, 0),
        ({"CPU": 8.0, "GPU": 1.0}, 1, 0.1, 8),
        ({"CPU": 64.0, "GPU": 4.0}, 1, 0.1, 40),
        ({"CPU": 64.0, "GPU": 2.0}, 4, 0.6, 2),
        ({"memory": 1.0}, 1, 0.0, 0),
    ],
)
def test_room_of_a_node(
    resources: dict[str, float], threads: int, gpus: float, expected: int
) -> None:
    """No run gets parts of two GPUs."""
    assert runs_that_fit(resources, threads, gpus) == expected


def share(address: str = "head:6379") -> cluster.ClusterShare:
    return share_cluster(address, "auto", None, device="cpu", gpus=None)


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lacks it is told its name."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")

    with pytest.raises(ConfigError, match=r"pip install 'espalier\[ray\]'"):
        RayEngine(share())


def test_a_token_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has switched it off is told why not."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")

    with pytest.raises(ConfigError, match="RAY_AUTH_MODE=disabled: a cluster without a token"):
        RayEngine(share())


def answers(out: Any = None, err: bytes = b"", code: int = 0) -> CompletedProcess[bytes]:
    return CompletedProcess([], code, json.dumps(out).encode() if code == 0 else b"", err)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([TimeoutExpired("python", 30.0)], "no Ray cluster answered within 30 s"),
        ([answers(["ConnectionError", "Could not find any. Please"])], "ConnectionError: Could"),
        ([answers(["ConnectionError", "-"], b"x InvalidAuthToken: y")], "refuses the token"),
        ([answers(code=-6)], "Ray ended with code -6 while it joined"),
        ([answers(), answers()], "this cluster runs what anybody sends it"),
    ],
)
def test_a_cluster_that_cannot_be_joined(
    monkeypatch: pytest.MonkeyPatch, found: list[Any], words: str
) -> None:
    """Within bounded time, and not one that lets everybody in."""
    left: Iterator[Any] = iter(found)

    def run(command: Sequence[str], **options: Any) -> CompletedProcess[bytes]:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, CompletedProcess)
        return answer

    monkeypatch.setattr(joining.subprocess, "run", run)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")

    with pytest.raises(ConfigError, match=f"--address head:6379: .*{words}"):
        joining._try("head:6379")


class GoneError(Exception):
    """An error of Ray's."""


def test_endings_of_tasks_that_are_gone() -> None:
    """Node, kind and the first sentence; the error within, where Ray has wrapped one."""
    error = GoneError("The node is dead. To see more, use this and that.\nAnd so on.")
    assert cluster._ending_of_ray(error, "b").reason == "on b: GoneError: The node is dead"
    error.cause = ModuleNotFoundError("No module named 'espalier'")  # type: ignore[attr-defined]
    ending = cluster._ending_of_ray(error, "")
    assert ending.outcome == "crashed"
    assert ending.reason == "ModuleNotFoundError: No module named 'espalier'"


class Training:
    """An engine whose one job writes the next files at each look, then ends."""

    steps: Sequence[dict[str, bytes]] = ()
    seen: dict[str, bytes]
    closed = 0

    def __init__(self, jobs: int, *, claims: bool) -> None:
        assert (jobs, claims) == (1, False)
        self.left = list(self.steps)

    def start(self, job: Job) -> None:
        type(self).seen, self.job = carried(job.directory), job

    def ended(self, timeout_s: float) -> list[tuple[Job, Ending]]:
        if not self.left:
            return self._end("done")
        deliver(self.job.directory, self.left.pop(0))
        return []

    def close(self) -> list[tuple[Job, Ending]]:
        type(self).closed += 1
        return self._end("stopped")

    def _end(self, outcome: Any) -> list[tuple[Job, Ending]]:
        return [(self.job, Ending(outcome=outcome, reason=f"see {self.job.study}/x"))]


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> type[Training]:
    fresh = type("Fresh", (Training,), {})
    monkeypatch.setattr(node, "LocalEngine", fresh)
    return fresh


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Return a job whose directory says `word`."""
    one = Job(study=tmp_path, spec=SPECS[0], data_dir=None, device="cpu", threads=1)
    one.directory.mkdir(parents=True)
    (one.directory / PLACE).write_text("word")
    return one


def news_of(job: Job, **options: Any) -> list[News]:
    defaults: dict[str, Any] = {
        "word": "word",
        "expected": versions(),
        "files": {},
        "asked_to_stop": lambda: False,
        "every_s": 0.0,
    }
    found = list(carry_out(job, **(defaults | options)))
    assert found[0] == News(host=found[-1].host), "first, that it has begun"
    return found[1:]


def test_a_node_that_sees_the_directory_sends_nothing(job: Job, training: type[Training]) -> None:
    """The files are there already."""
    training.steps = [FILES]

    (last,) = news_of(job)

    assert Ending.from_json(last.ending).outcome == "done"
    assert last.files == {}
    assert carried(job.directory) == FILES


@pytest.mark.parametrize("word", ["another", ""])
def test_a_node_that_does_not_sends_what_has_changed(
    job: Job, training: type[Training], word: str
) -> None:
    """Files that the run had are there when it begins; nothing is written here."""
    new = {"metrics.jsonl": b"1\n2\n3\n", "checkpoint.safetensors": b"more"}
    training.steps = [new, {}, {"log.txt": b"x" * 2**17, "result.json": b"{}"}]

    first, second, last = news_of(job, word=word, files=FILES)

    assert training.seen == FILES
    assert first.files == new
    assert second.files.keys() == {"log.txt", "result.json"}
    assert len(second.files["log.txt"]) == node.LARGEST_LOG
    assert last.files == {}
    ending = Ending.from_json(last.ending)
    assert (ending.outcome, ending.reason) == ("done", f"see {job.study}/x")
    assert carried(job.directory) == {}


def test_a_run_that_is_asked_to_stop_sends_what_it_saved(
    job: Job, training: type[Training]
) -> None:
    """With its last news."""
    training.steps = [FILES, FILES, FILES]

    (last,) = news_of(job, word="other", asked_to_stop=lambda: True)

    assert Ending.from_json(last.ending).outcome == "stopped"
    assert last.files == FILES


def test_a_run_that_nobody_listens_to_any_more_is_stopped(
    job: Job, training: type[Training]
) -> None:
    """Ray has interrupted its task."""
    training.steps = [FILES] * 3
    stream = carry_out(
        job,
        word="other",
        expected=versions(),
        files={},
        asked_to_stop=lambda: False,
        every_s=0.0,
    )
    next(stream)
    next(stream)

    stream.close()  # type: ignore[attr-defined]

    assert training.closed == 1


def test_other_versions_are_refused(job: Job) -> None:
    """They would give other bits; another node may have the right ones."""
    (last,) = news_of(job, expected={**versions(), "torch": "1.0"})

    ending = Ending.from_json(last.ending)
    assert (ending.outcome, ending.kind) == ("crashed", "versions")
    assert ending.reason.endswith(f"espalier {versions()['espalier']}, torch 1.0")


def test_a_node_without_room_says_so(
    job: Job, monkeypatch: pytest.MonkeyPatch, training: type[Training]
) -> None:
    """Its temporary directory can't be made."""

    def full(**_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node.tempfile, "TemporaryDirectory", full)

    (last,) = news_of(job, word="other")

    assert Ending.from_json(last.ending).outcome == "storage"


def test_files_that_change_while_they_are_read_are_sent_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together they must be what a kill could have left."""
    parcels = node._Parcels(tmp_path)
    deliver(tmp_path, FILES)
    read = node._content

    def slow(path: Path) -> bytes:
        content = read(path)
        (tmp_path / "metrics.jsonl").write_bytes(content + b"3\n")
        return content

    with monkeypatch.context() as patch:
        patch.setattr(node, "_content", slow)
        assert parcels.changed() == {}
    assert parcels.changed().keys() == FILES.keys()
    assert parcels.changed() == {}
