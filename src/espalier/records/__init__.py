"""What a run is and what it found, as versioned JSON. Needs no torch."""

from espalier.records.claim import claim, is_claimed
from espalier.records.epoch import EpochRecord, read_epochs
from espalier.records.failure import RunFailure
from espalier.records.plan import StudyPlan, describe, setting, settings
from espalier.records.result import Figures, RunResult
from espalier.records.serial import VERSION, read_json
from espalier.records.spec import (
    BUDGETS,
    CADENCES,
    CHOICES,
    LR_SCHEDULES,
    OPTIMIZERS,
    ORDERS,
    PRECISIONS,
    ROUNDINGS,
    SCHEDULES,
    UPDATES,
    RunSpec,
    run_id,
)
from espalier.records.study import (
    CellRecords,
    CellState,
    StudyRecords,
    cell_directory,
    read_cell,
    read_plan,
    read_study,
)

__all__ = [
    "BUDGETS",
    "CADENCES",
    "CHOICES",
    "LR_SCHEDULES",
    "OPTIMIZERS",
    "ORDERS",
    "PRECISIONS",
    "ROUNDINGS",
    "SCHEDULES",
    "UPDATES",
    "VERSION",
    "CellRecords",
    "CellState",
    "EpochRecord",
    "Figures",
    "RunFailure",
    "RunResult",
    "RunSpec",
    "StudyPlan",
    "StudyRecords",
    "cell_directory",
    "claim",
    "describe",
    "is_claimed",
    "read_cell",
    "read_epochs",
    "read_json",
    "read_plan",
    "read_study",
    "run_id",
    "setting",
    "settings",
]
