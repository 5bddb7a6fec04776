"""Studies that were run in different places become one."""

from dataclasses import replace
from pathlib import Path

import pytest

from espalier.errors import BusyError, ConfigError, RecordError
from espalier.records import StudyPlan, cell_directory, claim, read_study
from espalier.study.merge import merge_studies
from espalier.study.planning import write_plan

from .fakes import IDS, SPECS, epoch, finish, make_study, write_epochs


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a study whose first cell is finished and whose second is cut off."""
    study = make_study(tmp_path / "here", SPECS[:2])
    finish(study, SPECS[0])
    write_epochs(study, IDS[1], [epoch(1)])
    return study


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Return the study with another cell; the first two are finished."""
    study = make_study(tmp_path / "there")
    finish(study, SPECS[0], times={"wall_s": 99.0})
    finish(study, SPECS[1])
    return study


def test_finished_runs_are_copied(here: Path, there: Path) -> None:
    """The plan is the union; a cut-off run here gives way to the finished one."""
    merged = merge_studies(here, there)

    assert (merged.copied, merged.equal, merged.missing) == ((IDS[1],), (IDS[0],), (IDS[2],))
    records = read_study(here)
    assert [cell.state for cell in records.cells] == ["done", "done", "waiting"]
    assert records.cells[1].result == read_study(there).cells[1].result
    assert len(records.cells[1].epochs) == 4
    assert merge_studies(here, there).copied == ()


def test_different_findings_are_listed_and_nothing_is_copied(here: Path, there: Path) -> None:
    """Equal specs must give equal records; which one is right is not for a merge to say."""
    finish(there, SPECS[0], test_accuracy=12.0)

    with pytest.raises(RecordError, match=rf"finished 1 runs .* {IDS[0]} \(from epoch 1\)"):
        merge_studies(here, there)
    assert read_study(here).cells[1].state == "waiting"


def test_another_number_of_epochs_is_a_difference(here: Path, there: Path) -> None:
    """So is a result that doesn't follow from equal epochs."""
    finish(there, SPECS[0], epochs=3)
    with pytest.raises(RecordError, match=r"\(4 epochs, and 3\)"):
        merge_studies(here, there)
    finish(there, SPECS[0])
    path = cell_directory(there, IDS[0]) / "result.json"
    path.write_text(path.read_text().replace('"parameters": 100', '"parameters": 101'))
    with pytest.raises(RecordError, match=r"\(result.json\)"):
        merge_studies(here, there)


def test_what_is_no_part_of_the_study_is_refused(here: Path, there: Path, tmp_path: Path) -> None:
    """Other studies, damaged records, the same directory, no study."""
    with pytest.raises(ConfigError, match="are the same directory"):
        merge_studies(here, here / ".." / "here")
    with pytest.raises(RecordError, match="holds no study"):
        merge_studies(here, tmp_path / "none")
    other = StudyPlan.of("bits", {"bits": [3]}, [replace(SPECS[0], epochs=9)])
    write_plan(tmp_path / "other", other)
    with pytest.raises(ConfigError, match="with epochs 4, not 9"):
        merge_studies(here, tmp_path / "other")
    (cell_directory(there, IDS[1]) / "result.json").write_text("{")
    with pytest.raises(RecordError, match=r"result.json is not JSON"):
        merge_studies(here, there)


def test_a_running_cell_is_not_overwritten(here: Path, there: Path) -> None:
    """Who runs it will finish it."""
    with claim(cell_directory(here, IDS[1])), pytest.raises(BusyError, match="works on"):
        merge_studies(here, there)
