"""The pictures of the pages: each is there, and is made by the command that the page names."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from espalier.metrics import published_table1
from espalier.records import StudyRecords, read_study

from .report import builder

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "method.md").read_text(encoding="utf-8")
NAMES = re.findall(r"!\[[^\]]+\]\(images/(\w+)\.svg\)", PAGE)


def test_the_page_has_its_pictures() -> None:
    """The loop, the histograms, the barrier, the density, the frozen updates."""
    assert NAMES == ["loop", "histograms", "barrier", "density", "frozen"]


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_there_with_its_command(name: str) -> None:
    """It is small and well-formed, and the page names the script that draws it."""
    picture = DOCS / "images" / f"{name}.svg"

    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert picture.stat().st_size < 200_000
    assert f"    python docs/pictures/{name}.py\n" in PAGE
    assert (DOCS / "pictures" / f"{name}.py").is_file()


def _draw(name: str, out: Path) -> None:
    script = DOCS / "pictures" / f"{name}.py"
    subprocess.run([sys.executable, script, "--out", out], check=True, timeout=300)
    assert ElementTree.parse(out / f"{name}.svg").getroot().tag.endswith("svg")


def test_the_diagram_can_be_drawn_again(tmp_path: Path) -> None:
    """Into another folder, without training."""
    _draw("loop", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["histograms", "barrier"])
def test_pictures_of_a_training_can_be_drawn_again(name: str, tmp_path: Path) -> None:
    """Those that take seconds."""
    _draw(name, tmp_path)


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS / "pictures"))
    import front  # type: ignore[import-not-found]

    module: ModuleType = front
    return module


def test_the_papers_points_stand_at_the_bits_of_their_kept_weights(front: ModuleType) -> None:
    """And further right with their positions; the dense network has none."""
    found = dict(zip(published_table1(), front.published(), strict=True))
    best = next(point for row, point in found.items() if (row.gamma, row.bits) == (0.625, 4))
    dense = next(point for point in found.values() if point.dense)

    assert best.size_bytes == pytest.approx(0.0693 * 4 / 8 * 2_083_018)
    assert best.with_positions - best.size_bytes == pytest.approx(94_500, rel=0.01)
    assert dense.size_bytes == dense.with_positions == 4 * 2_083_018
    assert [point.accuracy for point in front.front(found.values())][:2] == [79.2, 79.34]


def test_the_benchmark_networks_stand_at_their_files(front: ModuleType) -> None:
    """With the accuracy that they carry."""
    path = DOCS.parent / "benchmarks" / "networks" / "resnet20_12.espalier"
    point = front.of_file(path)

    assert (point.kind, point.model, point.accuracy) == ("network", "resnet20", 81.23)
    assert point.size_bytes == path.stat().st_size


def _study(directory: Path, name: str, *, seeds: int = 2, **settings: object) -> StudyRecords:
    specs = [builder.spec(gamma=0.5, bits=4, seed=seed, **settings) for seed in range(seeds)]
    builder.plan(directory, specs, "seed")
    plan = directory / "plan.json"
    plan.write_text(plan.read_text().replace("synthetic", name))
    for spec in specs:
        honest = builder.figures(80.0 + spec.seed, 0.1, 4, epoch=1)
        best = honest if spec.choose == "validation" else replace(honest, epoch=2, test_accuracy=85)
        found = builder.result(spec, best, by_validation=honest)
        builder.finish(directory, replace(found, size_bytes=60_000))
    return read_study(directory)


def test_a_study_is_a_point_for_all_seeds_where_validation_chose(
    front: ModuleType, tmp_path: Path
) -> None:
    """Mean and spread; a short one is of another kind."""
    (point,) = front.of_networks(_study(tmp_path / "a", "strong", choose="validation"))
    assert (point.kind, point.accuracy, point.size_bytes) == ("strong", 80.5, 60_000)
    assert point.spread == pytest.approx(0.5**0.5)

    short = _study(tmp_path / "b", "ladder", choose="validation", limit_train=12_800)
    assert [p.kind for p in front.of_networks(short)] == ["short"]


def test_the_papers_rule_is_a_point_a_run_chosen_as_the_paper_does(
    front: ModuleType, tmp_path: Path
) -> None:
    """By the network whose file was weighed: that of the best test accuracy."""
    found = front.of_rule(_study(tmp_path / "a", "paper-quick"))

    assert [(p.kind, p.accuracy, p.size_bytes) for p in found] == [("rule", 85, 60_000)] * 2


def test_the_front_is_drawn_by_the_command_that_the_page_names(tmp_path: Path) -> None:
    """From what the repository holds; the README shows it."""
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    results = (DOCS / "results.md").read_text(encoding="utf-8")

    _draw("front", tmp_path)

    assert (tmp_path / "front.png").stat().st_size < 200_000
    assert "(docs/images/front.png)" in readme
    assert "    python docs/pictures/front.py" in results
    assert ElementTree.parse(DOCS / "images" / "front.svg").getroot().tag.endswith("svg")
