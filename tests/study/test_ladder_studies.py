"""The ladder's studies: as many runs as is said, and each rung one step from another one."""

from functools import cache
from pathlib import Path

import pytest
import torch

from espalier.records import RunSpec, StudyPlan
from espalier.records.plan import settings
from espalier.study.planning import find_definition, make_plan

FOLDER = Path(__file__).parents[2] / "docs" / "studies"
RUNS = {"ladder": 33, "ladder-beyond": 33, "strong": 21}
SCREENING = ("ladder", "ladder-beyond")
SIZE = 60_000
RECIPE = {
    "update": "latent",
    "budget": "lamp",
    "schedule": "cubic",
    "grid_quantile": 0.995,
    "recalibrate": 5000,
    "bits": 3,
    "quantizer": "uniform",
}


@cache
def plan(name: str) -> StudyPlan:
    path = FOLDER / f"{name}.toml"
    return make_plan(find_definition(str(path)), device=torch.device("cpu"))


def changed(one: RunSpec, other: RunSpec) -> set[str]:
    """Return the settings in which two runs differ."""
    a, b = settings(one), settings(other)
    return {name for name in a if a[name] != b[name]}


def rungs(name: str) -> list[RunSpec]:
    """Return the first seed's run of each rung."""
    return [spec for spec in plan(name).cells.values() if spec.seed == 0]


@pytest.mark.parametrize(("name", "runs"), RUNS.items())
def test_as_many_runs_as_is_said(name: str, runs: int) -> None:
    """The file parses; three seeds a rung; the count stands in it and in the plan's page."""
    specs = list(plan(name).cells.values())
    assert len(specs) == runs
    assert len(rungs(name)) * 3 == runs
    assert {spec.seed for spec in specs} == {0, 1, 2}
    assert f"{runs} runs" in (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    assert f"| `{name}` | {runs} |" in (FOLDER.parent / "ladder.md").read_text(encoding="utf-8")


def test_training_is_the_same_on_every_rung() -> None:
    """So that a gain is what the rung adds, in both files."""
    specs = [spec for name in SCREENING for spec in plan(name).cells.values()]
    for name in ("lr", "lr_schedule", "epochs", "limit_train", "batch_size", "weight_decay"):
        assert len({getattr(spec, name) for spec in specs}) == 1, name
    assert {(s.epochs, s.limit_train, s.choose) for s in specs} == {(5, 12_800, "validation")}


def test_each_rung_adds_one_thing() -> None:
    """From the dense run to the recipe, and from the recipe one thing away."""
    _, paper, budget, latent, lamp, ramp, quantile, recipe, *without = rungs("ladder")
    assert changed(paper, budget) == {"gamma", "target_density"}
    assert changed(budget, latent) == {"update", "target_density", "max_bytes"}
    pairs = [(latent, lamp), (lamp, ramp), (ramp, quantile), (quantile, recipe)]
    added = ["budget", "schedule", "grid_quantile", "recalibrate"]
    assert [changed(a, b) for a, b in pairs] == [{name} for name in added]
    assert [changed(recipe, spec) for spec in without] == [{name} for name in added[:3]]
    assert RECIPE.items() <= settings(recipe).items()
    sized = [latent, lamp, ramp, quantile, recipe, *without]
    assert {spec.max_bytes for spec in sized} == {SIZE}


def test_what_lies_beyond_is_in_the_place_of_one_part() -> None:
    """Of the recipe, which is the eighth row of the ladder."""
    recipe, others = rungs("ladder")[7], rungs("ladder-beyond")
    assert [changed(recipe, spec) for spec in others[:8]] == [
        {"bits"},
        {"bits"},
        {"quantizer", "grid_quantile", "operator_lr"},
        {"quantizer", "grid_quantile", "operator_lr"},
        {"quantizer", "grid_quantile", "operator_lr", "bits"},
        {"quantizer"},
        {"quantizer", "bit_price"},
        {"layer_least"},
    ]
    assert changed(*others[-2:]) == {"rounding"}


def test_the_table_has_a_dense_network_for_each() -> None:
    """The recipe's settings, the same epochs, augmentation and precision; sizes as the aims are."""
    specs = rungs("strong")
    for model, sizes in (("paper_cnn", [60_000, 30_000]), ("resnet20", [89_907, 53_944])):
        dense, *small = [spec for spec in specs if spec.model == model]
        assert not dense.compresses
        assert [spec.max_bytes for spec in small[:2]] == sizes
        for name in ("epochs", "augment", "precision", "lr", "weight_decay", "recalibrate"):
            assert {getattr(spec, name) for spec in small} == {getattr(dense, name)}, name
    assert [(s.target_density, s.bits) for s in specs if s.target_density] == [(0.0693, 4)]
    assert {s.bits for s in specs if s.max_bytes == 89_907} == {4}  # 3 would not fill it
    assert {(spec.budget, spec.augment, spec.limit_train) for spec in specs} == {
        ("lamp", True, None)
    }
