"""The size benchmark runs and ends with its line of JSON."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from espalier import artifact
from espalier.encoded import encode

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "artifact_size.py"


def test_artifact_size_ends_with_json(tmp_path: Path) -> None:
    """Each coder has a row; ours is the smallest of those that can be decoded."""
    rng = np.random.default_rng(0)
    rows = rng.random((120, 1)) * 0.2
    codes = rng.integers(1, 8, (120, 100)) * rng.choice((-1, 1), (120, 100))
    weights = np.where(rng.random((120, 100)) < rows, codes, 0).astype(np.float32)
    artifact.write(tmp_path / "net.espalier", {"w": encode(weights, step=1.0, bits=4)})
    command = [sys.executable, SCRIPT, tmp_path / "net.espalier", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = {
        r["coder"]: r
        for r in json.loads(done.stdout.splitlines()[-1])["rows"]
        if r["network"] == "net"
    }
    assert found["espalier"]["bytes"] == min(r["bytes"] for r in found.values())
    assert found["espalier-static"]["bytes"] < 1.05 * found["entropy"]["bytes"]
    assert found["entropy"]["bytes"] == round(found["entropy"]["entropy_bytes"])
    assert {"zstd-19", "xz-9", "bitmask", "csr"} < set(found)
