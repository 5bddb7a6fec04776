"""Records and an engine without training: a job ends as the test says."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espalier.records import (
    EpochRecord,
    Figures,
    RunResult,
    RunSpec,
    StudyPlan,
    cell_directory,
    run_id,
)
from espalier.study.job import Ending, Job
from espalier.study.planning import write_plan
from espalier.study.runner import Setup

DONE = Ending(outcome="done")
KILLED = Ending(outcome="crashed", kind="killed", reason="killed by SIGKILL")
SPECS = [RunSpec(bits=bits, epochs=4) for bits in (3, 4, 8)]
IDS = [run_id(spec) for spec in SPECS]
CELLS = dict(zip(IDS, SPECS, strict=True))
SETUP = Setup(data_dir=None, devices=["cpu"], threads=1, retries=2)


def make_study(directory: Path, specs: Sequence[RunSpec] = SPECS) -> Path:
    """Write a plan of these cells."""
    bits = [spec.bits for spec in specs]
    write_plan(directory, StudyPlan.of("bits", {"bits": bits}, specs))
    return directory


def epoch(number: int, **changes: Any) -> EpochRecord:
    """Return an epoch that took two seconds."""
    values: dict[str, Any] = {
        "epoch": number,
        "gamma": 0.375,
        "train_loss": 1.5,
        "train_accuracy": 50.0,
        "val_loss": 1.25,
        "val_accuracy": 55.0,
        "test_loss": 1.3,
        "test_accuracy": 50.0 + number,
        "density_mask": 0.5,
        "density_nonzero": 0.49,
        "density_mask_all": 0.51,
        "density_nonzero_all": 0.5,
        "ratio": 0.125,
        "ratio_all": 0.13,
        "layers": {},
        "times": {"train_s": 1.5, "evaluate_s": 0.5, "wall_s": 2.0 * number},
    }
    return EpochRecord(**(values | changes))


def write_epochs(study: Path, name: str, epochs: Sequence[EpochRecord]) -> None:
    """Write a run's epochs."""
    directory = cell_directory(study, name)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metrics.jsonl").write_text("".join(e.to_line() for e in epochs))


def finish(study: Path, spec: RunSpec, *, epochs: int = 4, **changes: Any) -> None:
    """Write the records of a finished run."""
    name = run_id(spec)
    write_epochs(study, name, [epoch(n + 1, **changes) for n in range(epochs)])
    last = epoch(epochs, **changes)
    figures = Figures(
        epoch=epochs,
        efficiency=None,
        efficiency_all=None,
        **{
            key: getattr(last, key)
            for key in Figures.__dataclass_fields__
            if key not in ("epoch", "efficiency", "efficiency_all")
        },
    )
    result = RunResult(
        run_id=name,
        best=figures,
        by_validation=figures,
        last=figures,
        bits=spec.bits,
        gamma=spec.gamma,
        parameters=100,
        compressed_parameters=90,
        epochs_run=epochs,
        stopped_by="epochs",
        baseline=None,
        seed=0,
        data_source="none",
        device="cpu",
        threads=1,
        wall_s=2.0 * epochs,
        environment={},
    )
    directory = cell_directory(study, name)
    (directory / "spec.json").write_text(json.dumps(spec.to_json()))
    (directory / "result.json").write_text(json.dumps(result.to_json()))


@dataclass
class FakeEngine:
    """Ends each job at once, as ``answer`` says; a job that is done gets its records."""

    answer: Callable[[Job], Ending] = lambda job: DONE
    slots: int = 2
    started: list[int] = field(default_factory=list)
    """Bits of the jobs, in order."""
    most: int = 0
    """Jobs at once."""
    running: list[Job] = field(default_factory=list)
    closed: bool = False

    def start(self, job: Job) -> None:
        self.started.append(job.spec.bits)
        self.running.append(job)
        self.most = max(self.most, len(self.running))

    def ended(self, timeout_s: float) -> list[tuple[Job, Ending]]:
        over = [(job, self.answer(job)) for job in self.running]
        self.running = []
        for job, ending in over:
            if ending.outcome == "done":
                finish(job.study, job.spec)
        return over

    def close(self) -> list[tuple[Job, Ending]]:
        self.closed = True
        stopped, self.running = self.running, []
        return [(job, Ending(outcome="stopped")) for job in stopped]


@dataclass
class Watcher:
    """Remembers what it was told."""

    told: list[str] = field(default_factory=list)

    def started(self, job: Job) -> None:
        self.told.append(f"started {job.spec.bits}")

    def ended(self, job: Job, ending: Ending, *, again: bool) -> None:
        self.told.append(f"{ending.outcome} {job.spec.bits}{' again' if again else ''}")

    def tick(self) -> None:
        pass
