"""``espalier demo``: a small study, its table, its picture and its report."""

import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from rich.console import Console

from espalier.cli.demo import demo_table
from espalier.cli.picture import save_picture
from espalier.cli.summary import percent
from espalier.metrics import efficiency, ratio
from espalier.records import Figures, RunResult, claim, read_study
from espalier.report import make_book
from espalier.report.cells import CellRow
from espalier.study.definition import Source, parse_definition
from espalier.study.job import Ending, Job

from .conftest import Command

FEW = """
name = "demo"
[fixed]
data = "modulation"
model = "modulation_cnn"
[stop]
epochs = 1
[[points]]
gamma = 0.75
bits = 3
[[points]]
gamma = 0.0
bits = 32
"""
Answer = Callable[[Job], Ending]


def finish(job: Job) -> Ending:
    """Write the result of a run that has reached numbers made of its settings."""
    density = 1.0 if job.spec.gamma == 0 else 0.25 / job.spec.gamma
    accuracy = 70.0 + 0.4 * job.spec.bits - job.spec.gamma + 0.1 * job.spec.seed
    rc = ratio(density, job.spec.bits)
    figures = Figures(
        epoch=1,
        test_accuracy=accuracy,
        val_accuracy=accuracy,
        train_accuracy=accuracy,
        density_mask=density,
        density_nonzero=density,
        density_mask_all=density,
        density_nonzero_all=density,
        ratio=rc,
        ratio_all=rc,
        efficiency=None,
        efficiency_all=None,
    )
    result = RunResult(
        run_id=job.run_id,
        best=figures,
        by_validation=figures,
        last=figures,
        bits=job.spec.bits,
        gamma=job.spec.gamma,
        parameters=70_000,
        compressed_parameters=69_000,
        epochs_run=1,
        stopped_by="epochs",
        baseline=None,
        seed=job.spec.seed,
        data_source="signals",
        device="cpu",
        threads=1,
        wall_s=1.0,
        environment={"torch": "2", "processor": "a CPU"},
        size_bytes=round(280_000 * rc) + 2_000,
    )
    job.directory.mkdir(parents=True, exist_ok=True)
    (job.directory / "result.json").write_text(json.dumps(result.to_json()))
    return Ending(outcome="done")


class AtOnce:
    """An engine whose jobs end at once, as the test says."""

    answer: Answer = staticmethod(finish)
    ran: tuple[Job, ...] = ()

    def __init__(self, jobs: int) -> None:
        self.slots, self.running = jobs, list[Job]()

    def start(self, job: Job) -> None:
        type(self).ran = (*self.ran, job)
        self.running.append(job)

    def ended(self, timeout_s: float) -> list[tuple[Job, Ending]]:
        over, self.running = [(job, self.answer(job)) for job in self.running], []
        return over

    def close(self) -> list[tuple[Job, Ending]]:
        return []


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> type[AtOnce]:
    """Let nothing train, and leave the report's pictures out, which take seconds."""
    monkeypatch.setattr("espalier.report.write.draw", lambda *_: (b"<svg/>", b""))
    fresh = type("Fresh", (AtOnce,), {})
    monkeypatch.setattr("espalier.study.local.LocalEngine", fresh)
    return fresh


def test_the_demo_ends_with_table_picture_and_report(
    espalier: Command, engine: type[AtOnce], tmp_path: Path
) -> None:
    """Seven runs of one thread; each number of the table is one of theirs; the files are there."""
    out = tmp_path / "demo"
    found = espalier("demo", "--out", out)

    assert found.code == 0
    assert {job.threads for job in engine.ran} == {1}
    assert "demo: 7 of 7 done" in found.err
    assert max(len(line) for line in found.out.splitlines()[:9]) <= 80
    for cell in read_study(out / "study").cells:
        assert cell.result is not None
        assert cell.result.size_bytes is not None
        assert percent(cell.result.best.test_accuracy) in found.out
        assert f"{cell.result.size_bytes / 1000:.1f} kB" in found.out
    *_, pictures, report = found.out.splitlines()
    assert pictures == f"Accuracy against size: {out}/accuracy_size.png, {out}/accuracy_size.svg"
    assert report == f"Report: {out}/report/index.html"
    assert (out / "report" / "index.html").is_file()


def test_a_finished_demo_is_run_anew(
    espalier: Command, engine: type[AtOnce], tmp_path: Path
) -> None:
    """Every number is computed then and there; another seed is another demo."""
    for arguments in ((), (), ("--seed", "3")):
        assert espalier("demo", "--out", tmp_path, *arguments).code == 0

    assert len(engine.ran) == 3 * 7
    assert {job.spec.seed for job in engine.ran[14:]} == {3}
    assert {cell.spec.seed for cell in read_study(tmp_path / "study").cells} == {3}


def test_a_stopped_demo_goes_on(espalier: Command, engine: type[AtOnce], tmp_path: Path) -> None:
    """What is finished is kept."""

    def two(job: Job) -> Ending:
        if len(engine.ran) > 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return finish(job)

    engine.answer = staticmethod(two)
    found = espalier("demo", "--out", tmp_path, "--jobs", "1")
    assert found.code == 1
    assert found.err.endswith("espalier: the demo was stopped; the same command goes on.\n")

    engine.answer = staticmethod(finish)
    assert espalier("demo", "--out", tmp_path).code == 0
    assert len(engine.ran) == 3 + 5


