"""A run in memory: all that changes while it trains, and the training of one epoch."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from espalier.compressor import Compressor, Report, recalibrate
from espalier.compressor.retarget import compress_again
from espalier.data import Dataset
from espalier.data.augment import Augment
from espalier.data.batches import Batches
from espalier.errors import NonFiniteError
from espalier.records import EpochRecord, RunSpec
from espalier.train.budget import ByteBudget
from espalier.train.captured import CapturedSteps, CudaGraphs, Recorder
from espalier.train.compression import compress_by, densities, gamma_at, prices_of, report_of
from espalier.train.distill import distillation_loss
from espalier.train.evaluate import Tally, autocast, evaluate, tally_of
from espalier.train.guard import LossGuard, diverged
from espalier.train.initial import fill
from espalier.train.optimizers import learning_rate, make_optimizer, set_learning_rate
from espalier.train.outcome import first_counting
from espalier.train.progress import Moment
from espalier.train.resolve import build_network, network_options

__all__ = ["Run"]

EVALUATION_BATCH = 500
"""Samples at once where no gradient is kept."""
TELL_EVERY_S = 0.5
"""How often progress is told within an epoch."""


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """A run that trains: network, optimizer, compressor, data, and where it stands."""

    spec: RunSpec
    device: torch.device
    model: nn.Module
    optimizer: Optimizer
    compressor: Compressor | None
    """None for the dense baseline."""
    train: Batches
    validation: Batches
    test: Batches
    data_source: str
    description: Mapping[str, Any]
    """Network, input and classes as a file's metadata have them; JSON values."""
    samples: int
    """Training samples of an epoch."""
    budget: ByteBudget | None = None
    """Where a size was asked."""
    teacher: nn.Module | None = None
    """Network whose outputs are learned besides the labels."""
    epochs: list[EpochRecord] = field(default_factory=list)
    """Epochs that are finished."""
    batch: int = 0
    """Steps of the epoch in progress that are done."""
    tally: Tally = field(init=False)
    """Loss and accuracy of the epoch in progress."""
    guard: LossGuard = field(init=False)
    captured: CapturedSteps | None = field(init=False, default=None)
    """On a GPU, the steps as replays of one; None takes each kernel by kernel."""
    train_s: float = 0.0
    """Seconds that the epoch in progress has trained."""
    wall_s: float = 0.0
    """Seconds of the whole run so far, pauses left out."""

    def __post_init__(self) -> None:
        """Start the first epoch."""
        self.tally, self.guard = Tally(self.device), LossGuard(self.device)

    @classmethod
    def build(
        cls,
        spec: RunSpec,
        dataset: Dataset,
        device: torch.device,
        initial: Mapping[str, Tensor] | None = None,
        teacher: nn.Module | None = None,
        *,
        recorder: Recorder | None = None,
    ) -> Self:
        """Build a run before its first step, from torch's current random state.

        Args:
            spec: what to train.
            dataset: on what.
            device: where.
            initial: weights to start from, by the names of the model's ``state_dict``.
            teacher: network to learn from, in evaluation mode.
            recorder: what captures steps; None is CUDA's graphs on a GPU, and nothing on the CPU.

        Raises:
            ConfigError: the network, its options, the augmentation or the weights don't fit, or the
                size that was asked can't be met.
            SelectionError: the network has nothing to compress.
        """
        model = build_network(spec, dataset)
        if initial is not None:
            fill(model, initial)
        model = model.to(device)
        if dataset.has_images:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recorder is None and device.type == "cuda":
            recorder = CudaGraphs(device)
        optimizer = make_optimizer(spec, model.parameters(), capturable=recorder is not None)
        train = Batches(
            dataset.train,
            dataset,
            batch_size=spec.batch_size,
            seed=spec.seed,
            augment=Augment() if spec.augment else None,
            device=device,
        )
        validation, test = (
            Batches(split, dataset, batch_size=EVALUATION_BATCH, shuffle=False, device=device)
            for split in (dataset.validation, dataset.test)
        )
        planned_steps = spec.epochs * len(train)
        prices = prices_of(spec, model, torch.zeros(1, *dataset.input_shape, device=device))
        compressor = compress_by(spec, model, optimizer, planned_steps, prices)
        description, budget = _description(spec, dataset), None
        if spec.max_bytes is not None and compressor is not None:
            budget = ByteBudget(
                spec=spec,
                model=model,
                compressor=compressor,
                description=description,
                planned_steps=planned_steps,
                prices=prices,
            )
            budget.begin()
        run = cls(
            spec=spec,
            device=device,
            model=model,
            optimizer=optimizer,
            compressor=compressor,
            budget=budget,
            teacher=teacher,
            train=train,
            validation=validation,
            test=test,
            data_source=dataset.source,
            description=description,
            samples=len(dataset.train),
        )
        if recorder is not None:
            run.captured = CapturedSteps(run, recorder)
        return run

    @property
    def epoch(self) -> int:
        """The epoch in progress, counted from 1."""
        return len(self.epochs) + 1

    @property
    def parameters(self) -> int:
        """Parameters of the network; tied ones count once."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def compressed_parameters(self) -> int:
        """Those among them that compression is about, as the records of the epochs have it."""
        compressed = self.epochs[-1].layers
        return sum(p.numel() for name, p in self.model.named_parameters() if name in compressed)

    def train_epoch(
        self, asked_to_stop: Callable[[], bool], tell: Callable[[Moment], None]
    ) -> bool:
        """Train from the step in progress to the epoch's end; False if asked to stop before it.

        Raises:
            NonFiniteError: a loss or a weight is NaN or infinite; names epoch and step.
        """
        if not self.spec.epochs:
            return self._compress_only()
        before_s, began, start = self.train_s, time.monotonic(), self.batch
        due = began + TELL_EVERY_S
        self.model.train()
        self.guard.begin()
        take = self.compute if self.captured is None else self.captured.take
        for inputs, labels in self.train.epoch(self.epoch, start=self.batch):
            self._set_learning_rate()
            take(inputs, labels)
            self.batch += 1
            if time.monotonic() >= due:
                tell(self._moment())
                due = time.monotonic() + TELL_EVERY_S
            if asked_to_stop():
                break
        self._require_finite(start)
        self.train_s = before_s + time.monotonic() - began
        return self.batch == len(self.train)

    def _compress_only(self) -> bool:
        """Compress once instead of training; the epoch's training figures are of evaluation."""
        if self.compressor is not None:
            compress_again(self.compressor)
        self.tally.take(tally_of(self.model, self.train, self.device, self.spec.precision))
        return True

    def compute(self, inputs: Tensor, labels: Tensor) -> None:
        """Take a step: on a GPU nothing but kernels that it starts, without waiting for one."""
        with autocast(self.device, self.spec.precision):
            outputs = self.model(inputs)
        outputs = outputs.float()
        loss = self._loss(inputs, outputs, labels)
        self.guard.look(loss, self.position)
        loss.backward()  # type: ignore[no-untyped-call]
        try:
            self.optimizer.step()
        except NonFiniteError as error:
            raise NonFiniteError(f"{self.position()}: {error}") from error
        self.optimizer.zero_grad(set_to_none=True)
        self.tally.add(loss, outputs, labels)

    def _loss(self, inputs: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        if self.teacher is None:
            return F.cross_entropy(outputs, labels)
        with torch.no_grad(), autocast(self.device, self.spec.precision):
            answers = self.teacher(inputs)
        return distillation_loss(outputs, answers, labels)

    def _set_learning_rate(self) -> None:
        steps = len(self.train)
        step = (self.epoch - 1) * steps + self.batch
        lr = learning_rate(self.spec, self.spec.epochs * steps, step)
        set_learning_rate(self.optimizer, lr)

    def _require_finite(self, start: int) -> None:
        """Raise what the device has noted since a batch."""
        bad = self.guard.first_bad()
        if bad is not None:
            where = f"epoch {self.epoch}, step {start + bad} of {len(self.train)}"
            raise diverged(f"the loss isn't finite in {where}")

    def finish_epoch(self) -> tuple[EpochRecord, Report]:
        """Write the epoch's compression, evaluate, record, and start the next epoch.

        Raises:
            NonFiniteError: a loss or a weight is NaN or infinite; names the epoch.
        """
        began = time.monotonic()
        if self.budget is not None:
            self.budget.settle(counts=self.epoch >= first_counting(self.spec))
        if self.compressor is not None:
            self.compressor.end_epoch()
        if self.spec.recalibrate:
            batches = self.train.epoch(self.epoch)
            recalibrate(self.model, batches, samples=self.spec.recalibrate)
        report = report_of(self.model, self.optimizer, self.compressor)
        val_loss, val_accuracy = self._evaluate(self.validation, "validation")
        test_loss, test_accuracy = self._evaluate(self.test, "test")
        evaluate_s = time.monotonic() - began
        self.wall_s += self.train_s + evaluate_s
        steps = len(self.train)
        record = EpochRecord(
            epoch=self.epoch,
            gamma=gamma_at(self.spec, self.spec.epochs * steps, self.epoch * steps - 1),
            train_loss=self.tally.mean_loss,
            train_accuracy=self.tally.accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            **densities(report),
            times={"train_s": self.train_s, "evaluate_s": evaluate_s, "wall_s": self.wall_s},
        )
        self.epochs.append(record)
        self.batch, self.train_s = 0, 0.0
        self.tally.clear()
        return record, report

    def position(self) -> str:
        """Say where the run stands: ``epoch 2, step 17 of 704``."""
        return f"epoch {self.epoch}, step {self.batch + 1} of {len(self.train)}"

    def _evaluate(self, batches: Batches, split: str) -> tuple[float, float]:
        loss, accuracy = evaluate(self.model, batches, self.device, self.spec.precision)
        if not math.isfinite(loss):
            raise diverged(f"the {split} loss is {loss} at the end of epoch {self.epoch}")
        return loss, accuracy

    def _moment(self) -> Moment:
        return Moment(
            epoch=self.epoch,
            step=self.batch,
            steps=len(self.train),
            tally=self.tally,
        )


def _description(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    return {
        "network": {"name": spec.model, "options": network_options(spec, dataset)},
        "input": {
            "shape": list(dataset.input_shape),
            "type": "uint8" if dataset.has_images else "float32",
            "scale": 255 if dataset.has_images else 1,
            "mean": list(dataset.mean),
            "std": list(dataset.std),
        },
        "classes": list(dataset.classes),
    }
