"""The data set: every modulation, impaired, in balanced splits."""

import math

import numpy as np
import torch
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray

from espalier.data.dataset import Dataset, Split
from espalier.data.modulation.impairments import add_noise, rotate, unit_power
from espalier.data.modulation.signals import MODULATIONS
from espalier.errors import ConfigError, nearest

__all__ = ["modulation", "received"]

MAX_FREQUENCY = 0.0005
"""Largest offset of the carrier that a coarse synchronization leaves, cycles per sample."""
MAX_PHASE = math.pi / 8
"""Largest phase that it leaves, radians."""
SNR_DB = (0.0, 20.0)
"""Lowest and highest signal to noise ratio, decibels."""
SHARES = (0.6, 0.2)
"""Of training and validation; the test has the rest."""
LEAST_LENGTH = 32
LEAST = 5
"""Signals of a class that make three splits."""


def received(
    name: str,
    count: int,
    *,
    generator: Generator,
    length: int = 128,
    snr_db: tuple[float, float] = SNR_DB,
    max_frequency: float = MAX_FREQUENCY,
    max_phase: float = MAX_PHASE,
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Draw signals of one modulation as a receiver gets them, and their signal to noise ratios.

    A signal has random symbols or a random message, a timing uniform within a symbol, an offset and
    a phase of its carrier uniform within their bounds, unit power; then white Gaussian noise at a
    ratio uniform within ``snr_db``; then unit power again.

    Args:
        name: a key of ``MODULATIONS``.
        count: signals, >= 1.
        generator: all randomness comes from it.
        length: samples of a signal.
        snr_db: lowest and highest signal to noise ratio, decibels.
        max_frequency: largest offset of the carrier to either side, cycles per sample.
        max_phase: largest phase of the carrier to either side, radians.

    Returns:
        The signals, shape (count, length), and their ratios in decibels, shape (count,).

    Raises:
        ConfigError: no such modulation.
    """
    if name not in MODULATIONS:
        raise ConfigError(
            f"no modulation '{name}'; there are {', '.join(MODULATIONS)}."
            + nearest(name, MODULATIONS)
        )
    sent = MODULATIONS[name](generator, count, length)
    frequency = generator.uniform(-max_frequency, max_frequency, count)
    phase = generator.uniform(-max_phase, max_phase, count)
    turned = rotate(sent, frequency=frequency, phase=phase)
    ratios_db = generator.uniform(*snr_db, count)
    noisy = add_noise(unit_power(turned), snr_db=ratios_db, generator=generator)
    return unit_power(noisy), ratios_db


def modulation(
    *,
    seed: int = 0,
    length: int = 128,
    per_class: int = 1200,
    snr_db: tuple[float, float] = SNR_DB,
    max_frequency: float = MAX_FREQUENCY,
    max_phase: float = MAX_PHASE,
) -> Dataset:
    """Generate the modulation data: which of eleven kinds sent this signal?

    Eleven modulations as in O'Shea, Corgan and Clancy (2016), impaired as :func:`received` says;
    by default a receiver has synchronized coarsely, which leaves a phase of at most pi / 8 and an
    offset of at most a quarter turn in 500 samples. An input is float32, in phase
    and in quadrature, shape (2, length). 16 symbols hardly tell 16QAM from 64QAM: a network that
    tosses a coin between these two and knows the rest reaches 91 %.

    Each split is balanced, and so is each of its prefixes of whole elevens, since the kinds take
    turns. Each kind has its own stream of random numbers (Philox), so the same seed gives the same
    bits (on the same processor and numpy).

    Args:
        seed: >= 0.
        length: samples of a signal, >= 32; eight a symbol.
        per_class: signals of each modulation, >= 5: 60 % train, 20 % validate, the rest test.
        snr_db: lowest and highest signal to noise ratio, decibels.
        max_frequency: largest offset of the carrier to either side, cycles per sample, 0 to .5.
        max_phase: largest phase of the carrier to either side, radians, 0 to pi; pi is what a
            receiver sees that hasn't synchronized at all.

    Raises:
        ConfigError: an option is out of its bounds.

    Example:
        >>> data = modulation(per_class=10)
        >>> data.train.inputs.shape, len(data.classes)
        (torch.Size([66, 2, 128]), 11)
    """
    _check_counts(seed=(seed, 0), length=(length, LEAST_LENGTH), per_class=(per_class, LEAST))
    _check_snr(snr_db)
    _check_offsets(max_frequency=(max_frequency, 0.5), max_phase=(max_phase, math.pi))
    streams = SeedSequence(seed).spawn(len(MODULATIONS))
    inputs = np.empty((per_class, len(MODULATIONS), 2, length), np.float32)
    for label, (name, stream) in enumerate(zip(MODULATIONS, streams, strict=True)):
        signals, _ = received(
            name,
            per_class,
            generator=Generator(Philox(stream)),
            length=length,
            snr_db=snr_db,
            max_frequency=max_frequency,
            max_phase=max_phase,
        )
        inputs[:, label, 0], inputs[:, label, 1] = signals.real, signals.imag
    first, second = (round(sum(SHARES[:n]) * per_class) for n in (1, 2))
    return Dataset(
        name="modulation",
        train=_split(inputs[:first]),
        validation=_split(inputs[first:second]),
        test=_split(inputs[second:]),
        classes=tuple(MODULATIONS),
        mean=(0.0, 0.0),
        std=(math.sqrt(0.5), math.sqrt(0.5)),  # unit power, half of it in each quadrature
        source=f"generated modulation signals (seed {seed}, {snr_db[0]:g} to {snr_db[1]:g} dB)",
    )


def _split(inputs: NDArray[np.float32]) -> Split:
    rows, classes = inputs.shape[:2]
    return Split(
        torch.from_numpy(inputs.reshape(rows * classes, *inputs.shape[2:])),
        torch.arange(classes).repeat(rows),
    )


def _check_counts(**counts: tuple[int, int]) -> None:
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name}={value!r}: expected an integer >= {least}.")


def _check_snr(snr_db: tuple[float, float]) -> None:
    if len(snr_db) != 2 or not all(map(math.isfinite, snr_db)) or snr_db[0] > snr_db[1]:
        raise ConfigError(
            f"snr_db={snr_db!r}: expected two finite numbers of decibels, the lower one first."
        )


def _check_offsets(**offsets: tuple[float, float]) -> None:
    for name, (value, most) in offsets.items():
        if not 0 <= value <= most:
            raise ConfigError(f"{name}={value!r}: expected a number between 0 and {most:g}.")
