r"""How small networks get: ours against the entropy and against what else there is.

    python benchmarks/artifact_size.py [FILE.espalier ..] [--json]

Reads every network in benchmarks/networks/ and the files given. Counts the tensors of 10,000
weights and more, compressed ones only; small tensors, what is left dense and the header stand on
lines of their own. Every other codec gets the layout, of several, that suits it best.

DeepCABAC's core coder (NNCodec, ISO/IEC 15938-17) joins where Python finds its module, which its
sources build without the rest of the package:

    pip install pybind11; pip download --no-deps --no-binary :all: nncodec; tar xf nncodec-*.tar.gz
    cd nncodec-*/src/nncodec/extensions/deepCABAC/source
    g++ -O2 -std=c++17 -shared -fPIC $(python -m pybind11 --includes) -I. -ILib -ILib/CommonLib \
        -ILib/EncLib -ILib/DecLib *.cpp Lib/*/*.cpp -o deepCABAC.so    # PYTHONPATH=.
"""

import argparse
import contextlib
import itertools
import json
import lzma
import math
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from espalier import artifact
from espalier.artifact.coder import write_stream
from espalier.artifact.matrix import Matrix, matrix_shape
from espalier.artifact.payload import pack_tensor
from espalier.encoded import Encoded, Raw
from espalier.metrics import entropy_bytes

NETWORKS = Path(__file__).parent / "networks"
LARGE = 10_000
"""Weights from which a tensor counts."""
REPEATS = 5
Tensors = dict[str, Encoded]


def bits_needed(e: Encoded) -> int:
    """Return the bits that tell a tensor's codes apart."""
    if isinstance(e.grid, Raw):
        return 32
    return max(1, math.ceil(math.log2(len(np.unique(e.codes)))))


def bitmask(tensors: Tensors) -> int:
    """A bit a weight, and each code in as few whole bits as there must be."""
    return sum(
        math.ceil(e.size / 8) + math.ceil(e.nonzero * bits_needed(e) / 8) for e in tensors.values()
    )


def csr(tensors: Tensors) -> int:
    """Row starts of 4 bytes, columns of 2 and codes of 1, or 4 where they don't fit."""
    total = 0
    for e in tensors.values():
        rows, columns = matrix_shape(e.shape)
        code = 1 if bits_needed(e) <= 8 else 4
        total += 4 * (rows + 1) + e.nonzero * (code + (2 if columns <= 2**16 else 4))
    return total


def layouts(tensors: Tensors) -> list[bytes]:
    """Return the network's weights in the layouts that general codecs are given."""
    dense, split, gaps = [], [], []
    for e in tensors.values():
        wide = np.int32 if bits_needed(e) > 8 else np.int8
        codes = e.codes.view(np.int32) if isinstance(e.grid, Raw) else e.codes
        full = np.zeros(e.size, wide)
        full[e.mask.ravel()] = codes.astype(wide)
        dense.append(full.tobytes())
        split.append(np.packbits(e.mask).tobytes() + codes.astype(wide).tobytes())
        gaps.append(_gaps(e) + codes.astype(wide).tobytes())
    return [b"".join(parts) for parts in (dense, split, gaps)]


