"""Curves for TensorBoard: each epoch's scalars, beside the run's own records."""

from pathlib import Path
from typing import TYPE_CHECKING

from espalier.errors import ConfigError
from espalier.records import EpochRecord, RunResult, RunSpec
from espalier.train.progress import Moment, Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["EVENTS", "TensorBoard", "require_tensorboard"]

EVENTS = "tensorboard"
"""Folder of the events, in a run's directory; nothing reads it but TensorBoard."""


def require_tensorboard() -> None:
    """Refuse to go on where TensorBoard is not installed.

    Raises:
        ConfigError: it isn't; names the extra.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "--tensorboard needs a package that is not installed: "
            "pip install 'espalier[tensorboard]'."
        ) from error


class TensorBoard:
    """Writes what it is told as TensorBoard reads it, and passes it on.

    A run that goes on writes a further file, in which epochs that are repeated count.
    """

    def __init__(self, run: Path, progress: Progress) -> None:
        """Write below a run's directory; ``progress`` is told too."""
        self.directory, self.progress = run / EVENTS, progress
        self.writer: SummaryWriter | None = None

    def begin(self, spec: RunSpec, done: list[EpochRecord], note: str) -> None:
        """Begin a file of events."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.directory), purge_step=len(done) + 1)
        self.progress.begin(spec, done, note)

    def step(self, moment: Moment) -> None:
        """Write nothing within an epoch."""
        self.progress.step(moment)

    def epoch(self, record: EpochRecord) -> None:
        """Write the epoch's scalars, so that they can be seen at once."""
        if self.writer is not None:
            for name, value in _scalars(record).items():
                self.writer.add_scalar(name, value, record.epoch)
            self.writer.flush()
        self.progress.epoch(record)

    def end(self, result: RunResult) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()
        self.progress.end(result)


def _scalars(record: EpochRecord) -> dict[str, float]:
    """Return what is drawn: losses, accuracies in percent, densities in 0 to 1, RC, seconds."""
    return {
        "loss/train": record.train_loss,
        "loss/validation": record.val_loss,
        "loss/test": record.test_loss,
        "accuracy/train": record.train_accuracy,
        "accuracy/validation": record.val_accuracy,
        "accuracy/test": record.test_accuracy,
        "density/mask": record.density_mask,
        "density/nonzero": record.density_nonzero,
        "compression/ratio": record.ratio,
        "compression/gamma": record.gamma,
        "time/train_s": record.times.get("train_s", 0.0),
    }
