"""``espalier search``: real runs in processes of their own, and what it refuses."""

import json
from pathlib import Path

import pytest

from .conftest import Command
from .test_compress import own

__all__ = ["own"]
OWN = (
    *("--model", "espalier_test_own:net", "--data", "espalier_test_own:data"),
    *("--device", "cpu", "--threads", "1", "--batch-size", "16"),
)


@pytest.mark.slow
def test_a_search_from_the_command_line(espalier: Command, own: Path) -> None:
    """Table, files and picture; the same again, without a run, as JSON."""
    arguments = ("search", *OWN, "--budget-runs", 3, "--epochs", 1, "--jobs", 2, "--out", "found")
    said = espalier(*arguments, "--densities", "0.05:0.5")
    assert said.code == 0, said.err
    front = json.loads((own / "found" / "front.json").read_text())

    assert 1 <= len(front) <= 3
    for row in front:
        assert f"{row['val_accuracy']:.2f} %" in said.out
        assert (own / row["run"] / "best.safetensors").exists()
    assert (own / "found" / "front.csv").read_text().count("\n") == len(front) + 1
    assert (own / "found" / "front.png").read_bytes().startswith(b"\x89PNG")

    again = espalier(*arguments, "--densities", "0.05:0.5", "--json")
    assert json.loads(again.out)["front"] == front


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective", "acuracy, bytes"], "there is no 'acuracy', but accuracy and bytes. Did"),
        (["--objective", "bytes"], "a front needs both"),
        (["--densities", "0.1"], "--densities 0.1: expected LOW:HIGH"),
        (["--bits", "two"], "--bits two: expected whole numbers"),
        (["--budget-runs", "0"], "expected an integer >= 1"),
        (["--recipe", "week"], "no recipe 'week'"),
        (["--data-dir", "nowhere"], "--data-dir nowhere does not exist"),
    ],
)
def test_bad_input_leaves_nothing(
    espalier: Command, own: Path, arguments: list[str], message: str
) -> None:
    """Exit code 2 and one line; no directory is made."""
    found = espalier("search", *OWN, "--out", "found", *arguments)

    assert found.code == 2
    assert message in found.err
    assert not (own / "found").exists()
