"""Pulses: how a symbol spreads over time. Times are in symbols throughout.

Sources: J. G. Proakis, M. Salehi, Digital Communications, 5th ed., sections 3.3 (frequency shift)
and 9.2 (raised cosine); K. Murota, K. Hirade, GMSK modulation, 1981 (Gaussian pulse).
"""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["gaussian_ramp", "linear_ramp", "root_raised_cosine"]

Reals = NDArray[np.float64]

_NEAR = 1e-6
"""Nearer to a pole than this the formula's limit is used: both agree there to 1e-10."""
_erf = np.frompyfunc(math.erf, 1, 1)


def root_raised_cosine(t: Reals, *, rolloff: float) -> Reals:
    """Return the root raised cosine pulse of unit energy, ``integral(h(t)**2) = 1``.

    ``h(t) = (sin(pi t (1 - a)) + 4 a t cos(pi t (1 + a))) / (pi t (1 - (4 a t)**2))``. A matched
    filter makes it a raised cosine, which is zero at every other symbol's instant (Nyquist).

    Args:
        t: times in symbols, any shape; the pulse is centered at 0.
        rolloff: ``a``, the excess bandwidth, in (0, 1]; the band is ``(1 + a) / 2`` on each side
            of the carrier, in cycles per symbol.

    Example:
        >>> root_raised_cosine(np.array([0.0, 0.5]), rolloff=0.35).round(3).tolist()
        [1.096, 0.608]
    """
    a = rolloff
    at_zero = np.abs(t) < _NEAR
    at_pole = np.abs(np.abs(4 * a * t) - 1) < _NEAR
    safe = np.where(at_zero | at_pole, 0.1 / a, t)
    numerator = np.sin(np.pi * safe * (1 - a)) + 4 * a * safe * np.cos(np.pi * safe * (1 + a))
    pulse = numerator / (np.pi * safe * (1 - (4 * a * safe) ** 2))
    angle = np.pi / (4 * a)
    pole = a / math.sqrt(2) * ((1 + 2 / np.pi) * np.sin(angle) + (1 - 2 / np.pi) * np.cos(angle))
    limited: Reals = np.where(at_zero, 1 - a + 4 * a / np.pi, np.where(at_pole, pole, pulse))
    return limited


def linear_ramp(t: Reals) -> Reals:
    """Return the phase of continuous-phase frequency shift keying: 0 to 1 within one symbol.

    Example:
        >>> linear_ramp(np.array([-1.0, 0.25, 2.0])).tolist()
        [0.0, 0.25, 1.0]
    """
    return np.clip(t, 0.0, 1.0)


def gaussian_ramp(t: Reals, *, bandwidth_time: float) -> Reals:
    """Return the linear ramp smoothed by a Gaussian filter: 0 to 1, most of it within one symbol.

    ``r(t) = s (G(t / s) - G((t - 1) / s))`` with ``G(x) = x Phi(x) + phi(x)`` (the integral of the
    normal distribution) and ``s = sqrt(ln 2) / (2 pi BT)``.

    Args:
        t: times in symbols, any shape.
        bandwidth_time: BT, the filter's 3 dB bandwidth times the symbol's duration, > 0.

    Example:
        >>> gaussian_ramp(np.array([-4.0, 0.5, 5.0]), bandwidth_time=0.5).round(6).tolist()
        [0.0, 0.5, 1.0]
    """
    spread = math.sqrt(math.log(2)) / (2 * math.pi * bandwidth_time)
    return spread * (_normal_integral(t / spread) - _normal_integral((t - 1) / spread))


def _normal_integral(x: Reals) -> Reals:
    distribution = 0.5 * (1 + np.asarray(_erf(x / math.sqrt(2)), np.float64))
    integral: Reals = x * distribution + np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return integral
