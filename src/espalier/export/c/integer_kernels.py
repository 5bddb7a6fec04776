"""The inner loops over integers, written once for each form that a network needs.

Sums are arrays of their own with constant bounds, so that compilers keep each in registers. Bytes
are added as bytes and multiplied as int16. Where the machine multiplies pairs of bytes, every other
byte is multiplied by 0: no compiler finds that by itself, and bytes need not be widened.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PAIRS", "Pairs", "bundles", "dot", "gather", "products"]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Instructions that multiply pairs of bytes and add each pair up."""

    macro: str
    """Tells that the compiler may use them."""
    size: int
    """Bytes a vector."""


PAIRS = {"avx512": Pairs("__AVX512BW__", 64), "avx2": Pairs("__AVX2__", 32)}
"""By the target's name."""


def bundles(
    name: str,
    *,
    vectors: int,
    lanes: int,
    widest: int,
    sizes: Sequence[int],
    kinds: tuple[str, str, str, str],
    narrow: bool,
    keep: bool,
    pairs: Pairs | None = None,
) -> str:
    """Write a block of sums for the nonzeros of one filter, equal weights added up first.

    Args:
        name: of the function.
        vectors: of sums.
        lanes: sums a vector.
        widest: sums an array at most.
        sizes: inputs a bundle, one loop each.
        kinds: types of inputs, offsets, weights and counts.
        narrow: sums are int16, and inputs of a bundle add up in a type of their own size.
        keep: add to the int32 that are there, rather than replace them.
        pairs: instructions to use where the compiler has them; inputs and weights are bytes then,
            and sums int16.
    """
    x, offset, value, count = kinds
    result = "int16_t" if narrow and not keep else "int32_t"
    head = [
        f"static void {name}(const {x} *restrict x, const {offset} *restrict offset,",
        f"    const {value} *restrict value, const {count} *restrict count, {result} *restrict y)",
        "{",
    ]
    plain = _plain(vectors * lanes, max(lanes, widest), sizes, x, narrow=narrow, keep=keep)
    if pairs is None:
        return "\n".join([*head, *plain, "}", ""])
    paired = _paired(vectors * lanes, pairs, sizes, x, keep=keep)
    return "\n".join(
        [*head, f"#if defined({pairs.macro})", *paired, "#else", *plain, "#endif", "}", ""]
    )


def _plain(
    sums: int, widest: int, sizes: Sequence[int], x: str, *, narrow: bool, keep: bool
) -> list[str]:
    arrays = _arrays(sums, widest)
    total = "int16_t" if narrow else "int32_t"
    lines = [
        *(f"    {total} {a}[{n}];" for a, _, n in arrays),
        *(f"    {_loop(n)} {a}[i] = 0;" for a, _, n in arrays),
    ]
    for which, size in enumerate(sizes):
        lines += [
            f"    for (int k = 0; k < count[{which}]; k++) {{",
            "        const int w = *value++;",
            *(f"        const {x} *p{t} = x + offset[{t}];" for t in range(size)),
            f"        offset += {size};",
            *(f"        {_loop(n)} {_add(a, at, size, x, narrow)}" for a, at, n in arrays),
            "    }",
        ]
    store = "+=" if keep else "="
    return [*lines, *(f"    {_loop(n)} y[{at} + i] {store} {a}[i];" for a, at, n in arrays)]


def _paired(sums: int, pairs: Pairs, sizes: Sequence[int], x: str, *, keep: bool) -> list[str]:
    """Write the same with sums of even and odd places apart, put in order at the end.

    One factor has no sign. Where inputs have one, those of a negative weight are turned over,
    ``-1 - x``, which leaves out the weight once: ``missing``.
    """
    arrays = _arrays(sums, pairs.size)
    signed = not x.startswith("u")
    weight = "w < 0 ? -w : w" if signed else "w & 255"
    lines = [
        *(
            f"    {_type(n)} e{a} = {_mm(n)}_setzero_si{8 * n}(), o{a} = e{a};"
            for a, _, n in arrays
        ),
        *(["    int missing = 0;"] if signed else []),
    ]
    for which, size in enumerate(sizes):
        lines += [
            f"    for (int k = 0; k < count[{which}]; k++) {{",
            "        const int w = *value++;",
            *(f"        const {x} *p{t} = x + offset[{t}];" for t in range(size)),
        ]
        for n in sorted({n for _, _, n in arrays}):
            lines += [
                f"        const {_type(n)} e{n} = {_mm(n)}_set1_epi16((int16_t)({weight}));",
                f"        const {_type(n)} o{n} = {_mm(n)}_slli_epi16(e{n}, 8);",
                *(
                    [f"        const {_type(n)} s{n} = {_mm(n)}_set1_epi16((int16_t)-(w < 0));"]
                    if signed
                    else []
                ),
            ]
        lines += [
            f"        offset += {size};",
            *(["        missing += w < 0 ? -w : 0;"] if signed else []),
        ]
        lines += [
            f"        {line}" for a, at, n in arrays for line in _pair(a, at, n, size, signed)
        ]
        lines += ["    }"]
    if signed:
        lines += [
            f"    {s}{a} = {_mm(n)}_add_epi16({s}{a}, {_mm(n)}_set1_epi16((int16_t)missing));"
            for a, _, n in arrays
            for s in "eo"
        ]
    target = "sum" if keep else "y"
    lines += [f"    int16_t sum[{sums}];"] if keep else []
    lines += [f"    {line}" for a, at, n in arrays for line in _in_order(a, at, n, target)]
    return [*lines, *([f"    {_loop(sums)} y[i] += sum[i];"] if keep else [])]


