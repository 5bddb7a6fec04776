"""Every operator's weights travel through file, ONNX and C unchanged, bit for bit."""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import espalier
from espalier import artifact, runtime
from espalier.encoded import Encoded, decode
from espalier.export.graph import Graph, Linear, Node, Value
from espalier.export.onnx import write_onnx
from espalier.ops import (
    Chain,
    ClippedQuantizer,
    EntropyQuantizer,
    FilterMagnitude,
    GlobalMagnitude,
    Lamp,
    LearnedStep,
    LearnedThreshold,
    MixedBits,
    Operator,
    PruneThenQuantize,
    QuantizeThenPrune,
    StdThreshold,
    Then,
    UniformQuantizer,
    from_json,
)

from ..ops.table import EVERY, kinds_of  # noqa: TID252

INPUTS, OUTPUTS = 24, 10
LAMP = Lamp(density=0.4)
FILTERS = FilterMagnitude(density=0.6)

OPERATORS: dict[str, Operator] = {
    "lamp": LAMP,
    "lamp-ternary-mean": Chain(prune=LAMP, quantize=UniformQuantizer(bits=1)),
    "lamp-ternary": Chain(prune=LAMP, quantize=ClippedQuantizer(bits=2, quantile=0.7)),
    "lamp-clipped": Chain(prune=LAMP, quantize=ClippedQuantizer(bits=3, quantile=0.9)),
    "lamp-learned": Chain(prune=LAMP, quantize=LearnedStep(bits=3, rate=0.1)),
    "lamp-coded": Chain(prune=LAMP, quantize=EntropyQuantizer(bits=4, price=0.2)),
    "threshold-learned": Chain(
        prune=LearnedThreshold(pressure=1.0, start=0.5), quantize=LearnedStep(bits=2, rate=0.1)
    ),
    "std": StdThreshold(gamma=0.5),
    "global": Chain(prune=GlobalMagnitude(density=0.4), quantize=UniformQuantizer(bits=4)),
    "quantize-then-prune": QuantizeThenPrune(gamma=0.5, bits=4),
    "lamp-every": Chain(prune=Lamp(density=0.4, every=3), quantize=ClippedQuantizer(bits=3)),
    "lamp-stochastic": Chain(prune=LAMP, quantize=UniformQuantizer(bits=4, rounding="stochastic")),
    "lamp-mixed": Chain(
        prune=LAMP, quantize=MixedBits(quantize=UniformQuantizer(bits=8), each=(5,))
    ),
    "filters": FILTERS,
    "filters-clipped": Chain(prune=FILTERS, quantize=ClippedQuantizer(bits=3)),
    "filters-then-mixed": Then(
        first=FILTERS,
        second=Chain(prune=LAMP, quantize=MixedBits(quantize=ClippedQuantizer(bits=8), each=(3,))),
    ),
    "filters-then-paper": Then(first=FILTERS, second=PruneThenQuantize(gamma=0.5, bits=4)),
}


def network() -> nn.Sequential:
    """Return a network that gives its own weights back where the inputs are unit vectors."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(INPUTS, OUTPUTS, bias=False))


def trained(operator: Operator, folder: Path) -> tuple[torch.Tensor, Path]:
    """Train a few steps and save; return the weights and the file."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compressor = espalier.attach(model, optimizer, operator, update="latent")
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(32, INPUTS, generator=generator)).square().mean().backward()
        optimizer.step()
    path = folder / "net.espalier"
    espalier.save(compressor, path)
    codes = compressor.encoded()["0.weight"]
    stored = artifact.read(path).tensors["0.weight"]
    assert isinstance(stored, Encoded)
    assert (stored.grid, stored.bits, stored.kept) == (codes.grid, codes.bits, codes.kept)
    assert decode(stored).tobytes() == decode(codes).tobytes()
    plain = artifact.read(path).metadata.operator
    assert plain is not None
    assert from_json(plain) == operator
    return model[0].weight.detach(), path


def graph_of(path: Path) -> Graph:
    """Return the graph of a file's network, its weights on the grid that the file says."""
    stored = artifact.read(path).tensors["0.weight"]
    assert isinstance(stored, Encoded)
    ones = np.ones(OUTPUTS, np.float32)
    layer = Linear(weight=stored, scale=ones, shift=0 * ones)
    inputs, output = Value("input", (INPUTS,)), Value("output", (OUTPUTS,))
    return Graph(input=inputs, nodes=(Node("0", layer, (inputs.name,), output),), output=output)


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_weights_travel_unchanged(operator: Operator, tmp_path: Path) -> None:
    """File, network filled from it, ONNX plain and packed, and C give back the written weights."""
    weights, path = trained(operator, tmp_path)
    assert 0 < int(weights.count_nonzero()) < weights.numel()
    filled = espalier.load(path, network())
    assert torch.equal(filled[0].weight, weights)
    units = np.eye(INPUTS, dtype=np.float32)
    wanted = np.ascontiguousarray(weights.numpy().T) + np.float32(0)
    graph = graph_of(path)
    for profile in ("float", "packed"):
        file = tmp_path / f"{profile}.onnx"
        write_onnx(graph, file, profile=profile)  # type: ignore[arg-type]
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        assert np.array_equal(session.run(None, {"input": units})[0], wanted)
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler found: install gcc")
    compiled = runtime.compile(graph, cache_dir=tmp_path / "cache", threads=1)
    assert np.array_equal(compiled(units), wanted)


def test_every_operator_travels() -> None:
    """A new one is a row here too."""
    assert set().union(*map(kinds_of, OPERATORS.values())) == EVERY
