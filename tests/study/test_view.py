"""What there is to see of a study: rows, shares, the time left."""

from dataclasses import replace
from pathlib import Path

import pytest

from espalier.records import cell_directory, read_study
from espalier.study.view import StudyReader, overview

from .fakes import IDS, SPECS, epoch, finish, make_study, write_epochs


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return a study with a finished cell, a cut-off one, and one that never began."""
    study = make_study(tmp_path)
    finish(study, SPECS[0])
    write_epochs(study, IDS[1], [epoch(1), epoch(2)])
    return study


def test_rows(study: Path) -> None:
    """Each cell has its place, state, epoch and figures."""
    rows = StudyReader(study).read().rows

    assert [row.label for row in rows] == ["bits 3", "bits 4", "bits 8"]
    assert [row.state for row in rows] == ["done", "waiting", "waiting"]
    assert [(row.epoch, row.epochs) for row in rows] == [(4, 4), (2, 4), (0, 4)]
    assert [row.test_accuracy for row in rows] == [54.0, 52.0, None]


def test_time_left_is_epochs_left_times_the_measured_rate(study: Path) -> None:
    """Four epochs of two seconds each, patience that doesn't strike: 2 + 4 epochs are left."""
    seen = StudyReader(study).read()

    assert seen.left_s == pytest.approx(6 * 2.0)
    assert seen.share == pytest.approx(6 / 12)


def test_two_runs_at_once_take_half_the_time(study: Path) -> None:
    """As many as run now."""
    records = read_study(study)
    cells = [records.cells[0], *(replace(cell, state="running") for cell in records.cells[1:])]

    assert overview(records.plan, cells).left_s == pytest.approx(6.0)


def test_runs_are_expected_to_end_as_early_as_the_finished_ones(tmp_path: Path) -> None:
    """Patience ended the finished run after two epochs of four."""
    make_study(tmp_path)
    finish(tmp_path, SPECS[0], epochs=2)

    seen = StudyReader(tmp_path).read()

    assert seen.left_s == pytest.approx(2 * 2 * 2.0)
    assert seen.share == pytest.approx(2 / 6)


def test_before_any_epoch_the_time_is_unknown(tmp_path: Path) -> None:
    """Nothing is measured, nothing is said."""
    seen = StudyReader(make_study(tmp_path)).read()

    assert seen.left_s is None
    assert seen.share == 0
    assert seen.to_json()["counts"] == {"running": 0, "failed": 0, "done": 0, "waiting": 3}


def test_done_cells_are_read_once(study: Path) -> None:
    """A live view of hundreds of cells stays quick."""
    reader = StudyReader(study)
    reader.read()
    (cell_directory(study, IDS[0]) / "metrics.jsonl").unlink()

    assert reader.read().rows[0].epoch == 4
