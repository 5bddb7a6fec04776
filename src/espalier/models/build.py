"""From a name to a network: Espalier's own, or the user's as ``module:function``."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from espalier.errors import ConfigError, nearest
from espalier.imports import imported
from espalier.models.modulation_cnn import modulation_cnn
from espalier.models.paper_cnn import paper_cnn
from espalier.models.resnet20 import resnet20

__all__ = ["MODELS", "build_model", "find_model"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "modulation_cnn": modulation_cnn,
    "paper_cnn": paper_cnn,
    "resnet20": resnet20,
}
"""Espalier's own networks. All options are keywords; each function states its own."""


def build_model(name: str, /, **options: Any) -> nn.Module:
    """Build a network by its name.

    Args:
        name: one of :data:`MODELS`, or ``module:function`` for the user's own, which is imported
            (from the current folder too) and called with the options; a class works as well.
        options: keywords of that function.

    Raises:
        ConfigError: no such network, module, function or option; a required option is missing; or
            the user's function doesn't return a ``torch.nn.Module``.

    Example:
        >>> build_model("resnet20", classes=100).fc.out_features
        100
    """
    function = find_model(name)
    _check_options(name, function, options)
    network = function(**options)
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"model {name!r} returned {type(network).__name__}; expected a torch.nn.Module."
        )
    return network


def find_model(name: str) -> Callable[..., Any]:
    """Return the function that builds a network, for instance to see its options and defaults.

    Raises:
        ConfigError: no such network, module or function.

    Example:
        >>> find_model("paper_cnn").__name__
        'paper_cnn'
    """
    if ":" in name:
        return imported(name, what="model", gives="a torch.nn.Module")
    return _known(name)


def _known(name: str) -> Callable[..., nn.Module]:
    if name in MODELS:
        return MODELS[name]
    raise ConfigError(
        f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}.{nearest(name, MODELS)} "
        "A network of your own is given as 'module:function'."
    )


def _check_options(name: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
    """Name unknown and missing options before the call, so that a fault inside it stays its own."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # built in, without a signature: the call itself must tell
        return
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    valid = [p.name for p in named]
    unknown = [option for option in options if option not in valid]
    if unknown and not takes_any:
        raise ConfigError(
            f"model {name!r} has no option {unknown[0]!r}; its options: "
            f"{', '.join(valid) or 'none'}.{nearest(unknown[0], valid)}"
        )
    single = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    missing = [p.name for p in single if p.default is p.empty and p.name not in options]
    if missing:
        raise ConfigError(f"model {name!r} needs a value for {', '.join(missing)}.")
