"""From the epochs of a run to its result: which epoch counts, when to stop, what was it worth."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espalier.errors import ConfigError
from espalier.metrics import efficiency
from espalier.records import EpochRecord, Figures, RunResult, RunSpec, read_json, run_id

__all__ = [
    "RHOS",
    "Baseline",
    "best_by_test",
    "best_by_validation",
    "chosen",
    "counting",
    "efficiencies",
    "figures",
    "first_counting",
    "make_result",
    "pretty",
    "read_baseline",
    "stopped_by",
    "with_baseline",
]

RHOS = (1, 2, 3)
"""Weights of the accuracy in PE that the paper reports (eq. 5)."""
RESULT = "result.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Accuracy of the uncompressed network in percent, by each way to choose the epoch."""

    best: float
    by_validation: float
    last: float


def best_by_test(epochs: Sequence[EpochRecord]) -> EpochRecord:
    """Return the epoch of the highest test accuracy, the first among equals."""
    return max(epochs, key=lambda record: record.test_accuracy)


def best_by_validation(epochs: Sequence[EpochRecord]) -> EpochRecord:
    """Return the epoch of the highest validation accuracy, the first among equals."""
    return max(epochs, key=lambda record: record.val_accuracy)


def first_counting(spec: RunSpec) -> int:
    """Return the first epoch whose network has the density or size that was asked.

    An epoch of a run that still comes down to its budget is none of those to choose from.

    Example:
        >>> first_counting(RunSpec(epochs=10)), first_counting(
        ...     RunSpec(epochs=10, gamma=0, target_density=0.1, schedule="cubic", ramp_end=0.6)
        ... )
        (1, 7)
    """
    budgeted = spec.target_density is not None or spec.max_bytes is not None
    if not budgeted or spec.schedule == "constant":
        return 1
    return max(1, min(math.floor(spec.epochs * spec.ramp_end) + 1, spec.epochs))


def counting(spec: RunSpec, epochs: Sequence[EpochRecord]) -> Sequence[EpochRecord]:
    """Return the epochs to choose from; all of them while none has reached its budget."""
    first = first_counting(spec)
    return [record for record in epochs if record.epoch >= first] or epochs


def chosen(spec: RunSpec, epochs: Sequence[EpochRecord]) -> EpochRecord:
    """Return the epoch whose network is kept as the run's best."""
    best = best_by_test if spec.choose == "test" else best_by_validation
    return best(counting(spec, epochs))


def stopped_by(spec: RunSpec, epochs: Sequence[EpochRecord]) -> str | None:
    """Say why a run ends after these epochs, ``"epochs"`` or ``"patience"``; None if it goes on.

    Patience runs out when that many epochs have followed the best validation accuracy.
    """
    if not epochs:
        return None
    last = epochs[-1].epoch
    waited = last - best_by_validation(counting(spec, epochs)).epoch
    if spec.patience and last >= first_counting(spec) and waited >= spec.patience:
        return "patience"
    return "epochs" if len(epochs) >= spec.epochs else None


def efficiencies(accuracy: float, baseline: float, ratio: float) -> dict[str, float] | None:
    """Return PE for each of ``RHOS``; None where nothing is left of the network (RC 0)."""
    if not ratio > 0:
        return None
    return {str(rho): efficiency(accuracy, baseline, ratio, rho) for rho in RHOS}


def figures(record: EpochRecord) -> Figures:
    """Return an epoch's figures, without PE."""
    return Figures(
        epoch=record.epoch,
        test_accuracy=record.test_accuracy,
        val_accuracy=record.val_accuracy,
        train_accuracy=record.train_accuracy,
        density_mask=record.density_mask,
        density_nonzero=record.density_nonzero,
        density_mask_all=record.density_mask_all,
        density_nonzero_all=record.density_nonzero_all,
        ratio=record.ratio,
        ratio_all=record.ratio_all,
        efficiency=None,
        efficiency_all=None,
    )


def make_result(
    spec: RunSpec,
    epochs: Sequence[EpochRecord],
    *,
    baseline: Baseline | None,
    parameters: int,
    compressed_parameters: int,
    data_source: str,
    device: str,
    threads: int,
    environment: Mapping[str, str],
    size_bytes: int | None = None,
    ratio_strict: float | None = None,
) -> RunResult:
    """Return the result of a run that has ended after these epochs."""
    result = RunResult(
        run_id=run_id(spec),
        best=figures(chosen(spec, epochs)),
        by_validation=figures(best_by_validation(counting(spec, epochs))),
        last=figures(epochs[-1]),
        bits=spec.bits,
        gamma=spec.gamma,
        parameters=parameters,
        compressed_parameters=compressed_parameters,
        epochs_run=min(len(epochs), spec.epochs),
        stopped_by=stopped_by(spec, epochs) or "epochs",
        baseline=None,
        seed=spec.seed,
        data_source=data_source,
        device=device,
        threads=threads,
        wall_s=epochs[-1].times["wall_s"],
        environment=environment,
        size_bytes=size_bytes,
        ratio_strict=ratio_strict,
    )
    return result if baseline is None else with_baseline(result, baseline)


def with_baseline(result: RunResult, baseline: Baseline) -> RunResult:
    """Return the result with its PE against another baseline."""

    def against(chosen: Figures, accuracy: float) -> Figures:
        return replace(
            chosen,
            efficiency=efficiencies(chosen.test_accuracy, accuracy, chosen.ratio),
            efficiency_all=efficiencies(chosen.test_accuracy, accuracy, chosen.ratio_all),
        )

    return replace(
        result,
        best=against(result.best, baseline.best),
        by_validation=against(result.by_validation, baseline.by_validation),
        last=against(result.last, baseline.last),
        baseline=baseline.best,
    )


def pretty(value: Any) -> bytes:
    """Return JSON for a file that people read too."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def read_baseline(asked: str) -> Baseline:
    """Read a baseline: an accuracy in percent, or the directory of a finished run.

    Raises:
        ConfigError: neither of them.
        RecordError: the run's result is damaged.
    """
    try:
        percent = float(asked)
    except ValueError:
        return _baseline_of(Path(asked))
    if not 0 < percent <= 100:
        raise ConfigError(f"baseline={asked}: expected percent, above 0 and up to 100.")
    return Baseline(best=percent, by_validation=percent, last=percent)


def _baseline_of(directory: Path) -> Baseline:
    path = directory / RESULT
    if not path.is_file():
        raise ConfigError(
            f"baseline={directory}: expected percent, or the directory of a finished run; "
            f"there is no {path}."
        )
    result = RunResult.from_json(read_json(path), what=str(path))
    if not result.last.test_accuracy > 0:
        raise ConfigError(
            f"baseline={directory}: its test accuracy is 0, to which nothing compares."
        )
    return Baseline(
        best=result.best.test_accuracy,
        by_validation=result.by_validation.test_accuracy,
        last=result.last.test_accuracy,
    )
