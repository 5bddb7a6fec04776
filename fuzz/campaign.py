"""A structured campaign: mutated files by the million, only ``ArtifactError`` may come out."""

import argparse
import io
import random
import resource
import sys
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

from espalier import artifact
from espalier.artifact import coder as coder_module
from espalier.encoded import Encoded, Raw, Table, Uniform
from espalier.errors import ArtifactError

MAX_BYTES = 2**16
REGRESSIONS = Path(__file__).parents[1] / "tests" / "artifact" / "regressions"
METADATA_END = 28 + 2 + len(artifact.Metadata().to_bytes())
"""Where tensors begin in the seeds: most changes are made behind it."""
EDGES = (0, 1, 2, 3, 16, 17, 18, 127, 128, 254, 255)


def seeds(rng: np.random.Generator) -> list[bytes]:
    """Return valid files: every kind, shape and model."""
    found = [artifact.pack({})]
    for shape in ((), (5,), (6, 9), (4, 3, 3, 3), (3, 4, 5)):
        mask = rng.random(shape) < 0.4
        count = int(mask.sum())
        codes = rng.integers(1, 9, count) * rng.choice((-1, 1), count)
        values = rng.normal(size=count).astype(np.float32)
        tensors: dict[str, artifact.Tensor] = {
            "net.u": Encoded(mask, codes, Uniform(0.5), 4, count),
            "net.t": Encoded(mask, np.abs(codes) % 3, Table((1.0, -2.0, 0.5)), 2, count),
            "net.r": Encoded(mask, values, Raw(), 32, count),
            "bias": rng.normal(size=3).astype(np.float32),
        }
        for name, tensor in tensors.items():
            found.append(artifact.pack({name: tensor}, coder="contexts"))
            found.append(artifact.pack({name: tensor}, coder="static"))
        found.append(artifact.pack(tensors))
    return found


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """Return a file with a few changes, its checksums mended more often than not."""
    content = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        least = METADATA_END if rng.random() < 0.85 and len(content) > METADATA_END else 0
        at = rng.randrange(least, len(content)) if content else 0
        kind = rng.randrange(6)
        if kind == 0:
            content[at : at + 1] = bytes([rng.choice(EDGES)])
        elif kind == 1 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            content[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 3:
            del content[at : at + rng.randrange(1, 9)]
        elif kind == 4:
            source = rng.randrange(len(content) + 1)
            content[at:at] = content[source : source + rng.randrange(1, 40)]
        else:
            content[at : at + 9] = rng.randbytes(rng.randrange(10))
    return mended(content, rng) if rng.random() < 0.9 else bytes(content)


def mended(content: bytearray, rng: random.Random) -> bytes:
    """Mend lengths and checksums: of the header, and of the payload of a lone tensor."""
    if len(content) < 28:
        return bytes(content)
    length = int.from_bytes(content[12:16], "little")
    if rng.random() < 0.9 and 4 < length <= len(content) - 28:
        payload = bytes(content[28 + length :])
        content[24 + length : 28 + length] = zlib.crc32(payload).to_bytes(4, "little")
    content[16:24] = len(content).to_bytes(8, "little")
    checksum = zlib.crc32(bytes(content[8:24]) + bytes(content[28 : 28 + length]))
    content[24:28] = checksum.to_bytes(4, "little")
    return bytes(content)


def attack(content: bytes) -> str:
    """Return what came of a file: ``read``, or the error's name.

    Raises:
        Exception: anything but an ``ArtifactError``.
    """
    try:
        with artifact.ArtifactFile(io.BytesIO(content), max_bytes=MAX_BYTES) as file:
            for _ in file.tensors():
                pass
    except ArtifactError as error:
        return type(error).__name__
    return "read"


def main() -> int:
    """Run the campaign; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-core", action="store_true", help="attack the coder in Python")
    parser.add_argument(
        "--memory-mib", type=int, default=256, help="address space beyond the start"
    )
    asked = parser.parse_args()
    if asked.no_core:
        coder_module.core = None
    rng, files = random.Random(asked.seed), seeds(np.random.default_rng(asked.seed))
    _limit_memory(asked.memory_mib)
    came_of: Counter[str] = Counter()
    slowest, began = 0.0, time.monotonic()
    while came_of.total() < asked.files and time.monotonic() - began < asked.seconds:
        content = mutated(rng.choice(files), rng)
        before = time.monotonic()
        try:
            came_of[attack(content)] += 1
        except Exception:
            path = REGRESSIONS / f"campaign_{zlib.crc32(content):08x}.hex"
            path.write_text(content.hex() + "\n")
            traceback.print_exc()
            print(f"found after {came_of.total():,} files: {path}")
            return 1
        slowest = max(slowest, time.monotonic() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    coder = "the coder in Python" if coder_module.core is None else "the compiled core"
    print(f"{came_of.total():,} files against {coder} in {time.monotonic() - began:.0f} s")
    print(f"slowest {1e3 * slowest:.1f} ms, peak of memory {peak:.0f} MiB, cap {MAX_BYTES:,} bytes")
    for name, count in came_of.most_common():
        print(f"{count:12,}  {name}")
    return 0


def _limit_memory(mib: int) -> None:
    """Let any large allocation fail at once."""
    status = Path("/proc/self/status")
    if status.exists():
        size = next(x for x in status.read_text().splitlines() if x.startswith("VmSize"))
        limit = int(size.split()[1]) * 1024 + mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
