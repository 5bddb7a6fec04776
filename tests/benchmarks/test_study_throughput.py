"""The throughput benchmark runs and ends with its line of JSON; what it measures is no test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "study_throughput.py"


@pytest.mark.slow
def test_study_throughput_ends_with_json() -> None:
    """The usual loop, one run and two runs each have a row; the best split is one of ours."""
    options = (
        "--images 16 --batch-size 8 --rounds 1 --precision fp32 --device cpu --cores 2 --runs 2 "
        "--workers 0 --json"
    )
    done = subprocess.run(
        [sys.executable, SCRIPT, *options.split()], check=True, capture_output=True, text=True
    )
    *table, last = done.stdout.splitlines()
    assert any(line.startswith("usual, 1 x 2") for line in table)
    found = json.loads(last)
    rows = {(row["side"], row["runs"], row["threads"]): row for row in found["rows"]}
    assert rows.keys() == {("usual", 1, 2), ("espalier", 1, 2), ("espalier", 2, 1)}
    assert all(0 < row["min"] <= row["images_per_s"] <= row["max"] for row in rows.values())
    assert (found["best"]["runs"], found["best"]["threads"]) in {(1, 2), (2, 1)}
    assert found["source"] == "random images"
