"""Training: the loop, early stopping, checkpoints; runs without any compression too."""

from espalier.train.allocation import with_mean_bits
from espalier.train.checkpoint import load_weights, weights_as_encoded
from espalier.train.directory import RunDirectory
from espalier.train.distill import distillation_loss
from espalier.train.environment import resolve_device
from espalier.train.initial import digest_of
from espalier.train.loop import train
from espalier.train.outcome import Baseline, read_baseline
from espalier.train.packing import pack_run, packed_run, verify_run
from espalier.train.progress import Moment, Progress, Silent
from espalier.train.resolve import resolve_spec
from espalier.train.tensorboard import TensorBoard, require_tensorboard
from espalier.train.within_loss import Ladder, Rung, within_loss

__all__ = [
    "Baseline",
    "Ladder",
    "Moment",
    "Progress",
    "RunDirectory",
    "Rung",
    "Silent",
    "TensorBoard",
    "digest_of",
    "distillation_loss",
    "load_weights",
    "pack_run",
    "packed_run",
    "read_baseline",
    "require_tensorboard",
    "resolve_device",
    "resolve_spec",
    "train",
    "verify_run",
    "weights_as_encoded",
    "with_mean_bits",
    "within_loss",
]
