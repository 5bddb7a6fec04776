"""What each rung gains, on numbers that are written down."""

from pathlib import Path
from typing import Any

import pytest

from espalier.errors import ConfigError
from espalier.records import StudyRecords, read_study
from espalier.report.ablation import ablation
from espalier.report.reading_sheets import ablation_records, ablation_table

from . import builder

DENSE: dict[str, Any] = {"gamma": 0.0, "bits": 32}
SIZED: dict[str, Any] = {"gamma": 0.0, "bits": 3, "update": "latent", "max_bytes": 60_000}
RUNGS: list[tuple[dict[str, Any], list[float | None]]] = [
    (DENSE, [80.0, 82.0, 81.0]),
    (SIZED, [60.0, 64.0, 62.0]),
    (SIZED | {"budget": "lamp"}, [70.0, 73.0, 73.0]),
    (SIZED | {"budget": "lamp", "recalibrate": 5000}, [71.0, None, 75.0]),
    (SIZED | {"recalibrate": 5000}, [65.0, 69.0, 67.0]),
]


def write(directory: Path, rungs: list[tuple[dict[str, Any], list[float | None]]]) -> StudyRecords:
    """Write a study of three seeds; a run of no accuracy is not there yet."""
    runs = [
        (builder.spec(**settings, seed=seed), accuracy)
        for settings, accuracies in rungs
        for seed, accuracy in enumerate(accuracies)
    ]
    builder.plan(directory, [spec for spec, _ in runs], "bits", "seed")
    for spec, accuracy in runs:
        if accuracy is not None:
            at = builder.figures(50.0, 0.02, spec.bits, val=accuracy)
            builder.finish(directory, builder.result(spec, at))
    return read_study(directory)


def test_each_rung_is_compared_with_the_one_before(tmp_path: Path) -> None:
    """Or, from a row on, all with that; pairs are of the same seeds."""
    study = write(tmp_path / "study", RUNGS)
    rows = ablation([study])

    assert [row.over for row in rows] == [None, 1, 2, 3, 4]
    assert [row.over for row in ablation([study], around=2)] == [None, 1, 2, 2, 2]
    assert ablation([study], around=4) == rows
    assert [row.changes for row in rows[2:]] == [
        {"budget": "lamp"},
        {"recalibrate": 5000},
        {"budget": "global"},
    ]
    assert rows[1].changes == {"bits": 3, "update": "latent", "max_bytes": 60_000}
    assert [(row.finished, row.planned, row.pairs) for row in rows[2:]] == [
        (3, 3, 3),
        (2, 3, 2),
        (3, 3, 2),
    ]
    assert (rows[0].accuracy, rows[0].spread, rows[0].gain) == (81.0, 1.0, None)
    assert rows[2].gain == pytest.approx(10.0)
    assert rows[2].gain_spread == pytest.approx(1.0)  # 10, 9, 11
    assert rows[3].gain == pytest.approx(1.5)  # seeds 0 and 2: 1, 2
    assert rows[4].gain == pytest.approx(-7.0)  # seeds 0 and 2: -6, -8


def test_a_run_of_two_studies_counts_once(tmp_path: Path) -> None:
    """The one that is finished, wherever it is."""
    first = write(tmp_path / "one", RUNGS[:4])
    second = write(tmp_path / "two", [(RUNGS[3][0], [1.0, 74.0, None]), RUNGS[4]])
    rows = ablation([first, second])

    assert len(rows) == 5
    assert (rows[3].finished, rows[3].accuracy) == (3, pytest.approx((71 + 74 + 75) / 3))


def test_a_row_that_is_not_there(tmp_path: Path) -> None:
    """Said with those that are."""
    with pytest.raises(ConfigError, match="around=6: expected the number of a row, 1 to 5"):
        ablation([write(tmp_path / "study", RUNGS)], around=6)


def test_the_table(tmp_path: Path) -> None:
    """Read like the ladder it is of; a study without runs has dots."""
    text = ablation_table(ablation([write(tmp_path / "study", RUNGS)]))
    assert "| 3 | budget lamp | 3 of 3 | 72.00 ± 1.73 |" in text
    assert "| +10.00 ± 1.00 | 2 |" in text
    empty = ablation([write(tmp_path / "empty", [(DENSE, [None, None, None])])])
    assert "| 1 | – | 0 of 3 | … | … | … |" in ablation_table(empty)
    assert ablation_records(empty)[0]["accuracy"] is None
