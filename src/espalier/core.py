"""The compiled core, where it was built."""

import os
from types import ModuleType

__all__ = ["core"]


def _load() -> ModuleType | None:
    if os.environ.get("ESPALIER_NO_CORE", "0") not in ("", "0"):
        return None
    try:
        from espalier import _core
    except ImportError:
        return None
    return _core


core: ModuleType | None = _load()
"""The extension ``espalier._core``, or None where it was not built or ``ESPALIER_NO_CORE`` is set."""
