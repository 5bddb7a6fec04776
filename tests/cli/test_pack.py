"""The commands around the file: pack, inspect, verify, unpack."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import espalier
from espalier import artifact
from espalier.cli import main
from espalier.train import load_weights


def run(*arguments: object) -> int:
    """Run a command and return its exit code."""
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the modulation network for a moment."""
    out = tmp_path_factory.mktemp("runs") / "a"
    options = ["--data", "modulation", "--model", "modulation_cnn", "--limit-train", 128]
    options += ["--epochs", 1, "--gamma", 1.0, "--bits", 4, "--threads", 1, "--precision", "fp32"]
    assert run("train", *options, "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def packed(trained: Path) -> Path:
    """Pack it."""
    out = trained.parent / "net.espalier"
    assert run("pack", trained, "-o", out) == 0
    return out


def test_a_run_is_packed(trained: Path, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is that of the best epoch; the result names its size."""
    assert run("pack", trained, "-o", trained.parent / "again") == 0
    assert f"{packed.stat().st_size:,} bytes" in capsys.readouterr().out
    assert (trained.parent / "again").read_bytes() == packed.read_bytes()
    result = json.loads((trained / "result.json").read_text())
    assert result["size_bytes"] == packed.stat().st_size
    found = artifact.read(packed).metadata
    assert found.network is not None
    assert found.network["name"] == "modulation_cnn"
    assert found.input is not None
    assert found.input["shape"] == [2, 128]
    assert len(found.classes) == 11
    assert found.metrics["test_accuracy"] == result["test_accuracy"]
    assert found.metrics["data"] == "modulation"
    assert found.operator is not None


def test_a_packed_run_is_loaded(trained: Path, packed: Path) -> None:
    """Loading gives the run's weights, bit for bit, in a network built by name."""
    weights, _ = load_weights(trained / "best.safetensors")
    state = espalier.load(packed).state_dict()
    for name, tensor in weights.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], tensor), name


def test_inspect(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table for people, JSON for programs, with both ratios."""
    assert run("inspect", packed, "--baseline", 90) == 0
    out = capsys.readouterr().out
    for word in ("conv1.weight", "uniform, 4 bits", "of the entropy bound", "RC by the file", "PE"):
        assert word in out
    assert run("inspect", packed, "--json", "--baseline", 90) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["size_bytes"] == packed.stat().st_size
    stored = sum(row["stored_bytes"] for row in found["tensors"])
    assert stored + found["header_bytes"] == found["size_bytes"]
    assert set(found["efficiency"]) == {"paper", "file"}
    assert found["total"]["ratio_file"] == found["size_bytes"] / found["total"]["dense_bytes"]
    assert run("inspect", packed, "--json") == 0
    assert json.loads(capsys.readouterr().out)["efficiency"] is None


def test_inspect_steers_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and markup of a stranger's file are shown, not obeyed."""
    metadata = artifact.Metadata(writer="\x1b[31mred", classes=("[bold]x[/bold]",))
    tensors = {"\x1b[2J[red]w": torch.zeros(2).numpy()}
    artifact.write(tmp_path / "n", tensors, metadata)
    assert run("inspect", tmp_path / "n") == 0
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "\x1b[31m" not in out
    assert "\\x1b[2J[red]w" in out
    assert "[bold]x[/bold]" in out


@pytest.mark.parametrize("options", [(), ("--fold",), ("--half",), ("--by-validation", "--fold")])
def test_verify(
    trained: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever was asked of the file, it is compared with what the run has."""
    out = trained.parent / f"v{len(options)}"
    assert run("pack", trained, "-o", out, *options) == 0
    assert run("verify", out, trained) == 0
    assert "values alike" in capsys.readouterr().out


def test_verify_finds_differences(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another value and another tensor are named; the exit code is 1."""
    file = artifact.read(trained.parent / "net.espalier")
    tensors = dict(file.tensors)
    tensors["norm1.bias"] = tensors["norm1.bias"] + 1  # type: ignore[operator]
    artifact.write(tmp_path / "n", tensors, file.metadata)
    assert run("verify", tmp_path / "n", trained) == 1
    assert "differ in 'norm1.bias'" in capsys.readouterr().err
    del tensors["norm1.bias"]
    artifact.write(tmp_path / "n", tensors, file.metadata)
    assert run("verify", tmp_path / "n", trained) == 1
    assert "only one of them has 'norm1.bias'" in capsys.readouterr().err


def test_unpack(trained: Path, packed: Path, tmp_path: Path) -> None:
    """The plain file holds the run's weights."""
    assert run("unpack", packed, "-o", tmp_path / "n.safetensors") == 0
    found = load_file(tmp_path / "n.safetensors")
    weights, _ = load_weights(trained / "best.safetensors")
    assert torch.equal(found["fc1.weight"], weights["fc1.weight"])


def test_wrong_usage_and_damage(
    trained: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr, exit code 2 for what can't be asked and 1 for what is broken."""
    damaged = tmp_path / "n.espalier"
    damaged.write_bytes(packed.read_bytes()[:-1])
    cases = [
        (2, ("pack", tmp_path, "-o", tmp_path / "x"), "there is no .*best.safetensors; give the"),
        (2, ("pack", trained, "-o", tmp_path / "x", "--coder", "contexst"), "Did you mean 'contex"),
        (1, ("pack", trained, "-o", tmp_path / "no" / "x"), "can't write"),
        (1, ("inspect", damaged), r"n.espalier: the file has .* cut off \(byte"),
        (1, ("inspect", packed, "--max-bytes", 10), "max_bytes is 10"),
        (2, ("inspect", packed, "--baseline", 101), "above 0 and up to 100"),
        (1, ("verify", damaged, trained), "was cut off"),
        (1, ("unpack", damaged, "-o", tmp_path / "x"), "was cut off"),
        (1, ("unpack", tmp_path / "none", "-o", tmp_path / "x"), "No such file"),
    ]
    for code, arguments, message in cases:
        assert run(*arguments) == code, arguments
        error = capsys.readouterr().err
        assert error.startswith("espalier: ")
        assert error.count("\n") == 1
        with pytest.raises(ValueError, match=message):
            raise ValueError(error)
    assert not (tmp_path / "x").exists()
