"""Which cells are run, tried again, given up, left: on an engine that trains nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from espalier.errors import StorageError
from espalier.records import cell_directory, read_study, run_id
from espalier.study import runner
from espalier.study.job import Ending, Job
from espalier.study.runner import Setup, StudyOutcome, run_cells

from .fakes import (
    CELLS,
    DONE,
    IDS,
    KILLED,
    SETUP,
    SPECS,
    FakeEngine,
    Watcher,
    epoch,
    finish,
    make_study,
    write_epochs,
)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a study of three cells; nobody waits long for other processes."""
    monkeypatch.setattr(runner, "LOOK_AGAIN_S", 0.0)
    return make_study(tmp_path / "study")


def run(study: Path, engine: FakeEngine, setup: Setup = SETUP) -> StudyOutcome:
    return run_cells(study, CELLS, engine, setup, Watcher())


def only_bits_4(ending: Ending) -> Callable[[Job], Ending]:
    return lambda job: ending if job.spec.bits == 4 else DONE


def test_all_cells_are_run_in_order_and_only_so_many_at_once(study: Path) -> None:
    """The outcome is complete, and the records say so."""
    engine = FakeEngine()

    outcome = run(study, engine)

    assert engine.started == [3, 4, 8]
    assert engine.most == 2
    assert engine.closed
    assert sorted(outcome.finished) == sorted(IDS)
    assert outcome.complete
    assert [cell.state for cell in read_study(study).cells] == ["done"] * 3


def test_finished_runs_are_skipped(study: Path) -> None:
    """Only what is missing is run; again, nothing is."""
    finish(study, SPECS[1])
    engine = FakeEngine()

    assert run(study, engine).skipped == [IDS[1]]
    assert engine.started == [3, 8]
    again = FakeEngine()
    assert run(study, again).skipped == IDS
    assert again.started == []


def test_a_crashed_run_is_tried_again_after_the_others(study: Path) -> None:
    """A run that crashed once is done in the end."""
    crashes = iter([KILLED])
    watcher, engine = (
        Watcher(),
        FakeEngine(lambda job: next(crashes, DONE) if job.spec.bits == 3 else DONE, slots=1),
    )

    outcome = run_cells(study, CELLS, engine, SETUP, watcher)

    assert engine.started == [3, 4, 8, 3]
    assert outcome.complete
    assert watcher.told[:2] == ["started 3", "crashed 3 again"]


def test_a_run_that_crashes_always_is_given_up_with_its_reason(study: Path) -> None:
    """Retries are bounded; the others go on; the reason is recorded and stays."""
    engine = FakeEngine(only_bits_4(KILLED))

    outcome = run(study, engine)

    assert engine.started.count(4) == 1 + SETUP.retries
    assert outcome.failed == {IDS[1]: "killed by SIGKILL, 3 times in a row"}
    cell = read_study(study).cells[1]
    assert cell.state == "failed"
    assert cell.failure is not None
    assert (cell.failure.kind, cell.failure.attempts) == ("killed", 3)
    again = FakeEngine()
    assert run(study, again).failed == outcome.failed
    assert again.started == []


def test_progress_between_crashes_counts(study: Path) -> None:
    """A run that gets an epoch further each time is not given up."""
    epochs: list[int] = []

    def answer(job: Job) -> Ending:
        if job.spec.bits != 4 or len(epochs) == 4:
            return DONE
        epochs.append(len(epochs) + 1)
        write_epochs(job.study, job.run_id, [epoch(n) for n in epochs])
        return KILLED

    outcome = run(study, FakeEngine(answer), replace(SETUP, retries=1))

    assert outcome.complete


def test_a_run_that_would_fail_again_is_given_up_at_once(study: Path) -> None:
    """A diverged run gives the same bits again; with retry_failed it is tried, and forgiven."""
    diverged = Ending(outcome="failed", kind="NonFiniteError", reason="diverged")
    engine = FakeEngine(only_bits_4(diverged))

    assert run(study, engine).failed == {IDS[1]: "diverged"}
    assert engine.started.count(4) == 1

    again = FakeEngine()
    outcome = run(study, again, replace(SETUP, retry_failed=True))
    assert again.started == [4]
    assert outcome.complete


def test_a_stopped_worker_goes_on(study: Path) -> None:
    """Somebody else's SIGTERM to one worker doesn't end the study."""
    stops = iter([Ending(outcome="stopped", kind="StoppedError", reason="SIGTERM")])

    outcome = run(study, FakeEngine(lambda job: next(stops, DONE)))

    assert outcome.complete


