"""Readings against the published pattern, on numbers that are written down."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from espalier.metrics import published_table1
from espalier.records import read_study
from espalier.report.effects import effects, pseudo_standard_error
from espalier.report.readings import CELLS, Reading, readings

from . import builder

RATES = {4: 0.05, 8: 0.01}
TABLE = {(r.gamma, r.bits): (r.test_accuracy, r.density) for r in published_table1()}


class Study:
    """A study that grows run by run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.found: list[Any] = []

    def add(self, accuracy: float | None, density: float, **settings: Any) -> None:
        """Add a run; None diverged."""
        spec = builder.spec(**{"lr": RATES.get(settings["bits"], 0.01), "epochs": 5} | settings)
        self.found.append((spec, accuracy, density))

    def add_reading(self, moved: dict[tuple[float, int], float] | None = None, **how: Any) -> None:
        """Add the published cells, some of their accuracies moved."""
        for gamma, bits in CELLS:
            accuracy, density = TABLE[gamma, bits]
            accuracy += (moved or {}).get((gamma, bits), 0.0)
            self.add(accuracy, density, gamma=gamma, bits=bits, **how)

    def read(self, **options: Any) -> tuple[Reading, ...]:
        """Write the records and rank the readings."""
        return readings([self.write()], **options)

    def write(self, *axes: str) -> Any:
        """Write the records and read them as a study."""
        builder.plan(self.directory, [spec for spec, _, _ in self.found], "gamma", "bits", *axes)
        for spec, accuracy, density in self.found:
            if accuracy is None:
                builder.give_up(self.directory, spec, "the loss is nan")
            else:
                figures = builder.figures(accuracy, density, spec.bits)
                builder.finish(self.directory, builder.result(spec, figures))
        return read_study(self.directory)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "study")


def test_the_published_numbers_have_no_distance(study: Study) -> None:
    """The paper's own cells, with its dense network, are the pattern but for a hair of density."""
    study.add_reading()
    study.add(*TABLE[0.0, 32], gamma=0.0, bits=32)
    (reading,) = study.read()

    assert reading.distance == pytest.approx(0.0, abs=1e-12)
    assert set(reading.terms) == {
        *("rescue_4", "rescue_8", "full", "bits", "dense", "way_4", "way_8", "lr_4", "lr_8"),
    }


def test_without_a_dense_run_the_published_one_is_the_unit(study: Study) -> None:
    """A dense run of other images doesn't count."""
    study.add_reading()
    study.add(50.0, 1.0, gamma=0.0, bits=32, limit_train=100)
    (reading,) = study.read()

    assert reading.dense == 87.21
    assert reading.distance == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("moved", "terms"),
    [
        ({(0.0, 4): 77.21 * 0.1}, {"rescue_4": -1.0}),
        ({(0.0, 8): -77.21 * 0.2}, {"rescue_8": 2.0}),
        ({(0.625, 8): 77.21 * 0.1}, {"rescue_8": 1.0, "bits": 1.0, "dense": -1.0}),
    ],
)
def test_each_term_is_a_share_of_the_dense_network(
    study: Study, moved: dict[tuple[float, int], float], terms: dict[str, float]
) -> None:
    """A tenth of what the dense network is above chance is one tolerance."""
    study.add_reading(moved)
    (reading,) = study.read()

    assert {k: v for k, v in reading.terms.items() if abs(v) > 1e-9} == pytest.approx(terms)
    first = sum(terms.get(name, 0.0) ** 2 for name in ("rescue_4", "rescue_8", "full")) / 3
    second = sum(terms.get(name, 0.0) ** 2 for name in ("bits", "dense")) / 2
    assert reading.patterns == pytest.approx((first, second, 0.0, 0.0))


def test_densities_count_by_the_way_that_is_left(study: Study) -> None:
    """One cut of a normal distribution is the whole way, which is two tolerances."""
    for gamma, bits in CELLS:
        study.add(TABLE[gamma, bits][0], 0.5319711 if gamma else 1.0, gamma=gamma, bits=bits)
    (reading,) = study.read()

    assert reading.terms["way_4"] == pytest.approx(2.0, abs=1e-6)
    assert reading.patterns[2] == pytest.approx(4.0, abs=1e-5)


