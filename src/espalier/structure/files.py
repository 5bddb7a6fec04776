"""From a network's file to the file of the smaller network: the same weights on the same grids."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from espalier.artifact import DEFAULT_MAX_BYTES, Tensor, open_artifact, write
from espalier.bridge import floats_of, load
from espalier.bridge.naming import unique_state
from espalier.encoded import Encoded
from espalier.errors import ConfigError
from espalier.export.dead import cut_encoded
from espalier.models import MODELS, build_model, sizes_of
from espalier.structure.shrink import Cutting, shrink_

__all__ = ["Shrunk", "shrink_file"]

HALF = 1
"""Kind of a dense tensor that is stored in 16 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """What a file's network was cut to."""

    network: Mapping[str, Any]
    """Name and options of what builds the smaller one."""
    parameters_before: int
    """Numbers in the file, statistics of normalizations included."""
    parameters: int
    size_bytes_before: int
    size_bytes: int
    layers: Mapping[str, tuple[int, int]]
    """Outputs of every layer that holds weights, before and after."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def shrink_file(
    path: str | Path,
    out: str | Path,
    *,
    input_shape: tuple[int, ...] | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Shrunk:
    """Write the file of a network without its dead filters; see :func:`espalier.shrink`.

    Weights keep their grids and codes. A bias that takes a constant leaves its grid and is stored
    as it is.

    Args:
        path: of the file; its network is one of Espalier's own.
        out: of the smaller file.
        input_shape: of one sample, for files that do not say it.
        max_bytes: cap on the decoded size.

    Raises:
        ConfigError: the network is not Espalier's own, or the file does not say the shape of its
            input.
        ArtifactError: the file is damaged or larger than the cap.
        ExportError: the network can't be traced.
        StorageError: the file can't be written; what was there stays.
    """
    with open_artifact(path, max_bytes=max_bytes) as file:
        metadata, infos = file.metadata, file.infos
        tensors = dict(file.tensors())
    network = metadata.network
    if network is None or network["name"] not in MODELS:
        found = "nothing" if network is None else repr(network["name"])
        raise ConfigError(
            f"{path} names {found} as what builds its network. A file of a smaller network can be "
            f"written for {', '.join(sorted(MODELS))}, whose sizes are options; shrink your own in "
            "Python: espalier.shrink(model, input_shape)."
        )
    shape = tuple(metadata.input["shape"]) if metadata.input is not None else input_shape
    if shape is None:
        raise ConfigError(f"{path} does not say the shape of its network's input; give it.")
    model = load(path, max_bytes=max_bytes)
    encoded = {name: t for name, t in tensors.items() if isinstance(t, Encoded)}
    done = shrink_(model, shape, encoded)
    options = {**network["options"], **sizes_of(network["name"], model)}
    smaller = _tensors(model, tensors, done)
    _check_builds(network["name"], options, model)
    halved = [n for n in floats_of(smaller) if infos[n].kind == HALF]
    built_by = {"name": network["name"], "options": options}
    size = write(out, smaller, replace(metadata, network=built_by), half=halved)
    return Shrunk(
        network=built_by,
        parameters_before=sum(info.size for info in infos.values()),
        parameters=sum(t.size for t in smaller.values()),
        size_bytes_before=Path(path).stat().st_size,
        size_bytes=size,
        layers={
            name: (cutting.rows.size, int(cutting.rows.sum()))
            for name, cutting in done.items()
            if cutting.weight is not None
        },
    )


def _tensors(
    model: nn.Module, before: Mapping[str, Tensor], done: Mapping[str, Cutting]
) -> dict[str, Tensor]:
    """Return what the smaller file holds, under the names and in the order of the file."""
    state = unique_state(model)
    found: dict[str, Tensor] = {}
    for name, tensor in before.items():
        module, _, part = name.rpartition(".")
        cutting = done.get(module)
        if not isinstance(tensor, Encoded):
            found[name] = state[name].detach().cpu().numpy().astype(tensor.dtype)
        elif cutting is None:
            found[name] = tensor
        elif part == "weight" and cutting.weight is not None:
            found[name] = cutting.weight
        elif cutting.shifted:
            found[name] = state[name].detach().cpu().numpy().astype(np.float32)
        else:
            found[name] = cut_encoded(tensor, cutting.rows)
    return found


def _check_builds(name: str, options: Mapping[str, Any], model: nn.Module) -> None:
    """Make sure that the options rebuild the network."""
    with torch.device("meta"):
        built = build_model(name, **options)
    found, wanted = ({n: t.shape for n, t in m.state_dict().items()} for m in (built, model))
    if found != wanted:  # a bias that was made where there was none
        different = sorted(n for n in found | wanted if found.get(n) != wanted.get(n))
        raise ConfigError(
            f"{name} with {options} does not have {different[0]!r} as the smaller network has it."
        )
