"""From a file to a network that computes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from espalier.artifact import DEFAULT_MAX_BYTES, ArtifactFile, open_artifact
from espalier.bridge.export import weights_of
from espalier.bridge.naming import COUNTER, plain_state, unwrapped
from espalier.bridge.normalization import unfold_
from espalier.errors import ConfigError
from espalier.models import MODELS, build_model

__all__ = ["load"]


def load(
    path: str | Path, model: nn.Module | None = None, *, max_bytes: int = DEFAULT_MAX_BYTES
) -> nn.Module:
    """Return the network of a file, ready for inference.

    Compressed weights come back bit for bit. Only Espalier's own networks are built by name: a
    ``module:function`` in a file is never imported, since a file may come from a stranger.

    Args:
        path: of the file.
        model: what to fill, of the same architecture; where None, it is built by the file's name.
        max_bytes: cap on the decoded size.

    Returns:
        The model, in evaluation mode.

    Raises:
        ConfigError: the file's network can't be built by name, or doesn't fit the model.
        ArtifactError: the file is damaged or larger than the cap.
    """
    with open_artifact(path, max_bytes=max_bytes) as file:
        filled = _build(file) if model is None else model
        _fill(filled, file)
    return filled.eval()


def _build(file: ArtifactFile) -> nn.Module:
    network = file.metadata.network
    if network is None:
        raise ConfigError("the file does not say what builds its network; pass model=....")
    name = network["name"]
    if name not in MODELS:
        raise ConfigError(
            f"the file's network is {name!r}, built with {dict(network['options'])!r}. Only "
            "Espalier's own networks are built by name, since a file may come from a stranger; "
            "build it yourself and pass model=...."
        )
    _check(file, plain_state(_planned(name, network["options"])))
    return build_model(name, **network["options"])


def _planned(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a network that takes no memory: a stranger's options may ask for any size."""
    try:
        with torch.device("meta"):
            return build_model(name, **options)
    except (RuntimeError, TypeError, OverflowError) as error:  # sizes that no tensor can have
        shown = repr(dict(options))
        raise ConfigError(
            f"the file's network {name!r} can't be built with {shown[:200]}: its sizes pass what a "
            "tensor can have. Build it yourself and pass model=...."
        ) from error


@torch.no_grad()
def _fill(model: nn.Module, file: ArtifactFile) -> None:
    """Overwrite the model's tensors where they lie, once all are known to fit and to be whole."""
    state = plain_state(model)
    _check(file, state)
    for _ in file.tensors():  # read twice rather than kept: memory for one tensor at a time
        pass
    for name, tensor in file.tensors():
        state[name].copy_(torch.from_numpy(weights_of(tensor)))
    unfold_(unwrapped(model), file.metadata.folded)


def _check(file: ArtifactFile, state: dict[str, Tensor]) -> None:
    folded = {f"{n}.{s}" for n in file.metadata.folded for s in ("running_mean", "running_var")}
    given = {id(state[name]) for name in file.infos if name in state}  # tied weights once
    missing = [
        name
        for name, tensor in state.items()
        if id(tensor) not in given and name not in folded and name.rpartition(".")[2] != COUNTER
    ]
    extra = [name for name in file.infos if name not in state]
    other = [
        f"{name} {file.infos[name].shape} instead of {tuple(tensor.shape)}"
        for name, tensor in state.items()
        if name in file.infos and file.infos[name].shape != tuple(tensor.shape)
    ]
    for what, names in (
        ("the file lacks", missing),
        ("the model has no", extra),
        ("the file has", other),
    ):
        if names:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise ConfigError(
                f"the file's network is not this model: {what} {shown}. Pass the model that was "
                "saved, built with the same options."
            )
