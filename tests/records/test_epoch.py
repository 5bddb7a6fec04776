"""An epoch's record and the file of them."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.errors import RecordError
from espalier.records import EpochRecord, read_epochs

RECORD = EpochRecord(
    epoch=1,
    gamma=0.375,
    train_loss=1.5,
    train_accuracy=50.0,
    val_loss=1.25,
    val_accuracy=55.0,
    test_loss=1.3,
    test_accuracy=54.0,
    density_mask=0.5,
    density_nonzero=0.49,
    density_mask_all=0.51,
    density_nonzero_all=0.5,
    ratio=0.125,
    ratio_all=0.13,
    layers={"conv1.weight": (0.5, 0.49)},
    times={"train_s": 1.0, "evaluate_s": 0.5, "wall_s": 1.5},
)


def lines(count: int) -> bytes:
    return "".join(replace(RECORD, epoch=n + 1).to_line() for n in range(count)).encode()


def test_json_round_trip_keeps_everything() -> None:
    """What is written and read again is the same record."""
    assert EpochRecord.from_json(RECORD.to_json()) == RECORD


def test_comparison_leaves_out_times_and_nothing_else() -> None:
    """Equal runs take different times."""
    assert replace(RECORD, times={"wall_s": 9.0}).comparable() == RECORD.comparable()
    assert replace(RECORD, val_loss=9.0).comparable() != RECORD.comparable()


@given(st.integers(0, 4), st.integers(0, 2000))
def test_a_cut_off_file_gives_its_whole_epochs(count: int, cut: int) -> None:
    """However a writer was killed, the lines that it finished are read."""
    import tempfile

    content = lines(count)[:cut]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "metrics.jsonl")
        path.write_bytes(content)

        assert [r.epoch for r in read_epochs(path)] == list(range(1, content.count(b"\n") + 1))


def test_no_file_is_no_epochs(tmp_path: Path) -> None:
    """A run that was killed before its first epoch has nothing to tell."""
    assert read_epochs(tmp_path / "metrics.jsonl") == []


def test_a_last_line_of_garbage_is_left_out(tmp_path: Path) -> None:
    """A power cut may leave a block of zeros at the file's end."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines(2) + b"\0\0\0\n")

    assert len(read_epochs(path)) == 2


def test_damage_before_the_last_line_is_an_error(tmp_path: Path) -> None:
    """Only a file's end can be cut off by a kill; elsewhere it was damaged."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"{\n" + lines(2))

    with pytest.raises(RecordError, match=r"metrics.jsonl, line 1 is not JSON .* was damaged"):
        read_epochs(path)


def test_epochs_follow_one_another(tmp_path: Path) -> None:
    """A line that is there twice, or missing, is found."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines(1) * 2)

    with pytest.raises(RecordError, match="line 2 is of epoch 1; expected epoch 2"):
        read_epochs(path)


def test_a_directory_is_no_file_of_epochs(tmp_path: Path) -> None:
    """What can't be read is named."""
    with pytest.raises(RecordError, match="can't read"):
        read_epochs(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "has version 2"),
        ({"vall_loss": 1}, "unknown key 'vall_loss'. Did you mean 'val_loss'"),
        ({"epoch": 0}, "epoch=0: expected an integer >= 1"),
        ({"val_loss": math.nan}, "val_loss=nan: expected a finite number"),
        ({"val_loss": "1"}, "val_loss='1': expected a finite number"),
        ({"layers": []}, r"layers=\[\]: expected an object"),
        ({"layers": {"a": [1]}}, r"layers.a=\[1\]: expected the two densities"),
        ({"layers": {"a": [1, None]}}, "layers.a=None: expected a finite number"),
        ({"times": {"wall_s": "1"}}, "times.wall_s='1': expected a finite number"),
    ],
)
def test_a_wrong_value_is_refused(change: dict[str, Any], message: str) -> None:
    """A damaged record is found where it is read, by name."""
    with pytest.raises(RecordError, match=message):
        EpochRecord.from_json(RECORD.to_json() | change)
