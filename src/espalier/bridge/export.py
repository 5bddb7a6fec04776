"""Decoded weights for everybody else: arrays by name, or a plain safetensors file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_safetensors

from espalier.artifact import DEFAULT_MAX_BYTES, Tensor, open_artifact
from espalier.encoded import Encoded, decode
from espalier.files import write_atomically

__all__ = ["export_safetensors", "weights_of"]


def weights_of(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor of a file as an array: compressed weights decoded to float32, bit for bit."""
    return decode(tensor) if isinstance(tensor, Encoded) else tensor


def export_safetensors(
    source: str | Path, target: str | Path, *, max_bytes: int = DEFAULT_MAX_BYTES
) -> int:
    """Decode a file's tensors into a plain safetensors file.

    Folded normalizations keep their scale and shift only.

    Args:
        source: an Espalier file.
        target: what is written; replaced whole.
        max_bytes: cap on the decoded size.

    Returns:
        The written file's size in bytes.

    Raises:
        ArtifactError: the source is damaged or larger than the cap.
        StorageError: the target can't be written.
    """
    with open_artifact(source, max_bytes=max_bytes) as file:
        arrays = {name: np.ascontiguousarray(weights_of(t)) for name, t in file.tensors()}
    content = save_safetensors(arrays, {"format": "pt"})
    write_atomically(Path(target), content)
    return len(content)
