"""Batch normalizations whose statistics can be folded into scale and shift (format.md, 5)."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from espalier.errors import ArtifactError

__all__ = ["fold", "foldable", "unfold_"]

STATISTICS = ("running_mean", "running_var")


def foldable(model: nn.Module) -> dict[str, float]:
    """Return the batch normalizations that have scale, shift and statistics: name -> eps.

    Example:
        >>> foldable(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
        {'1': 1e-05}
    """
    return {
        name: module.eps
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.affine and module.track_running_stats
    }


def fold(
    arrays: Mapping[str, NDArray[np.float32]], name: str, eps: float
) -> dict[str, NDArray[np.float32]]:
    """Return scale and shift that do what a normalization does with its statistics.

    ``scale = weight / sqrt(var + eps)``, ``shift = bias - mean * scale``, in float64, rounded once.

    Args:
        arrays: the network's tensors by name.
        name: of the normalization.
        eps: its epsilon.
    """
    weight, bias, mean, variance = (
        arrays[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias", *STATISTICS)
    )
    scale = weight / np.sqrt(variance + eps)
    return {
        f"{name}.weight": scale.astype(np.float32),
        f"{name}.bias": (bias - mean * scale).astype(np.float32),
    }


def unfold_(model: nn.Module, names: tuple[str, ...]) -> set[str]:
    """Set the statistics of folded normalizations to those that change nothing, in place.

    Returns:
        Names of the tensors that were set.

    Raises:
        ArtifactError: the model has no such normalization.
    """
    known, done = foldable(model), set()
    for name in names:
        if name not in known:
            raise ArtifactError(
                f"the file has the batch normalization {name!r} folded, and the model has none of "
                "that name; give the model that was saved."
            )
        module = model.get_submodule(name)
        with torch.no_grad():
            module.running_mean.zero_()  # type: ignore[operator]
            module.running_var.fill_(1 - known[name])  # type: ignore[operator]
        done |= {f"{name}.{statistic}" for statistic in STATISTICS}
    return done
