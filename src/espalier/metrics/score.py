"""What compression achieved, counted from the compressed weights themselves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from espalier.encoded import Encoded
from espalier.errors import ConfigError
from espalier.metrics.formulas import DENSE_BITS, density, ratio

__all__ = ["Score", "score_of", "scores_by_layer", "total_score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Counts of one compressed tensor, or of several together.

    Example:
        >>> Score(parameters=1000, kept=250, nonzero=240, bits=4).ratio
        0.03125
    """

    parameters: int
    """Weights, zeros included; only those of compressed tensors."""
    kept: int
    """Weights that passed the threshold."""
    nonzero: int
    """Weights that aren't zero: rounding may send a kept weight to zero."""
    bits: float
    """Bits of a kept weight as asked, 1 to 32; over several tensors the mean, weighted by kept."""

    @property
    def density_mask(self) -> float:
        """``kept / parameters``: the paper's density, 0 to 1."""
        return density(self.kept, self.parameters)

    @property
    def density_nonzero(self) -> float:
        """``nonzero / parameters``, 0 to 1."""
        return density(self.nonzero, self.parameters)

    @property
    def ratio(self) -> float:
        """RC as the paper has it (eq. 6): the mask's density, over the compressed parameters."""
        return ratio(self.density_mask, self.bits)

    def ratio_over(self, total_parameters: int) -> float:
        """Return RC over all of a model's parameters; those left dense take 32 bits each.

        ``RC = (kept * bits + (total - parameters) * 32) / (total * 32)``

        Args:
            total_parameters: of the whole model, at least the compressed ones.

        Raises:
            ConfigError: there are fewer than the compressed ones.

        Example:
            >>> Score(parameters=1000, kept=250, nonzero=240, bits=4).ratio_over(1250)
            0.225
        """
        if total_parameters < self.parameters:
            raise ConfigError(
                f"total_parameters={total_parameters}: the compressed tensors alone hold "
                f"{self.parameters}; expected the count of the whole model."
            )
        if not total_parameters:
            return 1.0
        dense = total_parameters - self.parameters
        return (self.kept * self.bits + dense * DENSE_BITS) / (total_parameters * DENSE_BITS)


def score_of(encoded: Encoded) -> Score:
    """Count one compressed tensor.

    Example:
        >>> import numpy as np
        >>> from espalier.encoded import encode
        >>> score_of(encode(np.array([0, 0.5, -1, 0], np.float32), step=0.5, bits=3))
        Score(parameters=4, kept=2, nonzero=2, bits=3)
    """
    return Score(
        parameters=encoded.size, kept=encoded.kept, nonzero=encoded.nonzero, bits=encoded.bits
    )


def scores_by_layer(encoded: Mapping[str, Encoded]) -> dict[str, Score]:
    """Count each compressed tensor of a model, by name, in the given order.

    Example:
        >>> scores_by_layer({})
        {}
    """
    return {name: score_of(tensor) for name, tensor in encoded.items()}


def total_score(encoded: Mapping[str, Encoded] | Iterable[Score]) -> Score:
    """Count several compressed tensors together.

    The total's ``ratio`` is that of all stored bits: ``sum(kept * bits) / sum(parameters * 32)``.
    Where nothing is kept, bits are weighted by parameters; of no tensors at all the total is that
    of a dense model (density 1, 32 bits, ratio 1).

    Args:
        encoded: a model's compressed tensors by name, or their scores.

    Example:
        >>> wide = Score(parameters=100, kept=10, nonzero=10, bits=8)
        >>> narrow = Score(parameters=100, kept=30, nonzero=20, bits=4)
        >>> total_score([wide, narrow])
        Score(parameters=200, kept=40, nonzero=30, bits=5.0)
    """
    parts = [score_of(e) for e in encoded.values()] if isinstance(encoded, Mapping) else [*encoded]
    parameters = sum(part.parameters for part in parts)
    kept = sum(part.kept for part in parts)
    if kept:
        bits = sum(part.kept * part.bits for part in parts) / kept
    elif parameters:
        bits = sum(part.parameters * part.bits for part in parts) / parameters
    else:
        bits = DENSE_BITS
    return Score(
        parameters=parameters, kept=kept, nonzero=sum(part.nonzero for part in parts), bits=bits
    )
