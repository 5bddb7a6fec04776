"""Pictures as rows: which runs they show, and what they say where the study departs."""

from pathlib import Path

import pytest

from espalier.records import read_study
from espalier.report import Part, make_book
from espalier.report.charts import HeatMap, LineChart, Scatter
from espalier.report.operations import dense_macs
from espalier.report.runs import RULES

from .builder import LAYERS, epoch, figures, finish, plan, published_study, result, spec


def part(study: Path) -> Part:
    return make_book(read_study(study), "paper").parts[0]


def chart(study: Path, key: str) -> LineChart | HeatMap | Scatter:
    return next(c for c in part(study).charts if c.key == key)


def rates(study: Path) -> None:
    """Write a study of two learning rates at 4 bits and another one at 8."""
    runs = {
        (4, 0.01): (70.0, 0.2),
        (4, 0.1): (80.0, 0.3),
        (8, 0.05): (85.0, 0.4),
    }
    specs = {key: spec(gamma=0.5, bits=key[0], lr=key[1]) for key in runs}
    plan(study, [*specs.values(), spec(gamma=0.0, bits=32, lr=0.01)], "gamma", "bits", "lr")
    for key, (accuracy, density) in runs.items():
        finish(study, result(specs[key], figures(accuracy, density, key[0])))


def test_figure_2_shows_its_learning_rate_or_says_which(tmp_path: Path) -> None:
    """At .01 where the study has it; the nearest one elsewhere, and a note names it."""
    rates(tmp_path)
    figure = chart(tmp_path, "figure2")

    assert isinstance(figure, LineChart)
    assert figure.ticks == ((0.0, "4"), (1.0, "8"), (2.0, "32"))
    dense, pruned = figure.series
    assert [(dot.x, dot.y) for dot in pruned.dots] == [(0, 70.0), (1, 85.0)]
    assert [dot.y for dot in dense.dots] == [None]
    assert figure.notes == (("other_lr", "8 bits: 0.05"),)


def test_figure_3_is_density_in_percent(tmp_path: Path) -> None:
    """Density at the learning rate nearest to .001."""
    rates(tmp_path)
    figure = chart(tmp_path, "figure3")

    assert isinstance(figure, LineChart)
    assert [dot.y for dot in figure.series[1].dots] == [20.0, 40.0]


def test_figures_4_and_5_say_what_table_ii_says(tmp_path: Path) -> None:
    """PE at rho 2 of the same runs."""
    published_study(tmp_path)
    table = {
        (r.cell.gamma, r.cell.bits): r.efficiency for r in part(tmp_path).efficiency if r.rho == 2
    }
    figure4, figure5 = chart(tmp_path, "figure4"), chart(tmp_path, "figure5")

    assert isinstance(figure4, HeatMap)
    assert isinstance(figure5, LineChart)
    assert (len(figure4.rows), figure4.columns) == (7, ("3", "4", "8", "16", "32"))
    assert figure4.tiles[5][1].value == table[0.625, 4] == figure5.series[5].dots[1].y
    assert figure4.tiles[0][4].value == pytest.approx(1.0)


def test_curves_are_at_16_bits(tmp_path: Path) -> None:
    """Figures 6 and 7 take the runs of Table I, from epoch 1 on."""
    published_study(tmp_path)
    figure6, figure7 = chart(tmp_path, "figure6"), chart(tmp_path, "figure7")

    assert isinstance(figure6, LineChart)
    assert isinstance(figure7, LineChart)
    assert [s.gamma for s in figure6.series] == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75]
    assert [dot.x for dot in figure6.series[1].dots] == [1, 2, 3]
    assert figure6.series[1].dots[2].y == 83.76
    assert {dot.y for dot in figure7.series[1].dots} == {90.0}


def test_unfinished_curves_are_open(tmp_path: Path) -> None:
    """A run on its way is shown as far as it came, and said to be unfinished."""
    of = spec(gamma=0.5, bits=8)
    plan(tmp_path, [of], "gamma", "bits")
    found = result(of, figures(50, 0.5, 8))
    finish(tmp_path, found, [epoch(1, figures(50, 0.5, 8), 0.5)])
    (tmp_path / "runs" / found.run_id / "result.json").unlink()
    figure = chart(tmp_path, "figure6")

    assert isinstance(figure, LineChart)
    assert figure.series[0].open
    assert figure.notes == (("other_bits", "8"), ("unfinished", "0.5"))


