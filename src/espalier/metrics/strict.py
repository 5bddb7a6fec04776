"""A compression ratio that leaves nothing out: all parameters, and bits that hold what is there."""

from collections.abc import Mapping

import numpy as np

from espalier.encoded import Encoded, Raw
from espalier.errors import ConfigError
from espalier.metrics.formulas import DENSE_BITS

__all__ = ["strict_bits", "strict_ratio"]

TERNARY_BITS = 2
"""Bits of a nonzero weight at least: a sign alone is counted as a ternary weight."""


def strict_bits(encoded: Encoded) -> int:
    """Return the bits that a nonzero weight of a tensor is counted with.

    The operator's, but at least 2 and at least enough to tell the values apart that nonzero weights
    take; 32 where they are on no grid.

    Example:
        >>> from espalier.encoded import encode
        >>> strict_bits(encode(np.array([0, 0.5, -0.5], np.float32), step=0.5, bits=1))
        2
    """
    if isinstance(encoded.grid, Raw):
        return DENSE_BITS if encoded.nonzero else max(encoded.bits, TERNARY_BITS)
    values = np.unique(encoded.codes).size
    return max(encoded.bits, TERNARY_BITS, int(max(values - 1, 0)).bit_length())


def strict_ratio(encoded: Mapping[str, Encoded], total_parameters: int) -> float:
    """Return the compression ratio over all parameters of a model; small is good.

    ``RC = (sum(nonzero * bits) + dense * 32) / (total * 32)``

    Its inverse is the factor by which the weights' values shrink, and ``efficiency`` with it the
    score. Other than the paper's (:attr:`Score.ratio`, eq. 6) it counts every parameter, those left
    dense at 32 bits, and ternary weights at 2 bits (:func:`strict_bits`); zeros cost nothing, as
    there: where the nonzeros stand is what a file's bytes say.

    Args:
        encoded: the compressed tensors by name.
        total_parameters: of the whole model, at least those.

    Raises:
        ConfigError: there are fewer than the compressed ones.

    Example:
        >>> from espalier.encoded import encode
        >>> ternary = encode(np.array([0, 0.5, -0.5, 0], np.float32), step=0.5, bits=1)
        >>> strict_ratio({"fc.weight": ternary}, total_parameters=5)
        0.225
    """
    compressed = sum(e.size for e in encoded.values())
    if total_parameters < compressed:
        raise ConfigError(
            f"total_parameters={total_parameters}: the compressed tensors alone hold {compressed}; "
            "expected the count of the whole model."
        )
    if not total_parameters:
        return 1.0
    bits = sum(e.nonzero * strict_bits(e) for e in encoded.values())
    dense = total_parameters - compressed
    return (bits + dense * DENSE_BITS) / (total_parameters * DENSE_BITS)
