"""Every mistake that Espalier names: one root, one class per kind.

A message says what was asked, what was found and what to do. Faults of an argument are
``ValueError`` too, so that callers who know nothing of Espalier catch them as they expect.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "ArtifactChecksumError",
    "ArtifactError",
    "ArtifactHeaderError",
    "ArtifactLengthError",
    "ArtifactLimitError",
    "ArtifactMagicError",
    "ArtifactMetadataError",
    "ArtifactStreamError",
    "ArtifactVersionError",
    "BudgetWarning",
    "BusyError",
    "CheckpointError",
    "CompilerError",
    "ConfigError",
    "DataError",
    "DeadLayerError",
    "DeadLayerWarning",
    "EspalierError",
    "ExportError",
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


class BudgetWarning(UserWarning):
    """What was asked for can't be used up: a network takes less than its budget, whole."""


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


class CompilerError(EspalierError):
    """There is no C compiler, or it does not compile what was generated."""


class StoppedError(EspalierError):
    """A run was asked to stop; it has saved what it needs to go on."""


class ExportError(EspalierError, ValueError):
    """A network has what no target can compute, or can't be traced."""


class RecordError(EspalierError, ValueError):
    """A record of a run is damaged, of a newer version, or of another run."""


class ArtifactError(EspalierError, ValueError):
    """A packed network's file is not what docs/format.md says, or can't be made."""

    def __init__(self, message: str, *, offset: int | None = None) -> None:
        """Say what is wrong and, where there is a file, at which of its bytes."""
        super().__init__(message)
        self.offset = offset
        """Where in the file, in bytes from its start; None where nothing was read."""
        self.path: str | None = None
        """Of the file, where it has one."""

    def __str__(self) -> str:
        file = "" if self.path is None else f"{self.path}: "
        place = "" if self.offset is None else f" (byte {self.offset})"
        return f"{file}{super().__str__()}{place}"


class ArtifactMagicError(ArtifactError):
    """The file is something else, or was changed by a transfer as text."""


class ArtifactVersionError(ArtifactError):
    """The file is of a version, or has a section, that this reader does not know."""


class ArtifactLengthError(ArtifactError):
    """The file was cut off or continued, or lengths in it don't add up."""


class ArtifactChecksumError(ArtifactError):
    """Bytes of the file have changed since they were written."""


class ArtifactHeaderError(ArtifactError):
    """A field of the header is out of its bounds or contradicts another."""


class ArtifactMetadataError(ArtifactError):
    """The metadata are not the JSON that they must be."""


class ArtifactLimitError(ArtifactError):
    """The network is larger than the reader was told to take, or than the format can hold."""


class ArtifactStreamError(ArtifactError):
    """A tensor's payload does not decode to what the header says."""


def nearest(asked: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name nearest to ``asked``, or ``""``.

    Example:
        >>> nearest("papr_cnn", ["paper_cnn", "resnet20"])
        " Did you mean 'paper_cnn'?"
    """
    found = get_close_matches(asked, list(known), n=1)
    return f" Did you mean '{found[0]}'?" if found else ""
