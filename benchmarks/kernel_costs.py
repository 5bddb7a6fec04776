"""Time the inner loops of generated C: what src/espalier/export/c/costs.json holds.

    python benchmarks/kernel_costs.py [target]

Prints nanoseconds a pass, the least of many repetitions on one thread, for the target named or the
host's own. Inputs lie as in a network: 64 channels of 16 x 16, every tenth weight not zero.
"""

import json
import sys

from compiled import times_of
from espalier.export.c import TARGETS, Target, integer_kernels, kernels
from espalier.export.c.integer_functions import WIDEST
from espalier.export.c.integer_numbers import integer_target
from espalier.export.c.integer_weights import SIZES
from espalier.export.c.patches import PASSES
from espalier.runtime.compiler import find_compiler

CHANNELS, ROW, PLANE, COUNT, REPETITIONS = 64, 16, 256, 58, 20_000
FILTERS = 64
MANY = 576
"""Nonzeros of a filter in integers: as many as where all may be multiplied instead."""
LENGTHS = (256, 1152)
"""Of patches."""

MAIN = """
#if defined(__AVX2__)
#include <immintrin.h>
#endif
@KERNELS@
static @X@ x[@SIZE@];
static uint16_t offset[@FILTERS@][@DENSE@];
static @VALUE@ value[4 * @DENSE@];
static @Y@ y[8192];
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
    for (int i = 0; i < @SIZE@; i++) /* pages that nobody wrote to are all the same one */
        x[i] = (@X@)(i & 3);
    double best = 1.0;
    @Y@ sum = 0;
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


FLOATS = ("float", "float", "float")
LIKE = {
    "scalar": ("-fno-tree-vectorize", "-fno-tree-slp-vectorize"),
    "portable": ("-march=x86-64",),
    "sse": ("-march=x86-64",),
    "neon": ("-mprefer-vector-width=128", "-mno-avx512vnni"),
    "avx2": ("-march=x86-64-v3",),
    "avx512": (),
}
"""What makes this machine do as one of the target."""


def measure(
    kernel: str,
    call: str,
    length: int,
    *,
    kinds: tuple[str, str, str] = FLOATS,
    flags: tuple[str, ...] = (),
) -> float:
    """Return nanoseconds of one call; ``kinds``: types of inputs, weights and results."""
    words = {
        "KERNELS": kernel,
        "CALL": call,
        "DENSE": length,
        "STRIDE": max(576 // length, 1),
        "X": kinds[0],
        "VALUE": kinds[1],
        "Y": kinds[2],
        "SIZE": CHANNELS * PLANE + 1024,
        "PLANE": PLANE,
        "ROW": ROW,
        "FILTERS": FILTERS,
        "REPETITIONS": REPETITIONS,
    }
    (took,) = times_of(MAIN, words, find_compiler(), flags)
    return took


def costs(flags: tuple[str, ...]) -> dict[str, float]:
    """Return the row of a target in floats."""
    long = 5 * COUNT - 2  # a row's own cost is small beside that
    text = kernels.gather("k", offset="uint16_t")
    gather = measure(text, f"sum += k(x, offset[f], value, {long})", long, flags=flags)
    dot = measure(kernels.dot("k"), "sum += k(x + f, value, 2304)", 576, flags=flags)
    row = {"gather": gather / long, "dot": dot / 2304}
    return {name: float(f"{value:.3g}") for name, value in row.items()}


def bundles(
    target: Target,
    size: int,
    vectors: int,
    flags: tuple[str, ...],
    *,
    sums: str,
    keep: bool = False,
) -> float:
    """Return nanoseconds of a bundle of equal weights, over blocks of so many vectors."""
    text = integer_kernels.bundles(
        "k",
        vectors=vectors,
        lanes=target.lanes,
        widest=WIDEST[target.name],
        sizes=(size,),
        kinds=("uint8_t", "uint16_t", "int8_t", "uint16_t"),
        narrow=sums == "int16_t",
        keep=keep,
        pairs=integer_kernels.PAIRS.get(target.name) if sums == "int16_t" else None,
    )
    number = MANY // size
    text += f"static const uint16_t count[1] = {{{number}}};\n"
    result = "int32_t" if keep else sums
    kinds = ("uint8_t", "int8_t", result)
    return (
        measure(text, "k(x, offset[f], value, count, y)", MANY, kinds=kinds, flags=flags) / number
    )


def integer_costs(name: str) -> dict[str, object]:
    """Return the row of a target in integers."""
    target = integer_target(TARGETS[name])
    flags, many = LIKE[name], target.vectors
    few = max(many // 3, 1)
    row: dict[str, object] = {}
    for sums in ("int16_t", "int32_t"):
        for size in SIZES:
            low, high = (bundles(target, size, n, flags, sums=sums) for n in (few, many))
            vector = (high - low) / (many - few)
            row[f"{sums[:-2]}_{size}"] = rounded(max(low - few * vector, 0), vector)
    kept = bundles(target, 1, many, flags, sums="int16_t", keep=True)
    alone = bundles(target, 1, many, flags, sums="int16_t")
    row["part"] = rounded(max(kept - alone, 0) * MANY / many)
    for kinds in (("uint8_t", "int8_t"), ("int16_t", "int16_t")):
        bits = int(kinds[1][3:-2])
        short, long = (product(name, length, kinds, flags) for length in LENGTHS)
        each = (long - short) / (LENGTHS[1] - LENGTHS[0])
        row[f"product_{bits}"] = rounded(max(short - LENGTHS[0] * each, 0), each)
    turn = f"""static void k(const uint8_t *restrict x, uint8_t *restrict y)
{{
    for (int c = 0; c < {CHANNELS}; c++)
        for (int i = 0; i < 96; i++)
            y[i * {CHANNELS} + c] = x[c * 96 + i];
}}
"""
    kinds = ("uint8_t", "int8_t", "uint8_t")
    took = measure(turn, "k(x, y)", 576, kinds=kinds, flags=flags)
    row["turn"] = rounded(took / (96 * CHANNELS))
    for size in SIZES:
        text = integer_kernels.gather(
            "k", sizes=(size,), kinds=("uint8_t", "uint16_t", "int8_t", "uint16_t")
        )
        number = 4 * COUNT // size
        text += f"static const uint16_t count[1] = {{{number}}};\n"
        took = measure(
            text,
            "y[f] = k(x, offset[f], value, count)",
            4 * COUNT,
            kinds=("uint8_t", "int8_t", "int32_t"),
            flags=flags,
        )
        row[f"gather_{size}"] = rounded(took / number)
    for value in ("int8_t", "int16_t"):
        text = integer_kernels.dot("k", ("uint8_t", value))
        kinds = ("uint8_t", value, "int32_t")
        took = measure(text, "y[f] = k(x + f, value, 2304)", 576, kinds=kinds, flags=flags)
        row[f"dot_{value[3:-2]}"] = rounded(took / 2304)
    return row


def product(name: str, length: int, kinds: tuple[str, str], flags: tuple[str, ...]) -> float:
    """Return nanoseconds of a product of a patch and a filter."""
    size = PASSES[name]
    text = integer_kernels.products(
        "k", outputs=size.outputs, filters=size.filters, length=length, kinds=kinds
    )
    took = measure(text, "k(x, value, y, 8)", length, kinds=(*kinds, "int32_t"), flags=flags)
    return took / (size.outputs * size.filters)


def rounded(*values: float) -> float | list[float]:
    """Return numbers of three digits; one alone as it is."""
    numbers = [float(f"{value:.3g}") for value in values]
    return numbers if len(numbers) > 1 else numbers[0]


def main() -> None:
    """Measure and print one row of each table."""
    name = sys.argv[1] if len(sys.argv) > 1 else find_compiler().target
    print(json.dumps({name: costs(LIKE[name])}))
    print(json.dumps({name: integer_costs(name)}))


if __name__ == "__main__":
    main()
