"""Tensors and JSON in one checked file: safetensors, replaced whole, no pickle.

The file is plain safetensors, which any reader opens. Its metadata hold one text, the JSON of
``meta`` with a SHA-256 in front: the hash of the whole file with the hash itself written as zeros.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from espalier.errors import CheckpointError
from espalier.files import write_atomically

__all__ = ["read_container", "write_container"]

KEY = "espalier"
BLANK = "0" * 64
LAYOUT = "layout"
"""Key of the strides of tensors that don't lie in C order, for instance channels-last kernels.

A tensor must come back in the layout it had: arithmetic on another one may round differently.
"""


def write_container(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors (any device, any dense layout) and JSON values to one file.

    Raises:
        StorageError: the file can't be written; what was there before stays.
    """
    layout = {name: list(t.stride()) for name, t in tensors.items() if not t.is_contiguous()}
    text = json.dumps({"sha256": BLANK, LAYOUT: layout, "meta": meta}, allow_nan=False)
    # A copy of each: safetensors refuses tensors that share memory, as tied weights do.
    flat = {
        name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in tensors.items()
    }
    content = save_safetensors(flat, {KEY: text})
    digest = hashlib.sha256(content).hexdigest()
    write_atomically(path, content.replace(BLANK.encode(), digest.encode(), 1))


def read_container(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, on the CPU in the layout they had, and the JSON values.

    Raises:
        CheckpointError: the file is missing, cut off, or any of its bytes has changed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror}.") from error
    try:
        header = _checked_header(content)
        flat = load_safetensors(content)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}): its bytes are not those that were written. "
            "Restore it from a copy, or remove the run's directory and run again."
        ) from error
    strides = header[LAYOUT]
    tensors = {name: _laid_out(tensor, strides.get(name)) for name, tensor in flat.items()}
    return tensors, header["meta"]


def _checked_header(content: bytes) -> dict[str, Any]:
    """Return our JSON out of the file, once the file's hash is the one it states."""
    size = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][KEY])
    digest: str = header["sha256"]
    blanked = content.replace(digest.encode(), BLANK.encode(), 1)
    found = hashlib.sha256(blanked).hexdigest()
    if found != digest:
        raise ValueError(f"SHA-256 {found[:12]}..., expected {digest[:12]}...")
    return header


def _laid_out(tensor: Tensor, strides: list[int] | None) -> Tensor:
    if strides is None:
        return tensor
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)
