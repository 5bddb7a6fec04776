"""The entropy bound: what a compressed tensor costs at least, by counts alone."""

import numpy as np
from numpy.typing import NDArray

from espalier.encoded import DENSE_BITS, Encoded, Raw

__all__ = ["entropy_bytes"]


def entropy_bytes(encoded: Encoded) -> float:
    """Return the order-0 entropy of a tensor's mask and codes, in bytes (Shannon, 1948).

    ``(n * H(mask) + nonzero * H(codes)) / 8``: what an ideal coder needs that knows how often each
    symbol comes, but not where. No header and no table is counted; ``Raw`` values cost 4 bytes.

    Example:
        >>> from espalier.encoded import encode
        >>> entropy_bytes(encode(np.array([0.0, 1.0, 0.0, -1.0] * 8, np.float32), step=1.0))
        6.0
    """
    mask_bits = _entropy_bits(np.array([encoded.nonzero, encoded.size - encoded.nonzero]))
    if isinstance(encoded.grid, Raw):
        code_bits = float(DENSE_BITS * encoded.nonzero)
    else:
        code_bits = _entropy_bits(np.unique(encoded.codes, return_counts=True)[1])
    return (mask_bits + code_bits) / 8


def _entropy_bits(counts: NDArray[np.int64]) -> float:
    present = counts[counts > 0]
    return float(np.sum(present * np.log2(present.sum() / present)))
