"""Recipes: settings that belong together, by name; what one gives beside a recipe counts instead.

A recipe leaves no trace in a record but its settings: those say all.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from espalier.encoded import DENSE_BITS
from espalier.errors import ConfigError, nearest

__all__ = ["DEFAULT_RECIPE", "RECIPES", "with_recipe"]

DEFAULT_RECIPE = "paper"
STRONG: dict[str, Any] = {
    "update": "latent",
    "budget": "lamp",
    "target_density": 0.02,
    "bits": 3,
    "grid_quantile": 0.995,
    "schedule": "cubic",
    "ramp_start": 0.1,
    "ramp_end": 0.6,
    "lr": 0.1,
    "lr_schedule": "cosine",
    "warmup_epochs": 2,
    "nesterov": True,
    "weight_decay": 5e-4,
    "batch_size": 128,
    "epochs": 60,
    "patience": 0,
    "dropout": 0.1,
    "augment": True,
    "recalibrate": 5000,
    "choose": "validation",
}
RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"paper": MappingProxyType({}), "strong": MappingProxyType(STRONG)}
)
"""``paper``: the defaults of a run. ``strong``: for the smallest networks, see docs/recipe.md."""

FLIPPABLE = ("cifar10",)
"""Data sets whose samples stay what they are when flipped and shifted."""
PRUNING = ("gamma", "target_density", "max_bytes", "pressure")
"""Settings that say how much to prune; the first that is given replaces the recipe's."""
BUDGETED = ("target_density", "max_bytes")
OF_A_BUDGET = ("layer_least", "spare_operations")
"""Settings that say how layers share what the former ones give."""


def with_recipe(settings: Mapping[str, Any], *, dropout: bool) -> dict[str, Any]:
    """Return settings with those that their recipe adds; the key ``recipe`` is gone.

    A part of a recipe gives way where what is given contradicts it: a budget to another way to say
    what to prune, Nesterov's momentum and a warm-up to another optimizer or fewer epochs, the end
    of the grid to another rounding or a learned step, a quantizer to 32 bits, what divides a budget
    to none, augmentation to data that is not known to bear it.

    Args:
        settings: what was given; ``recipe`` is ``paper`` where it is missing.
        dropout: whether the network has such an option.

    Raises:
        ConfigError: no such recipe.

    Example:
        >>> with_recipe({"recipe": "strong", "bits": 2}, dropout=True)["bits"]
        2
    """
    given = dict(settings)
    name = given.pop("recipe", DEFAULT_RECIPE)
    if name not in RECIPES:
        raise ConfigError(
            f"no recipe {name!r}; there are {', '.join(RECIPES)}.{nearest(str(name), RECIPES)}"
        )
    recipe = dict(RECIPES[name])
    if any(given.get(setting) is not None for setting in PRUNING):
        recipe.pop("target_density", None)
    if given.get("optimizer", "sgd") != "sgd":
        recipe.pop("nesterov", None)
    rounded = given.get("rounding", "nearest") != "nearest" or given.get("bits") == 1
    if rounded or given.get("quantizer") == "lsq":
        recipe.pop("grid_quantile", None)
    if given.get("bits") == DENSE_BITS:
        recipe.pop("quantizer", None)
    if not any((recipe | given).get(name) is not None for name in BUDGETED):
        recipe = {name: value for name, value in recipe.items() if name not in OF_A_BUDGET}
    epochs = given.get("epochs")
    if isinstance(epochs, int) and "warmup_epochs" in recipe:
        recipe["warmup_epochs"] = min(recipe["warmup_epochs"], epochs // 10)
    if given.get("data", FLIPPABLE[0]) not in FLIPPABLE:
        recipe.pop("augment", None)
    if not dropout or "dropout" in given.get("model_options", {}):
        recipe.pop("dropout", None)
    return recipe | given
