"""The epoch benchmark runs and ends with its line of JSON; what it measures is no test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EPOCH = Path(__file__).parents[2] / "benchmarks" / "epoch.py"


@pytest.mark.slow
def test_epoch_ends_with_json() -> None:
    """Both sides load and train; the table says so, and the last line has the ratios."""
    options = "--images 16 --batch-size 8 --threads 1 --rounds 1 --precision fp32 --json"
    done = subprocess.run(
        [sys.executable, EPOCH, *options.split()], check=True, capture_output=True, text=True
    )
    *table, last = done.stdout.splitlines()
    assert any(line.startswith("train    usual") for line in table)
    found = json.loads(last)
    assert found["speedup"] > 0
    assert found["loading_speedup"] > 0
    assert found["source"] == "random images"
    assert not found["bf16"]
