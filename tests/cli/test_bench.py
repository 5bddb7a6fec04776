"""The command ``bench``: its table, its JSON, and how it refuses."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ..small_file import save_small  # noqa: TID252
from .conftest import Command

QUICK = ("--seconds", "0.01")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    return save_small(tmp_path / "net.espalier")


def test_a_table_for_people(espalier: Command, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes, times against a stock runtime, what is missing and how to get it."""
    done = espalier("bench", file, "--engines", "torch,ort-fp32,ort-int8", *QUICK)
    assert done.code == 0
    assert f"the file       {file.stat().st_size:>12,} bytes" in done.out
    assert "ONNX packed" in done.out
    assert "x ort-fp32" in done.out
    assert "off the trained grid; calibrated on random numbers" in done.out
    assert "accuracy" not in done.out
    assert "timing 3 engines in turns" in done.err

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = espalier("bench", file, "--engines", "torch,ort-fp32", *QUICK)
    assert done.code == 0
    assert "x torch" in done.out
    assert "pip install 'espalier[onnx]'" in done.out


def test_json_for_programs(espalier: Command, file: Path) -> None:
    """One line; a row an engine."""
    done = espalier("bench", file, "--engines", "torch", "--batch", "3", "--json", *QUICK)
    found = json.loads(done.out)
    assert len(done.out.splitlines()) == 1
    assert found.keys() == {"network", "machine", "samples", "calibration", "sizes", "rows"}
    assert found["sizes"].keys() == {
        *("file", "float32", "onnx_float", "onnx_int8", "onnx_packed"),
    }
    (row,) = found["rows"]
    assert row.keys() == {
        *("network", "engine", "batch", "threads", "file_bytes", "median_ms", "low_ms", "high_ms"),
        *("calls", "accuracy", "labelled", "note", "missing"),
    }
    assert (row["engine"], row["batch"], row["accuracy"]) == ("torch", 3, None)


def test_a_network_of_ones_own(espalier: Command, file: Path) -> None:
    """What --model builds is filled and measured; another network is refused."""
    options = ("--engines", "torch", *QUICK)
    assert espalier("bench", file, "--model", "resnet20", *options).code == 0
    done = espalier("bench", file, "--model", "paper_cnn", *options)
    assert done.code == 2
    assert "the file's network is not this model" in done.err


def test_images_of_ones_own(espalier: Command, file: Path, tmp_path: Path) -> None:
    """They are run and calibrate; those of another size are named."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "ab":
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / f"{name}.png")
    options = ("--engines", "ort-int8", "--input", folder, *QUICK)
    done = espalier("bench", file, *options)
    assert done.code == 0
    assert f"calibrated on 2 samples of {folder}" in done.out
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(folder / "c.png")
    done = espalier("bench", file, *options)
    assert done.code == 1
    assert "c.png is 7 x 9 pixels; the network takes 8 x 8" in done.err
    assert done.out == ""


def test_a_damaged_file(espalier: Command, file: Path) -> None:
    """Exit code 1; one line says what is wrong."""
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    done = espalier("bench", file, *QUICK)
    assert done.code == 1
    assert "changed since" in done.err


def test_no_engine_runs(espalier: Command, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1, after a table that says why."""
    monkeypatch.setenv("CC", "no-such-compiler")
    done = espalier("bench", file, "--engines", "espalier-float", *QUICK)
    assert done.code == 1
    assert "no-such-compiler" in done.out
    assert "none of the engines could run" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engines", "ort-int"], "Did you mean 'ort-int8'"),
        (["--engines", ""], "no engine is asked for"),
        (["--data", "cifar10", "--input", "x"], "give one of them"),
        (["--data-dir", "x"], "--data-dir is for --data"),
        (["--limit", "9"], "--limit is for --data"),
        (["--input", "nowhere"], "there is no nowhere"),
        (["--data", "modulatio"], "Did you mean 'modulation'"),
        (["--data", "modulation"], "the network takes (3, 8, 8)"),
        (["--input-shape", "3,9,9"], "says that its network takes (3, 8, 8), not (3, 9, 9)"),
        (["--seconds", "0"], "each must be above 0"),
    ],
)
def test_wrong_usage(espalier: Command, file: Path, options: list[str], message: str) -> None:
    """Exit code 2, and one line that names it."""
    done = espalier("bench", file, *options)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""


def test_a_file_that_does_not_say_its_input(espalier: Command, tmp_path: Path) -> None:
    """The option is named, and taken."""
    file = save_small(tmp_path / "old.espalier", input=None)
    done = espalier("bench", file)
    assert done.code == 2
    assert "give it as --input-shape C,H,W" in done.err
    options = ("--input-shape", "3,8,8", "--engines", "torch", *QUICK)
    assert espalier("bench", file, *options).code == 0
