"""From a network in training to its file."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from espalier.artifact import CoderChoice, Metadata, write
from espalier.artifact import Tensor as Stored
from espalier.bridge.export import export_safetensors
from espalier.bridge.naming import COUNTER, unique_state, unwrapped
from espalier.bridge.normalization import STATISTICS, fold, foldable
from espalier.encoded import Encoded
from espalier.errors import ArtifactError, ConfigError
from espalier.ops import Operator, to_json

__all__ = [
    "Compressing",
    "floats_of",
    "network_tensors",
    "operator_data",
    "save",
    "writer",
]


class Compressing(Protocol):
    """What a compressor shows of itself."""

    @property
    def model(self) -> nn.Module:
        """The network."""

    @property
    def operators(self) -> Sequence[Operator]:
        """What is done to the weights, one operator a rule."""

    def encoded(self) -> dict[str, Encoded]:
        """Return the codes of each compressed parameter, by name."""


def save(
    compressor: Compressing,
    path: str | Path,
    *,
    network: tuple[str, Mapping[str, Any]] | None = None,
    metrics: Mapping[str, Any] | None = None,
    input: Mapping[str, Any] | None = None,
    classes: Sequence[str] = (),
    fold_normalization: bool = False,
    half: bool = False,
    safetensors: str | Path | None = None,
    coder: CoderChoice = "smallest",
) -> int:
    """Write a compressed network to a file, whole or not at all.

    Args:
        compressor: of :func:`espalier.attach`; its weights are compressed at this moment.
        path: of the file.
        network: name and options of the function that builds it, so that :func:`load` can if it is
            one of Espalier's own; where None, give :func:`load` the model.
        metrics: what you measured, for instance ``{"test_accuracy": 84.8}``.
        input: the network's input and how samples are prepared, as docs/format.md says.
        classes: names of the outputs.
        fold_normalization: store scale and shift of each batch normalization with its statistics
            folded in: half the bytes; its output changes by rounding.
        half: store what is not compressed in 16 bits.
        safetensors: where to write the decoded weights too, as a plain safetensors file.
        coder: ``smallest``, or always ``contexts`` or ``static``.

    Returns:
        The file's size in bytes.

    Raises:
        ConfigError: the weights are not compressed at this moment.
        ArtifactError: a tensor or the metadata hold what the format does not.
        StorageError: a file can't be written; what was there stays.

    Example:
        >>> import tempfile
        >>> from espalier import PruneThenQuantize, attach
        >>> model = nn.Linear(8, 4)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> compressor = attach(model, optimizer, PruneThenQuantize(gamma=0.5, bits=3))
        >>> model(torch.ones(2, 8)).sum().backward()
        >>> optimizer.step()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(compressor, f"{folder}/net.espalier") < 500
        True
    """
    model = compressor.model
    epsilons = foldable(unwrapped(model)) if fold_normalization else {}
    tensors = network_tensors(unique_state(model), compressor.encoded(), epsilons)
    built_by = None if network is None else {"name": network[0], "options": dict(network[1])}
    metadata = Metadata(
        network=built_by,
        folded=tuple(epsilons),
        operator=operator_data(compressor.operators),
        metrics=dict(metrics or {}),
        input=input,
        classes=tuple(classes),
        writer=writer(),
    )
    halved = floats_of(tensors) if half else []
    size = write(path, tensors, metadata, coder=coder, half=halved)
    if safetensors is not None:
        export_safetensors(path, safetensors)
    return size


def network_tensors(
    state: Mapping[str, Tensor],
    encoded: Mapping[str, Encoded],
    fold_epsilons: Mapping[str, float] | None = None,
) -> dict[str, Stored]:
    """Return what a file holds of a network: all that inference needs, in the model's order.

    Args:
        state: the model's ``state_dict``, without second names of tied weights.
        encoded: codes of the compressed ones, by the names in ``state``.
        fold_epsilons: normalizations to fold, with their epsilons.

    Raises:
        ConfigError: a compressed weight is not in ``state``.
    """
    lost = [name for name in encoded if name not in state]
    if lost:
        raise ConfigError(f"the model has no {lost[0]!r}, which was compressed.")
    arrays = {
        name: _array(name, tensor)
        for name, tensor in state.items()
        if name not in encoded and name.rpartition(".")[2] != COUNTER
    }
    for name, eps in (fold_epsilons or {}).items():
        if f"{name}.weight" in encoded or f"{name}.bias" in encoded:
            raise ConfigError(
                f"the batch normalization {name!r} is compressed itself and can't be folded; "
                "save it without fold_normalization."
            )
        arrays |= fold(arrays, name, eps)
        for statistic in STATISTICS:
            del arrays[f"{name}.{statistic}"]
    stored: dict[str, Stored] = {**arrays, **encoded}
    return {name: stored[name] for name in state if name in stored}


def floats_of(tensors: Mapping[str, Stored]) -> list[str]:
    """Return the names of the tensors that 16 bits can hold: not compressed, of floats."""
    return [
        name
        for name, tensor in tensors.items()
        if not isinstance(tensor, Encoded) and tensor.dtype.kind == "f"
    ]


def operator_data(operators: Sequence[Operator]) -> dict[str, Any]:
    """Return operators as plain data: one as it is, several as a list of rules."""
    found = [_operator(operator) for operator in operators]
    return found[0] if len(found) == 1 else {"rules": found}


def writer() -> str:
    """Return the program's name and version."""
    return f"espalier {version('espalier')}"


def _operator(operator: Operator) -> dict[str, Any]:
    try:
        return to_json(operator)
    except ConfigError:  # the user's own
        return {"kind": type(operator).__name__, "repr": repr(operator)}


def _array(name: str, tensor: Tensor) -> Any:
    tensor = tensor.detach().cpu()
    if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided:
        raise ArtifactError(f"tensor {name!r} is {tensor.dtype}, {tensor.layout}: can't be stored.")
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
