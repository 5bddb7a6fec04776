"""From the settings that somebody gave to the spec that says everything."""

import copy
import inspect
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from espalier.data import DATASETS, Dataset
from espalier.errors import ConfigError, nearest
from espalier.models import build_model, find_model
from espalier.records import RunSpec
from espalier.records.recipes import with_recipe
from espalier.train.environment import AUTO, resolve_precision

__all__ = ["build_network", "network_options", "resolve_spec"]

FROM_DATA = ("classes", "channels", "length")
"""Options of a network that the data set decides; in the spec only where somebody gives them."""
LATER = ("inner",)
"""Options that came after the first records; likewise, so that earlier runs keep their names."""


def resolve_spec(settings: Mapping[str, Any], *, device: torch.device) -> RunSpec:
    """Write out every default: of the run, of the network's function, of the precision.

    Args:
        settings: names of :class:`RunSpec`'s fields with their values; ``precision`` may be
            ``"auto"``, which is the default, ``dropout`` is one of the network's options, and
            ``recipe`` is one of :data:`RECIPES`, whose settings count where none is given.
        device: where the run will compute; ``auto`` looks at it.

    Raises:
        ConfigError: an unknown setting, name or option, or a value out of its bounds.

    Example:
        >>> spec = resolve_spec({"model": "paper_cnn", "dropout": 0.5}, device=torch.device("cpu"))
        >>> spec.model_options["dropout"], spec.model_options["hidden"]
        (0.5, [512, 256, 128])
    """
    known = [f.name for f in fields(RunSpec)]
    for name in settings:
        if name not in (*known, "dropout", "recipe"):
            raise ConfigError(f"there is no setting '{name}'.{nearest(name, known)}")
    given = with_recipe(settings, dropout=_has_dropout(settings))
    options = dict(given.pop("model_options", {}))
    if "dropout" in given:
        options["dropout"] = given.pop("dropout")
    if given.get("target_density") is not None:
        given.setdefault("gamma", 0.0)
    if given.get("max_bytes") is not None:
        given = {"gamma": 0.0, "update": "latent", "schedule": "cubic"} | given
    if given.get("pressure") is not None:
        given = {"gamma": 0.0, "update": "latent"} | given
    given["precision"] = resolve_precision(given.get("precision", AUTO), device)
    spec = RunSpec(**given)
    if spec.data not in DATASETS and ":" not in spec.data:
        raise ConfigError(
            f"no data set '{spec.data}'; there are {', '.join(sorted(DATASETS))}."
            f"{nearest(spec.data, DATASETS)} Data of your own are given as 'module:function'."
        )
    given["model_options"] = _defaults(spec.model) | options
    _refuse_unknown(spec.model, options)
    return RunSpec(**given)


def build_network(spec: RunSpec, dataset: Dataset) -> torch.nn.Module:
    """Build the spec's network for a data set, on the CPU, from torch's current random state.

    Raises:
        ConfigError: no such network or option, or it can't take the data set's samples.
    """
    model = build_model(spec.model, **network_options(spec, dataset))
    _try(model, spec, dataset)
    return model


def network_options(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """Return all options of the spec's network: those that the data set decides, and its own."""
    shape = dataset.input_shape
    from_data = {"classes": len(dataset.classes), "channels": shape[0], "length": shape[-1]}
    takes = inspect.signature(find_model(spec.model)).parameters
    fitting = {name: value for name, value in from_data.items() if name in takes}
    return fitting | dict(spec.model_options)


def _try(model: torch.nn.Module, spec: RunSpec, dataset: Dataset) -> None:
    """Pass one sample through, so that a misfit shows before anything is written."""
    shape, classes = dataset.input_shape, len(dataset.classes)
    misfit = f"model '{spec.model}' doesn't fit data set '{spec.data}'"
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            found = tuple(model.eval()(torch.zeros(1, *shape)).shape)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ConfigError(f"{misfit}, whose samples have shape {shape}: {error}") from error
    if found != (1, classes):
        raise ConfigError(
            f"{misfit}: one sample gives an output of shape {found}; expected (1, {classes}), one "
            "value for each class."
        )
    if len(dataset.train) % spec.batch_size == 1 and spec.batch_size > 1:
        _try_alone(model, spec, dataset)


def _try_alone(model: torch.nn.Module, spec: RunSpec, dataset: Dataset) -> None:
    """Train a copy on one sample, where an epoch ends with one: its batch can't be normalized."""
    sample = torch.zeros(1, *dataset.input_shape)
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            copy.deepcopy(model).train()(sample)
    except ValueError as error:
        raise ConfigError(
            f"{len(dataset.train)} samples in batches of {spec.batch_size} leave one alone, with "
            f"which model '{spec.model}' can't train ({error}). Give another batch_size."
        ) from error


def _defaults(model: str) -> dict[str, Any]:
    """Return the options that have a default which JSON can hold."""
    parameters = inspect.signature(find_model(model)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {k: v for k, v in defaults.items() if k not in (*FROM_DATA, *LATER) and _is_json(v)}


def _has_dropout(settings: Mapping[str, Any]) -> bool:
    model = settings.get("model") or RunSpec().model
    return isinstance(model, str) and "dropout" in inspect.signature(find_model(model)).parameters


def _refuse_unknown(model: str, options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(find_model(model)).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for name in options:
        if name not in parameters:
            raise ConfigError(
                f"model '{model}' has no option '{name}'; its options: "
                f"{', '.join(parameters) or 'none'}.{nearest(name, parameters)}"
            )


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
