"""``espalier train --layer-bits``: the setting in the run's record, and what it refuses."""

import json
from pathlib import Path

from .conftest import Command

SMALL = ("--data", "modulation", "--model", "modulation_cnn", "--epochs", "1", "--threads", "1")
RUN = (*SMALL, "--precision", "fp32", "--bits", "3", "--gamma", "0.1")


def test_bits_by_layer(espalier: Command, tmp_path: Path) -> None:
    """The record names them, and the packed file has them."""
    given = ("--layer-bits", "conv1.*=8", "--layer-bits", "fc2.*=6")
    assert espalier("train", *RUN, *given, "--out", tmp_path / "run").code == 0
    spec = json.loads((tmp_path / "run" / "spec.json").read_text())
    assert spec["layer_bits"] == {"conv1.*": 8, "fc2.*": 6}
    assert espalier("pack", tmp_path / "run", "-o", tmp_path / "net.espalier").code == 0
    told = json.loads(espalier("inspect", tmp_path / "net.espalier", "--json").out)
    bits = {row["name"]: row["bits"] for row in told["tensors"] if row["bits"] is not None}
    assert {n: b for n, b in bits.items() if b != 3} == {
        "conv1.weight": 8,
        "conv1.bias": 8,
        "fc2.weight": 6,
        "fc2.bias": 6,
    }


def test_what_is_no_pattern_with_bits(espalier: Command, tmp_path: Path) -> None:
    """Wrong usage, before anything is written."""
    for given in ("conv1.*", "=8", "conv1.*=many"):
        ended = espalier("train", *RUN, "--layer-bits", given, "--out", tmp_path / "run")
        assert ended.code == 2
        assert "expected PATTERN=BITS, as in conv1.*=8" in ended.err
    ended = espalier("train", *RUN, "--layer-bits", "cnv1.*=8", "--out", tmp_path / "other")
    assert ended.code == 2
    assert "'cnv1.*' matches no compressed parameter" in ended.err
    assert not (tmp_path / "run").exists()


def test_filters_and_on_to_the_smaller_file(espalier: Command, tmp_path: Path) -> None:
    """Half of the filters go in training, and out of the file."""
    given = ("--filter-density", "0.5", "--update", "latent")
    assert espalier("train", *RUN, *given, "--out", tmp_path / "run").code == 0
    assert espalier("pack", tmp_path / "run", "-o", tmp_path / "net.espalier").code == 0
    ended = espalier("shrink", tmp_path / "net.espalier", "-o", tmp_path / "s.espalier", "--json")
    told = json.loads(ended.out)
    assert told["parameters"] < told["parameters_before"]
    assert told["layers"]["fc2"] == [11, 11]
    assert told["network"]["options"]["hidden"] < 96
