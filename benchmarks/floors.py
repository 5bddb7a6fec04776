"""The least time that a network's loads and additions take on this core.

What must be done is counted in the generated program: a convolution loads a vector of inputs for
each nonzero and vector of outputs, and adds it to a sum. Zeros around an image, sums that are made
and forgotten, calls, pooling and requantization are not counted: they are what can be saved. What
the core can do is measured, from the level 1 cache, with the host runtime's compiler and flags.
A vector that straddles two lines of the cache takes longer; how many do follows from where the
program's buffers lie.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from compiled import times_of
from espalier.export.c import find_target
from espalier.export.c.float_numbers import FloatNumbers
from espalier.export.c.integer_numbers import IntegerNumbers, integer_target
from espalier.export.c.integer_weights import IntegerWeights
from espalier.export.c.lower import lower
from espalier.export.c.steps import ConvolutionStep, LinearStep, PatchesStep, Program, Tile
from espalier.export.graph import Graph
from espalier.export.integer.plan import plan_integers
from espalier.runtime.compiler import Compiler, find_compiler

LINE = 64
"""Bytes of a line of the cache."""
SUMS, PASSES, ROUNDS = 8, 128, 300
MAIN = """
#define LOADS 64
#define AGAIN 16
#define AFRESH __asm__ volatile("" ::: "memory") /* nothing loaded before is known any more */
static float floats[LOADS * 16 + 32] __attribute__((aligned(64)));
static uint8_t bytes[LOADS * 64 + 128] __attribute__((aligned(64)));
static uint16_t offset[LOADS];
static float value[LOADS];
static float kept[4096];
static uint8_t kept_bytes[4096];
@KERNELS@
#define TIME(CALL, COUNT)                                                 \\
    do {                                                                  \\
        double best = 1.0;                                                \\
        for (int r = 0; r < @ROUNDS@; r++) {                              \\
            const double start = seconds();                               \\
            for (int p = 0; p < @PASSES@; p++) {                          \\
                CALL;                                                     \\
                AFRESH;                                                   \\
            }                                                             \\
            const double took = seconds() - start;                        \\
            best = took < best ? took : best;                             \\
        }                                                                 \\
        printf("%.6f\\n", 1e9 * best / (@PASSES@ * (double)(COUNT)));      \\
    } while (0)
