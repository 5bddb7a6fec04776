"""The published tables hang together: Table II follows from Table I by equations 5 and 6."""

import pytest

from espalier.metrics import efficiency, published_table1, published_table2, ratio

RUNS = {(run.gamma, run.bits): run for run in published_table1()}
BASELINE = RUNS[0.0, 32].test_accuracy


def test_table1_is_the_whole_grid():
    """Seven strengths by five bit widths, densities as fractions."""
    gammas = {gamma for gamma, _ in RUNS}
    assert gammas == {0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75}
    assert {bits for _, bits in RUNS} == {3, 4, 8, 16, 32}
    assert len(published_table1()) == len(RUNS) == 35
    assert all(0 < run.density <= 1 for run in RUNS.values())


def test_table2_is_the_whole_grid():
    """Six strengths by three bit widths by three rho."""
    cells = {(row.gamma, row.bits, row.rho) for row in published_table2()}
    assert len(cells) == len(published_table2()) == 54


@pytest.mark.parametrize(
    "cell", published_table2(), ids=lambda cell: f"{cell.gamma}-{cell.bits}-{cell.rho}"
)
def test_table2_follows_from_table1(cell):
    """Every cell within 0.1 %."""
    run = RUNS[cell.gamma, cell.bits]
    found = efficiency(run.test_accuracy, BASELINE, ratio(run.density, run.bits), cell.rho)
    assert found == pytest.approx(cell.efficiency, rel=1e-3)


def test_the_highlights_of_table3_are_in_the_tables():
    """Best accuracies, lowest density and highest score at rho 2, as the paper names them."""
    compressed = [run for run in RUNS.values() if run.gamma > 0 and run.bits < 32]
    best = max(compressed, key=lambda run: run.test_accuracy)
    assert (best.test_accuracy, round(best.density, 4)) == (84.78, 0.0868)
    assert max(run.test_accuracy for run in RUNS.values()) == BASELINE == 87.21
    assert min(run.density for run in RUNS.values()) == pytest.approx(0.0545)
    assert max(row.efficiency for row in published_table2() if row.rho == 2) == 95.27
