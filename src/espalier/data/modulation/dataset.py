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

MAX_FREQUENCY_OFFSET = 0.005
"""Largest offset of the carrier, cycles per sample, to either side."""
SHARES = (0.6, 0.2)
"""Of training and validation; the test has the rest."""
LEAST_LENGTH = 32
LEAST_PER_CLASS = 5


def received(
    name: str,
    count: int,
    *,
    generator: Generator,
    length: int = 128,
    snr_db: tuple[float, float] = (0.0, 20.0),
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Draw signals of one modulation as a receiver gets them, and their signal to noise ratios.

    A signal has random symbols or a random message, a random timing within a symbol, a carrier
    offset uniform within +-.005 cycles per sample, a uniform phase, unit power; then white Gaussian
    noise at a ratio uniform within ``snr_db``; then unit power again.

    Args:
        name: a key of ``MODULATIONS``.
        count: signals, >= 1.
        generator: all randomness comes from it.
        length: samples of a signal, >= 32.
        snr_db: lowest and highest signal to noise ratio in decibels.

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
    frequency = generator.uniform(-MAX_FREQUENCY_OFFSET, MAX_FREQUENCY_OFFSET, count)
    turned = rotate(sent, frequency=frequency, phase=generator.uniform(0, 2 * np.pi, count))
    ratios_db = generator.uniform(*snr_db, count)
    noisy = add_noise(unit_power(turned), snr_db=ratios_db, generator=generator)
    return unit_power(noisy), ratios_db


def modulation(
    *,
    seed: int = 0,
    length: int = 128,
    per_class: int = 1200,
    snr_db: tuple[float, float] = (0.0, 20.0),
) -> Dataset:
    """Generate the modulation data: which of eleven kinds sent this signal?

    Eleven modulations as in O'Shea, Corgan and Clancy (2016), impaired as :func:`received` says.
    An input is float32, in phase and in quadrature, shape (2, length). Each split is balanced, and
    so is each of its prefixes of whole elevens, since the kinds take turns. Each kind has its own
    stream of random numbers (Philox), so the same seed gives the same bits (on the same processor
    and numpy).

    Args:
        seed: >= 0.
        length: samples of a signal, >= 32; eight a symbol.
        per_class: signals of each modulation, >= 5: 60 % train, 20 % validate, the rest test.
        snr_db: lowest and highest signal to noise ratio in decibels.

    Raises:
        ConfigError: an option is out of its bounds.

    Example:
        >>> data = modulation(per_class=10)
        >>> data.train.inputs.shape, len(data.classes)
        (torch.Size([66, 2, 128]), 11)
    """
    _check(seed=seed, length=length, per_class=per_class, snr_db=snr_db)
    streams = SeedSequence(seed).spawn(len(MODULATIONS))
    inputs = np.empty((per_class, len(MODULATIONS), 2, length), np.float32)
    for label, (name, stream) in enumerate(zip(MODULATIONS, streams, strict=True)):
        generator = Generator(Philox(stream))
        signals, _ = received(name, per_class, generator=generator, length=length, snr_db=snr_db)
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


def _check(*, seed: int, length: int, per_class: int, snr_db: tuple[float, float]) -> None:
    least = {
        "seed": (seed, 0),
        "length": (length, LEAST_LENGTH),
        "per_class": (per_class, LEAST_PER_CLASS),
    }
    for name, (value, bound) in least.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < bound:
            raise ConfigError(f"{name}={value!r}: expected an integer >= {bound}.")
    if len(snr_db) != 2 or not all(map(math.isfinite, snr_db)) or snr_db[0] > snr_db[1]:
        raise ConfigError(
            f"snr_db={snr_db!r}: expected two finite numbers of decibels, the lower one first."
        )
