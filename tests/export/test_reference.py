"""The oracle itself, against PyTorch in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from espalier.encoded import decode
from espalier.errors import ConfigError
from espalier.export.graph import (
    Activation,
    Add,
    Affine,
    Argmax,
    Concat,
    Convolution,
    Flatten,
    Graph,
    Layer,
    Linear,
    Pool,
    Softmax,
)
from espalier.export.reference import run, run_all

from .networks import NETWORKS, inputs_for


def by_channel(values: np.ndarray, x: Tensor) -> Tensor:
    return torch.from_numpy(values).double().view(-1, *[1] * (x.ndim - 2))


def padded(x: Tensor, padding: tuple[tuple[int, int], ...], value: float) -> Tensor:
    return F.pad(x, [n for pair in reversed(padding) for n in pair], value=value)


def pooled(layer: Pool, x: Tensor) -> Tensor:
    one = len(layer.kernel) == 1
    if layer.kind == "max":
        pool = F.max_pool1d if one else F.max_pool2d
        x = padded(x, layer.padding, -torch.inf)
        return pool(x, layer.kernel, layer.stride, dilation=layer.dilation)
    pool = F.avg_pool1d if one else F.avg_pool2d
    total = pool(padded(x, layer.padding, 0.0), layer.kernel, layer.stride)
    margin = 1.0 if layer.count_padding else 0.0
    ones = padded(torch.ones_like(x), layer.padding, margin)
    return total / pool(ones, layer.kernel, layer.stride)


def by_torch(layer: Layer, inputs: list[Tensor]) -> Tensor:
    x = inputs[0]
    match layer:
        case Convolution():
            w = torch.from_numpy(decode(layer.weight)).double()
            conv = F.conv1d if w.ndim == 3 else F.conv2d
            y = conv(
                padded(x, layer.padding, 0.0),
                w,
                stride=layer.stride,
                dilation=layer.dilation,
                groups=layer.groups,
            )
            return y * by_channel(layer.scale, y) + by_channel(layer.shift, y)
        case Linear():
            y = F.linear(x, torch.from_numpy(decode(layer.weight)).double())
            return y * torch.from_numpy(layer.scale) + torch.from_numpy(layer.shift)
        case Affine():
            return x * by_channel(layer.scale, x) + by_channel(layer.shift, x)
        case Activation(kind="leaky_relu"):
            return F.leaky_relu(x, layer.slope)
        case Activation():
            return {"relu": F.relu, "relu6": F.relu6, "hardswish": F.hardswish}[layer.kind](x)
        case Pool():
            return pooled(layer, x)
        case Add():
            return inputs[0] + inputs[1]
        case Concat():
            return torch.cat(inputs, 1)
        case Flatten():
            return x.flatten(1)
        case Softmax():
            return x.softmax(-1)
        case Argmax():
            return x.argmax(-1, keepdim=True).double()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_value_is_what_torch_computes(name: str) -> None:
    """Each layer, fed with the oracle's own values before it, gives what PyTorch gives."""
    graph = NETWORKS[name]()
    values = {k: torch.from_numpy(v) for k, v in run_all(graph, inputs_for(graph)).items()}
    for node in graph.nodes:
        expected = by_torch(node.layer, [values[i] for i in node.inputs])
        found = values[node.output.name]
        assert found.shape == (3, *node.output.shape), node.name
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12, msg=node.name)


def test_every_layer_is_among_the_networks() -> None:
    """What the tests of the targets run covers all that a graph can hold."""
    kinds = {type(n.layer) for make in NETWORKS.values() for n in make().nodes}
    assert kinds == set(Layer.__args__)


def test_inputs_of_another_shape_are_refused() -> None:
    """The message names both shapes."""
    graph: Graph = NETWORKS["plain"]()
    with pytest.raises(ConfigError, match=r"\(2, 3, 4\); the network takes \(batch, 3, 14"):
        run(graph, np.zeros((2, 3, 4)))
