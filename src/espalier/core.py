"""The compiled core, where there is one. Every part of it has a twin in Python or torch.

The core is optional: without a C compiler at installation the package works all the same, slower.
Needs neither torch nor numpy. Where torch is imported first, the two share one pool of threads.
"""

import os
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["core"]


def _load() -> ModuleType | None:
    if os.environ.get("ESPALIER_NO_CORE", "") not in ("", "0"):
        return None
    try:
        return import_module("espalier._core")
    except ImportError:
        return None


core: Any = _load()
"""The module ``espalier._core``; None where it isn't built, or where the environment variable
``ESPALIER_NO_CORE`` is set to anything but the empty string or 0."""
