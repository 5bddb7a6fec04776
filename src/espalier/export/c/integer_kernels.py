"""The inner loops over integers, written once for each form that a network needs.

As in the loops over floats, sums are arrays of their own with constant bounds, so that compilers
keep each in registers. Bytes are added as bytes and multiplied as int16.
"""

from collections.abc import Sequence

__all__ = ["bundles", "dot", "gather", "products"]


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
    """
    x, offset, value, count = kinds
    arrays = _arrays(vectors * lanes, max(lanes, widest))
    total = "int16_t" if narrow else "int32_t"
    result = "int16_t" if narrow and not keep else "int32_t"
    lines = [
        f"static void {name}(const {x} *restrict x, const {offset} *restrict offset,",
        f"    const {value} *restrict value, const {count} *restrict count, {result} *restrict y)",
        "{",
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
    lines += [f"    {_loop(n)} y[{at} + i] {store} {a}[i];" for a, at, n in arrays]
    return "\n".join([*lines, "}", ""])


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