def test_data_that_cannot_be_read_leave_all_their_cells(study: Path) -> None:
    """One run finds out; the others aren't begun, and nothing is recorded against them."""
    engine = FakeEngine(lambda job: Ending(outcome="data", reason="no images"), slots=1)

    outcome = run(study, engine)

    assert engine.started == [3]
    assert outcome.left == dict.fromkeys(IDS, "no images")
    assert [cell.state for cell in read_study(study).cells] == ["waiting"] * 3


def test_a_full_disk_ends_the_study_without_blaming_runs(study: Path) -> None:
    """After some runs in a row that couldn't write, no further one is begun."""
    specs = [replace(SPECS[0], bits=bits) for bits in range(3, 12)]
    cells = {run_id(spec): spec for spec in specs}
    engine = FakeEngine(lambda job: Ending(outcome="storage", reason="No space left"), slots=1)

    outcome = run_cells(study, cells, engine, SETUP, Watcher())

    assert len(engine.started) == runner.FULL_DISK
    assert len(outcome.left) == len(cells)
    assert list(outcome.left.values())[-1] == (
        "not begun, since other runs couldn't write their files"
    )
    assert not outcome.failed


def test_a_reason_that_cannot_be_written_is_told(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when a run is given up."""

    def full(*_: object) -> None:
        raise StorageError("can't write failure.json: No space left on device.")

    monkeypatch.setattr(runner, "write_atomically", full)
    failed = Ending(outcome="failed", kind="ConfigError", reason="doesn't fit")

    outcome = run(study, FakeEngine(only_bits_4(failed)))

    assert outcome.left == {
        IDS[1]: "doesn't fit; and can't write failure.json: No space left on device."
    }


def test_a_busy_cell_is_waited_for(study: Path) -> None:
    """What another process finishes counts as finished; what it lets go of is run here."""

    def answer(job: Job) -> Ending:
        if job.spec.bits == 4 and not job.directory.exists():
            finish(job.study, job.spec)
            return Ending(outcome="busy")
        if job.spec.bits == 8 and not job.directory.exists():
            job.directory.mkdir()
            return Ending(outcome="busy")
        return DONE

    engine = FakeEngine(answer)

    outcome = run(study, engine, replace(SETUP, retries=0))

    assert outcome.complete
    assert sorted(engine.started) == [3, 4, 8, 8]
    assert sorted(outcome.finished) == sorted(IDS)


def test_running_cells_of_another_process_are_not_begun(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell is claimed: it is waited for, and its failure there is a failure here."""
    looks = iter([True, True])
    claimed = cell_directory(study, IDS[0])
    monkeypatch.setattr(
        "espalier.records.study.is_claimed",
        lambda directory: directory == claimed and next(looks, False),
    )
    engine = FakeEngine()

    outcome = run(study, engine)

    assert engine.started == [4, 8, 3]
    assert outcome.complete


def test_a_damaged_cell_is_reported_and_left_alone(study: Path) -> None:
    """Records of a newer version are not overwritten."""
    directory = cell_directory(study, IDS[0])
    directory.mkdir(parents=True)
    (directory / "result.json").write_text('{"version": 99}')
    engine = FakeEngine()

    outcome = run(study, engine)

    assert engine.started == [4, 8]
    assert "has version 99" in outcome.failed[IDS[0]]
    assert (directory / "result.json").read_text() == '{"version": 99}'


def test_an_interrupt_closes_the_engine(study: Path) -> None:
    """Runs in progress are asked to save."""

    class Interrupted(FakeEngine):
        def ended(self, timeout_s: float) -> list[tuple[Job, Ending]]:
            raise KeyboardInterrupt

    engine, watcher = Interrupted(), Watcher()

    with pytest.raises(KeyboardInterrupt):
        run_cells(study, CELLS, engine, SETUP, watcher)

    assert engine.closed
    assert watcher.told == ["started 3", "started 4", "stopped 3", "stopped 4"]


def test_runs_take_turns_on_devices(study: Path) -> None:
    """Several GPUs share a study."""
    devices: list[str] = []

    def answer(job: Job) -> Ending:
        devices.append(job.device)
        return DONE

    run(study, FakeEngine(answer), replace(SETUP, devices=["cuda:0", "cuda:1"]))

    assert devices == ["cuda:0", "cuda:1", "cuda:0"]
