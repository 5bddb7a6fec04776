"""Which epoch counts, when a run stops, what it was worth."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.errors import ConfigError
from espalier.records import EpochRecord, RunSpec
from espalier.train import Baseline, read_baseline
from espalier.train.outcome import (
    best_by_test,
    best_by_validation,
    efficiencies,
    make_result,
    stopped_by,
    with_baseline,
)

from .tiny import run_tiny, tiny_spec

ACCURACIES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12)


def epochs(val: list[float], test: list[float] | None = None) -> list[EpochRecord]:
    pairs = zip(val, test or val, strict=True)
    return [
        EpochRecord(
            epoch=n,
            gamma=0.0,
            train_loss=1.0,
            train_accuracy=float(n),
            val_loss=1.0,
            val_accuracy=v,
            test_loss=1.0,
            test_accuracy=t,
            density_mask=0.5,
            density_nonzero=0.4,
            density_mask_all=0.6,
            density_nonzero_all=0.5,
            ratio=0.125,
            ratio_all=0.25,
            layers={},
            times={"wall_s": float(n)},
        )
        for n, (v, t) in enumerate(pairs, start=1)
    ]


def result_of(spec: RunSpec, records: list[EpochRecord], baseline: Baseline | None = None):
    return make_result(
        spec,
        records,
        baseline=baseline,
        parameters=100,
        compressed_parameters=90,
        data_source="somewhere",
        device="cpu",
        threads=1,
        environment={},
    )


@given(ACCURACIES, st.integers(0, 4))
def test_patience_counts_epochs_since_the_best_validation(val: list[float], patience: int) -> None:
    """Against a slow reading of the rule: the first time that many epochs did not improve."""
    best, waited, expected = -1.0, 0, None
    for n, accuracy in enumerate(val, start=1):
        best, waited = (accuracy, 0) if accuracy > best else (best, waited + 1)
        if patience and waited >= patience:
            expected = n
            break
    spec = RunSpec(epochs=100, patience=patience)

    found = [n for n in range(1, len(val) + 1) if stopped_by(spec, epochs(val[:n]))]

    assert found[:1] == ([expected] if expected else [])


def test_the_last_planned_epoch_ends_a_run() -> None:
    """Unless patience ran out at the same epoch."""
    assert stopped_by(RunSpec(epochs=2), epochs([1.0])) is None
    assert stopped_by(RunSpec(epochs=2), epochs([1.0, 2.0])) == "epochs"
    assert stopped_by(RunSpec(epochs=2, patience=1), epochs([2.0, 1.0])) == "patience"
    assert stopped_by(RunSpec(epochs=2), []) is None


@given(ACCURACIES)
def test_the_best_epoch_is_the_first_of_the_highest(values: list[float]) -> None:
    """By test accuracy as by validation accuracy."""
    records = epochs(values)

    assert best_by_test(records).epoch == values.index(max(values)) + 1
    assert best_by_validation(records).epoch == values.index(max(values)) + 1


def test_the_result_has_both_choices_and_the_last_epoch() -> None:
    """The paper's choice at the top, the honest one and the last beside it."""
    result = result_of(RunSpec(epochs=3), epochs([3.0, 9.0, 1.0], [50.0, 40.0, 30.0]))

    assert (result.best.epoch, result.best.test_accuracy) == (1, 50.0)
    assert (result.by_validation.epoch, result.by_validation.test_accuracy) == (2, 40.0)
    assert (result.last.epoch, result.last.test_accuracy) == (3, 30.0)
    assert result.best.train_accuracy == 1.0
    assert result.wall_s == 3.0
    assert result.best.efficiency is None


def test_efficiency_compares_like_with_like() -> None:
    """Each choice of epoch against the baseline's accuracy by the same choice."""
    baseline = Baseline(best=100.0, by_validation=80.0, last=60.0)
    result = result_of(RunSpec(epochs=3), epochs([3.0, 9.0, 1.0], [50.0, 40.0, 30.0]), baseline)

    for figures in (result.best, result.by_validation, result.last):
        assert figures.efficiency == {"1": 4.0, "2": 2.0, "3": 1.0}
        assert figures.efficiency_all == {"1": 2.0, "2": 1.0, "3": 0.5}
    assert result.baseline == 100.0
    other = with_baseline(result, Baseline(best=50.0, by_validation=50.0, last=50.0))
    assert other.best.efficiency == {"1": 8.0, "2": 8.0, "3": 8.0}


def test_a_network_of_which_nothing_is_left_has_no_efficiency() -> None:
    """RC 0 is no bargain."""
    assert efficiencies(10.0, 90.0, 0.0) is None


def test_a_baseline_may_be_a_percentage() -> None:
    """The same for each choice of epoch."""
    assert read_baseline("87.21") == Baseline(best=87.21, by_validation=87.21, last=87.21)


def test_a_baseline_may_be_a_run(tmp_path: Path) -> None:
    """Its own accuracy for each choice of epoch."""
    result = run_tiny(tiny_spec(gamma=0, bits=32), tmp_path / "dense")

    found = read_baseline(str(tmp_path / "dense"))

    assert found == Baseline(
        best=result.best.test_accuracy,
        by_validation=result.by_validation.test_accuracy,
        last=result.last.test_accuracy,
    )


@pytest.mark.parametrize("asked", ["0", "-1", "100.1", "nan", "inf"])
def test_a_baseline_out_of_bounds_is_refused(asked: str) -> None:
    """No network has such an accuracy."""
    with pytest.raises(ConfigError, match=rf"baseline={asked}: expected percent, above 0"):
        read_baseline(asked)


def test_a_baseline_that_is_no_run_is_refused(tmp_path: Path) -> None:
    """An unfinished run has no accuracy yet."""
    with pytest.raises(ConfigError, match=r"there is no .*result.json"):
        read_baseline(str(tmp_path))
