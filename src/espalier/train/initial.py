"""Weights to start from: a file of a network's ``state_dict``."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from espalier.bridge.naming import COUNTER
from espalier.errors import CheckpointError, ConfigError
from espalier.records import RunSpec

__all__ = ["digest_of", "fill", "read_initial", "read_named"]

SHOWN = 3
"""Names that a message lists."""


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, as hex digits.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"can't read the checkpoint {path}: {error.strerror}.") from error


def read_initial(path: Path | None, spec: RunSpec) -> dict[str, Tensor] | None:
    """Return the weights that the spec's run starts from; None where it starts at random.

    Raises:
        ConfigError: the file is missing, or another one than the spec names.
        CheckpointError: it is no safetensors file.
    """
    if spec.initial is None and path is not None:
        raise ConfigError(f"the run starts at random, and {path} was given to start from.")
    return None if spec.initial is None else read_named(path, spec.initial, "starts from")


def read_named(path: Path | None, digest: str, does: str) -> dict[str, Tensor]:
    """Return the weights of a file that is known by its hash.

    Args:
        path: of the file.
        digest: its SHA-256, hex digits.
        does: what the run does with it, for messages: ``starts from``.

    Raises:
        ConfigError: the file is missing, or another one.
        CheckpointError: it is no safetensors file.
    """
    if path is None:
        raise ConfigError(
            f"the run {does} the weights with SHA-256 {digest[:12]}...; give their file."
        )
    found = digest_of(path)
    if found != digest:
        raise ConfigError(
            f"{path} has SHA-256 {found[:12]}... and the run {does} {digest[:12]}...; "
            "give the file that it began with, or choose another --out."
        )
    try:
        return load_safetensors(path.read_bytes())
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no safetensors file ({error}). Save the network with "
            "safetensors.torch.save_model(model, path)."
        ) from error


def fill(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Overwrite the model's tensors, once all are known to fit.

    Second names of tied tensors, and counters of batch normalizations, may be missing.

    Raises:
        ConfigError: a name is missing, unknown, or of another shape; lists the first of each.
    """
    state = model.state_dict(keep_vars=True)
    given = {id(state[name]) for name in weights if name in state}
    missing = [
        name
        for name, tensor in state.items()
        if id(tensor) not in given and name.rpartition(".")[2] != COUNTER
    ]
    extra = [name for name in weights if name not in state]
    other = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in state.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    for what, names in (
        ("it lacks", missing),
        ("the network has no", extra),
        ("it has", other),
    ):
        if names:
            shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            raise ConfigError(
                f"the checkpoint is not of this network: {what} {shown}. Names are those of "
                "the network's state_dict(); build it with the options it was trained with."
            )
    with torch.no_grad():
        for name, tensor in weights.items():
            state[name].copy_(tensor)
