"""What a run found: ``result.json``, written last."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from espalier.errors import RecordError
from espalier.records.serial import VERSION, canonical, check_keys, require_version

__all__ = ["Figures", "RunResult"]

MACHINE_KEYS = ("device", "threads", "wall_s", "environment")
"""Keys of a result that say where and how long, not what; comparisons leave them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run had reached at one of its epochs.

    Accuracies are in percent, densities in 0 to 1. ``efficiency`` maps rho ("1", "2", "3") to PE
    (eq. 5) and is None without a baseline.
    """

    epoch: int
    test_accuracy: float
    val_accuracy: float
    train_accuracy: float
    density_mask: float
    density_nonzero: float
    density_mask_all: float
    density_nonzero_all: float
    ratio: float
    ratio_all: float
    efficiency: Mapping[str, float] | None
    efficiency_all: Mapping[str, float] | None

    def __post_init__(self) -> None:
        """Check types, so that a damaged file is found where it is read."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name.startswith("efficiency"):
                _check_efficiency(f.name, value)
            elif not _is_number(value):
                raise RecordError(f"{f.name}={value!r}: expected a finite number.")

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Any, what: str) -> "Figures":
        """Read what :meth:`to_json` gave.

        Raises:
            RecordError: an unknown or missing key, or a wrong value.
        """
        if not isinstance(data, Mapping):
            raise RecordError(f"{what} is {type(data).__name__}; expected a JSON object.")
        check_keys(data, (f.name for f in fields(cls)), what)
        try:
            return cls(**data)
        except RecordError as error:
            raise RecordError(f"{what}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A finished run; its JSON has the figures of ``best`` at the top, as the paper reports."""

    run_id: str
    best: Figures
    """At the epoch whose network is kept: that of the highest test accuracy (the paper's choice),
    or of validation where the spec chooses by that."""
    by_validation: Figures
    """At the epoch of the highest validation accuracy (the honest choice)."""
    last: Figures
    """At the last epoch."""
    bits: int
    gamma: float
    parameters: int
    """Of the network, all of them."""
    compressed_parameters: int
    epochs_run: int
    stopped_by: str
    """``"epochs"`` or ``"patience"``."""
    baseline: float | None
    """Accuracy in percent that ``efficiency`` of ``best`` compares with."""
    seed: int
    data_source: str
    """Where the samples came from; belongs beside every number."""
    device: str
    threads: int
    wall_s: float
    environment: Mapping[str, str]
    """Versions and machine."""
    size_bytes: int | None = None
    """Of the best network's packed file; None in records from before there were such files."""
    ratio_strict: float | None = None
    """RC of the best network over all parameters, from its codes: nonzeros at bits that hold their
    values, the rest at 32 (:func:`espalier.metrics.strict_ratio`); None in earlier records."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        best = self.best.to_json()
        best["best_epoch"] = best.pop("epoch")
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _FIGURES}
        chosen = {"by_validation": self.by_validation.to_json(), "last": self.last.to_json()}
        return {"version": VERSION, **best, **rest, **chosen}

    def comparable(self) -> str:
        """Return canonical JSON of all that equal runs share: times and machine are left out."""
        return canonical({k: v for k, v in self.to_json().items() if k not in MACHINE_KEYS})

    @classmethod
    def from_json(cls, data: Any, *, what: str = "result") -> "RunResult":
        """Read what :meth:`to_json` gave.

        Raises:
            RecordError: an unknown or missing key, a newer version, or a wrong value.
        """
        values = {"size_bytes": None, "ratio_strict": None} | require_version(data, what)
        best_keys = [f.name for f in fields(Figures) if f.name != "epoch"]
        own_keys = [f.name for f in fields(cls) if f.name != "best"]
        check_keys(values, [*best_keys, "best_epoch", *own_keys], what)
        best = {key: values.pop(key) for key in best_keys}
        best["epoch"] = values.pop("best_epoch")
        values["best"] = Figures.from_json(best, what)
        for name in ("by_validation", "last"):
            values[name] = Figures.from_json(values[name], f"{what}, {name}")
        return cls(**values)


_FIGURES = ("best", "by_validation", "last")


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


def _check_efficiency(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping) or not all(_is_number(v) for v in value.values()):
        raise RecordError(f"{name}={value!r}: expected a number for each rho, or null.")
