"""What each ONNX profile of a network weighs, and how fast ONNX Runtime opens and runs it.

    python benchmarks/onnx_profiles.py [FILE.espalier ..] [--density 0.07] [--bits 4] [--json]

Takes the files given; without any, the paper's network with random weights of that density on a
grid of that many bits, each magnitude equally likely, which is the hardest to code. Integers are
calibrated on random inputs: their speed is real, their accuracy is not looked at here. One thread,
batch 1; the profiles take turns.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime

from drawn import write_random
from espalier import artifact
from espalier.export.graph import Graph
from espalier.export.onnx import write_onnx
from espalier.export.trace import graph_of
from measuring import machine, spread

PROFILES = ("float", "packed", "int8")
SHAPES = {"modulation_cnn": (2, 128)}
"""Of inputs, where a file does not say; images of 32 pixels elsewhere."""
OPENINGS = 5
RUNS = 200


def opened(path: Path) -> Any:
    """Start a session of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def seconds(function: Any, *arguments: Any) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def measure(name: str, graph: Graph, file_bytes: int, folder: Path) -> list[dict[str, Any]]:
    """Return a row for the file and one a profile."""
    inputs = np.random.default_rng(1).normal(size=(64, *graph.input.shape)).astype(np.float32)
    paths = {profile: folder / f"{profile}.onnx" for profile in PROFILES}
    for profile, path in paths.items():
        given = inputs if profile == "int8" else None
        write_onnx(graph, path, profile=profile, calibration=given)  # type: ignore[arg-type]
    opening = {p: [seconds(opened, path) for _ in range(OPENINGS)] for p, path in paths.items()}
    sessions = {profile: opened(path) for profile, path in paths.items()}
    feed = {graph.input.name: inputs[:1]}
    running: dict[str, list[float]] = {profile: [] for profile in PROFILES}
    for _ in range(RUNS):
        for profile, session in sessions.items():
            running[profile].append(seconds(session.run, None, feed))
    rows: list[dict[str, Any]] = [{"network": name, "form": "espalier", "bytes": file_bytes}]
    for profile, path in paths.items():
        row = {"network": name, "form": profile, "bytes": path.stat().st_size}
        rows.append(row | {"open_s": opening[profile], "run_s": running[profile]})
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print a network's rows as a table."""
    whole = next(row["bytes"] for row in rows if row["form"] == "float")
    print(f"\n{rows[0]['network']}")
    print(
        f"{'form':10}{'bytes':>12}{'smaller':>9}{'open ms':>10}{'run ms':>10}{'min':>10}{'max':>10}"
    )
    for row in rows:
        line = f"{row['form']:10}{row['bytes']:12,}{whole / row['bytes']:8.1f}x"
        if "run_s" in row:
            line += f"{1e3 * median(row['open_s']):10.1f}{spread(row['run_s'])}"
        print(line)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--density", type=float, default=0.07)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    print(machine(1), f"onnxruntime {onnxruntime.__version__}", sep="; ")
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files: list[Path] = asked.files
        if not files:
            files = [folder / f"paper_cnn, random, density {asked.density}, {asked.bits} bits"]
            write_random(files[0], asked.density, asked.bits)
        for path in files:
            metadata = artifact.read(path).metadata
            shape = SHAPES.get((metadata.network or {}).get("name", ""), (3, 32, 32))
            graph = graph_of(path, input_shape=None if metadata.input else shape)
            rows = measure(path.name, graph, path.stat().st_size, folder)
            show(rows)
            found += rows
    if asked.json:
        for row in found:
            for key in ("open_s", "run_s"):
                if key in row:
                    row[f"{key[:-2]}_median_ms"] = 1e3 * median(row.pop(key))
        print(json.dumps({"rows": found}))


if __name__ == "__main__":
    main()
