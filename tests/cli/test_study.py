"""``espalier study``: options, output, exit codes; runs end at once, as the test says."""

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from espalier.cli import study_display
from espalier.cli.study_display import TableView, show_study, study_table
from espalier.errors import StorageError
from espalier.records import (
    EpochRecord,
    Figures,
    RunFailure,
    RunResult,
    cell_directory,
    claim,
    read_plan,
)
from espalier.study.job import Ending, Job
from espalier.study.view import StudyReader

from .conftest import Command

STUDY = """
name = "small"
[fixed]
data = "modulation"
model = "modulation_cnn"
precision = "fp32"
[stop]
epochs = 2
[axes]
bits = [3, 4, 32]
"""
DENSITIES = {
    "density_mask": 0.5,
    "density_nonzero": 0.49,
    "density_mask_all": 0.51,
    "density_nonzero_all": 0.5,
    "ratio": 0.125,
    "ratio_all": 0.13,
}
ACCURACIES = {"test_accuracy": 54.0, "val_accuracy": 55.0, "train_accuracy": 50.0}
Answer = Callable[[Job], Ending]


def finish(job: Job) -> None:
    """Write the records of a finished run."""
    epoch = EpochRecord(
        epoch=1,
        gamma=0.375,
        train_loss=1.5,
        val_loss=1.25,
        test_loss=1.3,
        layers={},
        times={"train_s": 1.0, "evaluate_s": 0.5, "wall_s": 1.5},
        **ACCURACIES,
        **DENSITIES,
    )
    figures = Figures(epoch=1, efficiency=None, efficiency_all=None, **ACCURACIES, **DENSITIES)
    result = RunResult(
        run_id=job.run_id,
        best=figures,
        by_validation=figures,
        last=figures,
        bits=job.spec.bits,
        gamma=job.spec.gamma,
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
    job.directory.mkdir(parents=True, exist_ok=True)
    (job.directory / "spec.json").write_text(json.dumps(job.spec.to_json()))
    (job.directory / "metrics.jsonl").write_text(epoch.to_line())
    (job.directory / "result.json").write_text(json.dumps(result.to_json()))


class AtOnce:
    """An engine whose jobs end at once."""

    answer: Answer = staticmethod(lambda job: Ending(outcome="done"))
    jobs: tuple[int, ...] = ()

    def __init__(self, jobs: int) -> None:
        type(self).jobs = (*self.jobs, jobs)
        self.slots, self.running = jobs, list[Job]()

    def start(self, job: Job) -> None:
        self.running.append(job)

    def ended(self, timeout_s: float) -> list[tuple[Job, Ending]]:
        over, self.running = [(job, self.answer(job)) for job in self.running], []
        for job, ending in over:
            if ending.outcome == "done":
                finish(job)
        return over

    def close(self) -> list[tuple[Job, Ending]]:
        return []


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> type[AtOnce]:
    """Let nothing train."""
    fresh = type("Fresh", (AtOnce,), {})
    monkeypatch.setattr("espalier.study.local.LocalEngine", fresh)
    return fresh


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a study file of three cells."""
    path = tmp_path / "STUDY.toml"
    path.write_text(STUDY)
    return path


def test_a_study_runs_and_says_what_it_did(espalier: Command, file: Path, tmp_path: Path) -> None:
    """Lines on standard error, a summary on standard output; again, all is skipped."""
    out = tmp_path / "out"
    found = espalier("study", "run", file, "--out", out, "--jobs", "1", "--device", "cpu")

    assert found.code == 0
    assert f"3 runs finished; records in {out}" in found.out
    assert found.err.count("started  bits") == 3
    assert "done     bits 3: test 54.00 % at density 50.00 %, 1 epoch" in found.err
    assert "small: 3 of 3 done" in found.err
    assert "\x1b" not in found.out + found.err
    again = espalier("study", "run", file, "--out", out)
    assert "0 runs finished, 3 finished before" in again.out


def test_where_runs_a_part_and_the_plan_names_all(
    espalier: Command, file: Path, tmp_path: Path
) -> None:
    """So that a report knows what is missing."""
    out = tmp_path / "out"
    found = espalier("study", "run", file, "--out", out, "--where", "bits < 8", "--json")

    assert len(json.loads(found.out)["finished"]) == 2
    assert found.out.count("\n") == 1
    assert len(read_plan(out).cells) == 3


def test_points_join_a_study_that_has_run(espalier: Command, file: Path, tmp_path: Path) -> None:
    """Only they run."""
    out = tmp_path / "out"
    espalier("study", "run", file, "--out", out)
    file.write_text(STUDY.replace("[3, 4, 32]", "[4, 8]"))

    found = json.loads(espalier("study", "run", file, "--out", out, "--json").out)

    assert (len(found["finished"]), len(found["skipped"])) == (1, 3)
    assert read_plan(out).axes["bits"] == (3, 4, 8, 32)


def test_failures_end_with_code_1_and_their_reasons(
    espalier: Command, engine: type[AtOnce], file: Path, tmp_path: Path
) -> None:
    """What failed, what is left, and what to do."""
    troubles = {
        3: Ending(outcome="failed", kind="NonFiniteError", reason="it diverged"),
        4: Ending(outcome="storage", kind="StorageError", reason="the disk is full"),
    }
    engine.answer = staticmethod(lambda job: troubles.get(job.spec.bits, Ending(outcome="done")))

    found = espalier("study", "run", file, "--out", tmp_path / "out")

    assert found.code == 1
    assert "1 run finished, 1 failed, 1 could not be run" in found.out
    assert "it diverged" in found.out
    assert "the disk is full" in found.out
    assert "--retry-failed" in found.out
    assert "the same command runs what is left" in found.out
    assert "failed   bits 3: it diverged" in found.err


def test_an_interrupt_says_how_to_go_on(
    espalier: Command, engine: type[AtOnce], file: Path, tmp_path: Path
) -> None:
    """Ctrl-C is no crash."""

    def interrupt(job: Job) -> Ending:
        raise KeyboardInterrupt

    engine.answer = staticmethod(interrupt)

    found = espalier("study", "run", file, "--out", tmp_path / "out")

    assert found.code == 1
    assert "keeps all finished epochs. The same command goes on" in found.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--where", "bits == 5"), "--where 'bits == 5' matches none of the 3 cells"),
        (("--where", "bit == 4"), "no setting 'bit'. Did you mean 'bits'"),
        (("--where", "import os"), "not a condition"),
        (("--jobs", "none"), "--jobs none: expected auto or an integer >= 1"),
        (("--threads", "0"), "--threads 0: expected an integer >= 1"),
        (("--device", "tpu"), "device='tpu'"),
        (("--engine", "rey"), "--engine rey: expected local or ray. Did you mean 'ray'"),
        (("--address", "auto"), "--address is of a cluster; add --engine ray"),
        (("--gpus", "0.5"), "--gpus is of a cluster; add --engine ray"),
        (("--engine", "ray"), "--engine ray needs --address: auto"),
        (("--data-dir", "none"), "--data-dir none does not exist"),
        (("--retries", "-1"), "--retries"),
    ],
)
def test_wrong_usage(
    espalier: Command, file: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    """Code 2, one line, nothing written."""
    found = espalier("study", "run", file, "--out", tmp_path / "out", *arguments)

    assert found.code == 2
    assert words in found.err
    assert not (tmp_path / "out").exists()


def test_what_is_no_study_is_refused(espalier: Command, file: Path, tmp_path: Path) -> None:
    """Unknown names, a file in the way, another study in the directory."""
    found = espalier("study", "run", "papr")
    assert (found.code, "Did you mean 'paper'" in found.err) == (2, True)
    found = espalier("study", "run", file, "--out", file)
    assert (found.code, "is a file; give a directory" in found.err) == (2, True)
    espalier("study", "run", file, "--out", tmp_path / "out")
    found = espalier("study", "run", "demo", "--out", tmp_path / "out")
    assert (found.code, "holds study 'small', not 'demo'" in found.err) == (2, True)
    for command in ("status", "watch"):
        found = espalier("study", command, tmp_path / "none")
        assert (found.code, "holds no study" in found.err) == (1, True)


def test_a_place_that_cannot_be_written(
    espalier: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only disk is said at once."""

    def full(path: Path) -> None:
        raise StorageError(f"can't write {path}: Read-only file system.")

    monkeypatch.setattr("espalier.study.planning.make_directory", full)

    found = espalier("study", "run", file, "--out", tmp_path / "out")

    assert (found.code, "Read-only file system" in found.err) == (1, True)


def test_status_shows_every_cell(espalier: Command, file: Path, tmp_path: Path) -> None:
    """Also what failed, what is foreign; as JSON too."""
    out = tmp_path / "out"
    espalier("study", "run", file, "--out", out, "--where", "bits == 3")
    name = list(read_plan(out).cells)[1]
    failure = RunFailure(run_id=name, kind="killed", reason="killed by SIGKILL", attempts=3)
    cell_directory(out, name).mkdir()
    (cell_directory(out, name) / "failure.json").write_text(json.dumps(failure.to_json()))
    (out / "runs" / "foreign").mkdir()

    found = espalier("study", "status", out)

    assert found.code == 0
    for words in ("bits 3", "bits 32", "54.00 %", "failed   bits 4: killed by SIGKILL", "foreign"):
        assert words in found.out
    assert "small: 1 of 3 done, 1 waiting, 1 failed" in found.out
    data = json.loads(espalier("study", "status", out, "--json").out)
    assert data["counts"] == {"running": 0, "failed": 1, "done": 1, "waiting": 1}
    assert "foreign" in data["problems"][0]


def test_watch_ends_when_nothing_is_left(espalier: Command, file: Path, tmp_path: Path) -> None:
    """It only reads."""
    espalier("study", "run", file, "--out", tmp_path / "out")

    found = espalier("study", "watch", tmp_path / "out")

    assert (found.code, "small: 3 of 3 done" in found.err) == (0, True)


def test_merge_joins_what_ran_elsewhere(espalier: Command, file: Path, tmp_path: Path) -> None:
    """Counts are said; another study is refused."""
    espalier("study", "run", file, "--out", tmp_path / "a", "--where", "bits == 3")
    espalier("study", "run", file, "--out", tmp_path / "b", "--where", "bits != 32")

    found = espalier("study", "merge", tmp_path / "a", tmp_path / "b")

    assert "1 run copied, 1 the same in both, 1 still missing" in found.out
    file.write_text(STUDY.replace("epochs = 2", "epochs = 3"))
    espalier("study", "run", file, "--out", tmp_path / "c")
    found = espalier("study", "merge", tmp_path / "a", tmp_path / "c")
    assert found.code == 1
    assert "can't merge" in found.err
    assert "epochs 2, not 3" in found.err


def drawn(reader: StudyReader, room: int | None) -> str:
    console = Console(file=StringIO(), width=100, force_terminal=False)
    console.print(study_table(reader.read(), room))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_table_fits_a_terminal(espalier: Command, file: Path, tmp_path: Path) -> None:
    """What runs is always seen; what there is no room for is counted."""
    file.write_text(STUDY.replace("[3, 4, 32]", str(list(range(1, 33)))))
    out = tmp_path / "out"
    espalier("study", "run", file, "--out", out, "--where", "bits <= 10")
    running = cell_directory(out, list(read_plan(out).cells)[20])
    running.mkdir()
    with claim(running):
        lines = drawn(StudyReader(out), 8).splitlines()

    text = "\n".join(" ".join(line.split()) for line in lines)
    assert len(lines) == 1 + 8
    assert "bits 21 running 0/2" in text
    assert "bits 10 done" in text
    assert "bits 11 waiting" in text
    assert "and 25 more" in text
    assert "more" not in drawn(StudyReader(out), None)


def test_a_terminal_gets_a_live_table(
    espalier: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table, the bar, the last trouble."""
    out = tmp_path / "out"
    espalier("study", "run", file, "--out", out, "--where", "bits == 3")
    console = Console(file=StringIO(), width=100, height=30, force_terminal=True)
    with Live(console=console, auto_refresh=False) as live:
        view = TableView(StudyReader(out), live)
        job = Job(
            study=out,
            spec=list(read_plan(out).cells.values())[1],
            data_dir=None,
            device="cpu",
            threads=1,
        )
        view.started(job)
        view.ended(job, Ending(outcome="crashed", kind="killed", reason="killed"), again=True)
        view.tick()
        live.refresh()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "small: 1 of 3 done, 2 waiting, about 3 s left" in text
    assert "bits 4: killed; it will be tried again" in text

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(study_display, "Console", lambda **_: console)
    with show_study(StudyReader(out)) as observer:
        assert isinstance(observer, TableView)
