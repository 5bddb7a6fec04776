"""The inner loops, written once for each size that a network needs.

Sums are arrays of a vector's length, each with a loop of its own over constant bounds: compilers
turn every such loop into one instruction and keep every array in a register across all nonzeros.
One array of all sums, or one loop over all arrays, they spill (gcc 12).
"""

__all__ = ["dense", "dot", "gather", "sparse"]

DOT_PARTS, GATHER_PARTS = 16, 8
"""Partial sums of a product with a vector, so that additions don't wait for each other."""


def sparse(name: str, *, vectors: int, lanes: int, offset: str, value: str) -> str:
    """Write a block of sums for one filter, one loaded vector a nonzero and a vector of sums."""
    names = [f"a{j}" for j in range(vectors)]
    body = [
        "    for (int k = 0; k < n; k++) {",
        "        const float *p = x + offset[k];",
        f"        const float w = {_float('value[k]', value)};",
        *(
            f"        {_lanes(lanes)} {a}[i] += w * p[{j * lanes} + i];"
            for j, a in enumerate(names)
        ),
        "    }",
    ]
    return _block(name, names, lanes, offset, value, body)


def dense(name: str, *, together: int, vectors: int, lanes: int, offset: str, value: str) -> str:
    """Write a block of sums for several filters, each loaded vector used by all of them."""
    names = [f"a{f}_{j}" for f in range(together) for j in range(vectors)]
    weights = [
        f"        const float w{f} = {_float(f'value[{together} * k + {f}]', value)};"
        for f in range(together)
    ]
    sums = [
        f"        {_lanes(lanes)} a{f}_{j}[i] += w{f} * p[{j * lanes} + i];"
        for j in range(vectors)
        for f in range(together)
    ]
    body = [
        "    for (int k = 0; k < n; k++) {",
        "        const float *p = x + offset[k];",
        *weights,
        *sums,
        "    }",
    ]
    return _block(name, names, lanes, offset, value, body)


def gather(name: str, *, offset: str, value: str) -> str:
    """Write a product of one row's nonzeros with a vector."""
    parameter = f"const {offset} *restrict offset, "
    return _product(name, parameter, "x[offset[k{}]]", value, GATHER_PARTS)


def dot(name: str, *, value: str) -> str:
    """Write a product of one row's weights with a vector."""
    return _product(name, "", "x[k{}]", value, DOT_PARTS)


def _product(name: str, parameter: str, x: str, value: str, parts: int) -> str:
    weight = _float("value[k + i]", value)
    rest = _float("value[k]", value)
    return "\n".join(
        [
            f"static float {name}(const float *restrict x, {parameter}"
            f"const {value} *restrict value, int n)",
            "{",
            f"    float a[{parts}];",
            "    float sum = 0.0f;",
            "    int k = 0;",
            f"    {_lanes(parts)} a[i] = 0.0f;",
            f"    for (; k + {parts} <= n; k += {parts})",
            f"        {_lanes(parts)} a[i] += {weight} * {x.format(' + i')};",
            "    for (; k < n; k++)",
            f"        sum += {rest} * {x.format('')};",
            f"    {_lanes(parts)} sum += a[i];",
            "    return sum;",
            "}",
            "",
        ]
    )


def _block(
    name: str, names: list[str], lanes: int, offset: str, value: str, body: list[str]
) -> str:
    return "\n".join(
        [
            f"static void {name}(const float *restrict x, const {offset} *restrict offset,",
            f"    const {value} *restrict value, int n, float *restrict y)",
            "{",
            *(f"    float {a}[{lanes}];" for a in names),
            *(f"    {_lanes(lanes)} {a}[i] = 0.0f;" for a in names),
            *body,
            *(f"    {_lanes(lanes)} y[{j * lanes} + i] = {a}[i];" for j, a in enumerate(names)),
            "}",
            "",
        ]
    )


def _lanes(lanes: int) -> str:
    return f"for (int i = 0; i < {lanes}; i++)"


def _float(expression: str, value: str) -> str:
    return expression if value == "float" else f"(float){expression}"
