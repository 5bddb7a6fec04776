"""A study's directory, read at any moment and in any disorder."""

import io
import json
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from espalier.errors import BusyError, RecordError, StorageError
from espalier.records import (
    CellRecords,
    EpochRecord,
    Figures,
    RunFailure,
    RunResult,
    RunSpec,
    StudyPlan,
    cell_directory,
    claim,
    is_claimed,
    read_study,
    run_id,
)

SPECS = [RunSpec(bits=bits) for bits in (3, 4, 8)]
IDS = [run_id(spec) for spec in SPECS]
PLAN = StudyPlan.of("bits", {"bits": (3, 4, 8)}, SPECS)
EPOCH = EpochRecord(
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
    layers={},
    times={"wall_s": 1.5},
)
FIGURES = Figures(
    epoch=1,
    test_accuracy=54.0,
    val_accuracy=55.0,
    train_accuracy=50.0,
    density_mask=0.5,
    density_nonzero=0.49,
    density_mask_all=0.51,
    density_nonzero_all=0.5,
    ratio=0.125,
    ratio_all=0.13,
    efficiency=None,
    efficiency_all=None,
)


def result(name: str) -> RunResult:
    return RunResult(
        run_id=name,
        best=FIGURES,
        by_validation=FIGURES,
        last=FIGURES,
        bits=3,
        gamma=0.375,
        parameters=100,
        compressed_parameters=90,
        epochs_run=1,
        stopped_by="epochs",
        baseline=None,
        seed=0,
        data_source="none",
        device="cpu",
        threads=1,
        wall_s=1.5,
        environment={},
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return a study with a plan and nothing else."""
    write(tmp_path / "plan.json", PLAN.to_json())
    return tmp_path


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def cell(study: Path, index: int) -> CellRecords:
    return read_study(study).cells[index]


def test_each_state(study: Path) -> None:
    """Done with a result, failed with a reason, waiting with or without epochs."""
    write(cell_directory(study, IDS[0]) / "result.json", result(IDS[0]).to_json())
    write(cell_directory(study, IDS[0]) / "metrics.jsonl", EPOCH.to_line())
    failure = RunFailure(run_id=IDS[1], kind="NonFiniteError", reason="diverged", attempts=1)
    write(cell_directory(study, IDS[1]) / "failure.json", failure.to_json())
    write(cell_directory(study, IDS[2]) / "metrics.jsonl", EPOCH.to_line() + '{"epoch": 2, "ga')

    records = read_study(study)

    assert [c.state for c in records.cells] == ["done", "failed", "waiting"]
    assert records.cells[0].result == result(IDS[0])
    assert records.cells[1].failure == failure
    assert list(records.cells[2].epochs) == [EPOCH]
    assert records.of_state("done") == records.cells[:1]
    assert records.problems == ()


def test_a_claimed_cell_runs(study: Path) -> None:
    """Who holds the claim runs the cell; a killed holder lets go of it."""
    directory = cell_directory(study, IDS[0])
    directory.mkdir(parents=True)
    code = (
        "import sys, pathlib\n"
        "from espalier.records import claim\n"
        "with claim(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    assert cell(study, 0).state == "running"
    with (
        pytest.raises(BusyError, match=r"another process works on .*; wait for it"),
        claim(directory),
    ):
        pass
    holder.kill()
    holder.communicate()

    assert not is_claimed(directory)
    assert cell(study, 0).state == "waiting"


def test_claims_need_a_directory(tmp_path: Path) -> None:
    """Asking writes nothing; claiming needs a place to write."""
    assert not is_claimed(tmp_path / "none")
    with pytest.raises(StorageError, match="can't write"), claim(tmp_path / "none"):
        pass


def test_a_result_counts_for_more_than_an_older_failure(study: Path) -> None:
    """A run that was given up and run again is done."""
    failure = RunFailure(run_id=IDS[0], kind="killed", reason="killed", attempts=3)
    write(cell_directory(study, IDS[0]) / "failure.json", failure.to_json())
    write(cell_directory(study, IDS[0]) / "result.json", result(IDS[0]).to_json())

    assert cell(study, 0).state == "done"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("result.json", '{"version": 1, "run', "is not JSON"),
        ("result.json", {**result(IDS[0]).to_json(), "version": 2}, "has version 2"),
        ("result.json", result(IDS[1]).to_json(), f"is of run {IDS[1]}"),
        ("spec.json", SPECS[1].to_json(), "is of another run, with bits: 4, not 3"),
        ("failure.json", {"version": 1}, "lacks 'run_id'"),
        ("metrics.jsonl", "broken\n" + EPOCH.to_line(), "line 1 is not JSON"),
        ("metrics.jsonl", replace(EPOCH, epoch=2).to_line(), "is of epoch 2; expected epoch 1"),
    ],
)
def test_damaged_records_are_reported(study: Path, name: str, content: Any, words: str) -> None:
    """A damaged cell is a failed one with the reason; the others are read."""
    write(cell_directory(study, IDS[0]) / name, content)

    records = read_study(study)

    assert [c.state for c in records.cells] == ["failed", "waiting", "waiting"]
    assert records.cells[0].failure is not None
    assert words in records.cells[0].failure.reason
    assert words in records.problems[0]


def test_foreign_directories_are_reported(study: Path) -> None:
    """What is no cell of the plan is named and left alone."""
    (study / "runs" / "foreign").mkdir(parents=True)

    assert "foreign is no cell of the plan" in read_study(study).problems[0]


def test_no_study(tmp_path: Path) -> None:
    """A directory without a plan, or with a damaged one, holds no study."""
    with pytest.raises(RecordError, match=r"holds no study: there is no .*plan.json"):
        read_study(tmp_path)
    write(tmp_path / "plan.json", '{"version"')
    with pytest.raises(RecordError, match=r"plan.json is not JSON"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"kind": 3}, "kind=3: expected text"), ({"attempts": "x"}, "attempts='x': expected an int")],
)
def test_damaged_failures_are_refused(change: dict[str, Any], words: str) -> None:
    """Types are checked where a file is read."""
    data = RunFailure(run_id="x", kind="killed", reason="killed", attempts=1).to_json()

    assert RunFailure.from_json(data).to_json() == data
    with pytest.raises(RecordError, match=words):
        RunFailure.from_json({**data, **change})


def _archive(path: Path, *names: str, content: bytes = b"{}") -> Path:
    with tarfile.open(path, "w:xz") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_an_archive_of_a_study_is_read_as_its_directory(tmp_path: Path) -> None:
    """The records alone, whatever else lies in it."""
    study = tmp_path / "bits"
    write(study / "plan.json", PLAN.to_json())
    write(cell_directory(study, IDS[0]) / "result.json", result(IDS[0]).to_json())
    write(cell_directory(study, IDS[0]) / "metrics.jsonl", EPOCH.to_line())
    write(study / "network.bin", "weights")
    with tarfile.open(tmp_path / "records.tar.xz", "w:xz") as tar:
        tar.add(study, "bits")

    found, wanted = read_study(tmp_path / "records.tar.xz"), read_study(study)

    assert (found.plan, found.cells) == (wanted.plan, wanted.cells)
    assert found.of_state("done")


def test_an_archive_without_a_study_is_refused(tmp_path: Path) -> None:
    """One without a plan, one that is cut off, one that reaches outside."""
    with pytest.raises(RecordError, match=r"holds no study: there is no plan.json in it"):
        read_study(_archive(tmp_path / "a.tar.xz", "runs/x/spec.json"))
    with pytest.raises(RecordError, match=r"holds ../plan.json, which lies outside of it"):
        read_study(_archive(tmp_path / "b.tar.xz", "../plan.json"))
    whole = _archive(tmp_path / "c.tar.xz", "plan.json").read_bytes()
    (tmp_path / "c.tar.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match=r"is no .tar.xz, or cut off"):
        read_study(tmp_path / "c.tar.xz")
