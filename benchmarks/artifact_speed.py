"""What packing and reading cost as networks grow: time a weight, and memory.

    python benchmarks/artifact_speed.py [--largest 100000000] [--json]

Networks of random weights, 7 % of them nonzero, on a grid of 4 bits, in tensors of 1,000,000 (or
fewer). Each tensor is made when it is packed and dropped when it is read, so the memory named is
what packing and reading themselves take beyond the file. One thread.

The floor of reading: each bit of a mask waits for the mixing weights that the bit before has moved,
about 20 cycles of two multiplications, a look-up and sums; docs/results.md has the distance to it.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from espalier import artifact
from espalier.encoded import Encoded, encode

DENSITY, BITS, STEP = 0.07, 4, 2.0**-6
TENSOR = 1_000_000


class Drawn(Mapping[str, Encoded]):
    """Tensors that exist only while somebody looks at them."""

    def __init__(self, weights: int) -> None:
        whole, rest = divmod(weights, TENSOR)
        self.sizes = [TENSOR] * whole + [rest] * (rest > 0)
        self.drawing_s = 0.0  # spent in drawing, which is no part of packing

    def __getitem__(self, name: str) -> Encoded:
        started = time.perf_counter()
        drawn = self.draw(int(name))
        self.drawing_s += time.perf_counter() - started
        return drawn

    def draw(self, number: int) -> Encoded:
        """Draw one tensor; the same at each call."""
        rng = np.random.default_rng(number)
        shape = (1000, self.sizes[number] // 1000)
        spread = rng.standard_normal(shape, np.float32)
        kept = np.abs(spread) > 1.812  # 7 % of a normal distribution
        codes = np.clip(np.rint(spread * 2), -7, 7)
        return encode(
            np.where(kept, codes, 0).astype(np.float32) * np.float32(STEP), step=STEP, bits=BITS
        )

    def __iter__(self) -> Iterator[str]:
        return map(str, range(len(self.sizes)))

    def __len__(self) -> int:
        return len(self.sizes)


def peak_mib() -> float:
    """Return the most memory that this process ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(weights: int, folder: Path) -> dict[str, float]:
    """Pack and read a network of so many weights."""
    drawn, path = Drawn(weights), folder / "net.espalier"
    pack_s = -time.perf_counter()
    size_bytes = artifact.write(path, drawn)
    pack_s += time.perf_counter() - drawn.drawing_s
    before_mib, read_s = peak_mib(), -time.perf_counter()
    with artifact.open_artifact(path, max_bytes=8 * weights) as file:
        for _ in file.tensors():
            pass
    read_s += time.perf_counter()
    return {
        "weights": weights,
        "bytes": size_bytes,
        "pack_s": round(pack_s, 4),
        "read_s": round(read_s, 4),
        "pack_ns_per_weight": round(1e9 * pack_s / weights, 2),
        "read_ns_per_weight": round(1e9 * read_s / weights, 2),
        "peak_mib": round(before_mib, 1),
        "peak_reading_mib": round(peak_mib(), 1),
    }


def main() -> None:
    """Read the command line, measure, show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=100_000_000, help="weights (100,000,000)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    asked = parser.parse_args()
    counts = [10**k for k in range(4, 12) if 10**k < asked.largest] + [asked.largest]
    print(
        f"{'weights':>12} {'bytes':>12} {'pack s':>9} {'read s':>9} {'pack ns':>8} {'read ns':>8}"
        f" {'peak MiB':>9}"
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for weights in counts:
            row = measure(weights, Path(folder))
            rows.append(row)
            print(
                f"{weights:12,} {row['bytes']:12,} {row['pack_s']:9.3f} {row['read_s']:9.3f} "
                f"{row['pack_ns_per_weight']:8.1f} {row['read_ns_per_weight']:8.1f} "
                f"{row['peak_reading_mib']:9.0f}"
            )
    if asked.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
