"""Runs that learn from a dense network."""

from pathlib import Path

import pytest
import torch

from espalier.errors import ConfigError, StoppedError
from espalier.train import RunDirectory, digest_of, load_weights

from .test_initial import trained
from .test_train import interrupt_at, same_run
from .tiny import run_tiny, tiny_spec


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    """The weights of a dense run."""
    run_tiny(tiny_spec(gamma=0, bits=32), tmp_path / "dense")
    return RunDirectory(tmp_path / "dense").best_by_validation


def test_a_teacher_changes_what_is_learned_and_is_recorded(tmp_path: Path, dense: Path) -> None:
    """The same run without it ends elsewhere; the teacher stays as it is."""
    before = dense.read_bytes()
    spec = tiny_spec(teacher=digest_of(dense))
    run_tiny(spec, tmp_path / "taught", teacher=dense)
    run_tiny(tiny_spec(), tmp_path / "alone")

    taught, alone = (
        load_weights(tmp_path / name / "best.safetensors")[0] for name in ("taught", "alone")
    )
    assert not torch.equal(taught["0.weight"], alone["0.weight"])
    assert spec.to_json()["teacher"] == digest_of(dense)
    assert "teacher" not in tiny_spec().to_json()
    assert dense.read_bytes() == before


def test_a_run_in_pieces_is_the_run_that_was_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dense: Path
) -> None:
    """The teacher draws no random number."""
    spec = tiny_spec(teacher=digest_of(dense))
    run_tiny(spec, tmp_path / "whole", teacher=dense)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 8)
        with pytest.raises(StoppedError):
            run_tiny(spec, tmp_path / "pieces", teacher=dense)
    run_tiny(spec, tmp_path / "pieces", teacher=dense, resume=True)

    same_run(tmp_path / "whole", tmp_path / "pieces")


def test_plain_weights_teach_too(tmp_path: Path) -> None:
    """They are of the run's own network."""
    file = trained(tmp_path / "net.safetensors")
    assert run_tiny(tiny_spec(teacher=digest_of(file)), tmp_path / "run", teacher=file)


def test_teachers_that_can_not_teach_are_refused(tmp_path: Path, dense: Path) -> None:
    """Missing, another file, of other data; nothing is written."""
    spec = tiny_spec(teacher=digest_of(dense))
    with pytest.raises(ConfigError, match=r"learns from the weights .* give their file"):
        run_tiny(spec, tmp_path / "run")
    with pytest.raises(ConfigError, match="give the file that it began with"):
        run_tiny(spec, tmp_path / "run", teacher=RunDirectory(tmp_path / "dense").checkpoint)
    with pytest.raises(ConfigError, match="the teacher can't take samples of shape"):
        run_tiny(tiny_spec("signals", teacher=digest_of(dense)), tmp_path / "run", teacher=dense)
    assert not (tmp_path / "run").exists()
