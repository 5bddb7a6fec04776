"""`espalier ablation`: from records to the table of a ladder."""

import json
from pathlib import Path

from ..report import builder  # noqa: TID252
from .conftest import Command


def test_a_table_and_its_numbers(espalier: Command, tmp_path: Path) -> None:
    """Markdown to be pasted, or one line of JSON."""
    builder.published_study(tmp_path / "study", keep=lambda spec: spec.bits != 3)
    found = espalier("ablation", tmp_path / "study")
    assert found.code == 0
    assert "| # | what changes | seeds | validation, % | bytes |" in found.out
    rows = json.loads(espalier("ablation", tmp_path / "study", "--json").out)
    assert rows[0]["over"] is None
    assert all(row["over"] < row["number"] for row in rows[1:])


def test_no_study(espalier: Command, tmp_path: Path) -> None:
    """Said in a line."""
    found = espalier("ablation", tmp_path)
    assert found.code != 0
    assert "holds no study" in found.err
