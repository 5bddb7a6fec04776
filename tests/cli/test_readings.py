"""`espalier readings`: from records to a ranking."""

import json
from pathlib import Path

from ..report import builder  # noqa: TID252
from .conftest import Command


def study(directory: Path) -> Path:
    """Write a study of one reading with the published cells, and one that is unfinished."""
    builder.published_study(directory, keep=lambda spec: spec.bits != 3)
    return directory


def test_readings_are_ranked(espalier: Command, tmp_path: Path) -> None:
    """A Markdown table to be pasted; the paper's own numbers differ in the learning rate alone."""
    found = espalier("readings", study(tmp_path / "study"))

    assert found.code == 0
    assert "| reading | distance | 1 | 2 | 3 | 4 | γ 0 · 4 bits" in found.out
    assert "| as it is | 0.98 | 0.00 | 0.00 | 0.00 | 0.98 | 10.9 at 100.0 |" in found.out


def test_json_has_every_term(espalier: Command, tmp_path: Path) -> None:
    """One line, in full precision."""
    (reading,) = json.loads(espalier("readings", study(tmp_path / "study"), "--json").out)

    assert reading["dense"] == 87.21
    assert len(reading["cells"]) == 4
    assert len(reading["terms"]) == 9


def test_factors_need_an_axis_of_two_levels(espalier: Command, tmp_path: Path) -> None:
    """A study without factors has no effects."""
    found = espalier("readings", study(tmp_path / "study"), "--factors")

    assert found.code == 0
    assert found.out.splitlines()[-1].startswith("| ---")


def test_bad_input_is_told_in_a_line(espalier: Command, tmp_path: Path) -> None:
    """No study, and no way to count."""
    assert "holds no study" in espalier("readings", tmp_path).err
    found = espalier("readings", study(tmp_path / "study"), "--count", "masks")
    assert (found.code, "Did you mean 'mask'" in found.err) == (2, True)
