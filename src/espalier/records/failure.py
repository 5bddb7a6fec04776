"""Why a run of a study was given up: ``failure.json``."""

from dataclasses import dataclass, fields
from typing import Any

from espalier.errors import RecordError
from espalier.records.serial import VERSION, check_keys, require_version

__all__ = ["RunFailure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailure:
    """A run that was given up, while the others of its study went on."""

    run_id: str
    kind: str
    """Name of the error, for instance ``NonFiniteError``, or ``killed``."""
    reason: str
    """What was found and what to do, for people."""
    attempts: int
    """How often it was tried, >= 1."""

    def __post_init__(self) -> None:
        """Check types, so that a damaged file is found where it is read."""
        for name in ("run_id", "kind", "reason"):
            if not isinstance(getattr(self, name), str):
                raise RecordError(f"{name}={getattr(self, name)!r}: expected text.")
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise RecordError(f"attempts={self.attempts!r}: expected an integer.")

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {"version": VERSION, **{f.name: getattr(self, f.name) for f in fields(self)}}

    @classmethod
    def from_json(cls, data: Any, *, what: str = "failure") -> "RunFailure":
        """Read what :meth:`to_json` gave.

        Raises:
            RecordError: an unknown or missing key, a newer version, or a wrong value.
        """
        values = require_version(data, what)
        check_keys(values, (f.name for f in fields(cls)), what)
        try:
            return cls(**values)
        except RecordError as error:
            raise RecordError(f"{what}: {error}") from error
