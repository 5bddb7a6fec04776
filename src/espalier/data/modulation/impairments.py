"""What happens to a signal on its way: rotation and noise; pure functions over (N, length)."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["add_noise", "rotate", "unit_power"]

Reals = NDArray[np.float64]
Complexes = NDArray[np.complex128]


def unit_power(signals: Complexes) -> Complexes:
    """Scale each signal to ``mean(|x|**2) = 1``, as a receiver's gain control does.

    Args:
        signals: shape (N, length); none of them zero throughout.

    Example:
        >>> unit_power(np.array([[3.0 + 4.0j, 0.0]])).round(3).tolist()
        [[(0.849+1.131j), 0j]]
    """
    scaled: Complexes = signals / np.sqrt(np.mean(np.abs(signals) ** 2, axis=1, keepdims=True))
    return scaled


def rotate(signals: Complexes, *, frequency: Reals, phase: Reals) -> Complexes:
    """Turn each signal by its carrier's offset: ``x[n] * exp(i (2 pi frequency n + phase))``.

    Args:
        signals: shape (N, length).
        frequency: of the offset, cycles per sample, shape (N,).
        phase: of the first sample, radians, shape (N,).

    Example:
        >>> rotate(np.ones((1, 3), complex), frequency=np.array([0.25]), phase=np.zeros(1)).round(9)
        array([[ 1.+0.j,  0.+1.j, -1.+0.j]])
    """
    n = np.arange(signals.shape[1])
    turned: Complexes = signals * np.exp(1j * (2 * np.pi * frequency[:, None] * n + phase[:, None]))
    return turned


def add_noise(signals: Complexes, *, snr_db: Reals, generator: Generator) -> Complexes:
    """Add white Gaussian noise, circular, to signals of unit power.

    The noise has power ``10**(-snr_db / 10)`` over the whole sampled band.

    Args:
        signals: shape (N, length), of unit power.
        snr_db: signal to noise ratio in decibels, shape (N,).
        generator: draws the noise.
    """
    deviation = 10 ** (-snr_db[:, None] / 20) / np.sqrt(2)  # of each quadrature
    drawn = generator.standard_normal((2, *signals.shape))
    noisy: Complexes = signals + deviation * (drawn[0] + 1j * drawn[1])
    return noisy
