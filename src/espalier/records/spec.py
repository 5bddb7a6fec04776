"""What a run is: every setting that decides its weights, written out."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from espalier.errors import ConfigError, RecordError
from espalier.records.checks import (
    at_least,
    choice,
    flag,
    integer,
    json_object,
    number,
    text,
)
from espalier.records.parts import QUANTIZERS, check_parts
from espalier.records.serial import VERSION, canonical, check_keys, require_version

__all__ = [
    "BUDGETS",
    "CADENCES",
    "CHOICES",
    "LR_SCHEDULES",
    "OPTIMIZERS",
    "ORDERS",
    "PRECISIONS",
    "QUANTIZERS",
    "ROUNDINGS",
    "SCHEDULES",
    "UPDATES",
    "RunSpec",
    "run_id",
]

OPTIMIZERS = ("sgd", "adam", "adamw")
UPDATES = ("hybrid", "inplace", "latent")
ROUNDINGS = ("nearest", "floor", "stochastic")
CADENCES = ("every_step", "every_epoch")
SCHEDULES = ("constant", "linear", "cubic")
PRECISIONS = ("fp32", "bf16")
LR_SCHEDULES = ("constant", "cosine")
BUDGETS = ("global", "lamp")
ORDERS = ("pq", "qp")
CHOICES = ("test", "validation")

LATER = (
    "target_density",
    "lr_schedule",
    "max_bytes",
    "budget",
    "ramp_start",
    "ramp_end",
    "grid_quantile",
    "nesterov",
    "warmup_epochs",
    "recalibrate",
    "choose",
    "initial",
    "teacher",
    "biases",
    "jointly",
    "std_zeros",
    "std_correction",
    "order",
    "dense_epochs",
    "layer_bits",
    "filter_density",
    "quantizer",
    "bit_price",
    "operator_lr",
    "pressure",
    "layer_least",
    "mean_bits",
    "spare_operations",
)
"""Settings that came after the first records. They are written only where they differ from their
defaults, so that every earlier run keeps its record and its name."""

DENSE_BITS = 32
MAX_SEED = 2**63 - 1
ID_LENGTH = 16
"""Hex digits of a run's name: 64 bits, no two of a million runs alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """A training run, fully resolved: the same spec gives the same weights.

    The defaults are the paper's network and data with the settings that the group's code shows.
    Threads and device are no part of it; they are recorded beside it.

    Raises:
        ConfigError: a setting is out of its bounds or unknown.

    Example:
        >>> spec = RunSpec(gamma=0.5, bits=4)
        >>> RunSpec.from_json(spec.to_json()) == spec
        True
    """

    data: str = "cifar10"
    """Name of the data set."""
    model: str = "paper_cnn"
    """Name of the network, or ``module:function``."""
    model_options: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the network's function, JSON values; what the data decides is left out."""
    gamma: float = 0.375
    """Pruning strength, >= 0 (eq. 1); 0 keeps everything."""
    bits: int = 8
    """Bits of a kept weight, 1 to 32 (eq. 3); 32 leaves values as they are."""
    strict: bool = False
    """Keep only ``abs(w) > beta`` instead of ``>=`` (eq. 2)."""
    lr: float = 0.01
    """Learning rate, > 0."""
    epochs: int = 200
    """Most epochs, >= 1; 0 compresses an ``initial`` network once and trains nothing."""
    patience: int = 15
    """Epochs without a better validation accuracy after which the run stops; 0 never stops."""
    optimizer: str = "sgd"
    """One of ``OPTIMIZERS``."""
    momentum: float = 0.9
    """Of SGD, in [0, 1); the other optimizers don't use it."""
    weight_decay: float = 0.0
    """>= 0."""
    batch_size: int = 64
    """Samples a step, >= 1."""
    update: str = "hybrid"
    """Update rule, one of ``UPDATES``."""
    rounding: str = "nearest"
    """One of ``ROUNDINGS`` (eq. 4)."""
    cadence: str = "every_step"
    """When weights are compressed, one of ``CADENCES``."""
    schedule: str = "constant"
    """How gamma gets to its value, one of ``SCHEDULES``."""
    augment: bool = False
    """Flip and shift the training images at random."""
    precision: str = "fp32"
    """Of the forward and backward pass, one of ``PRECISIONS``."""
    seed: int = 0
    """Of initialization, order, augmentation and dropout, 0 to 2**63 - 1."""
    limit_train: int | None = None
    """Train on that many samples, >= 1; all of them where None."""
    target_density: float | None = None
    """Fraction of the weights that stay, in (0, 1], a budget of all layers together; gamma is 0
    then. None leaves pruning to gamma."""
    lr_schedule: str = "constant"
    """How the learning rate goes on from ``lr``, one of ``LR_SCHEDULES``; cosine ends at 0."""
    max_bytes: int | None = None
    """Most bytes of the packed file, >= 1; the density that takes them is found while training.
    Needs ``latent``. None leaves pruning to ``target_density`` or ``gamma``."""
    budget: str = "global"
    """How layers share a density or a size, one of ``BUDGETS``."""
    ramp_start: float = 0.0
    """Share of the planned steps after which a schedule begins, in [0, 1)."""
    ramp_end: float = 0.5
    """Share of the planned steps at which a schedule is at its value, in (``ramp_start``, 1]."""
    grid_quantile: float = 1.0
    """Quantile of the kept magnitudes at which the grid ends, in (0, 1]; 1 is the largest."""
    nesterov: bool = False
    """Look ahead along the momentum; SGD's."""
    warmup_epochs: int = 0
    """Epochs in which the learning rate grows to its value, >= 0."""
    recalibrate: int = 0
    """Training samples from which statistics of batch normalizations are taken anew at each
    epoch's end, >= 0; 0 keeps those of training."""
    choose: str = "test"
    """Which accuracy chooses the epoch whose network is kept, one of ``CHOICES``."""
    initial: str | None = None
    """SHA-256 of the file of weights that the run starts from; None starts at random."""
    teacher: str | None = None
    """SHA-256 of the file of weights of a network whose outputs are learned besides the labels."""
    biases: bool = True
    """Compress biases too, as the group's code does."""
    jointly: bool = False
    """One deviation and one grid for kernel and bias of a layer together, instead of its own for
    each. Not with a budget, which is of all layers."""
    std_zeros: bool = True
    """Whether zeros count in the deviation (eq. 1)."""
    std_correction: int = 0
    """The variance is divided by ``n - std_correction``, 0 or 1 (eq. 1)."""
    order: str = "pq"
    """Prune then quantize, or quantize then prune, one of ``ORDERS``."""
    dense_epochs: int = 0
    """First epochs that train densely, 0 to ``epochs - 1``. With ``every_epoch`` and all epochs but
    one, the network is pruned and quantized once, after its training."""
    layer_bits: Mapping[str, int] | None = None
    """Bits by pattern of parameter names, instead of ``bits``, 1 to 32; a budget is still of all
    together. None gives all of them the same."""
    filter_density: float | None = None
    """Fraction of whole filters and neurons that stay, in (0, 1], those of the last layer aside,
    before weights are pruned; None leaves all."""
    quantizer: str = "uniform"
    """Where kept weights are put, one of ``QUANTIZERS``: on an even grid (eq. 3 and 4), on one
    whose step is learned (LSQ), or where distance and bits together are least (RDOQ)."""
    bit_price: float = 0.1
    """What a bit costs ``rdoq``, in squares of the step, >= 0; 0 takes the nearest code."""
    operator_lr: float = 0.01
    """Learning rate of learned steps (``lsq``) and thresholds (``pressure``), >= 0."""
    pressure: float | None = None
    """What pushes learned thresholds up, > 0; the loss pushes back, layer by layer, and where that
    ends decides what stays. Needs ``latent``. None learns none."""
    layer_least: int = 0
    """Weights of every parameter that stay whatever its share of a ``lamp`` budget, >= 0."""
    mean_bits: float | None = None
    """What ``layer_bits`` were found for, as the mean over all weights; None if given by hand."""
    spare_operations: float = 0.0
    """Share of operations in what a weight costs a ``lamp`` budget, 0 to 1: 0 counts weights alone,
    1 operations alone."""

    def __post_init__(self) -> None:
        """Check every setting and bring numbers into one form."""
        for name in ("gamma", "lr", "momentum", "weight_decay"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        at_least("gamma", self.gamma, 0.0, "0 prunes nothing")
        at_least("weight_decay", self.weight_decay, 0.0, "0 decays nothing")
        if self.lr <= 0:
            raise ConfigError(f"lr={self.lr}: expected a learning rate > 0.")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum={self.momentum}: expected a number in [0, 1).")
        integer("bits", self.bits, 1, DENSE_BITS, "32 leaves values as they are")
        integer("epochs", self.epochs, 1 if self.initial is None else 0)
        integer("patience", self.patience, 0, note="0 never stops early")
        integer("batch_size", self.batch_size, 1)
        integer("seed", self.seed, 0, MAX_SEED)
        if self.limit_train is not None:
            integer("limit_train", self.limit_train, 1)
        self._check_target()
        for name, known in _CHOICES.items():
            choice(name, getattr(self, name), known)
        for name in ("data", "model"):
            text(name, getattr(self, name))
        self._check_budget()
        self._check_reading()
        self._check_layer_bits()
        check_parts(self)
        for name in ("strict", "augment", "nesterov", "biases", "jointly", "std_zeros"):
            flag(name, getattr(self, name))
        object.__setattr__(self, "model_options", json_object("model_options", self.model_options))

    def _check_target(self) -> None:
        if self.target_density is None:
            return
        object.__setattr__(self, "target_density", number("target_density", self.target_density))
        if not 0 < self.target_density <= 1:
            raise ConfigError(
                f"target_density={self.target_density}: expected a fraction in (0, 1]; 1 keeps "
                "every weight."
            )
        if self.gamma > 0:
            raise ConfigError(
                f"gamma={self.gamma} and target_density={self.target_density}: both say what to "
                "prune; give one of them."
            )

    def _check_budget(self) -> None:
        for name in ("ramp_start", "ramp_end", "grid_quantile"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if not 0 <= self.ramp_start < self.ramp_end <= 1:
            raise ConfigError(
                f"ramp_start={self.ramp_start} and ramp_end={self.ramp_end}: a schedule runs "
                "between two shares of the steps, 0 <= ramp_start < ramp_end <= 1."
            )
        if not 0 < self.grid_quantile <= 1:
            raise ConfigError(f"grid_quantile={self.grid_quantile}: expected a number in (0, 1].")
        if self.grid_quantile < 1 and self.rounding != "nearest":
            raise ConfigError(
                f"grid_quantile={self.grid_quantile} with rounding={self.rounding}: a grid that "
                "ends below the largest weight rounds to nearest; leave one of them out."
            )
        integer("warmup_epochs", self.warmup_epochs, 0)
        integer("recalibrate", self.recalibrate, 0, note="0 keeps the statistics of training")
        for name in ("initial", "teacher"):
            if getattr(self, name) is not None:
                text(name, getattr(self, name))
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ConfigError("nesterov looks ahead along the momentum of sgd; give both.")
        if self.max_bytes is None:
            return
        integer("max_bytes", self.max_bytes, 1)
        if self.gamma > 0 or self.target_density is not None:
            raise ConfigError(
                f"max_bytes={self.max_bytes}, gamma={self.gamma} and target_density="
                f"{self.target_density}: each says what to prune; give one of them."
            )
        if self.update != "latent" or self.cadence != "every_step":
            raise ConfigError(
                f"max_bytes={self.max_bytes} with update={self.update} and cadence={self.cadence}: "
                "a size is met from dense weights; give update=latent, cadence=every_step."
            )

    def _check_reading(self) -> None:
        integer("std_correction", self.std_correction, 0, 1, "the variance is over n, or n - 1")
        integer("dense_epochs", self.dense_epochs, 0)
        if self.dense_epochs and self.dense_epochs >= self.epochs:
            raise ConfigError(
                f"dense_epochs={self.dense_epochs} of epochs={self.epochs}: nothing would be "
                "compressed; leave at least one epoch for it."
            )
        if self.jointly and (self.target_density is not None or self.max_bytes is not None):
            raise ConfigError(
                "jointly takes kernel and bias of a layer as one, and a target density or a size "
                "is of all layers already; give one of them."
            )

    def _check_layer_bits(self) -> None:
        if self.layer_bits is None:
            return
        object.__setattr__(self, "layer_bits", json_object("layer_bits", self.layer_bits))
        if not self.layer_bits:
            raise ConfigError("layer_bits={}: expected patterns of names with their bits, or null.")
        for pattern, bits in self.layer_bits.items():
            integer(f"layer_bits[{pattern!r}]", bits, 1, DENSE_BITS)
        if self.jointly:
            raise ConfigError(
                "jointly gives kernel and bias of a layer one grid, and layer_bits one to each "
                "parameter; give one of them."
            )

    @property
    def compresses(self) -> bool:
        """Whether anything is compressed; the dense baseline is gamma 0 at 32 bits."""
        asked = self.target_density is not None or self.max_bytes is not None
        by_layer = self.layer_bits is not None or self.filter_density is not None
        prunes = asked or self.pressure is not None or self.gamma > 0
        return prunes or by_layer or self.bits < DENSE_BITS

    def to_json(self) -> dict[str, Any]:
        """Return the record: its version and every setting, later ones where they are in use."""
        written = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in LATER or getattr(self, f.name) != f.default
        }
        return {"version": VERSION, **written}

    @classmethod
    def from_json(cls, data: Any, *, what: str = "spec") -> "RunSpec":
        """Read what :meth:`to_json` gave.

        Args:
            data: the parsed JSON.
            what: how messages call it, for instance the file's name.

        Raises:
            RecordError: an unknown or missing key, a newer version, or a setting out of bounds.
        """
        settings = require_version(data, what)
        check_keys(settings, (f.name for f in fields(cls)), what, optional=LATER)
        try:
            return cls(**settings)
        except ConfigError as error:
            raise RecordError(f"{what}: {error}") from error

    def differences(self, other: "RunSpec") -> list[str]:
        """Name the settings in which two specs differ, with both values: ``"bits: 8, not 4"``.

        Example:
            >>> RunSpec(bits=8).differences(RunSpec(bits=4))
            ['bits: 8, not 4']
        """
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return [f"{name}: {mine}, not {theirs}" for name, mine, theirs in pairs if mine != theirs]


def run_id(spec: RunSpec) -> str:
    """Return the run's name: the hash of its canonical spec and the records' version.

    Example:
        >>> run_id(RunSpec(gamma=0)) == run_id(RunSpec(gamma=0.0))
        True
    """
    return hashlib.sha256(canonical(spec.to_json()).encode()).hexdigest()[:ID_LENGTH]


_CHOICES = {
    "optimizer": OPTIMIZERS,
    "update": UPDATES,
    "rounding": ROUNDINGS,
    "cadence": CADENCES,
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
    "lr_schedule": LR_SCHEDULES,
    "budget": BUDGETS,
    "quantizer": QUANTIZERS,
    "choose": CHOICES,
    "order": ORDERS,
}
