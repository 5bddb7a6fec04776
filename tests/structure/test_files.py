"""From a file to the smaller file, and on to C and ONNX: the same outputs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import espalier
from espalier import artifact
from espalier.cli import main
from espalier.encoded import Encoded, decode
from espalier.errors import ConfigError
from espalier.export.c import write_c
from espalier.export.trace import graph_of
from espalier.models import build_model
from espalier.runtime import compile
from espalier.structure import shrink_file

OPTIONS = {"classes": 5, "length": 32, "widths": [6, 8], "kernels": [5, 3], "hidden": 16}
INPUT = {"shape": [2, 32], "type": "float32", "scale": 1.0, "mean": [0.0] * 2, "std": [1.0] * 2}


def saved(path: Path, *, biases: bool = True, **options: object) -> nn.Module:
    """Train a small network for a moment, half of its filters gone, and save it."""
    torch.manual_seed(0)
    model = build_model("modulation_cnn", **OPTIONS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    filters = espalier.FilterMagnitude(density=0.5)
    operator = espalier.Then(first=filters, second=espalier.PruneThenQuantize(gamma=0.3, bits=4))
    rules = [
        espalier.Rule(name="fc2.*", operator=espalier.UniformQuantizer(bits=8)),
        espalier.Rule(operator=operator, biases=biases),
    ]
    compressor = espalier.attach(model, optimizer, rules, update="latent")
    x, y = torch.randn(16, 2, 32), torch.randint(0, 5, (16,))
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    network = ("modulation_cnn", OPTIONS)
    espalier.save(compressor, path, network=network, input=INPUT, **options)
    return model.eval()


@pytest.mark.parametrize(
    "options",
    [{}, {"fold_normalization": True, "half": True}, {"biases": False}],
    ids=["plain", "folded", "dense-biases"],
)
def test_the_file_of_the_smaller_network(tmp_path: Path, options: dict) -> None:
    """It is rebuilt from itself alone, computes the same, and its weights lie where they lay."""
    before, after = tmp_path / "a.espalier", tmp_path / "b.espalier"
    saved(before, **options)
    found = shrink_file(before, after)
    assert found.parameters < found.parameters_before
    assert found.size_bytes == after.stat().st_size < found.size_bytes_before
    assert found.layers["fc2"] == (5, 5)
    assert found.layers["fc1"][1] < found.layers["fc1"][0]
    x = torch.randn(6, 2, 32)
    with torch.no_grad():
        one, other = espalier.load(before)(x), espalier.load(after)(x)
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    old, new = artifact.read(before), artifact.read(after)
    assert new.metadata == replace(old.metadata, network=new.metadata.network)
    for name, tensor in new.tensors.items():
        was = old.tensors[name]
        if isinstance(tensor, Encoded):
            assert (tensor.grid, tensor.bits) == (was.grid, was.bits)
            assert set(decode(tensor).ravel()) <= set(decode(was).ravel()) | {0.0}
        else:
            assert name.endswith("bias") or not isinstance(was, Encoded)
    assert shrink_file(after, tmp_path / "c.espalier").parameters == found.parameters


def test_c_and_onnx_of_it(tmp_path: Path) -> None:
    """Both compute what those of the whole network compute; the C is no larger."""
    runtime = pytest.importorskip("onnxruntime")
    from espalier.export.onnx import write_onnx

    before, after = tmp_path / "a.espalier", tmp_path / "b.espalier"
    saved(before)
    shrink_file(before, after)
    x = np.random.default_rng(0).normal(size=(6, 2, 32)).astype(np.float32)
    outputs, sizes = [], []
    for path in (before, after):
        graph = graph_of(path)
        outputs.append(compile(graph, cache_dir=tmp_path / "cache", threads=1)(x))
        sizes.append((write_c(graph, tmp_path / f"c-{path.stem}") / "net.c").stat().st_size)
        write_onnx(graph, tmp_path / f"{path.stem}.onnx")
        session = runtime.InferenceSession(tmp_path / f"{path.stem}.onnx")
        outputs.append(session.run(None, {session.get_inputs()[0].name: x})[0])
    for other in outputs[1:]:
        np.testing.assert_allclose(other, outputs[0], rtol=1e-4, atol=1e-5)
    assert sizes[1] <= sizes[0]


def run(*arguments: object) -> int:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what went from which layer, or prints JSON alone."""
    before, after = tmp_path / "a.espalier", tmp_path / "b.espalier"
    saved(before)
    assert run("shrink", before, "-o", after) == 0
    printed = capsys.readouterr().out
    assert "fc1: 16 -> " in printed
    assert f"{after.stat().st_size:,} bytes" in printed
    assert run("shrink", before, "--out", after, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["network"]["name"] == "modulation_cnn"
    assert told["size_bytes"] == after.stat().st_size


def test_networks_of_ones_own_are_refused(tmp_path: Path) -> None:
    """A file can't say how to build a smaller one of them; nothing is written."""
    path = tmp_path / "a.espalier"
    metadata = artifact.Metadata(network={"name": "nets:small", "options": {}})
    artifact.write(path, {"weight": np.zeros(3, np.float32)}, metadata)
    with pytest.raises(ConfigError, match=r"shrink your own in Python: espalier.shrink\(model"):
        shrink_file(path, tmp_path / "b")
    artifact.write(path, {"weight": np.zeros(3, np.float32)})
    with pytest.raises(ConfigError, match="names nothing as what builds"):
        shrink_file(path, tmp_path / "b")
    network = {"name": "modulation_cnn", "options": OPTIONS}
    artifact.write(path, {}, artifact.Metadata(network=network))
    with pytest.raises(ConfigError, match="does not say the shape of its network's input"):
        shrink_file(path, tmp_path / "b")
    assert not (tmp_path / "b").exists()