def _mm(size: int) -> str:
    return f"_mm{8 * size}"


def _type(size: int) -> str:
    return f"__m{8 * size}i"


def _pair(a: str, at: int, n: int, size: int, signed: bool) -> list[str]:
    """Write what adds a bundle to the sums of one vector."""
    mm, width = _mm(n), 8 * n
    place = f"(const void *)(p%d + {at})"
    if n < 64:
        place = f"(const {_type(n)} *)(const void *)(p%d + {at})"
    loads = [f"{mm}_loadu_si{width}({place % t})" for t in range(size)]
    total = loads[0]
    for load in loads[1:]:
        total = f"{mm}_add_epi8({total}, {load})"
    if signed:
        total = f"{mm}_xor_si{width}({total}, s{n})"
    order = "{w}, s" if signed else "s, {w}"
    return [
        "{",
        f"    const {_type(n)} s = {total};",
        *(
            f"    {s}{a} = {mm}_add_epi16({s}{a}, {mm}_maddubs_epi16({order.format(w=f'{s}{n}')}));"
            for s in "eo"
        ),
        "}",
    ]


def _in_order(a: str, at: int, n: int, target: str) -> list[str]:
    """Write what stores even and odd sums by turns."""
    mm, width, half = _mm(n), 8 * n, n // 2
    low, high = (f"{mm}_unpack{part}_epi16(e{a}, o{a})" for part in ("lo", "hi"))
    if n == 64:
        first = f"{mm}_permutex2var_epi64(l, {mm}_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), h)"
        second = f"{mm}_permutex2var_epi64(l, {mm}_set_epi64(15, 14, 7, 6, 13, 12, 5, 4), h)"
        place = f"({target} + {{}})"
    else:
        first = f"{mm}_permute2x128_si256(l, h, 0x20)"
        second = f"{mm}_permute2x128_si256(l, h, 0x31)"
        place = f"({_type(n)} *)(void *)({target} + {{}})"
    return [
        "{",
        f"    const {_type(n)} l = {low}, h = {high};",
        f"    {mm}_storeu_si{width}({place.format(at)}, {first});",
        f"    {mm}_storeu_si{width}({place.format(at + half)}, {second});",
        "}",
    ]


def _arrays(sums: int, widest: int) -> list[tuple[str, int, int]]:
    """Return arrays that hold so many sums: name, first sum, number."""
    starts = range(0, sums, widest)
    return [(f"a{j}", at, min(widest, sums - at)) for j, at in enumerate(starts)]


def _loop(count: int) -> str:
    return f"for (int i = 0; i < {count}; i++)"


def _add(a: str, at: int, size: int, x: str, narrow: bool) -> str:
    inputs = " + ".join(f"p{t}[{at} + i]" for t in range(size))
    if not narrow:
        return f"{a}[i] += w * ({inputs});"
    return f"{a}[i] = (int16_t)({a}[i] + w * ({x})({inputs}));"


def gather(name: str, *, sizes: Sequence[int], kinds: tuple[str, str, str, str]) -> str:
    """Write a product of one row's nonzeros with a vector, equal weights added up first."""
    x, offset, value, count = kinds
    lines = [
        f"static int32_t {name}(const {x} *restrict x, const {offset} *restrict offset,",
        f"    const {value} *restrict value, const {count} *restrict count)",
        "{",
        "    int32_t sum = 0;",
    ]
    for which, size in enumerate(sizes):
        inputs = " + ".join(f"x[offset[{t}]]" for t in range(size))
        lines += [
            f"    for (int k = 0; k < count[{which}]; k++) {{",
            f"        sum += *value++ * ({inputs});",
            f"        offset += {size};",
            "    }",
        ]
    return "\n".join([*lines, "    return sum;", "}", ""])


def dot(name: str, kinds: tuple[str, str]) -> str:
    """Write a product of one row's weights with a vector."""
    x, value = kinds
    return "\n".join(
        [
            f"static int32_t {name}(const {x} *restrict x, const {value} *restrict value, int n)",
            "{",
            "    int32_t sum = 0;",
            "    for (int k = 0; k < n; k++)",
            "        sum += value[k] * x[k];",
            "    return sum;",
            "}",
            "",
        ]
    )


def products(name: str, *, outputs: int, filters: int, length: int, kinds: tuple[str, str]) -> str:
    """Write the products of some patches with some filters, each loaded once.

    Args:
        name: of the function.
        outputs: patches.
        filters: how many.
        length: of a patch and of a filter; whole vectors, so that nothing is left over.
        kinds: types of patches and weights.
    """
    x, value = kinds
    pairs = [(f, o) for f in range(filters) for o in range(outputs)]
    sums = ", ".join(f"a{f}_{o} = 0" for f, o in pairs)
    lines = [
        f"static void {name}(const {x} *restrict x, const {value} *restrict value,",
        "    int32_t *restrict y, int pitch)",
        "{",
        f"    int32_t {sums};",
        f"    for (int k = 0; k < {length}; k++) {{",
        *(f"        a{f}_{o} += x[{o * length} + k] * value[{f * length} + k];" for f, o in pairs),
        "    }",
        *(f"    y[{f} * pitch + {o}] = a{f}_{o};" for f, o in pairs),
        "}",
        "",
    ]
    return "\n".join(lines)
