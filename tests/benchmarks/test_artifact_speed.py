"""The benchmark of packing and reading runs and says what it promises."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "artifact_speed.py"


def test_it_ends_with_a_row_for_each_size() -> None:
    """Sizes up to the largest, each with its bytes and times."""
    command = [sys.executable, str(SCRIPT), "--largest", "20000", "--json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = json.loads(printed.splitlines()[-1])["rows"]

    assert [row["weights"] for row in rows] == [10_000, 20_000]
    assert all(row["read_s"] > 0 and row["pack_s"] > 0 for row in rows)
    assert 0 < rows[0]["bytes"] < rows[1]["bytes"] < 20_000
