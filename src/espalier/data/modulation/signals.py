"""What a transmitter sends: complex baseband signals of unit mean power, one function a family.

Sources: Proakis and Salehi, Digital Communications, 5th ed., chapter 3 (linear modulation,
continuous-phase frequency shift keying); T. J. O'Shea, J. Corgan, T. C. Clancy, Convolutional radio
modulation recognition networks, 2016 (the choice of the eleven kinds).
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.random import Generator
from numpy.typing import NDArray

from espalier.data.modulation.pulses import gaussian_ramp, linear_ramp, root_raised_cosine

__all__ = [
    "CONSTELLATIONS",
    "MODULATIONS",
    "SAMPLES_PER_SYMBOL",
    "amplitude_modulation",
    "frequency_modulation",
    "frequency_shift_keying",
    "linear_modulation",
    "message",
    "pam",
    "psk",
    "qam",
    "single_sideband",
    "superpose",
    "symbols_needed",
]

Reals = NDArray[np.float64]
Complexes = NDArray[np.complex128]

SAMPLES_PER_SYMBOL = 8
ROLLOFF = 0.35
"""Excess bandwidth of the root raised cosine."""
PULSE_REACH = 8
"""Symbols before and after its own that a pulse reaches; what lies beyond is cut off."""
GFSK_INDEX, GFSK_BANDWIDTH_TIME = 0.32, 0.5
"""Bluetooth's: a modulation index of .28 to .35 and BT .5."""
CPFSK_INDEX = 0.5
MESSAGE_BAND = (0.005, 0.05)
"""Lowest and highest frequency of an analog message, cycles per sample."""
AM_INDEX = 0.5
"""Deviation of the amplitude (root mean square), relative to the carrier."""
FM_DEVIATION = 0.08
"""Deviation of the frequency (root mean square), cycles per sample: wide against the message."""


def _phasor(phase: Reals) -> Complexes:
    turned: Complexes = np.exp(1j * phase)
    return turned


def psk(order: int) -> Complexes:
    """Return the points of phase shift keying: ``exp(2 pi i k / order)``.

    Example:
        >>> psk(2).real.tolist()
        [1.0, -1.0]
    """
    return _phasor(2 * np.pi * np.arange(order) / order)


def pam(order: int) -> Complexes:
    """Return the points of pulse amplitude modulation: ``+-1, +-3, ..``, of unit mean power.

    Example:
        >>> (pam(4).real * 5**0.5).round(9).tolist()
        [-3.0, -1.0, 1.0, 3.0]
    """
    levels = 2.0 * np.arange(order) - (order - 1)
    return levels.astype(np.complex128) / math.sqrt((order**2 - 1) / 3)


def qam(order: int) -> Complexes:
    """Return the square grid of quadrature amplitude modulation, of unit mean power.

    Args:
        order: number of points, the square of an even number.

    Example:
        >>> len(qam(16)), float((abs(qam(16)) ** 2).mean().round(9))
        (16, 1.0)
    """
    axis = pam(math.isqrt(order)).real / math.sqrt(2)
    return (axis[:, None] + 1j * axis).ravel()


CONSTELLATIONS: dict[str, Complexes] = {
    "BPSK": psk(2),
    "QPSK": qam(4),
    "8PSK": psk(8),
    "PAM4": pam(4),
    "16QAM": qam(16),
    "64QAM": qam(64),
}
"""Points of each linear modulation, unit mean power; symbols are drawn from them uniformly."""


