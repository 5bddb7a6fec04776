"""Recipes: named settings that give way to what is given."""

from dataclasses import fields
from typing import Any

import pytest

from espalier.errors import ConfigError
from espalier.records import RunSpec, recipes
from espalier.records.recipes import RECIPES, with_recipe


def spec_of(**given: Any) -> RunSpec:
    settings = with_recipe(given, dropout=True)
    settings.pop("dropout", None)
    if settings.get("target_density") or settings.get("max_bytes"):
        settings.setdefault("gamma", 0.0)
    return RunSpec(**settings)


def test_the_default_is_the_papers_and_adds_nothing() -> None:
    """Without a recipe every record stays as it is."""
    assert with_recipe({"bits": 4}, dropout=True) == {"bits": 4}
    assert with_recipe({"recipe": "paper"}, dropout=True) == {}


def test_a_recipe_is_of_settings_that_exist() -> None:
    """And makes a valid spec on its own."""
    known = {f.name for f in fields(RunSpec)} | {"dropout"}
    for name, recipe in RECIPES.items():
        assert recipe.keys() <= known
        assert spec_of(recipe=name)


def test_what_is_given_counts() -> None:
    """An explicit option wins over the recipe's."""
    given = {"recipe": "strong", "bits": 2, "lr": 0.3, "augment": False, "epochs": 100}
    found = with_recipe(given, dropout=True)

    assert {name: found[name] for name in given if name != "recipe"} == {
        name: value for name, value in given.items() if name != "recipe"
    }
    assert found["budget"] == "lamp"


@pytest.mark.parametrize(
    "given", [{"gamma": 0.5}, {"max_bytes": 4000}, {"target_density": 0.3}], ids=str
)
def test_one_way_to_say_what_to_prune(given: dict[str, Any]) -> None:
    """The recipe's density gives way to any other."""
    assert spec_of(recipe="strong", **given).target_density == given.get("target_density")


def test_parts_that_contradict_give_way() -> None:
    """Nesterov to another optimizer, warm-up to few epochs, flips to unknown data."""
    assert "nesterov" not in with_recipe({"recipe": "strong", "optimizer": "adam"}, dropout=True)
    assert with_recipe({"recipe": "strong", "epochs": 10}, dropout=True)["warmup_epochs"] == 1
    assert "augment" not in with_recipe({"recipe": "strong", "data": "modulation"}, dropout=True)
    assert "dropout" not in with_recipe({"recipe": "strong"}, dropout=False)


def test_a_dense_run_is_dense_whatever_a_recipe_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its quantizer gives way to 32 bits, and what divides a budget to none."""
    parts = {"quantizer": "lsq", "layer_least": 16, "spare_operations": 0.5, "operator_lr": 0.1}
    strong = {k: v for k, v in RECIPES["strong"].items() if k != "grid_quantile"} | parts
    monkeypatch.setattr(recipes, "RECIPES", {"strong": strong})

    assert not spec_of(recipe="strong", gamma=0.0, bits=32).compresses
    small = spec_of(recipe="strong", max_bytes=4000)
    assert {name: getattr(small, name) for name in parts} == parts


def test_an_unknown_recipe_is_named_with_the_nearest() -> None:
    """What was asked, what there is."""
    with pytest.raises(ConfigError, match=r"no recipe 'strnog'; .* Did you mean 'strong'\?"):
        with_recipe({"recipe": "strnog"}, dropout=True)