def test_differences_are_zero_for_the_published(tmp_path: Path) -> None:
    """The published numbers do not differ from themselves."""
    published_study(tmp_path)
    for key in ("difference_accuracy", "difference_density"):
        figure = chart(tmp_path, key)
        assert isinstance(figure, HeatMap)
        assert {tile.value for row in figure.tiles for tile in row} == {0.0}


def test_the_front_is_beaten_by_nobody(tmp_path: Path) -> None:
    """Of the points in size and accuracy, those that no other one beats in both."""
    rates(tmp_path)
    figure = chart(tmp_path, "size")

    assert isinstance(figure, Scatter)
    points = [(dot.x, dot.y) for series in figure.series for dot in series.dots]
    assert len(points) == 3
    assert [dot.y for dot in figure.front] == [70.0, 80.0, 85.0]
    assert figure.front[0].x == pytest.approx(0.2 * 4 / 32 * 2_083_018 * 4 / 1000)
    assert figure.notes == (("asked_size", ""),)


def test_what_to_ship(tmp_path: Path) -> None:
    """The smallest within a tolerance, the most accurate within a budget, or none."""
    published_study(tmp_path)
    rows = {(row.question, row.bound): row.run for row in part(tmp_path).ship}

    within, under = rows["within", 3.0], rows["under", 100]
    assert within is not None
    assert (within.gamma, within.bits) == (0.375, 8)
    assert under is not None
    assert (under.gamma, under.bits) == (0.5, 4)
    assert rows["under", 50] is None


def test_honest_rules_never_choose_by_the_test_images(tmp_path: Path) -> None:
    """Of two runs the one that validates better is shipped, though the other tests better."""
    runs = {8: (84.0, 81.0), 4: (82.0, 83.0)}  # test, validation
    specs = {bits: spec(gamma=0.5, bits=bits, lr=0.01) for bits in runs}
    dense = spec(gamma=0.0, bits=32, lr=0.01)
    plan(tmp_path, [dense, *specs.values()], "gamma", "bits")
    finish(tmp_path, result(dense, figures(85.0, 1.0, 32, val=84.0)))
    for bits, (test, val) in runs.items():
        finish(tmp_path, result(specs[bits], figures(test, 0.1, bits, val=val)))
    chosen = {}
    for rule in RULES:
        (found,) = make_book(read_study(tmp_path), rule).parts
        under = {row.bound: row.run for row in found.ship if row.question == "under"}[1000]
        best = next(row.cell for row in found.highlights if row.key == "compressed")
        assert under is not None
        assert best is not None
        chosen[rule] = (under.bits, best.bits)

    assert chosen == {"paper": (8, 8), "validation": (4, 4), "last": (4, 4)}


def test_layers_and_learning_rates(tmp_path: Path) -> None:
    """Layers are those of the records, in order; learning-rate maps leave gaps."""
    published_study(tmp_path / "a")
    layers = chart(tmp_path / "a", "layers")
    assert isinstance(layers, HeatMap)
    assert layers.rows == tuple(f"{name}.weight" for name in LAYERS)
    assert layers.notes == (("at_bits", "4"),)
    rates(tmp_path / "b")
    maps = [c for c in part(tmp_path / "b").charts if c.key == "learning_rates"]
    assert [m.suffix for m in maps if isinstance(m, HeatMap)] == ["4 bits", "8 bits", "32 bits"]
    assert isinstance(maps[0], HeatMap)
    assert [tile.value for tile in maps[0].tiles[1]] == [70.0, None, 80.0]


def test_operations_are_those_of_the_network(tmp_path: Path) -> None:
    """Dense MACs equal what the network does, counted at each of its layers."""
    torch = pytest.importorskip("torch")
    from espalier.models import paper_cnn

    network, counted = paper_cnn().eval(), {}

    def count(name: str) -> object:
        def hook(module: object, _: object, out: object) -> None:
            positions = out[0, 0].numel() if out.dim() == 4 else 1  # type: ignore[attr-defined,index]
            counted[name] = module.weight.numel() * positions  # type: ignore[attr-defined]

        return hook

    for name, module in network.named_children():
        if name.startswith(("conv", "fc")):
            module.register_forward_hook(count(name))
    with torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    published_study(tmp_path)
    rows = part(tmp_path).operations

    assert dense_macs({"widths": [32, 64, 64, 128, 128], "hidden": [512, 256, 128]}) == counted
    assert rows[0].macs_nonzero == pytest.approx(777600 * 0.0693)
    assert rows[0].bit_operations == pytest.approx(777600 * 0.0693 * 4 * 32)