def superpose(
    symbols: Complexes,
    pulse: Callable[[Reals], Reals],
    *,
    timing: Reals,
    length: int,
) -> Complexes:
    """Return ``x[n] = sum over k of s[k] * pulse(n / SAMPLES_PER_SYMBOL + timing - k)``.

    The timing is exact, not rounded to samples: a row's pulse is evaluated at its own instants, and
    since these repeat from symbol to symbol, a few values a row are enough.

    Args:
        symbols: shape (N, :func:`symbols_needed`); the first ``PULSE_REACH`` precede time 0.
        pulse: of the time in symbols; taken as zero beyond ``PULSE_REACH`` symbols.
        timing: of the first sample in each row, in symbols, 0 to 1, shape (N,).
        length: samples.

    Returns:
        Shape (N, length).
    """
    slots = -(-length // SAMPLES_PER_SYMBOL)
    reach = np.arange(-PULSE_REACH, PULSE_REACH + 2)
    phases = np.arange(SAMPLES_PER_SYMBOL) / SAMPLES_PER_SYMBOL
    instants = timing[:, None, None] + phases[:, None] - reach
    windows = sliding_window_view(symbols, reach.size, axis=1)[:, :slots]
    waves: Complexes = windows @ pulse(instants).transpose(0, 2, 1).astype(np.complex128)
    return waves.reshape(len(symbols), -1)[:, :length]


def symbols_needed(length: int) -> int:
    """Return how many symbols touch ``length`` samples, pulses' reach included."""
    return -(-length // SAMPLES_PER_SYMBOL) + 2 * PULSE_REACH + 1


def linear_modulation(
    generator: Generator, count: int, length: int, *, points: Complexes
) -> Complexes:
    """Draw random symbols from ``points`` and shape them by a root raised cosine.

    Args:
        generator: draws symbols and timing.
        count: signals.
        length: samples of each.
        points: the constellation, of unit mean power.

    Returns:
        Shape (count, length).
    """
    symbols = points[generator.integers(len(points), size=(count, symbols_needed(length)))]
    pulse = partial(root_raised_cosine, rolloff=ROLLOFF)
    return superpose(symbols, pulse, timing=generator.random(count), length=length)


def frequency_shift_keying(
    generator: Generator,
    count: int,
    length: int,
    *,
    index: float,
    ramp: Callable[[Reals], Reals],
) -> Complexes:
    """Turn the phase by ``+-pi * index`` a symbol, along ``ramp``; the envelope is constant.

    Args:
        generator: draws symbols and timing.
        count: signals.
        length: samples of each.
        index: modulation index, the distance of the two frequencies in cycles per symbol.
        ramp: how a symbol's phase grows from 0 to 1 over time in symbols.

    Returns:
        Shape (count, length).
    """
    symbols = psk(2)[generator.integers(2, size=(count, symbols_needed(length)))]

    def increment(t: Reals) -> Reals:
        return ramp(t) - ramp(t - 1 / SAMPLES_PER_SYMBOL)

    steps = superpose(symbols, increment, timing=generator.random(count), length=length)
    return _phasor(np.pi * index * np.cumsum(steps.real, axis=1))


def message(generator: Generator, count: int, length: int) -> Complexes:
    """Draw analytic messages: Gaussian noise with positive frequencies in ``MESSAGE_BAND`` alone.

    The real part is the message, of unit mean power, and the imaginary part its Hilbert transform.

    Returns:
        Shape (count, length).
    """
    size = 4 * length  # the spectrum's period, long enough for the window not to see its repetition
    low, high = MESSAGE_BAND
    band = np.arange(max(1, round(low * size)), round(high * size) + 1)
    spectrum = np.zeros((count, size), np.complex128)
    drawn = generator.standard_normal((2, count, band.size))
    spectrum[:, band] = (drawn[0] + 1j * drawn[1]) * (size / math.sqrt(band.size))
    messages: Complexes = np.fft.ifft(spectrum, axis=1)[:, :length]
    return messages


def amplitude_modulation(generator: Generator, count: int, length: int) -> Complexes:
    """Return both sidebands beside their carrier: ``1 + AM_INDEX * m``, scaled to unit power."""
    m = message(generator, count, length).real
    return (1 + AM_INDEX * m).astype(np.complex128) / math.sqrt(1 + AM_INDEX**2)


def single_sideband(generator: Generator, count: int, length: int) -> Complexes:
    """Return the upper sideband alone: ``(m + i hilbert(m)) / sqrt(2)``."""
    return message(generator, count, length) / math.sqrt(2)


def frequency_modulation(generator: Generator, count: int, length: int) -> Complexes:
    """Return wideband FM: ``exp(2 pi i FM_DEVIATION * sum(m))``; the envelope is constant."""
    m = message(generator, count, length).real
    return _phasor(2 * np.pi * FM_DEVIATION * np.cumsum(m, axis=1))


Modulation = Callable[[Generator, int, int], Complexes]
"""(generator, count, length) -> (count, length)."""

MODULATIONS: dict[str, Modulation] = {
    **{name: partial(linear_modulation, points=p) for name, p in CONSTELLATIONS.items()},
    "GFSK": partial(
        frequency_shift_keying,
        index=GFSK_INDEX,
        ramp=partial(gaussian_ramp, bandwidth_time=GFSK_BANDWIDTH_TIME),
    ),
    "CPFSK": partial(frequency_shift_keying, index=CPFSK_INDEX, ramp=linear_ramp),
    "AM-DSB": amplitude_modulation,
    "AM-SSB": single_sideband,
    "WBFM": frequency_modulation,
}
"""Every kind: its name and the function that sends it. A label is its place in this order."""
