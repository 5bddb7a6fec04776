"""Every mistake that Espalier names: one root, one class per kind.

A message says what was asked, what was found and what to do. Faults of an argument are
``ValueError`` too, so that callers who know nothing of Espalier catch them as they expect.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "BusyError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DeadLayerError",
    "DeadLayerWarning",
    "EspalierError",
    "NonFiniteError",
    "RecordError",
    "SelectionError",
    "StoppedError",
    "StorageError",
    "UnsupportedOptimizerError",
    "nearest",
]


class EspalierError(Exception):
    """Root of all errors that Espalier raises on purpose."""


class ConfigError(EspalierError, ValueError):
    """A setting is out of its bounds, unknown, or contradicts another."""


class BusyError(ConfigError):
    """Another process works on the same directory."""


class SelectionError(EspalierError, ValueError):
    """A rule matches nothing, or rules leave nothing to compress."""


class NonFiniteError(EspalierError, ValueError):
    """A weight or a loss is NaN or infinite."""


class DeadLayerError(EspalierError):
    """A layer lost all of its weights and the caller asked for an error."""


class DeadLayerWarning(UserWarning):
    """A layer lost all of its weights."""


class UnsupportedOptimizerError(EspalierError, TypeError):
    """The optimizer works in a way that compression at every step can't follow."""


class DataError(EspalierError, ValueError):
    """A data set is missing, damaged or of another shape."""


class CheckpointError(EspalierError):
    """A checkpoint is damaged, incomplete or of another run."""


class StorageError(EspalierError, OSError):
    """A file can't be written: the disk is full, or the place can't be written to."""


class StoppedError(EspalierError):
    """A run was asked to stop; it has saved what it needs to go on."""


class RecordError(EspalierError, ValueError):
    """A record of a run is damaged, of a newer version, or of another run."""


def nearest(asked: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name nearest to ``asked``, or ``""``.

    Example:
        >>> nearest("papr_cnn", ["paper_cnn", "resnet20"])
        " Did you mean 'paper_cnn'?"
    """
    found = get_close_matches(asked, list(known), n=1)
    return f" Did you mean '{found[0]}'?" if found else ""
