"""A run's result and the reading of JSON files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from espalier.errors import RecordError
from espalier.records import Figures, RunResult, read_json

FIGURES = Figures(
    epoch=3,
    test_accuracy=84.78,
    val_accuracy=85.0,
    train_accuracy=90.0,
    density_mask=0.0868,
    density_nonzero=0.08,
    density_mask_all=0.09,
    density_nonzero_all=0.09,
    ratio=0.0217,
    ratio_all=0.022,
    efficiency={"1": 44.8, "2": 43.55, "3": 42.3},
    efficiency_all=None,
)
RESULT = RunResult(
    run_id="0123456789abcdef",
    best=FIGURES,
    by_validation=replace(FIGURES, epoch=2),
    last=replace(FIGURES, epoch=4),
    bits=8,
    gamma=0.375,
    parameters=2_083_018,
    compressed_parameters=2_082_186,
    epochs_run=4,
    stopped_by="patience",
    baseline=87.21,
    seed=0,
    data_source="CIFAR-10",
    device="cpu",
    threads=2,
    wall_s=12.5,
    environment={"torch": "2.13"},
)
ASKED_KEYS = (
    "test_accuracy val_accuracy train_accuracy density_mask density_nonzero bits ratio parameters "
    "best_epoch epochs_run efficiency seed device wall_s"
)


def test_json_has_the_figures_of_the_best_epoch_at_the_top() -> None:
    """Other programs find the paper's numbers by their names."""
    data = RESULT.to_json()

    assert set(ASKED_KEYS.split()) <= data.keys()
    assert data["best_epoch"] == 3
    assert data["test_accuracy"] == 84.78
    assert data["by_validation"]["epoch"] == 2


def test_json_round_trip_keeps_everything() -> None:
    """What is written and read again is the same result."""
    assert RunResult.from_json(json.loads(json.dumps(RESULT.to_json()))) == RESULT


def test_a_record_from_before_files_and_strict_ratios_is_read() -> None:
    """What it lacks is None."""
    weighed = replace(RESULT, size_bytes=48_000, ratio_strict=0.003).to_json()
    later = ("size_bytes", "ratio_strict")

    assert RunResult.from_json(weighed).ratio_strict == 0.003
    assert RunResult.from_json({k: v for k, v in weighed.items() if k not in later}) == RESULT


def test_comparison_leaves_out_machine_and_time() -> None:
    """Equal runs on other machines compare equal."""
    moved = replace(RESULT, device="cuda:0", threads=8, wall_s=1.0, environment={})

    assert moved.comparable() == RESULT.comparable()
    assert replace(RESULT, epochs_run=5).comparable() != RESULT.comparable()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 7}, "result has version 7"),
        ({"ratoi": 1}, "unknown key 'ratoi'. Did you mean 'ratio'"),
        ({"ratio": None}, "ratio=None: expected a finite number"),
        ({"efficiency": 3}, "efficiency=3: expected a number for each rho, or null"),
        ({"last": 3}, "result, last is int; expected a JSON object"),
        ({"last": {}}, "result, last lacks 'epoch'"),
    ],
)
def test_a_wrong_value_is_refused(change: dict[str, Any], message: str) -> None:
    """A damaged result is found where it is read."""
    with pytest.raises(RecordError, match=message):
        RunResult.from_json(RESULT.to_json() | change)


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    """The message says which file, and what happened to it."""
    path = tmp_path / "result.json"
    path.write_text('{"a": ')

    with pytest.raises(RecordError, match=r"result.json is not JSON .* damaged or cut off"):
        read_json(path)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """The message says which file."""
    with pytest.raises(RecordError, match=r"can't read .*none.json: No such file"):
        read_json(tmp_path / "none.json")
