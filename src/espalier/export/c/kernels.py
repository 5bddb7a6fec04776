"""The inner loops, written once for each size that a network needs.

Sums are vectors in variables of their own, which gcc and clang keep in registers across all
nonzeros. Both have types for vectors of any length, on any machine; to other compilers they are
arrays. Inner loops are functions that are not inlined: gcc 12 then takes some of them apart.
"""

__all__ = ["dot", "gather", "sparse", "vector"]

DOT_PARTS, GATHER_PARTS = 16, 8
"""Partial sums of a product with a vector, so that additions don't wait for each other."""


def vector(name: str, lanes: int) -> str:
    """Write the type of some sums, and what adds a product with as many inputs to them."""
    kind, add, upper = f"{name}_floats{lanes}", f"ADD{lanes}", name.upper()
    if lanes == 1:  # gcc for Arm keeps a vector of one in registers that can't multiply it
        add_one = f"#define {upper}_{add}(a, w, p) a += w * *(p)"
        plain = (f"#define {upper}_APART1", f"#define {upper}_WHOLE1", add_one)
        return "\n".join([f"typedef float {kind};", *plain, ""])
    return "\n".join(
        [
            "#if defined(__GNUC__)",
            f"typedef float {kind} __attribute__((vector_size({4 * lanes})));",
            f"#define {upper}_APART{lanes} __attribute__((noinline))",
            f"#define {upper}_WHOLE{lanes} __attribute__((aligned({4 * lanes})))",
            f"#define {upper}_{add}(a, w, p) \\",
            "    do { \\",
            f"        {kind} v; \\",
            "        memcpy(&v, p, sizeof v); \\",
            "        a += w * v; \\",
            "    } while (0)",
            "#else",
            f"typedef struct {{ float of[{lanes}]; }} {kind};",
            f"#define {upper}_APART{lanes}",
            f"#define {upper}_WHOLE{lanes}",
            f"#define {upper}_{add}(a, w, p) {_lanes(lanes)} a.of[i] += w * (p)[i]",
            "#endif",
            "",
        ]
    )


def sparse(name: str, network: str, *, vectors: int, lanes: int, offset: str) -> str:
    """Write a block of sums for one filter: a loaded vector a nonzero and a vector of sums."""
    sums, upper = [f"a{j}" for j in range(vectors)], network.upper()
    return "\n".join(
        [
            f"static {upper}_APART{lanes} void {name}(const float *restrict x,",
            f"    const {offset} *restrict offset, const float *restrict value, int n,",
            "    float *restrict y)",
            "{",
            f"    {network}_floats{lanes} {', '.join(sums)};",
            *(f"    memset(&{a}, 0, sizeof {a});" for a in sums),
            "    for (int k = 0; k < n; k++) {",
            "        const float *p = x + offset[k];",
            "        const float w = value[k];",
            *(f"        {upper}_ADD{lanes}({a}, w, p + {j * lanes});" for j, a in enumerate(sums)),
            "    }",
            *(f"    memcpy(y + {j * lanes}, &{a}, sizeof {a});" for j, a in enumerate(sums)),
            "}",
            "",
        ]
    )


def gather(name: str, *, offset: str) -> str:
    """Write a product of one row's nonzeros with a vector."""
    parameter = f"const {offset} *restrict offset, "
    return _product(name, parameter, "x[offset[k{}]]", GATHER_PARTS)


def dot(name: str) -> str:
    """Write a product of one row's weights with a vector."""
    return _product(name, "", "x[k{}]", DOT_PARTS)


def _product(name: str, parameter: str, x: str, parts: int) -> str:
    return "\n".join(
        [
            f"static float {name}(const float *restrict x, {parameter}"
            "const float *restrict value, int n)",
            "{",
            f"    float a[{parts}];",
            "    float sum = 0.0f;",
            "    int k = 0;",
            f"    {_lanes(parts)} a[i] = 0.0f;",
            f"    for (; k + {parts} <= n; k += {parts})",
            f"        {_lanes(parts)} a[i] += value[k + i] * {x.format(' + i')};",
            "    for (; k < n; k++)",
            f"        sum += value[k] * {x.format('')};",
            f"    {_lanes(parts)} sum += a[i];",
            "    return sum;",
            "}",
            "",
        ]
    )


def _lanes(lanes: int) -> str:
    return f"for (int i = 0; i < {lanes}; i++)"
