"""The inner loops over integers, written once for each form that a network needs.

As in the loops over floats, sums are arrays of their own with constant bounds, so that compilers
keep each in registers. Bytes are added as bytes and multiplied as int16.
"""

from collections.abc import Sequence

__all__ = ["bundles", "dot", "gather", "runs"]


def bundles(
    name: str,
    *,
    vectors: int,
    lanes: int,
    sizes: Sequence[int],
    kinds: tuple[str, str, str, str],
    narrow: bool,
    keep: bool,
) -> str:
    """Write a block of sums for the nonzeros of one filter, equal weights added up first.

    Args:
        name: of the function.
        vectors: arrays of sums.
        lanes: sums an array.
        sizes: inputs a bundle, one loop each.
        kinds: types of inputs, offsets, weights and counts.
        narrow: sums are int16, and inputs of a bundle add up in a type of their own size.
        keep: add to the int32 that are there, rather than replace them.
    """
    x, offset, value, count = kinds
    names = [f"a{j}" for j in range(vectors)]
    total = "int16_t" if narrow else "int32_t"
    result = "int16_t" if narrow and not keep else "int32_t"
    loop = f"for (int i = 0; i < {lanes}; i++)"
    lines = [
        f"static void {name}(const {x} *restrict x, const {offset} *restrict offset,",
        f"    const {value} *restrict value, const {count} *restrict count, {result} *restrict y)",
        "{",
        *(f"    {total} {a}[{lanes}];" for a in names),
        *(f"    {loop} {a}[i] = 0;" for a in names),
    ]
    for which, size in enumerate(sizes):
        lines += [
            f"    for (int k = 0; k < count[{which}]; k++) {{",
            "        const int w = *value++;",
            *(f"        const {x} *p{t} = x + offset[{t}];" for t in range(size)),
            f"        offset += {size};",
            *(f"        {loop} {_add(a, j * lanes, size, x, narrow)}" for j, a in enumerate(names)),
            "    }",
        ]
    store = "+=" if keep else "="
    lines += [f"    {loop} y[{j * lanes} + i] {store} {a}[i];" for j, a in enumerate(names)]
    return "\n".join([*lines, "}", ""])


def _add(a: str, at: int, size: int, x: str, narrow: bool) -> str:
    inputs = " + ".join(f"p{t}[{at} + i]" for t in range(size))
    if not narrow:
        return f"{a}[i] += w * ({inputs});"
    return f"{a}[i] = (int16_t)({a}[i] + w * ({x})({inputs}));"


def runs(name: str, kinds: tuple[str, str, str, str]) -> str:
    """Write a product of one row with a vector, equal weights one after the other."""
    x, offset, value, count = kinds
    return "\n".join(
        [
            f"static int32_t {name}(const {x} *restrict x, const {offset} *restrict offset,",
            f"    const {value} *restrict value, const {count} *restrict count, int n)",
            "{",
            "    int32_t sum = 0;",
            "    for (int r = 0; r < n; r++) {",
            "        int32_t part = 0;",
            "        for (int k = 0; k < count[r]; k++)",
            "            part += x[offset[k]];",
            "        offset += count[r];",
            "        sum += value[r] * part;",
            "    }",
            "    return sum;",
            "}",
            "",
        ]
    )


def gather(name: str, kinds: tuple[str, str, str]) -> str:
    """Write a product of one row's nonzeros with a vector."""
    x, offset, value = kinds
    parameter = f"const {offset} *restrict offset, "
    return _product(name, x, parameter, value, "x[offset[k]]")


def dot(name: str, kinds: tuple[str, str]) -> str:
    """Write a product of one row's weights with a vector."""
    x, value = kinds
    return _product(name, x, "", value, "x[k]")


def _product(name: str, x: str, parameter: str, value: str, entry: str) -> str:
    return "\n".join(
        [
            f"static int32_t {name}(const {x} *restrict x, {parameter}"
            f"const {value} *restrict value, int n)",
            "{",
            "    int32_t sum = 0;",
            "    for (int k = 0; k < n; k++)",
            f"        sum += value[k] * {entry};",
            "    return sum;",
            "}",
            "",
        ]
    )
