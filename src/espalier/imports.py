"""A function of the user's own, from its name ``module:function``."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from espalier.errors import ConfigError, nearest

__all__ = ["imported"]


def imported(name: str, *, what: str, gives: str) -> Callable[..., Any]:
    """Import what ``module:function`` names, from the current folder too; a class works as well.

    Args:
        name: of module and function.
        what: the setting that it stands in, for messages: ``model``.
        gives: what the function must return, for messages: ``a torch.nn.Module``.

    Raises:
        ConfigError: no such form, module or function, or it can't be called.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConfigError(
            f"{what} {name!r}: expected 'module:function', for instance 'nets:small'."
        )
    module = _import(f"{what} {name!r}", module_name)
    function = getattr(module, attribute, None)
    if function is None:
        public = [known for known in vars(module) if not known.startswith("_")]
        raise ConfigError(
            f"{what} {name!r}: module {module_name!r} ({getattr(module, '__file__', 'built in')}) "
            f"has no {attribute!r}.{nearest(attribute, public)}"
        )
    if not callable(function):
        raise ConfigError(
            f"{what} {name!r} is {type(function).__name__}, which can't be called; expected a "
            f"function or class that returns {gives}."
        )
    return function  # type: ignore[no-any-return]  # callable() narrows Any to Any


def _import(asked: str, module_name: str) -> ModuleType:
    try:
        with _importable(Path.cwd()):
            return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name != missing and not module_name.startswith(f"{missing}."):
            raise  # the user's module was found and lacks something itself: its own traceback says
        raise ConfigError(
            f"{asked}: no module {missing!r} in {Path.cwd()} or on Python's path. "
            "Run from the folder that holds it, or add that folder to PYTHONPATH."
        ) from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let ``folder`` be imported from, after all else: a console script's path lacks it."""
    entry = str(folder)
    added = entry not in sys.path
    if added:
        sys.path.append(entry)
    try:
        yield
    finally:
        if added and entry in sys.path:
            sys.path.remove(entry)
