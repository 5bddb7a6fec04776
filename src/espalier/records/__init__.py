"""What a run is and what it found, as versioned JSON. Needs no torch."""

from espalier.records.epoch import EpochRecord, read_epochs
from espalier.records.result import Figures, RunResult
from espalier.records.serial import VERSION, read_json
from espalier.records.spec import (
    CADENCES,
    OPTIMIZERS,
    PRECISIONS,
    ROUNDINGS,
    SCHEDULES,
    UPDATES,
    RunSpec,
    run_id,
)

__all__ = [
    "CADENCES",
    "OPTIMIZERS",
    "PRECISIONS",
    "ROUNDINGS",
    "SCHEDULES",
    "UPDATES",
    "VERSION",
    "EpochRecord",
    "Figures",
    "RunResult",
    "RunSpec",
    "read_epochs",
    "read_json",
    "run_id",
]