int main(void)
{
    for (int i = 0; i < LOADS; i++)
        offset[i] = (uint16_t)(i * 37 % (LOADS * 16));
    TIME(stream(floats + 16, value[0]), AGAIN * LOADS);
    TIME(stream(floats + 15, value[0]), AGAIN * LOADS);
    TIME(registers(value[0]), LOADS * @SUMS@);
    TIME(single(floats), AGAIN * LOADS);
    TIME(stream_bytes(bytes + 64), AGAIN * LOADS);
    TIME(stream_bytes(bytes + 63), AGAIN * LOADS);
    return (int)kept[0] + kept_bytes[0] > 1000;
}
"""
NAMES = ("aligned", "straddling", "registers", "single", "byte_aligned", "byte_straddling")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Nanoseconds each, the least of many passes, everything in the level 1 cache."""

    lanes: int
    """Floats a vector; bytes are four times as many."""
    aligned: float
    """A vector of floats loaded, multiplied, added."""
    straddling: float
    """The same from two lines of the cache."""
    registers: float
    """A vector multiplied and added, loaded before."""
    single: float
    """A float found by its offset, multiplied, added."""
    byte_aligned: float
    """A vector of bytes loaded and added."""
    byte_straddling: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a layer with weights must do for one sample."""

    node: str
    how: str
    """``sparse`` convolution or ``patches``, ``gather`` or ``dot`` product with a vector."""
    operations: int
    """Weights that are kept, times the outputs that each goes into."""
    loads: float
    """Vectors, or single numbers in a ``gather``."""
    straddling: float
    """Share of the vectors that lie in two lines."""
    made: float
    """Vectors that the program loads, over ``loads``: what blocks and borders add."""
    floor_ns: float


def measure_rates(compiler: Compiler | None = None) -> Rates:
    """Measure what this core can do."""
    compiler = compiler or find_compiler()
    lanes = find_target(compiler.target).lanes
    kernels = [
        _stream("stream", "float", "float *", lanes, 16, "{a}[i] += w * x[{at} + i]", ", float w"),
        _stream("stream_bytes", "uint8_t", "uint8_t *", 4 * lanes, 64, "{a}[i] += x[{at} + i]", ""),
        _registers(lanes),
        SINGLE,
    ]
    words = {"ROUNDS": ROUNDS, "PASSES": PASSES, "SUMS": SUMS, "KERNELS": "\n".join(kernels)}
    found = dict(zip(NAMES, times_of(MAIN, words, compiler), strict=True))
    return Rates(lanes=lanes, **found)


SINGLE = """
static __attribute__((noinline)) void single(const float *x)
{
    float a[16];
    for (int i = 0; i < 16; i++) a[i] = 0.0f;
    for (int t = 0; t < AGAIN; t++) {
        AFRESH;
        for (int k = 0; k < LOADS; k += 16)
            for (int i = 0; i < 16; i++) a[i] += value[k + i] * x[offset[k + i]];
    }
    for (int i = 0; i < 16; i++) kept[i] = a[i];
}
"""


def _stream(name: str, kind: str, pointer: str, lanes: int, step: int, add: str, more: str) -> str:
    """Write a loop over vectors, each at the begin of a line, into sums that don't wait."""
    sums = [f"a{j}" for j in range(SUMS)]
    loop = f"for (int i = 0; i < {lanes}; i++)"
    keep = "kept" if kind == "float" else "kept_bytes"
    return "\n".join(
        [
            f"static __attribute__((noinline)) void {name}(const {pointer}x{more})",
            "{",
            *(f"    {kind} {a}[{lanes}]; {loop} {a}[i] = 0;" for a in sums),
            "    for (int t = 0; t < AGAIN; t++) {",
            "        AFRESH;",
            f"        for (int k = 0; k < LOADS; k += {SUMS}) {{",
            *(
                f"        {loop} {add.format(a=a, at=f'(k + {j}) * {step}')};"
                for j, a in enumerate(sums)
            ),
            "        }",
            "    }",
            *(f"    {loop} {keep}[{j * lanes} + i] = {a}[i];" for j, a in enumerate(sums)),
            "}",
        ]
    )


def _registers(lanes: int) -> str:
    sums = [f"a{j}" for j in range(SUMS)]
    loop = f"for (int i = 0; i < {lanes}; i++)"
    return "\n".join(
        [
            "static __attribute__((noinline)) void registers(float w)",
            "{",
            f"    float b[{lanes}]; {loop} b[i] = floats[i];",
            *(f"    float {a}[{lanes}]; {loop} {a}[i] = 0;" for a in sums),
            "    for (int k = 0; k < LOADS; k++) {",
            *(f"        {loop} {a}[i] = w * {a}[i] + b[i];" for a in sums),
            "    }",
            *(f"    {loop} kept[{j * lanes} + i] = {a}[i];" for j, a in enumerate(sums)),
            "}",
        ]
    )


def float_work(graph: Graph, rates: Rates) -> list[Work]:
    """Return what the layers with weights must do in float32."""
    target = find_target(find_compiler().target)
    return _work(lower(graph, FloatNumbers(target)), rates)


def int_work(graph: Graph, calibration: np.ndarray, rates: Rates) -> list[Work]:
    """Return the same in integers, four of which take the place of a float."""
    target = integer_target(find_target(find_compiler().target))
    plan = plan_integers(graph, calibration)
    return _work(lower(graph, IntegerNumbers(plan, target, "speed")), rates)


