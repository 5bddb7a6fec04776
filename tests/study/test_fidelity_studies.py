"""The studies of docs/fidelity.md: as many runs as the plan says, and what its design promises."""

import itertools
from pathlib import Path

import pytest
import torch

from espalier.records import StudyPlan, setting
from espalier.study.planning import find_definition, make_plan

FOLDER = Path(__file__).parents[2] / "docs" / "studies"

RUNS = {
    "structure": 38,
    "adam": 16,
    "factors": 38,
    "explanations": 8,
    "confirmation": 9,
    "comparison": 17,
}

FACTORS = {
    "momentum": (0.9, 0.0),
    "biases": (True, False),
    "jointly": (False, True),
    "strict": (False, True),
    "std_zeros": (True, False),
    "batch_size": (64, 128),
    "dropout": (0.3, 0.0),
    "model_options.initialization": ("xavier", "default"),
    "model_options.normalize_hidden": (False, True),
    "weight_decay": (0.0, 0.0005),
    "seed": (0, 1),
}
"""Each factor with its level in the base, and the other one."""


def plan(name: str) -> StudyPlan:
    path = FOLDER / f"fidelity-{name}.toml"
    return make_plan(find_definition(str(path)), device=torch.device("cpu"))


@pytest.mark.parametrize(("name", "runs"), RUNS.items())
def test_as_many_runs_as_the_plan_says(name: str, runs: int) -> None:
    """The file parses, its runs are counted in it and in the plan, and all are in one precision."""
    ours = plan(name)

    assert len(ours.cells) == runs
    assert ours.name == f"fidelity-{name}"
    assert f" {runs} runs" in (FOLDER / f"fidelity-{name}.toml").read_text(encoding="utf-8")
    assert f"| `fidelity-{name}` | {runs} |" in (FOLDER.parent / "fidelity.md").read_text("utf-8")
    assert {spec.model for spec in ours.cells.values()} == {"paper_cnn"}


def test_the_factors_are_orthogonal() -> None:
    """Twelve rows: each level six times, each pair of levels of two factors three times."""
    specs = [s for s in plan("factors").cells.values() if s.precision == "bf16"]
    for cell in ((0.0, 4), (0.625, 4), (0.0, 8)):
        rows = [s for s in specs if (s.gamma, s.bits) == cell]
        levels = {name: [setting(s, name) for s in rows] for name in FACTORS}
        assert len(rows) == 12
        for name, known in FACTORS.items():
            assert [levels[name].count(level) for level in known] == [6, 6], name
        for one, other in itertools.combinations(FACTORS, 2):
            pairs = list(zip(levels[one], levels[other], strict=True))
            assert {pairs.count(p) for p in itertools.product(FACTORS[one], FACTORS[other])} == {3}


def test_one_row_of_the_factors_is_the_base() -> None:
    """It is what the other studies start from."""
    base = {name: known[0] for name, known in FACTORS.items()}
    specs = [s for s in plan("factors").cells.values() if s.precision == "bf16"]

    at_base = [s for s in specs if {name: setting(s, name) for name in FACTORS} == base]
    assert len(at_base) == 3
    assert all(spec in plan("structure").cells.values() for spec in at_base)


def test_confirmation_begins_with_what_tells_the_leads_apart() -> None:
    """Four bits before eight, lead b before lead a, the dense network last."""
    order = [(s.update, s.rounding, s.gamma, s.bits) for s in plan("confirmation").cells.values()]
    assert order == [
        ("inplace", "nearest", 0.0, 4),
        ("inplace", "nearest", 0.0, 8),
        ("hybrid", "nearest", 0.625, 4),
        ("hybrid", "nearest", 0.625, 8),
        ("hybrid", "floor", 0.0, 4),
        ("hybrid", "floor", 0.0, 8),
        ("hybrid", "floor", 0.625, 4),
        ("hybrid", "floor", 0.625, 8),
        ("hybrid", "nearest", 0.0, 32),
    ]


def test_the_comparison_has_every_scheme_at_every_time() -> None:
    """P, Q, P then Q, Q then P: each at every step, every epoch and after training."""
    found = {
        (s.gamma, s.bits, s.order, s.cadence, s.dense_epochs)
        for s in plan("comparison").cells.values()
    }
    schemes = [(0.625, 32, "pq"), (0.0, 4, "pq"), (0.625, 4, "pq"), (0.625, 4, "qp")]
    times = [("every_step", 0), ("every_epoch", 0), ("every_epoch", 7)]
    assert {(*scheme, *time) for scheme in schemes for time in times} <= found
