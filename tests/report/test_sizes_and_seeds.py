"""PE from the bytes of files, spreads over seeds, and numbers as each language writes them."""

import csv
import dataclasses
import random
from pathlib import Path
from statistics import fmean, stdev

import pytest

from espalier.metrics import efficiency
from espalier.records import read_study
from espalier.report import make_book, write, write_report
from espalier.report.charts import HeatMap, LineChart
from espalier.report.svg import to_svg
from espalier.report.texts import spoken, texts

from .builder import LAYERS, PARAMETERS, epoch, figures, finish, plan, result, spec

EPOCHS = (4, 5, 6)
"""Of the three seeds: they end at different times."""
SIZES = {32: 8_000_000, 16: 600_000, 4: 100_000}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three seeds of a dense network and of two pruned ones, with files of known size."""
    places = [(0.0, 32), (0.5, 16), (0.5, 4)]
    runs = [spec(gamma=g, bits=b, lr=0.01, seed=seed) for g, b in places for seed in range(3)]
    plan(tmp_path / "study", runs, "gamma", "bits", "seed")
    rng = random.Random(1)
    for of in runs:
        density = 1.0 if of.gamma == 0 else 0.1 + 0.01 * of.seed
        course = [
            figures(60 + 5 * n + rng.random(), density, of.bits, epoch=n)
            for n in range(1, EPOCHS[of.seed] + 1)
        ]
        layers = {f"{name}.weight": (density, density) for name in LAYERS}
        found = dataclasses.replace(result(of, course[-1]), size_bytes=SIZES[of.bits])
        finish(tmp_path / "study", found, [epoch(c.epoch, c, of.gamma, layers) for c in course])
    return tmp_path / "study"


def test_efficiency_from_the_file_stands_beside_the_papers(study: Path) -> None:
    """Equation 5 with the file's bytes over 4 bytes a parameter, in cells, runs and highlights."""
    book = make_book(read_study(study), "paper")
    (part,) = book.parts
    dense = max(run.test_accuracy or 0.0 for run in book.runs if run.bits == 32)
    for run in book.runs:
        rc = SIZES[run.bits] / (4 * PARAMETERS)
        assert run.test_accuracy is not None
        expected = efficiency(run.test_accuracy, dense, rc, 2)
        assert book.scores[run.run_id][1] == pytest.approx(expected)
    row = next(row for row in part.efficiency if row.cell.bits == 4 and row.rho == 2)
    assert row.efficiency_file == book.scores[row.cell.run_ids[0]][1]
    assert row.efficiency == book.scores[row.cell.run_ids[0]][0]
    best = {line.key: line for line in part.highlights}["efficiency_file"]
    assert (best.value, best.published) == (row.efficiency_file, None)


def test_without_files_there_is_no_such_number(tmp_path: Path) -> None:
    """Neither a score nor a highlight is made up."""
    runs = [spec(gamma=0.5, bits=4), spec(gamma=0.0, bits=32)]
    plan(tmp_path, runs, "gamma", "bits")
    for of in runs:
        finish(tmp_path, result(of, figures(80.0, 0.5, of.bits)))
    (part,) = make_book(read_study(tmp_path), "paper").parts
    assert {pair[1] for pair in part.scores.values()} == {None}
    assert "efficiency_file" not in {row.key for row in part.highlights}


@pytest.mark.parametrize("rule", ["paper", "validation"])
def test_curves_are_means_over_seeds_with_a_band(study: Path, rule: write.Rule) -> None:
    """For as many epochs as all seeds have; the band is one standard deviation."""
    book = make_book(read_study(study), rule)
    chart = next(c for c in book.parts[0].paper if c.key == "figure6")
    assert isinstance(chart, LineChart)
    line = next(series for series in chart.series if series.gamma == 0.5)
    courses = [run.curve["test"] for run in book.runs if run.bits == 16]
    assert len(line.dots) == min(EPOCHS)
    for dot, values in zip(line.dots, zip(*courses, strict=False), strict=True):
        assert dot.y == pytest.approx(fmean(values))
        assert dot.spread == pytest.approx(stdev(values))
        assert len(dot.run_ids) == 3
    drawing, _ = to_svg(chart, texts("en"), [0.0, 0.5])
    assert drawing.count('class="band') == len(chart.series)


def test_layers_are_means_over_seeds(study: Path) -> None:
    """The tile says the mean, hovering the spread too."""
    (part,) = make_book(read_study(study), "paper").parts
    chart = next(c for c in part.further if c.key == "layers")
    assert isinstance(chart, HeatMap)
    tile = chart.tiles[0][-1]
    assert tile.value == pytest.approx(11.0)
    assert tile.label.endswith("11.00 % ± 1.00")
    assert len(tile.run_ids) == 3


def test_a_report_in_portuguese_has_commas(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, labels and axes are for people; CSV keeps points, for programs."""
    monkeypatch.setattr(write, "draw", lambda *_: (b"<svg/>", b""))
    out = study.parent / "out"
    write_report(study, out, lang="pt")
    page = (out / "index.html").read_text()
    body = page.partition("<main>")[2].partition("<script>/")[0]
    assert "γ 0,5 · 4 bits · taxa 0,01" in body
    assert "· época 3:" in body
    assert "γ 0.5" not in body
    assert "· lr 0" not in body
    assert "arquivo " in (out / "tables" / "table2.md").read_text()
    rows = list(csv.DictReader((out / "tables" / "runs.csv").read_text().splitlines()))
    assert float(rows[-1]["efficiency_file"]) > 1


@pytest.mark.parametrize(
    ("text", "portuguese"),
    [
        (
            "γ 0.375 · lr 0.01 · epoch 3: 84.78 % ± 0.20",
            "γ 0,375 · taxa 0,01 · época 3: 84,78 % ± 0,20",
        ),
        ("1,234,567", "1.234.567"),
        ("features.0.1.weight · 10.5", "features.0.1.weight · 10,5"),
        ("+1.37, -0.5", "+1,37, -0,5"),
        ("epochs 3", "epochs 3"),
    ],
)
def test_numbers_are_written_as_the_language_does(text: str, portuguese: str) -> None:
    """Digits within names stay; English stays as rows say it."""
    assert spoken(text, texts("pt")) == portuguese
    assert spoken(text, texts("en")) == text
