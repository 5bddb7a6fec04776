"""How far: each aim judged on records that are written down; nothing is trained."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from espalier.records import RunSpec, read_study
from espalier.report.networks import network_rows
from espalier.study.planning import find_definition, make_plan

from ..report import builder  # noqa: TID252

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
DENSE = 88.0
Reached = dict[str, tuple[float, int]]
"""Test accuracy and bytes of the file, by what was asked."""
GOOD: Reached = {"60000": (87.9, 59_900), "30000": (87.6, 29_990), "density": (88.3, 110_000)}
LEAN: Reached = {"89907": (87.5, 89_900), "53944": (86.5, 53_900)}


@cache
def specs() -> list[RunSpec]:
    definition = find_definition(str(ROOT / "docs" / "studies" / "strong.toml"))
    return list(make_plan(definition, device=torch.device("cpu")).cells.values())


@pytest.fixture
def strong(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import strong  # type: ignore[import-not-found]

    module: ModuleType = strong
    return module


def write(
    study: Path, paper: Reached, lean: Reached | None = None, seeds: tuple[int, ...] = (0, 1, 2)
) -> Path:
    """Write the study of docs/studies/strong.toml with these networks, and their dense ones."""
    builder.plan(study, specs(), "seed")
    for spec in specs():
        asked = "density" if spec.target_density is not None else str(spec.max_bytes)
        reached = paper if spec.model == "paper_cnn" else (lean or {})
        accuracy, size = (DENSE, 8_340_000) if not spec.compresses else reached.get(asked, (0, 0))
        if not accuracy or spec.seed not in seeds or not reached:
            continue
        parameters = builder.PARAMETERS if spec.model == "paper_cnn" else 269_722
        density = size * 8 / parameters / 9 if spec.compresses else 1.0
        at = builder.figures(accuracy, density, spec.bits, epoch=50)
        found = builder.result(spec, at)
        builder.finish(study, replace(found, size_bytes=size, parameters=parameters,
                                      compressed_parameters=parameters - 800))  # fmt: skip
    return study


def judged(strong: ModuleType, study: Path) -> list[tuple[str, Any]]:
    rows = network_rows([read_study(study)])
    found = [(aim, aim.find(rows)) for aim in strong.AIMS]
    return [(aim.verdict(reached), reached) for aim, reached in found]


def test_each_aim_is_judged_by_its_networks(strong: ModuleType, tmp_path: Path) -> None:
    """The best within the loss counts; the 20 x smaller resnet20 loses too much."""
    score, file, accuracy, lean, paper = judged(strong, write(tmp_path / "s", GOOD, LEAN))

    assert score[1].row.spec.max_bytes == 30_000
    assert score[1].value == pytest.approx(score[1].row.efficiency)
    assert (file[0], file[1].value) == ("beyond", pytest.approx(29.99))
    assert (accuracy[0], accuracy[1].value) == ("beyond", pytest.approx(0.3))
    assert (lean[0], lean[1].value) == ("yes", pytest.approx(4 * 269_722 / 89_900))
    assert paper[1].row.spec.max_bytes == 30_000  # 87.6 % is above the paper's 87.21 %
    assert paper[1].value == pytest.approx(score[1].value * (DENSE / 87.21) ** 2)


def test_a_network_that_loses_too_much_meets_no_aim(strong: ModuleType, tmp_path: Path) -> None:
    """The closest is named with what it lost."""
    poor: Reached = {"60000": (87.0, 59_900), "30000": (86.0, 29_990), "density": (87.9, 110_000)}
    score, file, accuracy, lean, paper = judged(strong, write(tmp_path / "s", poor))

    assert (score[0], file[0]) == ("no", "no")
    assert file[1].value == pytest.approx(110)  # that of 6.93 % is within, with its larger file
    assert (accuracy[0], accuracy[1].value) == ("no", pytest.approx(-0.1))
    assert (lean[0], lean[1].words) == ("…", "…")
    assert paper[1].row.spec.target_density == 0.0693


def test_nothing_within_is_said_with_the_closest(strong: ModuleType, tmp_path: Path) -> None:
    """So that one sees how much is missing."""
    score, *_, paper = judged(strong, write(tmp_path / "s", {"60000": (80.0, 59_900)}))

    assert (score[0], score[1].value) == ("no", None)
    assert score[1].words.startswith("none; the closest: 80.00 ± 0.00 %, dense 88.00 %, PE ")
    assert paper[1].words.startswith("none; the most accurate: 80.00 ± 0.00 %")


def test_seeds_that_are_missing_are_said(strong: ModuleType, tmp_path: Path) -> None:
    """A number of fewer seeds is none of three."""
    score, *_ = judged(strong, write(tmp_path / "s", GOOD, seeds=(0, 1)))

    assert score[1].words.endswith("only 2 of 3 seeds")


@pytest.mark.parametrize("paper", [GOOD, {}], ids=["runs", "no runs yet"])
def test_the_command_prints_both_tables(paper: Reached, tmp_path: Path) -> None:
    """With dots where nothing has run, and one line of JSON."""
    study = write(tmp_path / "s", paper)
    command = [sys.executable, BENCHMARKS / "strong.py", study, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])

    assert "| paper_cnn | 30,000 bytes, 3 bits |" in done.stdout
    assert (
        "| `resnet20`: file within 1 point | 12 x smaller | 20 x smaller | … | … |" in done.stdout
    )
    assert [row["finished"] for row in found["networks"][:2]] == ([3, 3] if paper else [0, 0])
    assert len(found["aims"]) == 5
