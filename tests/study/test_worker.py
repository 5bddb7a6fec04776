"""A job in its worker: the run of `espalier train`, and how each trouble is called."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from espalier.data import DATASETS
from espalier.data.modulation import modulation
from espalier.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    NonFiniteError,
    StoppedError,
    StorageError,
)
from espalier.files import exclusive
from espalier.records import RunFailure, RunSpec, claim, read_epochs
from espalier.study import worker
from espalier.study.job import Ending, Job
from espalier.study.worker import run_job
from espalier.train import RunDirectory, resolve_spec, train

SETTINGS = {
    "data": "modulation",
    "model": "modulation_cnn",
    "model_options": {"widths": [4], "kernels": [3], "hidden": 4},
    "gamma": 0.3,
    "bits": 4,
    "lr": 0.05,
    "epochs": 2,
    "precision": "fp32",
}


@pytest.fixture(autouse=True)
def few_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the data small."""
    signals = modulation(per_class=20, length=32)
    monkeypatch.setitem(DATASETS, "modulation", lambda **_: signals)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return make_job(tmp_path, resolve_spec(SETTINGS, device=torch.device("cpu")))


def make_job(study: Path, spec: RunSpec, threads: int | None = 1) -> Job:
    return Job(study=study / "study", spec=spec, data_dir=None, device="cpu", threads=threads)


def test_a_job_is_the_run_of_train(job: Job, tmp_path: Path) -> None:
    """Same records, same weights, bit for bit."""
    train(job.spec, tmp_path / "alone", device="cpu", threads=1)

    assert run_job(job) == Ending(outcome="done")

    ours, alone = RunDirectory(job.directory), RunDirectory(tmp_path / "alone")
    assert [e.comparable() for e in read_epochs(ours.metrics)] == [
        e.comparable() for e in read_epochs(alone.metrics)
    ]
    assert ours.best.read_bytes() == alone.best.read_bytes()
    assert ours.spec.read_bytes() == alone.spec.read_bytes()
    again = run_job(job)
    assert (again.outcome, again.reason) == ("busy", "another process has finished it meanwhile.")


def test_a_cut_off_run_goes_on_with_the_threads_it_began_with(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the machine is divided now."""
    asked: list[Any] = []

    def spy(*arguments: Any, **options: Any) -> Any:
        asked.append(options["threads"])
        return train(*arguments, **options)

    monkeypatch.setattr(worker, "train", spy)
    run_job(job)
    RunDirectory(job.directory).result.unlink()
    run_job(make_job(job.study.parent, job.spec, threads=2))

    assert asked == [1, None]


def test_a_cell_that_is_claimed_is_busy(job: Job) -> None:
    """By another study's process, or by a run of `espalier train` in its directory."""
    job.directory.mkdir(parents=True)
    with claim(job.directory):
        assert run_job(job).outcome == "busy"
        assert run_job(job, held=True).outcome == "done"
    RunDirectory(job.directory).result.unlink()
    with exclusive(job.directory):
        assert run_job(job).outcome == "busy"
    assert run_job(job).outcome == "done"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StoppedError("SIGTERM"), "stopped"),
        (StorageError("No space left on device"), "storage"),
        (OSError(28, "No space left on device"), "storage"),
        (DataError("no images"), "data"),
        (ConfigError("doesn't fit"), "failed"),
        (NonFiniteError("diverged"), "failed"),
        (CheckpointError("damaged"), "failed"),
        (MemoryError(), "crashed"),
        (torch.OutOfMemoryError("CUDA out of memory"), "crashed"),
        (RuntimeError("cuDNN error"), "crashed"),
    ],
)
def test_each_error_has_its_outcome(
    job: Job, monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: str
) -> None:
    """And its words, through the pipe and back."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(worker, "train", fail)

    ending = run_job(job)

    assert ending.outcome == outcome
    assert str(error) in ending.reason
    assert ending.reason
    assert Ending.from_json(ending.to_json()) == ending


def test_a_failure_before_is_forgotten_when_the_run_begins(job: Job) -> None:
    """So that a reader doesn't take it for today's."""
    failure = RunFailure(run_id=job.run_id, kind="killed", reason="killed", attempts=3)
    job.directory.mkdir(parents=True)
    (job.directory / "failure.json").write_text(json.dumps(failure.to_json()))

    run_job(job)

    assert not (job.directory / "failure.json").exists()


def test_jobs_go_through_a_pipe(job: Job) -> None:
    """With and without a data directory."""
    assert Job.from_json(job.to_json()) == job
    assert Job.from_json(json.dumps({**json.loads(job.to_json()), "data_dir": "/d"})).data_dir == (
        Path("/d")
    )


@pytest.mark.parametrize("line", ["", "{}", '"done"', '{"outcome": "done"}'])
def test_what_is_no_ending_is_refused(line: str) -> None:
    """A worker that was killed while it wrote."""
    with pytest.raises(ValueError, match=r"is no ending|Expecting value"):
        Ending.from_json(line)
