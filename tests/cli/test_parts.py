"""Quantizers and thresholds on the command line: recorded, explained, refused."""

import json
from pathlib import Path

from .conftest import Command

SMALL = ("--data", "modulation", "--model", "modulation_cnn", "--epochs", "1", "--threads", "1")
RUN = (*SMALL, "--precision", "fp32", "--recipe", "strong", "--bits", "3", "--lr", "0.01")


def test_the_record_names_them(espalier: Command, tmp_path: Path) -> None:
    """What is given stands in the spec beside the recipe's settings."""
    for name, given, found in (
        ("lsq", ("--quantizer", "lsq", "--operator-lr", "0.02"), {"operator_lr": 0.02}),
        ("rdoq", ("--quantizer", "rdoq", "--bit-price", "0.2"), {"bit_price": 0.2}),
        ("least", ("--layer-least", "4"), {"layer_least": 4, "target_density": 0.02}),
        ("spare", ("--spare-operations", "0.75"), {"spare_operations": 0.75}),
        ("learned", ("--pressure", "0.3"), {"pressure": 0.3}),
    ):
        assert espalier("train", *RUN, *given, "--out", tmp_path / name).code == 0
        spec = json.loads((tmp_path / name / "spec.json").read_text())
        assert found.items() <= spec.items()
        assert spec.get("quantizer", "uniform") == (name if name in ("lsq", "rdoq") else "uniform")


def test_help_teaches_them(espalier: Command) -> None:
    """What each does, when to take it, and the numbers that are usual."""
    told = " ".join(espalier("train", "--help").out.replace("│", " ").split())
    for words in ("whose step is learned from the loss", "0.05 to 0.5 is usual", "Try 0.005 with"):
        assert words in told


def test_one_way_to_say_what_to_prune(espalier: Command, tmp_path: Path) -> None:
    """A pressure is one; nothing is written."""
    given = ("--pressure", "0.3", "--target-density", "0.1")
    ended = espalier("train", *RUN, *given, "--out", tmp_path / "run")
    assert ended.code == 2
    assert "--target-density and --pressure both say what to prune" in ended.err
    assert not (tmp_path / "run").exists()
