"""A study's plan: round trip, extension, what is refused."""

from dataclasses import replace
from typing import Any

import pytest

from espalier.errors import ConfigError, RecordError
from espalier.records import RunSpec, StudyPlan, setting, settings

BASE = RunSpec(data="modulation", model="modulation_cnn", model_options={"dropout": 0.1})


def plan(bits: tuple[int, ...] = (4, 8), name: str = "s", **fixed: Any) -> StudyPlan:
    specs = [replace(BASE, bits=b, **fixed) for b in bits]
    return StudyPlan.of(name, {"bits": bits}, specs)


def test_round_trip() -> None:
    """JSON gives the same plan back, cells in order."""
    ours = plan((8, 4, 32))

    read = StudyPlan.from_json(ours.to_json())

    assert read == ours
    assert [spec.bits for spec in read.cells.values()] == [8, 4, 32]


def test_settings_name_the_options_of_the_network() -> None:
    """Axes can be options of the network."""
    named = settings(replace(BASE, model_options={"dropout": 0.2, "hidden": 3}))

    assert named["dropout"] == 0.2
    assert named["model_options.hidden"] == 3
    assert named["gamma"] == 0.375
    assert "model_options" not in named
    assert setting(BASE, "model_options.hidden") is None


def test_extended_joins_axes_in_order_and_keeps_cells() -> None:
    """New points join; old ones keep their place."""
    union = plan((4, 32)).extended(plan((8, 4)))

    assert union.axes["bits"] == (4, 8, 32)
    assert [spec.bits for spec in union.cells.values()] == [4, 32, 8]


def test_extended_by_an_axis_that_was_fixed_before() -> None:
    """Seeds can be added to a study that had one."""
    specs = [replace(BASE, bits=4, seed=s) for s in (0, 1)]
    more = StudyPlan.of("s", {"bits": (4,), "seed": (0, 1)}, specs)

    union = plan((4, 8)).extended(more)

    assert union.axes == {"bits": (4, 8), "seed": (0, 1)}
    assert len(union.cells) == 3


def test_another_study_is_refused() -> None:
    """Neither another name nor another fixed setting mixes with the cells that are there."""
    with pytest.raises(ConfigError, match=r"holds study 's', not 't'. Choose another --out"):
        plan().extended(plan(name="t"))
    with pytest.raises(ConfigError, match=r"with epochs 200, not 8.*make epochs an axis"):
        plan().extended(plan(epochs=8))
    with pytest.raises(ConfigError, match=r"with dropout 0.1, not 0.5"):
        plan().extended(plan(model_options={"dropout": 0.5}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "plan has version 2; this Espalier reads versions up to 1"),
        ({"cels": []}, "unknown key 'cels'. Did you mean 'cells'"),
        ({"cells": {}}, "expected a name, an object of axes and a list of cells"),
        ({"axes": {"bits": 4}}, "axis 'bits' is 4; expected a list"),
        ({"cells": [3]}, "plan, cell 1 is int"),
        ({"cells": [{"run_id": "x", "spec": BASE.to_json()}]}, "cell 1 is called x; its spec's"),
    ],
)
def test_damaged_plans_are_refused(change: dict[str, Any], words: str) -> None:
    """Each damage is named where it is."""
    with pytest.raises(RecordError, match=words):
        StudyPlan.from_json({**plan().to_json(), **change})


def test_a_cell_twice_is_refused() -> None:
    """A plan that was edited by hand may have a cell twice."""
    data = plan().to_json()
    data["cells"].append(data["cells"][0])

    with pytest.raises(RecordError, match="plan has a cell twice"):
        StudyPlan.from_json(data)
