"""Time the inner loops of generated C: what src/espalier/export/c/costs.json holds.

    python benchmarks/kernel_costs.py [target]

Prints nanoseconds a pass, the least of many repetitions on one thread, for the target named or the
host's own. Inputs lie as in a network: 64 channels of 16 x 16, every tenth weight not zero.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from espalier.export.c import TARGETS, Target, kernels
from espalier.export.c.tiles import BLOCK_VECTORS
from espalier.runtime.compiler import find_compiler

CHANNELS, ROW, PLANE, COUNT, REPETITIONS = 64, 16, 256, 58, 20_000
FILTERS = 64

MAIN = """
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <stdio.h>
#include <time.h>
@KERNELS@
static float x[@SIZE@];
static uint16_t offset[@FILTERS@][@DENSE@];
static float value[4 * @DENSE@];
static float y[4096];
static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
int main(void)
{
    uint32_t state = 1;
    for (int f = 0; f < @FILTERS@; f++)
        for (int i = 0; i < @DENSE@; i++) {
            int k = i * @STRIDE@;
            state = state * 1664525u + 1013904223u;
            if (@STRIDE@ > 1)
                k += (int)(state >> 16) % @STRIDE@;
            if (k > 575)
                k = 575;
            offset[f][i] = (uint16_t)(k / 9 * @PLANE@ + k % 9 / 3 * @ROW@ + k % 3);
        }
    double best = 1.0;
    float sum = 0.0f;
    for (int r = 0; r < @REPETITIONS@ / @FILTERS@; r++) {
        const double start = seconds();
        for (int f = 0; f < @FILTERS@; f++) {
            @CALL@;
            x[f] += y[f]; /* so that no pass is left out */
        }
        const double took = seconds() - start;
        best = took < best ? took : best;
    }
    fprintf(stderr, "%g", (double)(sum + y[0]));
    printf("%.9f\\n", 1e9 * best / @FILTERS@);
    return 0;
}
"""


def measure(kernel: str, call: str, length: int) -> float:
    """Return nanoseconds of one call."""
    compiler = find_compiler()
    text = MAIN
    for name, word in {
        "KERNELS": kernel,
        "CALL": call,
        "DENSE": length,
        "STRIDE": 576 // length,
        "SIZE": CHANNELS * PLANE + 1024,
        "PLANE": PLANE,
        "ROW": ROW,
        "FILTERS": FILTERS,
        "REPETITIONS": REPETITIONS,
    }.items():
        text = text.replace(f"@{name}@", str(word))
    with tempfile.TemporaryDirectory() as place:
        source, program = Path(place) / "k.c", Path(place) / "k"
        source.write_text(text)
        flags = [flag for flag in compiler.flags if flag not in ("-shared", "-fPIC")]
        subprocess.run([*compiler.command, *flags, source, "-o", program], check=True)
        done = subprocess.run([program], capture_output=True, text=True, check=True)
    return float(done.stdout)


def costs(target: Target) -> dict[str, float]:
    """Return the row of a target."""
    kinds = {"offset": "uint16_t", "value": "float"}
    vectors = min(8, target.vectors)
    sparse = kernels.sparse("k", vectors=vectors, lanes=target.lanes, **kinds)
    per_nonzero = measure(sparse, f"k(x, offset[f], value, {COUNT}, y)", COUNT) / COUNT
    load = per_nonzero / (vectors + BLOCK_VECTORS)
    several = target.dense_vectors // 4
    dense = kernels.dense("k", together=4, vectors=several, lanes=target.dense_lanes, **kinds)
    per_weights = measure(dense, "k(x, offset[f], value, 576, y)", 576) / 576
    multiply = max(per_weights - load * BLOCK_VECTORS, 0) / (4 * several)
    long = 5 * COUNT - 2  # a row's own cost is small beside that
    gather = measure(kernels.gather("k", **kinds), f"sum += k(x, offset[f], value, {long})", long)
    dot = measure(kernels.dot("k", value="float"), "sum += k(x + f, value, 2304)", 576)
    row = {
        "load": load,
        "dense_multiply": multiply,
        "gather": gather / long,
        "dot": dot / 2304,
    }
    return {name: float(f"{value:.3g}") for name, value in row.items()}


def main() -> None:
    """Measure and print one row of the table."""
    name = sys.argv[1] if len(sys.argv) > 1 else find_compiler().target
    print(json.dumps({name: costs(TARGETS[name])}))


if __name__ == "__main__":
    main()