def _work(program: Program, rates: Rates) -> list[Work]:
    works = []
    for step in program.steps:
        if isinstance(step, ConvolutionStep):
            works.append(_convolution(step, rates))
        elif isinstance(step, PatchesStep):
            works.append(_patches(step, rates))
        elif isinstance(step, LinearStep):
            works.append(_linear(step, rates))
    return works


def _convolution(step: ConvolutionStep, rates: Rates) -> Work:
    weights, integer = step.weights, isinstance(step.weights, IntegerWeights)
    positions = sum(t.rows * t.columns * t.row_count * t.column_count for t in step.tiles)
    kept, lanes = weights.offsets.size, rates.lanes * (4 if integer else 1)
    loads = kept * positions / lanes
    made = kept * sum(t.row_count * t.column_count * t.vectors for t in step.tiles)
    share = straddling(step, step.lanes, LINE // (1 if integer else 4))
    fast, slow = (
        (rates.byte_aligned, rates.byte_straddling)
        if integer
        else (rates.aligned, rates.straddling)
    )
    floor = loads * ((1 - share) * fast + share * max(slow, fast))
    return Work(
        node=step.node,
        how="sparse",
        operations=kept * positions,
        loads=loads,
        straddling=share,
        made=made * step.lanes / (loads * lanes) if loads else 1.0,
        floor_ns=floor,
    )


def _patches(step: PatchesStep, rates: Rates) -> Work:
    """Count all weights; bytes are multiplied as fast as a quarter as many floats."""
    positions = sum(t.rows * t.columns * t.row_count * t.column_count for t in step.tiles)
    kept = step.weights.plan.codes.codes.size
    loads = kept * positions / (4 * rates.lanes)
    return Work(
        node=step.node,
        how="patches",
        operations=kept * positions,
        loads=loads,
        straddling=0.0,
        made=step.weights.values.size / kept,
        floor_ns=loads * rates.registers,
    )


def _linear(step: LinearStep, rates: Rates) -> Work:
    weights, integer = step.weights, isinstance(step.weights, IntegerWeights)
    count = weights.values.size if weights.dense else weights.offsets.size
    rows = max(step.output.layout.channels * step.output.layout.height, 1)
    rows = rows if step.source.layout.width == step.inputs else 1
    loads = rows * count / (rates.lanes * (4 if integer else 1)) if weights.dense else rows * count
    each = (rates.byte_aligned if integer else rates.aligned) if weights.dense else rates.single
    return Work(
        node=step.node,
        how="dot" if weights.dense else "gather",
        operations=rows * count,
        loads=loads,
        straddling=0.0,
        made=1.0,
        floor_ns=loads * each,
    )


def straddling(step: ConvolutionStep, lanes: int, line: int) -> float:
    """Return which share of a step's vectors lies in two lines of ``line`` elements.

    Where a vector begins is where its block does plus the weight's offset; only remainders count.
    """
    row = step.source.layout.row
    begins = np.concatenate([_begins(tile, row, lanes) for tile in step.tiles])
    blocks = np.bincount((begins + step.base + step.source.offset) % line, minlength=line)
    offsets = np.bincount(step.weights.offsets % line, minlength=line)
    total = blocks.sum() * offsets.sum()
    if not total:
        return 0.0
    at = (np.arange(line)[:, None] + np.arange(line)) % line
    return float((np.outer(blocks, offsets) * (at + lanes > line)).sum() / total)


def _begins(tile: Tile, row: int, lanes: int) -> np.ndarray:
    """Return where the vectors of a tile's blocks begin, from the plane's first element."""
    down = (tile.row + np.arange(tile.row_count) * tile.rows) * row
    across = tile.column + np.arange(tile.column_count) * tile.columns
    inside = np.arange(tile.vectors) * lanes
    return (down[:, None, None] + across[:, None] + inside).reshape(-1)


def floor_ms(works: Iterable[Work]) -> float:
    """Return the least milliseconds of one sample."""
    return 1e-6 * sum(work.floor_ns for work in works)
