"""Equations 5 and 6 of the paper, and the density that they rest on."""

import math

from espalier.errors import ConfigError

__all__ = ["density", "efficiency", "ratio"]

DENSE_BITS = 32
"""Bits of an uncompressed weight (eq. 6)."""


def density(kept: int, size: int) -> float:
    """Return the share of weights that are left: ``density = kept / size``.

    Args:
        kept: weights that are left, 0 to ``size``; by the mask or by nonzeros, as the caller
            counts.
        size: all weights, >= 0. Of none at all nothing was pruned: the density is 1.

    Raises:
        ConfigError: ``kept`` or ``size`` is out of its bounds.

    Example:
        >>> density(3, 4)
        0.75
    """
    if not 0 <= kept <= size:
        raise ConfigError(
            f"kept={kept} of size={size}: expected a count between 0 and the number of weights."
        )
    return kept / size if size else 1.0


def ratio(density: float, bits: float, original_bits: int = DENSE_BITS) -> float:
    """Return the compression ratio (eq. 6): ``RC = density * bits / original_bits``.

    It counts the bits of the kept weights' values alone, not what it costs to say where they are.

    Args:
        density: share of weights kept, 0 to 1.
        bits: of a kept weight, 1 to ``original_bits``; a mean over layers may be fractional.
        original_bits: of an uncompressed weight, >= 1.

    Raises:
        ConfigError: an argument is out of its bounds or NaN.

    Example:
        >>> ratio(0.25, 4)
        0.03125
    """
    if not 0 <= density <= 1:
        raise ConfigError(f"density={density}: expected a fraction between 0 and 1.")
    if not 1 <= original_bits < math.inf:
        raise ConfigError(f"original_bits={original_bits}: expected a finite number >= 1.")
    if not 1 <= bits <= original_bits:
        raise ConfigError(
            f"bits={bits}: expected 1 to {original_bits}, the bits of an uncompressed weight."
        )
    return density * bits / original_bits


def efficiency(accuracy: float, baseline: float, ratio: float, rho: float) -> float:
    """Return the efficiency score (eq. 5): ``PE = (accuracy / baseline) ** rho / RC``.

    Above 1 the compression was worth the accuracy that it cost; a larger ``rho`` makes lost
    accuracy dearer.

    Args:
        accuracy: of the compressed network, percent, 0 to 100.
        baseline: of the uncompressed one, percent, above 0 and up to 100.
        ratio: RC, above 0: of a file too, where it may exceed 1. A network without any weight left
            has RC 0 and no score.
        rho: weight of the accuracy, >= 1.

    Raises:
        ConfigError: an argument is out of its bounds or NaN.

    Example:
        >>> round(efficiency(accuracy=84.78, baseline=87.21, ratio=ratio(0.0868, 8), rho=2), 2)
        43.55
    """
    if not 0 <= accuracy <= 100:
        raise ConfigError(f"accuracy={accuracy}: expected percent, 0 to 100.")
    if not 0 < baseline <= 100:
        raise ConfigError(f"baseline={baseline}: expected percent, above 0 and up to 100.")
    if not 0 < ratio < math.inf:
        raise ConfigError(
            f"ratio={ratio}: expected a finite number above 0; a network whose weights were all "
            "pruned has no efficiency score."
        )
    if not 1 <= rho < math.inf:
        raise ConfigError(f"rho={rho}: expected a finite number >= 1.")
    return math.pow(accuracy / baseline, rho) / ratio
