"""A smaller network of the same function: dead filters go, with what only they feed.

What may go is what :mod:`espalier.export.dead` finds in the traced network; here the modules are
cut to it. Channels that a module of no known kind looks at are left whole.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from espalier.bridge.naming import unwrapped
from espalier.encoded import Encoded, decode
from espalier.errors import ExportError
from espalier.export.dead import reduced
from espalier.export.graph import Affine, Convolution, Graph, Linear, Node
from espalier.export.trace import trace

__all__ = ["Cutting", "shrink", "shrink_"]

Flags = NDArray[np.bool_]
Weighted = Convolution | Linear

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d)
KINDS: dict[type[nn.Module], type] = {
    **dict.fromkeys(CONVOLUTIONS, Convolution),
    **dict.fromkeys(NORMALIZATIONS, Affine),
    nn.Linear: Linear,
}
"""Modules that can be cut, and the layer that each becomes in a trace."""

TOLERANCE = 1e-3
"""Largest difference of outputs, against the largest output, that rounding may explain."""


def shrink(model: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """Return a copy of a network without its dead filters and neurons: smaller dense layers.

    A filter whose weights are all zero gives a constant, through normalization and activation too.
    The layers that read it take the constant into their biases, exactly, and the filter goes, with
    the inputs that only it read; so does a filter that nobody reads. It stays where that would
    change the network: where a padded convolution reads a constant that is not zero, since the
    border is. Channels that are added or joined go together or stay. Grouped convolutions stay
    whole, unless they are depthwise.

    The result computes the same in evaluation mode, to float32's rounding, which is checked on
    random inputs. It can be trained on: the layers are those of the model, with fewer channels.

    Args:
        model: what :mod:`espalier.export` can trace; it is left as it is.
        input_shape: of one sample, without the batch.

    Returns:
        A copy of the model, inside of its wrappers if it has any, in the mode that it was in.

    Raises:
        ExportError: the network can't be traced, or its own code depends on the number of
            channels, such as ``x.view(-1, 512)``; ``x.flatten(1)`` doesn't.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> with torch.no_grad():
        ...     _ = net[0].weight[3:].zero_()
        >>> shrink(net, (4,))
        Sequential(
          (0): Linear(in_features=4, out_features=3, bias=True)
          (1): ReLU()
          (2): Linear(in_features=3, out_features=2, bias=True)
        )
    """
    small = copy.deepcopy(unwrapped(model))
    shrink_(small, input_shape)
    return small


@dataclass(frozen=True, slots=True)
class Cutting:
    """What was done to one module."""

    rows: Flags
    """Which of its outputs stay."""
    columns: Flags | None
    """Which of its inputs stay, where it has an axis of them."""
    shifted: bool
    """Whether its bias took constants."""
    weight: Encoded | None
    """What is left of its weight, on its grid; None of normalizations."""


def shrink_(
    model: nn.Module,
    input_shape: tuple[int, ...],
    encoded: Mapping[str, Encoded] | None = None,
) -> dict[str, Cutting]:
    """Cut a model in place; return what was done, by the names of its modules.

    Args:
        model: as :func:`shrink` takes it.
        input_shape: of one sample.
        encoded: weights on their grids, by the names of the model's parameters.

    Raises:
        ExportError: as :func:`shrink`; the model is of no use then.
    """
    graph = trace(model, input_shape, encoded=encoded, simplify=False)
    modules = _cuttable(model, graph)
    smaller, kept = reduced(graph, fixed=set(_fixed(graph, modules)))
    probe = _probe(model, input_shape)
    before = _outputs(model, probe)
    done = {}
    for node, left in zip(graph.nodes, smaller.nodes, strict=True):
        if node.name in modules:
            rows, columns = kept[node.output.name], kept[node.inputs[0]]
            done[node.name] = _cut(modules[node.name], node, left, rows, columns)
    _check(model, probe, before)
    return done


def _cuttable(model: nn.Module, graph: Graph) -> dict[str, nn.Module]:
    """Return the modules that can be cut: of a known kind, used once, weights of their own."""
    modules = dict(model.named_modules())
    owners: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    again = {node.name.rpartition(".")[0] for node in graph.nodes}  # a second call of a module
    found = {}
    for node in graph.nodes:
        module = modules.get(node.name)
        fits = module is not None and KINDS.get(type(module)) is type(node.layer)
        if module is None or not fits or node.name in again:
            continue
        if all(owners[id(p)] == 1 for p in module.parameters()):
            found[node.name] = module
    return found


def _fixed(graph: Graph, modules: Mapping[str, nn.Module]) -> Iterator[str]:
    """Yield the values around layers that can't be cut."""
    for node in graph.nodes:
        layer = node.layer
        if not isinstance(layer, Weighted | Affine) or node.name in modules:
            continue
        if isinstance(layer, Convolution) and _pads(layer):
            continue  # zeros around an image: of any number of channels
        yield from (*node.inputs, node.output.name)


