"""``espalier demo``: the grid, its table and its picture."""

import io
import json
import os
import signal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from rich.console import Console

from espalier.cli import grid
from espalier.cli.grid import CELLS, DENSE, GridRow, grid_on_stderr, grid_table, run_grid
from espalier.cli.picture import save_picture
from espalier.cli.summary import percent
from espalier.metrics import efficiency, ratio
from espalier.train.run import Run

from .conftest import Command

FEW = (DENSE, (0.25, 8), (0.75, 3))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs of one epoch."""
    monkeypatch.setattr(grid, "SETTINGS", grid.SETTINGS | {"epochs": 1})
    monkeypatch.setattr(grid, "CELLS", FEW)


def test_the_grid_is_a_dense_run_and_what_compares_with_it() -> None:
    """The dense run comes first, and no cell comes twice."""
    assert CELLS[0] == DENSE
    assert len(set(CELLS)) == len(CELLS) == 7


@pytest.mark.usefixtures("small")
def test_the_demo_prints_a_table_and_names_its_picture(espalier: Command, tmp_path: Path) -> None:
    """Each number in table and picture is one of the runs'."""
    found = espalier("demo", "--out", tmp_path / "demo", "--threads", "1")

    assert found.code == 0
    assert found.out.count("compressed") == 2
    assert "accuracy_size.png" in found.out
    assert len(found.err.splitlines()) == len(FEW)
    numbers = json.loads((tmp_path / "demo" / "accuracy_size.json").read_text())
    for row in numbers:
        assert percent(row["accuracy"]) in found.out
        assert f"{row['size_bytes'] / 1000:.1f} kB" in found.out


@pytest.mark.usefixtures("small", "espalier")
def test_rows_follow_from_their_runs() -> None:
    """RC by equation 6, PE by equation 5 against the grid's own dense run, sizes in order."""
    with grid_on_stderr(FEW) as show:
        rows = run_grid(show, cells=FEW, threads=1)
    dense, light, strong = rows

    assert dense.is_dense
    assert dense.size_bytes > 3.5 * dense.result.parameters  # float32 hardly packs
    assert dense.efficiency is None
    for row in (light, strong):
        assert row.ratio == ratio(row.density, row.bits)
        assert row.efficiency == pytest.approx(
            efficiency(row.accuracy, dense.accuracy, row.ratio, 2)
        )
    assert dense.size_bytes > light.size_bytes > strong.size_bytes > 0


@pytest.mark.usefixtures("small", "espalier")
def test_on_a_terminal_the_grid_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table shows what is done, what goes on and what waits, and the time left."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("espalier.train.run.TELL_EVERY_S", 0.0)
    frames: list[str] = []
    draw = grid._LiveShow._draw

    def recorded(self: grid._LiveShow) -> None:
        draw(self)
        console = Console(width=140, file=io.StringIO())
        with console.capture() as frame:
            console.print(self.live.get_renderable())
        frames.append(frame.get())

    monkeypatch.setattr(grid._LiveShow, "_draw", recorded)
    with grid_on_stderr(FEW) as show:
        rows = run_grid(show, cells=FEW, threads=1)

    middle = frames[len(frames) // 2]
    assert percent(rows[0].accuracy) in middle
    assert "epoch 1/1" in middle
    assert "waits" in middle
    assert "left" in middle
    assert "waits" not in frames[-1]


@pytest.fixture(scope="module")
def rows() -> list[GridRow]:
    """Rows of any numbers, with a real result behind them."""
    from espalier.records import Figures, RunResult

    def row(gamma: float, bits: int, accuracy: float, size_bytes: int) -> GridRow:
        figures = Figures(
            epoch=1,
            test_accuracy=accuracy,
            val_accuracy=accuracy,
            train_accuracy=accuracy,
            density_mask=0.5,
            density_nonzero=0.5,
            density_mask_all=0.5,
            density_nonzero_all=0.5,
            ratio=0.5 * bits / 32,
            ratio_all=0.5 * bits / 32,
            efficiency=None,
            efficiency_all=None,
        )
        result = RunResult(
            run_id="0",
            best=figures,
            by_validation=figures,
            last=figures,
            bits=bits,
            gamma=gamma,
            parameters=1000,
            compressed_parameters=900,
            epochs_run=1,
            stopped_by="epochs",
            baseline=None,
            seed=0,
            data_source="signals",
            device="cpu",
            threads=1,
            wall_s=1.0,
            environment={"torch": "2", "processor": "a CPU"},
        )
        return GridRow(
            gamma=gamma,
            bits=bits,
            accuracy=accuracy,
            density=0.5,
            ratio=figures.ratio,
            efficiency=None,
            size_bytes=size_bytes,
            result=result,
        )

    return [row(0, 32, 83.0, 275_000), row(0.25, 8, 82.5, 36_000), row(0.25, 3, 80.0, 12_000)]


def test_the_picture_opens_and_is_the_same_again(rows: list[GridRow], tmp_path: Path) -> None:
    """A raster, a vector and the numbers; the same rows give the same bytes."""
    paths = save_picture(rows, tmp_path / "one")
    again = save_picture(rows, tmp_path / "two")

    assert [path.suffix for path in paths] == [".png", ".svg", ".json"]
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    with Image.open(paths[0]) as picture:
        assert picture.size[0] > 1000
    assert ElementTree.parse(paths[1]).getroot().tag.endswith("svg")


def test_a_picture_needs_no_dense_run(rows: list[GridRow], tmp_path: Path) -> None:
    """It shows what there is."""
    assert save_picture(rows[1:], tmp_path)[0].exists()


def test_a_table_leaves_out_what_is_not_known(rows: list[GridRow]) -> None:
    """PE of the dense run is an empty cell, not a number."""
    console = Console(width=120, file=io.StringIO())
    with console.capture() as printed:
        console.print(grid_table(rows))
    dense = printed.get().splitlines()[1]

    assert " ".join(dense.split()) == "dense 0 32 83.00 % 50.00 % 0.5000 275.0 kB"


def test_a_place_that_cannot_be_written_is_a_failure(espalier: Command, tmp_path: Path) -> None:
    """Before anything is trained."""
    (tmp_path / "file").write_text("")
    found = espalier("demo", "--out", tmp_path / "file" / "demo")

    assert found.code == 1
    assert "can't write" in found.err


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_demo_says_so(
    espalier: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals | None,
) -> None:
    """Ctrl-C while signals are generated, or either signal while a run trains."""
    step = Run._step

    def stop(run: Run, *batch: Any) -> None:
        if number is None:
            raise KeyboardInterrupt
        step(run, *batch)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(Run, "_step", stop)
    found = espalier("demo", "--out", tmp_path / "demo")

    assert found.code == 1
    assert found.err == "espalier: the demo was stopped; nothing of it was kept.\n"
