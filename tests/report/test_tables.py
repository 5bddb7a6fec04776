"""Tables I to III: from numbers written down, and from the paper's own."""

from pathlib import Path

import pytest

from espalier.metrics import efficiency, published_table1, published_table2, ratio
from espalier.records import RunSpec, read_study, run_id
from espalier.report import Part, make_book
from espalier.report.runs import Rule

from .builder import figures, finish, give_up, plan, published_study, result, spec


def part(study: Path, rule: Rule = "paper") -> Part:
    (only,) = make_book(read_study(study), rule).parts
    return only


def test_the_published_records_give_the_published_tables(tmp_path: Path) -> None:
    """Records that are Table I give Table II within the paper's rounding, bold cells and all."""
    published_study(tmp_path)
    found = part(tmp_path)

    assert len(found.accuracy) == len(published_table1()) == 35
    assert all(row.accuracy_difference == row.density_difference == 0 for row in found.accuracy)
    assert [(r.cell.gamma, r.cell.bits) for r in found.accuracy if r.bold_accuracy] == [
        (0.0, 32),
        (0.375, 8),
    ]
    assert [(r.cell.gamma, r.cell.bits) for r in found.accuracy if r.bold_density] == [(0.625, 16)]
    ours = {(r.cell.gamma, r.cell.bits, r.rho): r for r in found.efficiency}
    theirs = {(r.gamma, r.bits, r.rho): r.efficiency for r in published_table2()}
    assert ours.keys() == theirs.keys()
    for place, row in ours.items():
        assert row.efficiency == pytest.approx(theirs[place], rel=8e-4)
        assert row.bold == (theirs[place] > 40)


def test_the_published_records_give_table_iii(tmp_path: Path) -> None:
    """The highlights are those that the paper names."""
    published_study(tmp_path)
    rows = {row.key: row for row in part(tmp_path).highlights}

    assert rows["dense"].value == 87.21
    assert rows["compressed"].value == 84.78
    assert rows["compressed"].cell is not None
    assert rows["compressed"].cell.density == 0.0868
    assert rows["sparsity"].value == pytest.approx(94.55)
    assert rows["density"].value == pytest.approx(5.45)
    assert rows["efficiency"].value == pytest.approx(95.27, rel=8e-4)
    assert rows["efficiency"].published == 95.27


def grid(study: Path) -> dict[str, RunSpec]:
    """Two learning rates and two seeds of one cell, a dense run, and a cell without any run."""
    runs = {
        f"{lr:g}/{seed}": spec(gamma=0.5, bits=4, lr=lr, seed=seed)
        for lr in (0.01, 0.1)
        for seed in (0, 1)
    }
    runs["dense"] = spec(gamma=0.0, bits=32, lr=0.01)
    plan(study, [*runs.values(), spec(gamma=0.5, bits=8, lr=0.01)], "gamma", "bits", "lr", "seed")
    numbers = {"0.01/0": (70, 60, 0.10), "0.01/1": (74, 64, 0.20), "0.1/0": (80, 50, 0.30)}
    for name, (test, val, density) in numbers.items():
        best = figures(test, density, 4, epoch=2, val=val)
        honest = figures(test - 2, density, 4, epoch=1, val=val + 5)
        finish(study, result(runs[name], best, by_validation=honest))
    finish(study, result(runs["dense"], figures(88, 1.0, 32)))
    give_up(study, runs["0.1/1"], "diverged")
    return runs


def test_best_run_by_the_papers_rule(tmp_path: Path) -> None:
    """The best test accuracy wins, whatever its learning rate and seed; no spread is claimed."""
    runs = grid(tmp_path)
    cell = next(row.cell for row in part(tmp_path).accuracy if row.cell.bits == 4)

    cell = next(c for c in part(tmp_path).cells if (c.gamma, c.bits) == (0.5, 4))
    assert (cell.test_accuracy, cell.density, cell.lr, cell.epoch) == (80, 0.30, 0.1, 2)
    assert cell.run_ids == (run_id(runs["0.1/0"]),)
    assert cell.test_spread is None
    assert (cell.planned, cell.finished, cell.failed, cell.state) == (4, 3, 1, "partial")


def test_mean_over_seeds_by_the_honest_rule(tmp_path: Path) -> None:
    """Learning rate by validation accuracy; mean and sample deviation over its seeds."""
    runs = grid(tmp_path)
    cell = next(c for c in part(tmp_path, "validation").cells if (c.gamma, c.bits) == (0.5, 4))

    assert cell.lr == 0.01
    assert cell.run_ids == (run_id(runs["0.01/0"]), run_id(runs["0.01/1"]))
    assert cell.test_accuracy == 70  # of 68 and 72, the epochs by validation
    assert cell.test_spread == pytest.approx(8**0.5)
    assert cell.density == pytest.approx(0.15)
    score = next(
        r for r in part(tmp_path, "validation").efficiency if r.cell == cell and r.rho == 2
    )
    assert score.efficiency == pytest.approx(efficiency(70, 88, ratio(0.15, 4), 2))


def test_last_epoch(tmp_path: Path) -> None:
    """By the rule of the last epoch its figures count."""
    of = spec(gamma=0.0, bits=32)
    plan(tmp_path, [of], "gamma", "bits")
    last = figures(50, 1.0, 32, epoch=9)
    finish(tmp_path, result(of, figures(60, 1.0, 32, epoch=3), last=last))

    assert part(tmp_path, "last").cells[0].test_accuracy == 50
    assert part(tmp_path).cells[0].test_accuracy == 60


def test_missing_cells_are_missing(tmp_path: Path) -> None:
    """What has not finished, failed or was never planned has no number."""
    grid(tmp_path)
    cells = {(c.gamma, c.bits): c for c in part(tmp_path).cells}

    assert (cells[0.5, 8].state, cells[0.5, 8].test_accuracy) == ("missing", None)
    assert cells[0.0, 4].state == "unplanned"
    scores = [r.efficiency for r in part(tmp_path).efficiency if r.cell == cells[0.5, 8]]
    assert scores == [None, None, None]


def test_no_baseline_no_efficiency(tmp_path: Path) -> None:
    """Without a finished dense run nothing has a PE."""
    published_study(tmp_path, keep=lambda of: of.gamma > 0)
    found = part(tmp_path)

    assert {row.efficiency for row in found.efficiency} == {None}
    assert not any(row.bold for row in found.efficiency)
    assert found.highlights[0].value is None


def test_an_empty_study(tmp_path: Path) -> None:
    """Before anything ran there are all rows and no numbers."""
    published_study(tmp_path, keep=lambda _: False)
    found = part(tmp_path)

    assert {row.cell.state for row in found.accuracy} == {"missing"}
    assert all(chart.empty for chart in found.charts)


def test_other_axes_make_variants(tmp_path: Path) -> None:
    """Runs of another update rule have tables of their own; other data has nothing published."""
    specs = [spec(gamma=0.0, bits=32, update=update) for update in ("hybrid", "latent")]
    other = [spec(gamma=0.0, bits=32, data="modulation", model="modulation_cnn")]
    plan(tmp_path / "a", specs, "gamma", "bits", "update")
    plan(tmp_path / "b", other, "gamma", "bits")

    book = make_book(read_study(tmp_path / "a"), "paper")
    assert [p.variant.label for p in book.parts] == ["update hybrid", "update latent"]
    assert part(tmp_path / "b").accuracy[0].published_accuracy is None
    assert part(tmp_path / "b").differences == ()