def _pads(layer: Convolution) -> bool:
    weight = layer.weight
    copies = set(weight.shape[1:]) == {1} and bool((decode(weight) == 1).all())
    return copies and layer.groups == weight.shape[0] and bool((layer.shift == 0).all())


def _cut(module: nn.Module, node: Node, left: Node, rows: Flags, columns: Flags) -> Cutting:
    """Cut a module to what is left of its layer."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        _cut_normalization(module, rows)
        return Cutting(rows, None, shifted=False, weight=None)
    before, after = cast(Weighted, node.layer), cast(Weighted, left.layer)
    depthwise = isinstance(before, Convolution) and before.groups > 1
    shifted = bool((after.shift != before.shift[rows]).any())
    cutting = Cutting(rows, None if depthwise else columns, shifted, after.weight)
    _cut_weighted(cast(Any, module), cutting, after.shift)
    return cutting


@torch.no_grad()
def _cut_weighted(
    module: nn.Conv1d | nn.Conv2d | nn.Linear, cutting: Cutting, shift: NDArray[np.float32]
) -> None:
    weight = _rows(module.weight, cutting.rows)
    if cutting.columns is not None:
        weight = weight[:, torch.from_numpy(cutting.columns).to(weight.device)]
    bias: Tensor | None = module.bias
    if cutting.shifted:
        values = torch.from_numpy(np.asarray(shift, np.float64)).to(weight)
        module.bias = _like(values, module.weight if bias is None else bias)
    elif bias is not None:
        module.bias = _like(_rows(bias, cutting.rows), bias)
    module.weight = _like(weight.contiguous(), module.weight)
    outputs, inputs = weight.shape[:2]
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = outputs, inputs
        return
    if cutting.columns is None and outputs < len(cutting.rows):  # depthwise
        module.groups = outputs
    module.out_channels, module.in_channels = outputs, inputs * module.groups


@torch.no_grad()
def _cut_normalization(module: nn.BatchNorm1d | nn.BatchNorm2d, rows: Flags) -> None:
    for name, parameter in list(module.named_parameters(recurse=False)):
        setattr(module, name, _like(_rows(parameter, rows), parameter))
    for name in ("running_mean", "running_var"):
        setattr(module, name, _rows(getattr(module, name), rows))
    module.num_features = int(rows.sum())


def _like(values: Tensor, parameter: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=parameter.requires_grad)


def _rows(tensor: Tensor, rows: Flags) -> Tensor:
    return tensor.detach()[torch.from_numpy(rows).to(tensor.device)]


def _probe(model: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    first = next(model.parameters(), torch.zeros(()))
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, *input_shape, generator=generator).to(first)


def _outputs(model: nn.Module, probe: Tensor) -> Tensor:
    modes = {module: module.training for module in model.modules()}
    with torch.no_grad():
        outputs: Tensor = model.eval()(probe)
    for module, mode in modes.items():
        module.training = mode
    return outputs


def _check(model: nn.Module, probe: Tensor, before: Tensor) -> None:
    """Run the smaller network beside the first."""
    hint = (
        "its own code depends on the number of channels. Let it follow the tensors instead, as "
        "x.flatten(1) does in place of x.view(-1, 512)."
    )
    try:
        after = _outputs(model, probe)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        message = f"the smaller network does not run, so that {hint} {error}"
        raise ExportError(message) from error
    scale = max(1.0, float(before.abs().max())) if before.numel() else 1.0
    if after.shape != before.shape or float((after - before).abs().max()) > TOLERANCE * scale:
        raise ExportError(f"the smaller network computes something else, so that {hint}")
