"""The local engine with real processes."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from espalier.errors import ConfigError
from espalier.records import RunSpec, cell_directory, is_claimed, read_epochs
from espalier.study import local
from espalier.study.job import Ending, Job
from espalier.study.local import LocalEngine, Share, available_cores, share_machine

from .fakes import SPECS

LONGEST_S = 60.0


@pytest.mark.parametrize(
    ("jobs", "threads", "device", "cores", "expected"),
    [
        ("auto", None, "cpu", 2, Share(2, 1)),
        ("auto", 2, "cpu", 8, Share(4, 2)),
        ("auto", 4, "cpu", 2, Share(1, 4)),
        ("auto", None, "cuda", 16, Share(1, 16)),
        ("3", None, "cpu", 8, Share(3, 2)),
        ("4", None, "cpu", 2, Share(4, 1)),
        ("2", 1, "cuda", 16, Share(2, 1)),
    ],
)
def test_cores_are_divided(
    jobs: str, threads: int | None, device: str, cores: int, expected: Share
) -> None:
    """Every run has at least a thread."""
    assert share_machine(jobs, threads, device=device, cores=cores) == expected


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5"])
def test_jobs_that_are_none_are_refused(jobs: str) -> None:
    """The message says what is expected."""
    with pytest.raises(ConfigError, match=rf"--jobs {jobs}: expected auto or an integer >= 1"):
        share_machine(jobs, None, device="cpu", cores=2)
    with pytest.raises(ConfigError, match="--threads 0: expected an integer"):
        share_machine("1", 0, device="cpu", cores=2)
    assert available_cores() >= 1


WORKERS = {
    "says": "import os, json; print('noise'); "
    "print(json.dumps({'outcome': 'done', 'kind': '', 'reason': ''}))",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "segfault": "import os; os.kill(os.getpid(), 11)",
    "terminated": "import os; os.kill(os.getpid(), 15)",
    "exits": "import sys; sys.stderr.write('first\\nno such library\\n'); sys.exit(3)",
    "silent": "",
    "sleeps": "import time; time.sleep(600)",
    "stubborn": "import signal, time; signal.signal(15, signal.SIG_IGN); "
    "print(flush=True); time.sleep(600)",
}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> LocalEngine:
    """Return an engine whose workers are the code in their job's data set name."""
    start = subprocess.Popen

    def fake(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        code = WORKERS[Job.from_json(command[3]).device]
        return start([sys.executable, "-S", "-c", code], **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(local.subprocess, "Popen", fake)
    return LocalEngine(2)


def job(study: Path, worker: str, spec: RunSpec = SPECS[0]) -> Job:
    return Job(study=study, spec=spec, data_dir=None, device=worker, threads=1)


def end(engine: LocalEngine) -> Ending:
    """Wait for the one job."""
    ((_, ending),) = engine.ended(LONGEST_S)
    return ending


@pytest.mark.parametrize(
    ("worker", "outcome", "words"),
    [
        ("says", "done", ""),
        ("killed", "crashed", "killed by SIGKILL (out of memory?)"),
        ("segfault", "crashed", "killed by SIGSEGV"),
        ("terminated", "stopped", "stopped before training began"),
        ("exits", "crashed", "its process ended with code 3: no such library"),
        ("silent", "crashed", "its process ended with code 0: it left no log"),
    ],
)
def test_endings_of_processes(
    engine: LocalEngine, tmp_path: Path, worker: str, outcome: str, words: str
) -> None:
    """What the process said counts; else its exit code and its log."""
    engine.start(job(tmp_path, worker))

    ending = end(engine)

    assert (ending.outcome, ending.reason) == (outcome, words)


def test_a_job_that_still_runs_has_not_ended(engine: LocalEngine, tmp_path: Path) -> None:
    """Closing ends it, by force if it must."""
    engine.start(job(tmp_path, "sleeps"))

    assert engine.ended(0.0) == []
    ((_, ending),) = engine.close()
    assert ending.outcome == "stopped"
    assert engine.close() == []


def test_a_stubborn_process_is_killed(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its patience, the engine leaves nothing behind."""
    monkeypatch.setattr(local, "PATIENCE_S", 0.1)
    engine.start(job(tmp_path, "stubborn"))
    stdout = engine.running[0].process.stdout
    assert stdout is not None
    stdout.read(1)  # it ignores SIGTERM by now

    ((_, ending),) = engine.close()

    assert ending.kind == "killed"


def test_a_log_that_cannot_be_written_is_no_error(engine: LocalEngine, tmp_path: Path) -> None:
    """The run itself will say what is wrong with the place."""
    one = job(tmp_path, "exits")
    (one.directory / "log.txt").mkdir(parents=True)
    engine.start(one)

    assert end(engine).reason == "its process ended with code 3: it left no log"


def test_a_place_that_cannot_be_written_is_an_ending(engine: LocalEngine, tmp_path: Path) -> None:
    """Nothing is started there."""
    (tmp_path / "runs").write_text("a file in the way")
    engine.start(job(tmp_path, "says"))

    assert engine.running == []
    assert end(engine).outcome == "storage"


def test_a_cell_is_claimed_before_its_process_starts_until_it_ends(
    engine: LocalEngine, tmp_path: Path
) -> None:
    """Another engine, in this process or elsewhere, doesn't get it."""
    one, other = job(tmp_path, "sleeps"), LocalEngine(1)
    engine.start(one)
    assert is_claimed(one.directory)
    other.start(one)
    assert end(other).outcome == "busy"

    engine.running[0].process.kill()

    assert end(engine).outcome == "crashed"
    assert not is_claimed(one.directory)


PARENT = """
import sys, time
from pathlib import Path
from espalier.study.job import Job
from espalier.study.local import LocalEngine

engine = LocalEngine(1)
engine.start(Job.from_json(sys.argv[1]))
time.sleep(600)
"""


@pytest.mark.slow
def test_a_worker_whose_parent_is_killed_saves_and_stops(tmp_path: Path) -> None:
    """Nobody is left to train unobserved, and the run can go on."""
    spec = RunSpec(
        data="modulation", model="modulation_cnn", epochs=100_000, patience=0, limit_train=220
    )
    one = job(tmp_path, "cpu", spec)
    metrics = cell_directory(tmp_path, one.run_id) / "metrics.jsonl"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, one.to_json()])
    wait_for(lambda: bool(read_epochs(metrics)))

    parent.kill()
    parent.wait()

    wait_for(lambda: not is_claimed(one.directory))
    assert (one.directory / "checkpoint.safetensors").exists()
    assert not (one.directory / "result.json").exists()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.05)