def _gaps(e: Encoded) -> bytes:
    """Return the zeros before each nonzero, in a byte; 255 means 255 and more to come."""
    gaps = np.diff(np.flatnonzero(e.mask.ravel()), prepend=-1) - 1
    return b"".join(b"\xff" * (int(g) // 255) + bytes([int(g) % 255]) for g in gaps)


def smallest(compress: Callable[[bytes], bytes]) -> Callable[[Tensors], int]:
    """Return a codec's size of the layout that suits it best."""
    return lambda tensors: min(len(compress(layout)) for layout in layouts(tensors))


def ours(coder: Any) -> Callable[[Tensors], int]:
    """Return the payloads' size under one of our models."""
    return lambda tensors: sum(
        len(pack_tensor(name, e, coder=coder)[1]) for name, e in tensors.items()
    )


def deep_cabac(module: Any) -> Callable[[Tensors], int]:
    """Return the size under DeepCABAC's coder, each tensor with the best of its settings."""

    def size(rows: np.ndarray, flags: int, skip: int, optimized: int) -> int:
        empty = ~rows.any(axis=1) if skip else np.zeros(len(rows))
        encoder = module.Encoder()
        encoder.initCtxModels(flags, optimized)
        off = (module.HdspMode.AlwaysOff, np.zeros(2, np.int8))
        encoder.encodeLayer(rows.copy(), 0, 0, 0, 0, skip, empty.astype(np.int32), *off, 0, 0)
        return len(encoder.finish())

    def best(e: Encoded) -> int:
        rows = np.zeros(e.shape, np.int32)
        rows[e.mask] = e.codes
        settings = itertools.product((1, 2, 4, 8, 11), (0, 1), (0, 1))
        return min(size(rows.reshape(len(rows), -1), *setting) for setting in settings)

    return lambda tensors: sum(map(best, tensors.values()))


def coders() -> dict[str, Callable[[Tensors], float]]:
    """Return what is compared, by name."""
    found: dict[str, Callable[[Tensors], float]] = {
        "espalier": ours("smallest"),
        "espalier-contexts": ours("contexts"),
        "espalier-static": ours("static"),
        "entropy": lambda tensors: sum(map(entropy_bytes, tensors.values())),
        "xz-9": smallest(lambda b: lzma.compress(b, preset=9 | lzma.PRESET_EXTREME)),
        "bitmask": bitmask,
        "csr": csr,
    }
    with contextlib.suppress(ImportError):
        import zstandard

        found["zstd-19"] = smallest(zstandard.ZstdCompressor(level=19).compress)
    with contextlib.suppress(ImportError):
        found["deepcabac"] = deep_cabac(import_module("deepCABAC"))
    return found


def mask_bytes(tensors: Tensors) -> int:
    """Return what the masks alone take under the context model."""
    total = 0
    for name, e in tensors.items():
        info, _ = pack_tensor(name, e, coder="contexts")
        if info.compression is None or not e.nonzero:
            continue
        rows, columns = matrix_shape(e.shape)
        matrix = Matrix(
            rows=rows,
            columns=columns,
            kernel=info.compression.kernel,
            nonzero=e.nonzero,
            offset=0,
            signed=False,
        )
        total += len(write_stream(np.ascontiguousarray(e.mask), None, matrix))
    return total


def seconds(work: Callable[[], Any]) -> float:
    """Return the median time of a few runs."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def measure(path: Path) -> list[dict[str, Any]]:
    """Print a network's table; return its rows."""
    with artifact.open_artifact(path) as file:
        header, infos, metadata = file.header_bytes, file.infos, file.metadata
    whole = artifact.read(path).tensors
    encoded = {n: t for n, t in whole.items() if isinstance(t, Encoded)}
    large = {n: e for n, e in encoded.items() if e.size >= LARGE}
    weights = sum(e.size for e in large.values())
    bound = sum(map(entropy_bytes, large.values()))
    if not weights:
        print(f"{path.stem}: no compressed tensor of {LARGE:,} weights")
        return []
    density = sum(e.nonzero for e in large.values()) / weights
    print(f"{path.stem}: {weights:,} weights in {len(large)} tensors, density {density:.4f}")
    print(f"{'':24}{'bytes':>12}{'bits/weight':>13}{'of entropy':>12}")
    rows = []
    for name, size_of in coders().items():
        size = size_of(large)
        print(f"{name:24}{size:12,.0f}{8 * size / weights:13.4f}{size / bound:12.4f}")
        row = {"network": path.stem, "coder": name, "bytes": round(size)}
        rows.append(row | {"bits_per_weight": 8 * size / weights, "entropy_bytes": bound})
    dense = sum(info.length for info in infos.values() if info.compression is None)
    small = sum(infos[n].length for n in encoded if n not in large)
    mask = mask_bytes(large)
    stored = sum(infos[n].length for n in large)
    size = path.stat().st_size
    print(f"file {size:,} = masks {mask:,} + codes {stored - mask:,} + small tensors {small:,}")
    print(f"     + left dense {dense:,} + header {header:,}")
    read = seconds(lambda: artifact.read(path))
    pack = seconds(lambda: artifact.pack(whole, metadata))
    print(f"read in {1e3 * read:.0f} ms, packed in {1e3 * pack:.0f} ms, one thread\n")
    return rows


def main() -> None:
    """Measure every network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="more networks")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    asked = parser.parse_args()
    paths = [*sorted(NETWORKS.glob("*.espalier")), *asked.files]
    if not paths:
        parser.error(f"no networks in {NETWORKS}; give files that `espalier pack` wrote")
    rows = [row for path in paths for row in measure(path)]
    if asked.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
