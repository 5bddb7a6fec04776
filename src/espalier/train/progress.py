"""Who is told how a run goes on."""

from dataclasses import dataclass
from typing import Protocol

from espalier.records import EpochRecord, RunResult, RunSpec
from espalier.train.evaluate import Tally

__all__ = ["Moment", "Progress", "Silent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where a run stands within an epoch; figures are means over the epoch so far.

    They are read when they are asked for, which makes the host wait for a GPU; ask at once, for
    the run goes on.
    """

    epoch: int
    step: int
    """Steps of the epoch that are done."""
    steps: int
    """Steps of an epoch."""
    tally: Tally
    """Of the epoch."""

    @property
    def loss(self) -> float:
        """Mean loss of the training samples."""
        return self.tally.mean_loss

    @property
    def accuracy(self) -> float:
        """Percent, on the training samples."""
        return self.tally.accuracy


class Progress(Protocol):
    """Is called from the training loop; must be quick, and must not touch the run."""

    def begin(self, spec: RunSpec, done: list[EpochRecord], note: str) -> None:
        """Training starts after the epochs that are ``done``; ``note`` says on what it trains."""

    def step(self, moment: Moment) -> None:
        """An epoch has got so far; called about twice a second."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is finished and saved."""

    def end(self, result: RunResult) -> None:
        """The run is finished."""


class Silent:
    """Tells nobody."""

    def begin(self, spec: RunSpec, done: list[EpochRecord], note: str) -> None:
        """Say nothing."""

    def step(self, moment: Moment) -> None:
        """Say nothing."""

    def epoch(self, record: EpochRecord) -> None:
        """Say nothing."""

    def end(self, result: RunResult) -> None:
        """Say nothing."""
