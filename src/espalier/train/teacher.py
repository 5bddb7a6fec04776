"""The dense network that a run learns from, besides the labels."""

from pathlib import Path

import torch
from torch import nn

from espalier.data import Dataset
from espalier.errors import CheckpointError, ConfigError
from espalier.models import build_model
from espalier.records import RunSpec
from espalier.train.container import read_container
from espalier.train.describe import network_of
from espalier.train.initial import fill, read_named
from espalier.train.resolve import build_network

__all__ = ["read_teacher"]


def read_teacher(
    path: Path | None, spec: RunSpec, dataset: Dataset, device: torch.device
) -> nn.Module | None:
    """Return the spec's teacher, in evaluation mode and without gradients; None without one.

    A file of a run says itself what builds its network; any other is of the spec's own.

    Raises:
        ConfigError: the file is missing, another one than the spec names, or of a network that
            doesn't tell the data set's classes apart.
        CheckpointError: it is no safetensors file.
    """
    if spec.teacher is None:
        return None
    weights = read_named(path, spec.teacher, "learns from")
    with torch.random.fork_rng(devices=[]):
        model = _built(path, spec, dataset)
    fill(model, weights)
    model = model.eval().requires_grad_(False)
    _require_classes(model, dataset)
    return model.to(device)


def _built(path: Path | None, spec: RunSpec, dataset: Dataset) -> nn.Module:
    try:
        _, meta = read_container(path or Path())
    except CheckpointError:  # of somebody else
        return build_network(spec, dataset)
    theirs = RunSpec.from_json(meta["spec"], what=str(path))
    network = network_of(meta, theirs)
    return build_model(network["name"], **network["options"])


@torch.inference_mode()
def _require_classes(model: nn.Module, dataset: Dataset) -> None:
    try:
        found = tuple(model(torch.zeros(1, *dataset.input_shape)).shape)
    except RuntimeError as error:
        raise ConfigError(
            f"the teacher can't take samples of shape {dataset.input_shape}: {error}"
        ) from error
    if found != (1, len(dataset.classes)):
        raise ConfigError(
            f"the teacher gives an output of shape {found} for one sample; expected "
            f"(1, {len(dataset.classes)}). Give one that was trained on the same data set."
        )