def test_a_failed_run_is_named(espalier: Command, engine: type[AtOnce], tmp_path: Path) -> None:
    """What there is is shown, and the command fails."""
    trouble = Ending(outcome="failed", kind="NonFiniteError", reason="it diverged")
    engine.answer = staticmethod(lambda job: finish(job) if job.spec.bits == 4 else trouble)
    found = espalier("demo", "--out", tmp_path)

    assert found.code == 1
    assert "Report:" in found.out
    assert "2 runs finished, 5 failed" in found.out
    assert "it diverged" in found.out


@pytest.mark.usefixtures("engine")
def test_what_is_in_the_way(espalier: Command, tmp_path: Path) -> None:
    """Before anything is trained: no place, another study, a demo that runs, a foreign folder."""
    (tmp_path / "file").write_text("")
    found = espalier("demo", "--out", tmp_path / "file" / "demo")
    assert (found.code, "can't write" in found.err) == (1, True)

    study = parse_definition(Source("s", FEW.replace("demo", "mine")), default_name="s")
    (tmp_path / "S.toml").write_text(study.source.text)
    espalier("study", "run", tmp_path / "S.toml", "--out", tmp_path / "a" / "study")
    found = espalier("demo", "--out", tmp_path / "a")
    assert (found.code, "holds study 'mine', not 'demo'" in found.err) == (2, True)

    espalier("demo", "--out", tmp_path / "b")
    cell = next((tmp_path / "b" / "study" / "runs").iterdir())
    (cell / "result.json").unlink()
    with claim(cell):
        found = espalier("demo", "--out", tmp_path / "b", "--seed", "1")
    assert (found.code, "another demo is running" in found.err) == (2, True)

    (tmp_path / "c" / "report").mkdir(parents=True)
    (tmp_path / "c" / "report" / "precious").touch()
    found = espalier("demo", "--out", tmp_path / "c")
    assert (found.code, "holds other files than a report" in found.err) == (2, True)
    assert not (tmp_path / "c" / "study").exists()


@pytest.mark.slow
def test_real_processes(espalier: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dense and a compressed run of one epoch: RC and PE follow, the file is smaller."""
    few = parse_definition(Source("few", FEW), default_name="few")
    monkeypatch.setattr("espalier.study.planning.find_definition", lambda _: few)
    found = espalier("demo", "--out", tmp_path, "--jobs", "2")

    assert found.code == 0
    cells = make_book(read_study(tmp_path / "study"), "paper").parts[0].cells
    dense, small = (next(c for c in cells if c.bits == bits and c.planned) for bits in (32, 3))
    assert dense.test_accuracy
    assert small.test_accuracy
    assert dense.size_bytes
    assert small.size_bytes
    assert small.size_bytes < dense.size_bytes / 10
    assert small.density is not None
    rc = ratio(small.density, 3)
    pe = efficiency(small.test_accuracy, dense.test_accuracy, rc, 2)
    assert f"{rc:.4f}" in found.out
    assert f"{pe:.2f}" in found.out


@pytest.fixture(scope="module")
def cells() -> list[CellRow]:
    """Cells of any numbers, two of them side by side."""

    def cell(gamma: float, bits: int, accuracy: float, size_bytes: int) -> CellRow:
        return CellRow(
            gamma=gamma,
            bits=bits,
            test_accuracy=accuracy,
            density=0.5,
            size_bytes=size_bytes,
        )

    return [
        cell(0, 32, 83.0, 275_000),
        cell(0.25, 8, 82.5, 36_000),
        cell(0.25, 3, 80.0, 15_400),
        cell(0.75, 8, 82.4, 22_000),
        cell(0.75, 3, 80.0, 13_000),
    ]


def test_the_picture_opens_and_is_the_same_again(cells: list[CellRow], tmp_path: Path) -> None:
    """A raster and a vector; the same cells give the same bytes."""
    paths = save_picture(cells, "where from", tmp_path / "one")
    again = save_picture(cells, "where from", tmp_path / "two")

    assert [path.suffix for path in paths] == [".png", ".svg"]
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    with Image.open(paths[0]) as picture:
        assert picture.size[0] > 1000
    assert ElementTree.parse(paths[1]).getroot().tag.endswith("svg")


def test_a_picture_shows_what_there_is(cells: list[CellRow], tmp_path: Path) -> None:
    """It needs no dense run; of nothing there is none."""
    assert save_picture(cells[1:], "", tmp_path)[0].exists()
    assert save_picture([CellRow(gamma=0.5, bits=4)], "", tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_a_table_leaves_out_what_is_not_known(
    espalier: Command, engine: type[AtOnce], tmp_path: Path
) -> None:
    """PE of the dense run is an empty cell, not a number; a failed run has no numbers."""
    trouble = Ending(outcome="failed", kind="NonFiniteError", reason="it diverged")
    engine.answer = staticmethod(lambda job: finish(job) if job.spec.bits > 3 else trouble)
    espalier("demo", "--out", tmp_path)
    console = Console(width=120, file=io.StringIO())
    with console.capture() as printed:
        console.print(demo_table(make_book(read_study(tmp_path / "study"), "paper")))
    lines = [" ".join(line.split()) for line in printed.get().splitlines()]

    assert lines[1] == "dense 0 32 82.80 % 100.00 % 1.0000 282.0 kB"
    assert "0.25 3" in lines
