"""A search: which runs it plans, what it reads, how it goes on."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.errors import ConfigError
from espalier.records import RunSpec, StudyPlan, cell_directory
from espalier.report.front import draw_front
from espalier.report.runs import RunRow
from espalier.study.planning import write_plan
from espalier.study.runner import StudyOutcome
from espalier.study.search import Found, Point, Space, next_points, search
from espalier.train import RunDirectory
from espalier.train.outcome import make_result, pretty

from .fakes import epoch

SPACE = Space(densities=(0.005, 0.2), bits=(2, 3, 4), rates=(0.03, 0.2))
CPU = torch.device("cpu")


def accuracy_of(spec: RunSpec) -> float:
    """A made-up truth: more is better, rates near 0.1 are, bits have a middle."""
    density = spec.target_density or 1.0
    off = abs(math.log(spec.lr / 0.1)) + 0.5 * abs(spec.bits - 3)
    return 90 - 0.05 / density - 4 * off


class Fake:
    """Writes the records that a run would, at once."""

    def __init__(self, out: Path, *, stop_after: int = 10**6, shift: float = 0.0) -> None:
        self.out, self.stop_after, self.shift = out, stop_after, shift
        self.trained: list[RunSpec] = []

    def __call__(self, plan: StudyPlan, cells: Mapping[str, RunSpec]) -> StudyOutcome:
        write_plan(self.out, plan)
        outcome = StudyOutcome()
        for name, spec in cells.items():
            directory = RunDirectory(cell_directory(self.out, name))
            if directory.result.exists():
                outcome.skipped.append(name)
                continue
            if len(self.trained) >= self.stop_after:
                raise KeyboardInterrupt
            self.trained.append(spec)
            accuracy = accuracy_of(spec)
            record = epoch(1, val_accuracy=accuracy, test_accuracy=accuracy + self.shift)
            result = make_result(
                replace(spec, epochs=1),
                [record],
                baseline=None,
                parameters=10_000,
                compressed_parameters=10_000,
                data_source="fake",
                device="cpu",
                threads=1,
                environment={},
                size_bytes=int(500 + 10_000 * (spec.target_density or 1) * spec.bits / 4),
            )
            from espalier.records import run_id

            result = replace(result, run_id=run_id(spec))
            directory.path.mkdir(parents=True)
            directory.write_spec(spec)
            directory.metrics.write_text(record.to_line())
            directory.result.write_bytes(pretty(result.to_json()))
            outcome.finished.append(name)
        return outcome


def find(out: Path, runs: int = 14, fake: Fake | None = None, **changes: Any) -> Found:
    settings = {"recipe": "strong", "precision": "fp32", "epochs": 1} | changes
    return search(settings, SPACE, out, fake or Fake(out), runs=runs, device=CPU)


def test_a_search_betters_its_first_round(tmp_path: Path) -> None:
    """Later rounds find runs that the evenly spread ones didn't, and the front is one."""
    fake = Fake(tmp_path)
    found = find(tmp_path, 14, fake)
    sizes = [row.size_bytes or 0 for row in found.front]
    heights = [row.val_accuracy or 0 for row in found.front]

    assert len(fake.trained) == len(found.rows) == 14
    assert sizes == sorted(sizes)
    assert heights == sorted(heights)
    first = {row.run_id for row in found.rows[:6]}
    assert [row for row in found.front if row.run_id not in first]


def test_a_search_that_was_cut_off_plans_the_same_runs(tmp_path: Path) -> None:
    """From the records alone; nothing is trained twice, more runs later continue it."""
    fewer = find(tmp_path / "cut", 7)
    whole = find(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        find(tmp_path / "cut", fake=Fake(tmp_path / "cut", stop_after=4))
    rest = Fake(tmp_path / "cut")
    again = find(tmp_path / "cut", fake=rest)

    assert [row.run_id for row in again.rows] == [row.run_id for row in whole.rows]
    assert again.to_json(Path("x")) == whole.to_json(Path("x"))
    assert len(rest.trained) == 14 - 7 - 4
    assert [row.run_id for row in fewer.rows] == [row.run_id for row in whole.rows[:7]]


def test_test_accuracy_decides_nothing(tmp_path: Path) -> None:
    """Other test accuracies, the same search."""
    one = find(tmp_path / "one")
    other = find(tmp_path / "other", fake=Fake(tmp_path / "other", shift=-30))
    assert [row.run_id for row in one.front] == [row.run_id for row in other.front]


def test_another_search_in_the_same_place_is_refused(tmp_path: Path) -> None:
    """Settings that are no axis make another study."""
    find(tmp_path, 3)
    with pytest.raises(ConfigError, match=r"holds study 'search' with batch_size 128, not 64"):
        find(tmp_path, 3, batch_size=64)


@given(
    st.lists(
        st.tuples(
            st.floats(0.005, 0.2),
            st.sampled_from([2, 3, 4]),
            st.floats(0.03, 0.2),
            st.integers(1, 5),
            st.integers(1, 5),
        ),
        max_size=12,
    ),
    st.integers(1, 9),
)
def test_points_are_new_and_inside(history: list[tuple[Any, ...]], count: int) -> None:
    """Whatever was found, each round asks for as many runs as it should."""
    points = {str(i): Point(*one[:3]) for i, one in enumerate(history)}
    rows = tuple(
        RunRow(
            run_id=str(i),
            gamma=0,
            bits=one[1],
            lr=one[2],
            seed=0,
            state="done",
            epochs_run=1,
            size_bytes=one[3],
            judge=float(one[4]),
            test_accuracy=1.0,
        )
        for i, one in enumerate(history)
    )
    found = Found(rows=rows, points=points, outcome=StudyOutcome())
    chosen = next_points(SPACE, found, count)

    assert len(set(chosen)) == count
    assert not set(chosen) & set(points.values())
    assert all(SPACE.holds(point) and point.bits in SPACE.bits for point in chosen)
    assert chosen == next_points(SPACE, found, count)


def test_a_space_of_one_point_ends(tmp_path: Path) -> None:
    """There is nothing else to run."""
    alone = Space(densities=(0.1, 0.1), bits=(3,), rates=(0.1, 0.1))
    found = search(
        {"recipe": "strong", "precision": "fp32", "epochs": 1},
        alone,
        tmp_path,
        Fake(tmp_path),
        runs=5,
        device=CPU,
    )
    assert len(found.rows) == 1


def test_the_picture_shows_every_run(tmp_path: Path) -> None:
    """SVG and PNG, the same bytes each time."""
    found = find(tmp_path, 6)
    svg, png = draw_front(found.rows)
    assert svg.startswith(b"<?xml")
    assert png.startswith(b"\x89PNG")
    assert (svg, png) == draw_front(found.rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"densities": (0.2, 0.1)}, "expected 0 < smallest <= largest <= 1"),
        ({"rates": (0.0, 0.1)}, "expected 0 < smallest <= largest"),
        ({"bits": ()}, "expected one or more, rising"),
        ({"bits": (3, 3)}, "expected one or more, rising"),
    ],
)
def test_empty_spaces_are_refused(changes: dict[str, Any], message: str) -> None:
    """Before anything is run."""
    with pytest.raises(ConfigError, match=message):
        replace(SPACE, **changes)


def test_no_runs_are_refused(tmp_path: Path) -> None:
    """A budget is at least one."""
    with pytest.raises(ConfigError, match="--budget-runs 0: expected an integer >= 1"):
        find(tmp_path, 0)
