"""Networks with their seeds against the dense one, on numbers that are written down."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from espalier.records import RunSpec, StudyRecords, read_study
from espalier.report.networks import NetworkRow, network_rows
from espalier.report.reading_sheets import network_records, network_table

from . import builder

DENSE: dict[str, Any] = {"gamma": 0.0, "bits": 32, "choose": "validation"}
SMALL: dict[str, Any] = {
    "gamma": 0.0, "bits": 3, "update": "latent", "max_bytes": 60_000, "choose": "validation",
}  # fmt: skip
DENSITY = 0.02
STRICT = (DENSITY * builder.COMPRESSED * 3 + (builder.PARAMETERS - builder.COMPRESSED) * 32) / (
    builder.PARAMETERS * 32
)


def finish(
    study: Path, spec: RunSpec, accuracy: float, *, size_bytes: int | None = None, **later: Any
) -> None:
    """Write a run whose network has 2 % of its weights, or all of them."""
    at = builder.figures(accuracy, DENSITY if spec.compresses else 1.0, spec.bits)
    found = dataclasses.replace(builder.result(spec, at), size_bytes=size_bytes, **later)
    builder.finish(study, found)


def write(
    directory: Path, rows: list[tuple[dict[str, Any], list[float | None]]], **later: Any
) -> StudyRecords:
    """Write a study of three seeds; a run of no accuracy is not there yet."""
    runs = [
        (builder.spec(**settings, seed=seed), accuracy)
        for settings, accuracies in rows
        for seed, accuracy in enumerate(accuracies)
    ]
    builder.plan(directory, [spec for spec, _ in runs], "bits", "seed")
    for spec, accuracy in runs:
        if accuracy is not None:
            size = 59_000 + spec.seed if spec.compresses else 8_340_000
            finish(directory, spec, accuracy, size_bytes=size, **later)
    return read_study(directory)


def rows_of(*arguments: Any, **later: Any) -> tuple[NetworkRow, ...]:
    return network_rows([write(*arguments, **later)])


def test_a_row_stands_for_its_seeds_and_is_compared_seed_by_seed(tmp_path: Path) -> None:
    """Means and spreads; the loss is of the same seeds of both."""
    dense, small = rows_of(
        tmp_path / "s", [(DENSE, [88.0, 88.4, 88.2]), (SMALL, [87.6, None, 87.8])]
    )

    assert (dense.finished, dense.planned, dense.accuracy) == (3, 3, pytest.approx(88.2))
    assert (dense.lost, dense.efficiency) == (0.0, pytest.approx(1.0))
    assert (small.finished, small.planned, small.pairs) == (2, 3, 2)
    assert (small.accuracy, small.dense) == (pytest.approx(87.7), pytest.approx(88.1))
    assert (small.lost, small.lost_spread) == (pytest.approx(0.4), pytest.approx(0, abs=1e-9))
    assert (small.size_bytes, small.largest_bytes) == (59_001, 59_002)
    assert small.shrinks == pytest.approx(4 * builder.PARAMETERS / 59_002)


def test_efficiency_is_counted_both_ways(tmp_path: Path) -> None:
    """Strictly all parameters, what is not compressed at 32 bits; and as the paper does."""
    _, small = rows_of(tmp_path / "s", [(DENSE, [88.0] * 3), (SMALL, [88.0] * 3)])

    assert small.efficiency_paper == pytest.approx(32 / (DENSITY * 3))
    assert small.efficiency == pytest.approx(1 / STRICT)
    assert small.score(44.0) == pytest.approx(4 / STRICT)
    assert small.score(44.0, paper=True) == pytest.approx(4 * 32 / (DENSITY * 3))


def test_the_count_from_the_codes_goes_first(tmp_path: Path) -> None:
    """A record that has one knows better than the bits that were asked."""
    _, small = rows_of(
        tmp_path / "s", [(DENSE, [88.0] * 3), (SMALL, [88.0] * 3)], ratio_strict=0.005
    )

    assert small.efficiency == pytest.approx(200)


def test_ternary_counts_two_bits_and_bits_by_layer_are_not_guessed(tmp_path: Path) -> None:
    """In records that have no count of their own."""
    one, mixed = rows_of(
        tmp_path / "s",
        [(SMALL | {"bits": 1}, [80.0]), (SMALL | {"layer_bits": {"conv1.*": 8}}, [80.0])],
    )
    dense = (builder.PARAMETERS - builder.COMPRESSED) * 32

    assert one.ratio == pytest.approx(
        (DENSITY * builder.COMPRESSED * 2 + dense) / (builder.PARAMETERS * 32)
    )
    assert mixed.ratio is None


@pytest.mark.parametrize(
    "other",
    [{"epochs": 60}, {"augment": True}, {"precision": "bf16"}, {"model": "resnet20"}],
    ids=lambda change: next(iter(change)),
)
def test_only_a_dense_network_that_was_trained_alike_counts(
    other: dict[str, Any], tmp_path: Path
) -> None:
    """One of other epochs, augmentation, precision or kind is none to compare with."""
    _, small = rows_of(tmp_path / "s", [(DENSE | other, [88.0] * 3), (SMALL, [88.0] * 3)])

    assert (small.accuracy, small.lost, small.efficiency) == (88.0, None, None)


def test_of_several_dense_networks_the_best_counts(tmp_path: Path) -> None:
    """By validation: nobody chooses a weak one."""
    *_, small = rows_of(
        tmp_path / "s",
        [(DENSE, [86.0] * 3), (DENSE | {"lr": 0.05}, [88.0] * 3), (SMALL, [87.5] * 3)],
    )

    assert small.lost == pytest.approx(0.5)


def test_a_file_of_another_epoch_is_not_weighed(tmp_path: Path) -> None:
    """A run that keeps the epoch of the best test accuracy weighed another network."""
    spec = builder.spec(gamma=0.5)
    builder.plan(tmp_path, [spec], "gamma")
    best, honest = (builder.figures(a, 0.1, 8, epoch=n) for n, a in ((1, 80.0), (2, 79.0)))
    found = builder.result(spec, best, by_validation=honest, last=honest)
    builder.finish(tmp_path, dataclasses.replace(found, size_bytes=200_000))
    (row,) = network_rows([read_study(tmp_path)])

    assert (row.accuracy, row.size_bytes) == (79.0, None)


def test_the_table_shows_what_is_missing(tmp_path: Path) -> None:
    """Dots stand where no run is."""
    rows = rows_of(tmp_path / "s", [(DENSE, [88.0, 88.2, None]), (SMALL, [None] * 3)])
    text = network_table(rows)

    assert "| paper_cnn | dense | 2 of 3 | 88.10 ± 0.14 | – | 100.00 |" in text
    assert "| paper_cnn | 60,000 bytes, 3 bits | 0 of 3 | … | … | … | … | … | … |" in text
    records = network_records(rows)
    assert (records[0]["model"], records[1]["accuracy"]) == ("paper_cnn", None)
