"""What an epoch found: one line of ``metrics.jsonl``."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from espalier.errors import RecordError
from espalier.records.serial import VERSION, canonical, check_keys, require_version

__all__ = ["EpochRecord", "count_epochs", "read_epochs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One epoch of a run: losses, accuracies, densities, times.

    Densities and ``ratio`` are over the compressed parameters, as the paper counts; those with
    ``_all`` are over all parameters, where one that stays dense counts with 32 bits.

    Raises:
        RecordError: a number is missing, of another type, or not finite.
    """

    epoch: int
    """Counted from 1."""
    gamma: float
    """Pruning strength at the epoch's last step."""
    train_loss: float
    """Mean over the epoch's samples, each at the step that used it, dropout included."""
    train_accuracy: float
    """Percent, likewise."""
    val_loss: float
    val_accuracy: float
    """Percent, with the epoch's last weights; the test figures likewise."""
    test_loss: float
    test_accuracy: float
    density_mask: float
    """Fraction of weights that the pruner kept, 0 to 1."""
    density_nonzero: float
    """Fraction of weights that are not zero, 0 to 1."""
    density_mask_all: float
    density_nonzero_all: float
    ratio: float
    """RC, eq. 6, from the mask density."""
    ratio_all: float
    layers: Mapping[str, tuple[float, float]]
    """Mask and nonzero density of each compressed parameter."""
    times: Mapping[str, float]
    """Seconds: ``train_s``, ``evaluate_s``, and ``wall_s`` since the run began, pauses left out."""

    def __post_init__(self) -> None:
        """Check types, so that a damaged line is found where it is read."""
        if isinstance(self.epoch, bool) or not isinstance(self.epoch, int) or self.epoch < 1:
            raise RecordError(f"epoch={self.epoch!r}: expected an integer >= 1.")
        for f in fields(self):
            if f.name not in ("epoch", "layers", "times"):
                _check_number(f.name, getattr(self, f.name))
        _check_object("layers", self.layers)
        _check_object("times", self.times)
        for name, value in self.times.items():
            _check_number(f"times.{name}", value)
        object.__setattr__(self, "times", dict(self.times))
        object.__setattr__(self, "layers", {k: _pair(k, v) for k, v in self.layers.items()})

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["layers"] = {name: list(pair) for name, pair in self.layers.items()}
        return {"version": VERSION, **values}

    def to_line(self) -> str:
        """Return the line of ``metrics.jsonl``, newline included."""
        return json.dumps(self.to_json(), separators=(",", ":"), allow_nan=False) + "\n"

    def comparable(self) -> str:
        """Return canonical JSON of all that equal runs share: times are left out."""
        return canonical({k: v for k, v in self.to_json().items() if k != "times"})

    @classmethod
    def from_json(cls, data: Any, *, what: str = "epoch record") -> "EpochRecord":
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


def read_epochs(path: Path) -> list[EpochRecord]:
    """Read a run's ``metrics.jsonl``; no file is no epochs.

    A last line that was cut off is left out: its writer was killed, and the epoch is run again.

    Raises:
        RecordError: another line is damaged, or epochs don't follow one another from 1.
    """
    try:
        *lines, _cut_off = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordError(f"can't read {path}: {error.strerror}.") from error
    records = []
    for number, line in enumerate(lines, start=1):
        what = f"{path}, line {number}"
        try:
            data = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise RecordError(
                f"{what} is not JSON ({error}) but lines follow it: the file was damaged. "
                "Remove the run's directory and run it again."
            ) from error
        record = EpochRecord.from_json(data, what=what)
        if record.epoch != number:
            raise RecordError(f"{what} is of epoch {record.epoch}; expected epoch {number}.")
        records.append(record)
    return records


def count_epochs(path: Path) -> int:
    """Return how many epochs a run's ``metrics.jsonl`` holds, unread; 0 where there is no file."""
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RecordError(f"{name}={value!r}: expected a finite number.")


def _check_object(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise RecordError(f"{name}={value!r}: expected an object.")


def _pair(layer: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise RecordError(f"layers.{layer}={value!r}: expected the two densities.")
    for number in value:
        _check_number(f"layers.{layer}", number)
    return (value[0], value[1])
