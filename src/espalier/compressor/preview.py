"""What an operator would do to a model, before any training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from espalier.compressor.report import table
from espalier.compressor.select import Rule, rules_of, select
from espalier.encoded import DENSE_BITS, Encoded
from espalier.metrics import entropy_bytes
from espalier.ops import Operator

__all__ = ["LayerPreview", "Preview", "preview"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPreview:
    """One parameter, as the operator would leave it."""

    name: str
    """Its name in the model, without the prefixes of wrappers."""
    parameters: int
    """Number of weights."""
    density: float
    """Fraction that the threshold keeps, 0 to 1."""
    levels: int
    """Distinct values, zero included."""
    size_bytes: float
    """Estimate: the entropy of mask and codes, no header; 4 bytes a weight where left dense."""
    status: str
    """What would be done to it, or why nothing."""


@dataclass(frozen=True, slots=True)
class Preview:
    """All parameters; ``str()`` of it is a table."""

    layers: tuple[LayerPreview, ...]
    """Every parameter once."""

    @property
    def size_bytes(self) -> float:
        """Estimated bytes of all parameters."""
        return sum(layer.size_bytes for layer in self.layers)

    @property
    def dense_bytes(self) -> int:
        """Bytes of all parameters in float32."""
        return sum(layer.parameters * DENSE_BITS // 8 for layer in self.layers)

    def __str__(self) -> str:
        """Return the table."""
        rows = [
            (
                layer.name,
                f"{layer.parameters:,}",
                f"{100 * layer.density:.2f} %",
                f"{layer.levels:,}",
                f"{layer.size_bytes:,.0f}",
                layer.status,
            )
            for layer in self.layers
        ]
        times = self.dense_bytes / self.size_bytes if self.size_bytes else float("inf")
        size = f"{self.size_bytes:,.0f}"
        weights = f"{sum(layer.parameters for layer in self.layers):,}"
        rows.append(("total", weights, "", "", size, f"{times:.1f} x smaller than float32"))
        return table(("parameter", "weights", "density", "levels", "bytes, about", ""), rows)


@torch.no_grad()
def preview(model: nn.Module, operator: Operator | Sequence[Rule]) -> Preview:
    """Show what an operator would do to a model as it is now; nothing is changed.

    Args:
        model: any module.
        operator: what to do, or rules that say it for each parameter, as in :func:`attach`.

    Raises:
        ConfigError: what is given is neither an operator nor rules.
        SelectionError: a rule matches nothing, or nothing is left to compress.
        NonFiniteError: a weight is NaN or infinite.

    Example:
        >>> import torch
        >>> from espalier.ops import PruneThenQuantize
        >>> model = torch.nn.Linear(100, 10)
        >>> shown = preview(model, PruneThenQuantize(gamma=1.0, bits=4))
        >>> shown.size_bytes < shown.dense_bytes / 4
        True
    """
    selection = select(model, rules_of(operator))
    layers = []
    for op, members in selection.groups:
        weights, state = op.apply(members, op.init(members))
        for name, encoded in op.encode(weights, state).items():
            layers.append(_compressed(name, encoded, type(op).__name__))
    for name, (parameter, reason) in selection.dense.items():
        layers.append(
            LayerPreview(
                name=name,
                parameters=parameter.numel(),
                density=1.0,
                levels=np.unique(parameter.detach().float().cpu().numpy()).size,
                size_bytes=parameter.numel() * DENSE_BITS / 8,
                status=f"left dense because {reason}",
            )
        )
    return Preview(tuple(layers))


def _compressed(name: str, encoded: Encoded, kind: str) -> LayerPreview:
    return LayerPreview(
        name=name,
        parameters=encoded.size,
        density=encoded.kept / encoded.size if encoded.size else 1.0,
        levels=np.unique(encoded.codes).size + int(encoded.nonzero < encoded.size),
        size_bytes=entropy_bytes(encoded),
        status=f"compressed by {kind}",
    )
