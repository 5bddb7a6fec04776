"""The commands ``export`` and ``run``: what they write and print, and how they refuse."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from espalier.artifact import Metadata, write
from espalier.encoded import encode
from espalier.models import build_model

from .conftest import Command

INPUT = {"shape": [3, 8, 8], "type": "uint8", "scale": 255, "mean": [0.5] * 3, "std": [0.25] * 3}
OWN = '''
from torch import nn


def small(classes: int = 3) -> nn.Module:
    """A network of one's own."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))


def strange() -> nn.Module:
    """One that no target knows."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(144, 3))
'''


def save(path: Path, model: torch.nn.Module, **metadata: Any) -> Path:
    """Write a network on a grid of eighths."""
    tensors: dict[str, Any] = {}
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if array.ndim > 1:
            array = np.round(array * 8).astype(np.float32) / 8
            tensors[name] = encode(array, step=0.125, bits=5)
        else:
            tensors[name] = array
    write(path, tensors, Metadata(**metadata))
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A residual network for small images, classes named."""
    torch.manual_seed(0)
    options = {"classes": 3, "width": 2}
    return save(
        tmp_path / "net.espalier",
        build_model("resnet20", **options),
        network={"name": "resnet20", "options": options},
        input=INPUT,
        classes=("ant", "bee", "cat"),
    )


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a network of one's own, whose module lies in the current folder."""
    (tmp_path / "own_nets.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    sys.modules.pop("own_nets", None)  # the next test's module of this name is another one


def test_c(espalier: Command, network: Path, tmp_path: Path) -> None:
    """A directory of C; the line says what is in it."""
    out = tmp_path / "net"
    done = espalier("export", network, "--to", "c", "-o", out, "--optimize", "size")
    assert done.code == 0, done.err
    assert {p.name for p in out.iterdir()} >= {"net.c", "net.h", "Makefile"}
    assert "net.c" in done.out


def test_c_in_integers(espalier: Command, network: Path, images: Path, tmp_path: Path) -> None:
    """Ranges come from a folder of images; without one, the error says what to give."""
    out = tmp_path / "net"
    command = ["export", network, "--to", "c", "-o", out, "--arithmetic", "int"]
    done = espalier(*command)
    assert done.code == 2
    assert "give --calibration" in done.err
    assert not out.exists()
    done = espalier(*command, "--calibration", images)
    assert done.code == 0, done.err
    assert "uint8_t" in (out / "net.c").read_text()


@pytest.mark.parametrize("profile", [None, "packed", "int8"])
def test_onnx(
    espalier: Command, network: Path, images: Path, tmp_path: Path, profile: str | None
) -> None:
    """A file; integers are calibrated on a folder of images."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    out = tmp_path / "net.onnx"
    options = [] if profile is None else ["--profile", profile]
    options += ["--calibration", images] if profile == "int8" else []
    done = espalier("export", network, "--to", "onnx", "-o", out, *options)
    assert done.code == 0, done.err
    assert f"{out.stat().st_size:,} bytes" in done.out
    session = runtime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: np.zeros((2, 3, 8, 8), np.float32)})
    assert found.shape == (2, 3)


def test_run(espalier: Command, network: Path, images: Path, own: Path) -> None:
    """The classes are PyTorch's; a line of JSON holds them too."""
    from espalier.bridge import load

    pictures = [np.asarray(Image.open(path)) for path in sorted(images.iterdir())]
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    expected = load(network)((x - 0.5) / 0.25).softmax(-1)
    done = espalier("run", network, "--input", images, "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    assert [row["index"] for row in rows] == expected.argmax(1).tolist()
    names = ("ant", "bee", "cat")
    assert [row["class"] for row in rows] == [names[i] for i in expected.argmax(1)]
    found = [row["probability"] for row in rows]
    assert found == pytest.approx(expected.amax(1).tolist(), rel=1e-4)
    shown = espalier("run", network, "-i", images).out.splitlines()
    assert len(shown) == 3
    assert all(row["class"] in line for row, line in zip(rows, shown, strict=True))


def test_a_network_of_ones_own(espalier: Command, own: Path, images: Path) -> None:
    """--model builds it, with the options of the file."""
    from espalier.models import build_model

    model = build_model("own_nets:small", classes=5)
    described = {"name": "own_nets:small", "options": {"classes": 5}}
    path = save(own / "own.espalier", model, network=described, input=INPUT)
    refused = espalier("export", path, "--to", "c", "-o", own / "c")
    assert refused.code == 2
    assert "Only Espalier's own networks are built by name" in refused.err
    done = espalier("export", path, "--to", "c", "-o", own / "c", "--model", "own_nets:small")
    assert done.code == 0, done.err
    done = espalier("run", path, "-i", images, "--model", "own_nets:small", "--json")
    assert {row["class"] for row in json.loads(done.out)["rows"]} == {None}


def test_an_unknown_operator(espalier: Command, own: Path) -> None:
    """It is named with its place, and nothing is written."""
    model = build_model("own_nets:strange")
    path = save(own / "own.espalier", model, input=INPUT)
    for to, out in (("c", "c"), ("onnx", "net.onnx")):
        done = espalier("export", path, "--to", to, "-o", own / out, "--model", "own_nets:strange")
        assert done.code == 2
        assert "aten.sigmoid in module '1' (Sigmoid) can't be exported" in done.err
        assert len(done.err.splitlines()) == 1
        assert not (own / out).exists()


def test_a_damaged_file(espalier: Command, network: Path, images: Path, tmp_path: Path) -> None:
    """Exit code 1, and nothing is written."""
    content = bytearray(network.read_bytes())
    content[-3] ^= 1
    network.write_bytes(bytes(content))
    for arguments in (["export", network, "--to", "c", "-o", tmp_path / "net"], ["run", network]):
        options = ["-i", images] if arguments[0] == "run" else []
        done = espalier(*arguments, *options)
        assert done.code == 1
        assert "changed since" in done.err
    assert not (tmp_path / "net").exists()


def test_images_of_another_size(espalier: Command, network: Path, images: Path, own: Path) -> None:
    """Named, with both sizes; nothing is printed for the others."""
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(images / "z.png")
    done = espalier("run", network, "-i", images)
    assert done.code == 1
    assert "z.png is 7 x 9 pixels; the network takes 8 x 8" in done.err
    assert done.out == ""


def test_no_compiler(
    espalier: Command, network: Path, images: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1; one line says what is wrong."""
    monkeypatch.setenv("CC", "no-such-compiler")
    done = espalier("run", network, "-i", images)
    assert done.code == 1
    assert "no-such-compiler" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "tflite"], "--to tflite: expected one of c, onnx"),
        (["--to", "c", "--profile", "int8"], "--profile is not for --to c"),
        (["--to", "onnx", "--optimize", "size"], "--optimize is not for --to onnx"),
        (["--to", "c", "--head", "sofmax"], "Did you mean 'softmax'"),
        (["--to", "c", "--optimize", "spead"], "Did you mean 'speed'"),
        (["--to", "onnx", "--profile", "half"], "--profile half: expected one of float"),
        (["--to", "onnx", "--profile", "int8"], "give --calibration, some hundred"),
        (["--to", "c", "--target", "avx"], "Did you mean 'avx2'"),
        (["--to", "c", "--calibration", "images"], "--calibration is for --profile int8 and"),
        (["--to", "onnx", "--profile", "int8", "--calibration", "nowhere"], "there is no nowhere"),
        (["--to", "c", "--model", "nowhere:net"], "no module 'nowhere'"),
        (["--to", "c", "--model", "paper_cnn"], "the file's network is not this model"),
    ],
)
def test_wrong_usage(
    espalier: Command, network: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    """Exit code 2, one line, nothing written."""
    done = espalier("export", network, "-o", tmp_path / "out", *options)
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_the_input_shape_of_a_file_that_does_not_say_it(
    espalier: Command, tmp_path: Path, images: Path
) -> None:
    """The option is named where it is missing; samples are normalized ones then."""
    known = {"name": "resnet20", "options": {"classes": 3, "width": 2}}
    path = save(
        tmp_path / "old.espalier", build_model("resnet20", **known["options"]), network=known
    )
    out = tmp_path / "old.onnx"
    done = espalier("export", path, "--to", "onnx", "-o", out)
    assert done.code == 2
    assert "give it as --input-shape C,H,W" in done.err
    given = ("--input-shape", "3,8,8")
    assert espalier("export", path, "--to", "onnx", "-o", out, *given).code == 0
    done = espalier("run", path, "-i", images, *given)
    assert done.code == 2
    assert "give --input-shape and a .npy" in done.err
    samples = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "samples.npy", samples)
    done = espalier("run", path, "-i", tmp_path / "samples.npy", "--json", *given)
    assert len(json.loads(done.out)["rows"]) == 2


def test_the_input_shape_is_checked(espalier: Command, network: Path, images: Path) -> None:
    """It must be sizes, and those of the file where that says them."""
    done = espalier("run", network, "-i", images, "--input-shape", "3x8x8")
    assert done.code == 2
    assert "--input-shape 3x8x8: expected sizes above 0, such as 3,32,32" in done.err
    done = espalier("run", network, "-i", images, "--input-shape", "3,9,9")
    assert done.code == 2
    assert "says that its network takes (3, 8, 8), not (3, 9, 9)" in done.err
    assert espalier("run", network, "-i", images, "--input-shape", "3,8,8").code == 0
