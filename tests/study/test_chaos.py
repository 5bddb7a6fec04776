"""`espalier study run`, killed for real: nothing is lost, nothing is done twice."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espalier.errors import CheckpointError
from espalier.records import StudyRecords, cell_directory, read_study
from espalier.train import load_weights

SMALL_DATA = """
from espalier.data import DATASETS
from espalier.data.modulation import modulation

DATASETS["modulation"] = lambda **_: modulation(per_class=60, length=32)
"""
"""Is run by every interpreter that starts, so that parent and workers are the real ones."""

STUDY = """
name = "chaos"
[fixed]
data = "modulation"
model = "modulation_cnn"
model_options.widths = [8, 8]
model_options.kernels = [5, 3]
model_options.hidden = 16
batch_size = 16
lr = 0.02
precision = "fp32"
[stop]
epochs = 60
patience = 0
[axes]
gamma = [0.0, 0.4]
bits = [4, 32]
"""
KILLS = 31
AFTER_PROGRESS = 6
"""Every so many kills, one waits until an epoch has been finished since the last."""
EPOCHS_IN_ALL = 4 * 60
LONGEST_S = 600.0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the study file; interpreters that start here have small data."""
    (tmp_path / "sitecustomize.py").write_text(SMALL_DATA)
    (tmp_path / "STUDY.toml").write_text(STUDY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def start(place: Path, out: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "espalier", "study", "run", "STUDY.toml", "--out", out]
    command += ["--jobs", "2", "--threads", "1", "--device", "cpu", "--retries", "1000", *options]
    return subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True)


def workers(parent: subprocess.Popen[str]) -> list[int]:
    """Return the processes that a parent has started and that still run."""
    try:
        text = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()
    except OSError:
        return []
    return [int(number) for number in text.split()]


def end(parent: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the parent; return its exit code and what it said."""
    _, err = parent.communicate(timeout=LONGEST_S)
    return parent.returncode, err


def kill(parent: subprocess.Popen[str], moments: random.Random) -> bool:
    """Kill the parent, a worker, or all of them in some order; say if the parent is among them."""
    victims = workers(parent)
    kind = moments.choice(["parent", "worker", "all"])
    if kind == "worker":
        victims = victims[:1] if moments.random() < 0.5 else victims[-1:]
    elif kind == "parent":
        victims = [parent.pid]
    else:
        victims.insert(moments.choice([0, len(victims)]), parent.pid)
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    return parent.pid in victims


class Ledger:
    """What is known to be done; it must never become less."""

    def __init__(self, study: Path) -> None:
        self.study = study
        self.results: dict[str, tuple[int, int]] = {}
        self.saved: dict[str, int] = {}

    def look(self) -> int:
        """Check against what was there before; return the epochs that are saved in all."""
        for directory in (self.study / "runs").glob("*"):
            result = directory / "result.json"
            if result.exists():
                found = (result.stat().st_ino, result.stat().st_mtime_ns)
                assert self.results.setdefault(directory.name, found) == found, "finished twice"
            elif directory.name in self.results:
                pytest.fail("a result is gone")
            with contextlib.suppress(CheckpointError):
                epochs = int(load_weights(directory / "checkpoint.safetensors")[1]["epochs"])
                assert epochs >= self.saved.get(directory.name, 0), "epochs were lost"
                self.saved[directory.name] = epochs
        return sum(self.saved.values())

    def wait_for_progress(self, parent: subprocess.Popen[str]) -> None:
        """Wait until another epoch is saved, or the parent has ended."""
        before = self.look()
        while self.look() == before and parent.poll() is None:
            time.sleep(0.01)


def same_study(one: StudyRecords, other: StudyRecords) -> None:
    """Compare all records and weights, times left out."""
    assert list(one.plan.cells) == list(other.plan.cells)
    for ours, theirs in zip(one.cells, other.cells, strict=True):
        assert (ours.state, theirs.state) == ("done", "done")
        assert ours.result is not None
        assert theirs.result is not None
        assert ours.result.comparable() == theirs.result.comparable()
        epochs = [[e.comparable() for e in cell.epochs] for cell in (ours, theirs)]
        assert epochs[0] == epochs[1]
        for name in ("best.safetensors", "best_by_validation.safetensors"):
            files = [cell_directory(s.directory, ours.run_id) / name for s in (one, other)]
            assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_a_study_killed_at_random_moments_ends_as_one_undisturbed(place: Path) -> None:
    """SIGKILL to parent and workers, at moments of starting, training, saving, ending."""
    began = time.monotonic()
    assert end(start(place, "whole"))[0] == 0
    seed = time.time_ns()
    print(f"seed {seed}")  # noqa: T201 - says how to see a failure again
    moments, ledger = random.Random(seed), Ledger(place / "killed")
    parent, restarts = start(place, "killed"), 0
    for attempt in range(KILLS):
        if attempt % AFTER_PROGRESS == 0:
            ledger.wait_for_progress(parent)
            time.sleep(moments.uniform(0, 0.3))
        else:
            time.sleep(moments.uniform(0, 1.2))
        if kill(parent, moments):
            end(parent)
            ledger.look()
            parent, restarts = start(place, "killed"), restarts + 1
        assert time.monotonic() - began < LONGEST_S
    unfinished = ledger.look() < EPOCHS_IN_ALL
    code, err = end(parent)

    assert code == 0, err
    assert unfinished, "all was done before the last kill: make the runs longer"
    assert restarts > 0
    ledger.look()
    assert len(ledger.results) == 4
    same_study(read_study(place / "whole"), read_study(place / "killed"))
    assert read_study(place / "killed").problems == ()


@pytest.mark.slow
def test_two_parents_share_a_study(place: Path) -> None:
    """Both end when all is done; no cell was begun twice."""
    (place / "STUDY.toml").write_text(STUDY.replace("epochs = 60", "epochs = 6"))
    ends = [end(parent) for parent in [start(place, "shared", "--jobs", "1") for _ in range(2)]]
    errs = [err for _, err in ends]

    assert [code for code, _ in ends] == [0, 0], errs
    begun = [line for err in errs for line in err.splitlines() if line.startswith("started")]
    lost = [line for err in errs for line in err.splitlines() if line.startswith("waits")]
    assert len(begun) - len(lost) == 4
    assert [cell.state for cell in read_study(place / "shared").cells] == ["done"] * 4