def test_the_better_learning_rate_counts(study: Study) -> None:
    """And its decades from the published ones; seeds are means."""
    study.add_reading()
    for seed, accuracy in ((0, 83.0), (1, 87.0)):
        study.add(accuracy, 0.0693, gamma=0.625, bits=4, lr=0.01, seed=seed)
    (reading,) = study.read()

    cell = reading.cells[0.625, 4]
    assert (cell.lr, cell.accuracy, cell.runs) == (0.01, 85.0, 2)
    assert reading.terms["lr_4"] == pytest.approx(0.69897 / 0.5, abs=1e-4)


def test_a_diverged_run_is_at_chance_and_has_pruned_nothing(study: Study) -> None:
    """It counts, where a run that is still to come leaves the reading unfinished."""
    for gamma, bits in CELLS:
        accuracy, density = TABLE[gamma, bits]
        study.add(
            None if (gamma, bits) == (0.625, 4) else accuracy, density, gamma=gamma, bits=bits
        )
    (reading,) = study.read()

    assert reading.cells[0.625, 4].accuracy == 10.0
    assert reading.cells[0.625, 4].density is None
    assert reading.terms["way_4"] == 2.0
    assert reading.terms["full"] == 0.0


def test_two_update_rules_make_a_reading_of_their_own(study: Study) -> None:
    """One at gamma 0 and the other above it, besides each alone; the nearest comes first."""
    study.add_reading({(0.0, 4): 40.0, (0.0, 8): 20.0}, update="hybrid")
    study.add_reading({(0.625, 4): -60.0, (0.625, 8): -60.0}, update="inplace")

    labels = [reading.label for reading in study.read()]
    assert labels[0] == "update inplace at gamma 0, hybrid"
    assert sorted(labels) == [
        "update hybrid",
        "update hybrid at gamma 0, inplace",
        "update inplace",
        "update inplace at gamma 0, hybrid",
    ]
    assert len(study.read(mixed=False)) == 2


def test_an_unfinished_reading_has_no_distance(study: Study) -> None:
    """It comes last, with the cells that it has."""
    study.add_reading({(0.0, 4): 70.0})
    study.add(60.0, 1.0, gamma=0.0, bits=4, rounding="floor")

    first, last = study.read()
    assert first.distance is not None
    assert (last.label, last.distance, set(last.cells)) == ("rounding floor", None, {(0.0, 4)})


def test_nonzeros_can_be_what_counts(study: Study) -> None:
    """Both densities are in the records; the way that is left is that of the asked one."""
    study.add_reading()
    records = study.write()
    for cell in records.cells:
        assert cell.result is not None
        best = replace(cell.result.best, density_nonzero=cell.result.best.density_mask / 2)
        builder.finish(study.directory, replace(cell.result, best=best))
    records = read_study(study.directory)

    (mask,), (nonzero,) = readings([records]), readings([records], count="nonzero")
    assert mask.terms["way_4"] == pytest.approx(0.0)
    assert nonzero.terms["way_4"] < -0.5
    assert nonzero.terms["full"] == pytest.approx(-2.0)


def test_effects_of_factors_and_their_noise(study: Study) -> None:
    """In a design of four rows, each factor's mean of two rows against two; noise is Lenth's."""
    for i, (momentum, decay, seed) in enumerate(
        [(0.9, 0, 0), (0.9, 5e-4, 1), (0, 0, 1), (0, 5e-4, 0)]
    ):
        how = {"momentum": momentum, "weight_decay": decay, "seed": seed}
        low = 10.0 if momentum else 30.0
        study.add(low, 1.0, gamma=0.0, bits=4, **how)
        study.add(50.0, 0.2 if decay else 0.4, gamma=0.625, bits=4, **how)
        study.add(60.0 + i, 1.0, gamma=0.0, bits=8, **how)
    study.add(60.0, 1.0, gamma=0.0, bits=32)
    found = {
        (e.factor, e.response): e for e in effects(study.write("momentum", "weight_decay", "seed"))
    }

    assert found["momentum", "rescue"].size == pytest.approx(-20 / 50)
    assert found["momentum", "accuracy"].size == pytest.approx(2.0)
    assert found["weight_decay", "ln density"].size == pytest.approx(-0.6931, abs=1e-4)
    assert found["seed", "accuracy"].size == pytest.approx(0.0)
    assert (found["momentum", "rescue"].low, found["momentum", "rescue"].high) == (0.9, 0.0)
    assert found["momentum", "rescue"].counts
    assert not found["seed", "rescue"].counts


def test_the_pseudo_standard_error_leaves_large_effects_out() -> None:
    """Lenth's: half again the median of what is small."""
    assert pseudo_standard_error([1, -1, 1, -1, 1, 40]) == 1.5
    assert pseudo_standard_error([]) == 0.0
