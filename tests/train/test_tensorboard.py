"""TensorBoard reads what a run writes; without the package the message names the extra."""

import sys
from pathlib import Path

import pytest
import torch

from espalier.cli import main
from espalier.data import DATASETS
from espalier.data.modulation import modulation
from espalier.errors import ConfigError
from espalier.records import read_epochs
from espalier.study.job import Ending, Job
from espalier.study.worker import run_job
from espalier.train import RunDirectory, require_tensorboard, resolve_spec

SETTINGS = {"data": "modulation", "model": "modulation_cnn", "epochs": 2, "patience": 0}


@pytest.fixture(autouse=True)
def few_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the data small."""
    signals = modulation(per_class=20, length=32)
    monkeypatch.setitem(DATASETS, "modulation", lambda **_: signals)


def scalars(run: Path, name: str) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


def test_a_study_s_run_writes_its_curves(tmp_path: Path) -> None:
    """Through the pipe: each epoch's numbers are those of the records."""
    spec = resolve_spec(SETTINGS, device=torch.device("cpu"))
    job = Job(study=tmp_path, spec=spec, data_dir=None, device="cpu", threads=1, tensorboard=True)
    job = Job.from_json(job.to_json())
    assert run_job(job) == Ending(outcome="done")

    epochs = read_epochs(RunDirectory(job.directory).metrics)
    for name, key in (("accuracy/test", "test_accuracy"), ("density/mask", "density_mask")):
        found = scalars(job.directory, name)
        assert found == pytest.approx({e.epoch: getattr(e, key) for e in epochs}, rel=1e-6)


@pytest.mark.parametrize("asked", [True, False])
def test_the_option_of_train(tmp_path: Path, asked: bool) -> None:
    """Only who asks gets the folder."""
    options = ["--data", "modulation", "--model", "modulation_cnn", "--epochs", "1", "--threads=1"]
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        main(["train", *options, "--out", str(out), *["--tensorboard"] * asked])
    assert not ended.value.code
    assert (out / "tensorboard").exists() == asked


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before anything is written, with what to install."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"pip install 'espalier\[tensorboard\]'"):
        require_tensorboard()
    with pytest.raises(SystemExit) as ended:
        main(["study", "run", "demo", "--out", str(tmp_path / "s"), "--tensorboard"])
    assert ended.value.code == 2
    assert not (tmp_path / "s").exists()
