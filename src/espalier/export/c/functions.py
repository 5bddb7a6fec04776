"""Each step as a C function over its buffers."""

from dataclasses import dataclass, field

import numpy as np

from espalier.export.c import kernels
from espalier.export.c.layout import Layout
from espalier.export.c.steps import (
    ArgmaxStep,
    ConcatStep,
    ConvolutionStep,
    CopyStep,
    ElementwiseStep,
    LinearStep,
    PoolStep,
    SoftmaxStep,
    SpreadStep,
    Step,
    Tile,
    Weights,
)
from espalier.export.c.targets import Target
from espalier.export.c.text import activated, array, comment, indented, offset_type, seen_as

__all__ = ["Writer"]

C_TYPES = {np.dtype(np.float32): "float", np.dtype(np.int8): "int8_t"}


@dataclass(slots=True)
class Writer:
    """Text so far: shared kernels, tables, functions."""

    name: str
    target: Target
    kernels: dict[str, str] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    uses_math: bool = False

    def step(self, index: int, step: Step) -> None:
        """Write a step as the function ``{name}_{index}(x.., y)``."""
        function = f"{self.name}_{index}"
        match step:
            case CopyStep():
                body = _copy(step)
            case SpreadStep():
                body = _spread(step)
            case ConvolutionStep():
                body = self._convolution(function, step)
            case LinearStep():
                body = self._linear(function, step)
            case ElementwiseStep():
                body = self._elementwise(function, step)
            case PoolStep():
                self.uses_math |= step.pool.kind == "max"
                body = _pool(step)
            case ConcatStep():
                body = _concat(step)
            case SoftmaxStep():
                self.uses_math = True
                body = _softmax(step.output.layout.width)
            case ArgmaxStep():
                body = _argmax(step.source.layout)
        sources = len(step.sources) if isinstance(step, ElementwiseStep | ConcatStep) else 1
        inputs = ", ".join(f"const float *restrict x{i or ''}" for i in range(sources))
        self.parts.append(
            "\n".join(
                [
                    comment(f"{step.node}: {_title(step)}"),
                    f"static void {function}({inputs}, float *restrict y)",
                    "{",
                    *indented(body),
                    "}",
                    "",
                ]
            )
        )

    def _tables(self, function: str, weights: Weights) -> tuple[str, str]:
        """Write a layer's constants and return the types of offsets and values."""
        offset, value = offset_type(weights.offsets), C_TYPES[weights.values.dtype]
        if not weights.dense:
            kind = offset_type(weights.counts)
            self.parts.append(array(kind, f"{function}_count", weights.counts))
        if weights.offsets.size or not weights.dense:
            self.parts.append(array(offset, f"{function}_offset", weights.offsets))
        self.parts.append(array(value, f"{function}_value", weights.values))
        self.parts.append(array("float", f"{function}_scale", weights.scale))
        self.parts.append(array("float", f"{function}_shift", weights.shift))
        return offset, value

    def _linear(self, function: str, step: LinearStep) -> list[str]:
        weights, outputs = step.weights, step.weights.scale.size
        offset, value = self._tables(function, weights)
        if weights.dense:
            kernel = f"{self.name}_dot_{value}"
            self.kernels[kernel] = kernels.dot(kernel, value=value)
            call = f"{kernel}(p, {function}_value + o * {step.inputs}, {step.inputs})"
        else:
            kernel = f"{self.name}_gather_{offset}_{value}"
            self.kernels[kernel] = kernels.gather(kernel, offset=offset, value=value)
            call = f"{kernel}(p, offset, value, n)"
        inner = [
            *([] if weights.dense else [f"const int n = (int){function}_count[o];"]),
            f"const float v = {call} * {function}_scale[o] + {function}_shift[o];",
            f"q[o] = {activated('v', step.activation)};",
            *([] if weights.dense else ["offset += n;", "value += n;"]),
        ]
        output = step.output.layout
        source = seen_as(step.source.layout, (output.channels, output.height, step.inputs))
        return [
            *_borders(output),
            *_rows(
                output,
                [
                    f"const float *restrict p = x + {_at(source)};",
                    f"float *restrict q = y + {_at(output)};",
                    *(
                        []
                        if weights.dense
                        else [
                            f"const {offset} *offset = {function}_offset;",
                            f"const {value} *value = {function}_value;",
                        ]
                    ),
                    f"for (int o = 0; o < {outputs}; o++) {{",
                    *indented(inner),
                    "}",
                ],
            ),
        ]

    def _convolution(self, function: str, step: ConvolutionStep) -> list[str]:
        types = self._tables(function, step.weights)
        body = _borders(step.output.layout)
        block = max(tile.vectors for tile in step.tiles) * self._lanes(step)
        body.append(f"float a[{block * step.weights.together}];")
        for i, tile in enumerate(step.tiles):
            store = f"{function}_store{i}"
            self.parts.append(_store(store, step, tile))
            body += self._tile(function, step, tile, store, types)
        return body

    def _lanes(self, step: ConvolutionStep) -> int:
        return self.target.dense_lanes if step.weights.dense else self.target.lanes

    def _tile(
        self,
        function: str,
        step: ConvolutionStep,
        tile: Tile,
        store: str,
        types: tuple[str, str],
    ) -> list[str]:
        weights, row, output = step.weights, step.source.layout.row, step.output.layout
        p = [f"x + {step.base + tile.row * row + tile.column}"]
        q = [f"y + {output.start + tile.row // step.pool[0] * output.row}"]
        q.append(f"{tile.column // step.pool[1]}")
        loops = []
        if tile.row_count > 1:
            loops.append(f"for (int r = 0; r < {tile.row_count}; r++)")
            p.append(f"r * {tile.rows * row}")
            q.append(f"r * {tile.rows // step.pool[0] * output.row}")
        if tile.column_count > 1:
            loops.append(f"for (int c = 0; c < {tile.column_count}; c++)")
            p.append(f"c * {tile.columns}")
            q.append(f"c * {tile.columns // step.pool[1]}")
        inner = [
            f"const float *restrict p = {' + '.join(p)};",
            f"float *restrict q = {' + '.join(q)};",
        ]
        size = tile.vectors * self._lanes(step)
        if weights.dense:
            inner += self._dense(function, step, tile, store, types, size)
        else:
            inner += self._sparse(function, step, tile, store, types)
        return [*loops, "{", *indented(inner), "}"]

    def _sparse(
        self, function: str, step: ConvolutionStep, tile: Tile, store: str, types: tuple[str, str]
    ) -> list[str]:
        offset, value = types
        kernel = f"{self.name}_sparse_{tile.vectors}_{offset}_{value}"
        self.kernels[kernel] = kernels.sparse(
            kernel, vectors=tile.vectors, lanes=self.target.lanes, offset=offset, value=value
        )
        return [
            f"const {offset} *offset = {function}_offset;",
            f"const {value} *value = {function}_value;",
            f"for (int f = 0; f < {step.weights.scale.size}; f++) {{",
            f"    const int n = (int){function}_count[f];",
            f"    {kernel}(p, offset, value, n, a);",
            f"    {store}(a, q + f * {step.output.layout.plane}, {_affine(function, 'f')});",
            "    offset += n;",
            "    value += n;",
            "}",
        ]

    def _dense(
        self,
        function: str,
        step: ConvolutionStep,
        tile: Tile,
        store: str,
        types: tuple[str, str],
        size: int,
    ) -> list[str]:
        (offset, value), weights = types, step.weights
        together, length = weights.together, weights.offsets.size
        kernel = f"{self.name}_dense_{together}_{tile.vectors}_{offset}_{value}"
        self.kernels[kernel] = kernels.dense(
            kernel,
            together=together,
            vectors=tile.vectors,
            lanes=self._lanes(step),
            offset=offset,
            value=value,
        )
        group = ""
        if step.group_filters < weights.scale.size:
            group = f" + f / {step.group_filters} * {step.group_floats}"
        stores = [
            f"    {store}(a + {i * size}, q + (f + {i}) * {step.output.layout.plane}, "
            f"{_affine(function, f'f + {i}')});"
            for i in range(together)
        ]
        return [
            f"for (int f = 0; f < {weights.scale.size}; f += {together}) {{",
            f"    {kernel}(p{group}, {function}_offset, {function}_value + f * {length}, "
            f"{length}, a);",
            *stores,
            "}",
        ]

    def _elementwise(self, function: str, step: ElementwiseStep) -> list[str]:
        output = step.output.layout
        size = (output.channels, output.height, output.width)
        names = ["x", *(f"x{i}" for i in range(1, len(step.sources)))]
        terms = [
            f"{name}[{_at(seen_as(source.layout, size))} + w]"
            for name, source in zip(names, step.sources, strict=True)
        ]
        value = " + ".join(terms)
        if step.scale is not None and step.shift is not None:
            self.parts.append(array("float", f"{function}_scale", step.scale))
            self.parts.append(array("float", f"{function}_shift", step.shift))
            index = "w" if size[:2] == (1, 1) and step.scale.size == size[2] else "c"
            value = f"({value}) * {_affine(function, index).replace(', ', ' + ')}"
        inner = [
            f"for (int w = 0; w < {output.width}; w++) {{",
            f"    const float v = {value};",
            f"    y[{_at(output)} + w] = {activated('v', step.activation)};",
            "}",
        ]
        return [*_borders(output), *_rows(output, inner)]


def _title(step: Step) -> str:
    text = type(step).__name__.removesuffix("Step").lower()
    if isinstance(step, ConvolutionStep | LinearStep):
        weights = step.weights
        how = "dense" if weights.dense else f"sparse, {weights.values.size} nonzeros"
        return f"{text}, {weights.scale.size} outputs, {how}"
    return text


def _affine(function: str, index: str) -> str:
    return f"{function}_scale[{index}], {function}_shift[{index}]"


def _at(layout: Layout, c: str = "c", h: str = "h") -> str:
    """Return where row h of channel c begins."""
    terms = [f"{layout.start}"] if layout.start else []
    if layout.channels > 1:
        terms.append(f"{c} * {layout.plane}")
    if layout.height > 1:
        terms.append(f"{h} * {layout.row}")
    return " + ".join(terms) or "0"


def _rows(layout: Layout, inner: list[str]) -> list[str]:
    """Run statements for every row, with ``c`` and ``h``."""
    loops = []
    if layout.channels > 1 or any("[c]" in line for line in inner):
        loops.append(f"for (int c = 0; c < {layout.channels}; c++)")
    if layout.height > 1:
        loops.append(f"for (int h = 0; h < {layout.height}; h++)")
    return [*loops, "{", *indented(inner), "}"]


def _borders(layout: Layout) -> list[str]:
    """Clear a buffer that zeros lie around in."""
    return [f"memset(y, 0, {layout.size} * sizeof *y);"] if layout.bordered else []


def _store(name: str, step: ConvolutionStep, tile: Tile) -> str:
    """Write what turns a block of sums into outputs: maximum, scale, shift, activation."""
    rows, columns = step.pool
    source, output = step.source.layout.row, step.output.layout.row
    value = f"a[h * {rows * source} + w]"
    lines = []
    if (rows, columns) != (1, 1):
        lines = [
            f"for (int w = 0; w < {tile.columns}; w++) {{",
            f"    float m = a[h * {rows * source} + w];",
            *(
                f"    m = a[h * {rows * source} + {i * source} + w] > m "
                f"? a[h * {rows * source} + {i * source} + w] : m;"
                for i in range(1, rows)
            ),
            "    line[w] = m;",
            "}",
        ]
        value = "m"
    maximum = [
        f"    float m = line[w * {columns}];",
        *(
            f"    m = line[w * {columns} + {i}] > m ? line[w * {columns} + {i}] : m;"
            for i in range(1, columns)
        ),
    ]
    lines += [
        f"for (int w = 0; w < {tile.columns // columns}; w++) {{",
        *(maximum if lines else []),
        f"    const float v = {value} * scale + shift;",
        f"    y[h * {output} + w] = {activated('v', step.activation)};",
        "}",
    ]
    return "\n".join(
        [
            f"static void {name}(const float *restrict a, float *restrict y, "
            "float scale, float shift)",
            "{",
            *([f"    float line[{tile.columns}];"] if value == "m" else []),
            f"    for (int h = 0; h < {tile.rows // rows}; h++) {{",
            *indented(lines, 2),
            "    }",
            "}",
            "",
        ]
    )


def _copy(step: CopyStep) -> list[str]:
    source = step.source.layout if step.source else None
    target = step.output.layout if step.output else None
    if source is None and target is not None:
        source = _plain(target)
    elif target is None and source is not None:
        target = _plain(source)
    if source is None or target is None:  # a caller's array to a caller's array
        return []
    if source.compact and target.compact:
        return [f"memcpy(y, x, {target.size} * sizeof *y);"]
    size = (source.channels, source.height, source.width)
    target = seen_as(target, size)
    line = f"memcpy(y + {_at(target)}, x + {_at(source)}, {source.width} * sizeof *y);"
    return [*_borders(target), *_rows(source, [line])]


def _plain(layout: Layout) -> Layout:
    """Return the layout without gaps of the same size."""
    return Layout(
        channels=layout.channels, height=layout.height, width=layout.width, row=layout.width
    )


def _spread(step: SpreadStep) -> list[str]:
    source, output = step.source.layout, step.output.layout
    lines: list[str] = []
    for i, (y, x) in enumerate(step.phases):
        top, left = y - step.padding[0], x - step.padding[1]
        rows = _inside(top, step.stride[0], source.height, output.height)
        columns = _inside(left, step.stride[1], source.width, output.width)
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            continue
        origin = source.start + top * source.row + left
        lines += [
            f"for (int h = {rows[0]}; h < {rows[1]}; h++)",
            f"    for (int w = {columns[0]}; w < {columns[1]}; w++)",
            f"        q[{i * output.plane} + h * {output.row} + w] ="
            f" p[{origin} + h * {step.stride[0] * source.row} + w * {step.stride[1]}];",
        ]
    return [
        f"memset(y, 0, {output.size} * sizeof *y);",
        f"for (int c = 0; c < {source.channels}; c++) {{",
        f"    const float *restrict p = x + c * {source.plane};",
        f"    float *restrict q = y + c * {len(step.phases) * output.plane};",
        *indented(lines),
        "}",
    ]


def _inside(first: int, stride: int, size: int, count: int) -> tuple[int, int]:
    """Return the range of i in [0, count) with ``0 <= first + i * stride < size``."""
    return max(0, -(first // stride)), min(count, (size - first + stride - 1) // stride)


def _pool(step: PoolStep) -> list[str]:
    source, output, pool = step.source.layout, step.output.layout, step.pool
    kernel, stride, dilation = (
        (1, *sizes)[-2:] for sizes in (pool.kernel, pool.stride, pool.dilation)
    )
    pads = ((0, 0), *pool.padding)[-2:]
    largest = pool.kind == "max"
    inner = [
        f"for (int w = 0; w < {output.width}; w++) {{",
        f"    const int top = h * {stride[0]} - {pads[0][0]};",
        f"    const int left = w * {stride[1]} - {pads[1][0]};",
        f"    float v = {'-INFINITY' if largest else '0.0f'};",
        *([] if largest else ["    int count = 0;"]),
        f"    for (int i = top; i < top + {kernel[0] * dilation[0]}; i += {dilation[0]})",
        f"        for (int j = left; j < left + {kernel[1] * dilation[1]}; j += {dilation[1]}) {{",
        *([] if largest else indented(_counted(step), 3)),
        f"            if (i < 0 || i >= {source.height} || j < 0 || j >= {source.width})",
        "                continue;",
        f"            const float u = p[i * {source.row} + j];",
        "            v = u > v ? u : v;" if largest else "            v += u;",
        *([] if largest or pool.count_padding else ["            count++;"]),
        "        }",
        f"    y[{_at(output)} + w] = {'v' if largest else 'v / (float)count'};",
        "}",
    ]
    channel = f"{source.start} + c * {source.plane}"
    body = [
        f"for (int c = 0; c < {output.channels}; c++) {{",
        f"    const float *restrict p = x + {channel};",
        f"    for (int h = 0; h < {output.height}; h++)",
        *indented(inner, 2),
        "}",
    ]
    return [*_borders(output), *body]


def _counted(step: PoolStep) -> list[str]:
    """Count what lies in the padded image, where padding counts."""
    if not step.pool.count_padding:
        return []
    source, pads = step.source.layout, ((0, 0), *step.pool.padding)[-2:]
    return [
        f"if (i < {source.height + pads[0][1]} && j < {source.width + pads[1][1]})",
        "    count++;",
    ]


def _concat(step: ConcatStep) -> list[str]:
    output = step.output.layout
    body = _borders(output)
    place = 0
    for i, (buffer, size) in enumerate(zip(step.sources, step.sizes, strict=True)):
        name = f"x{i or ''}"
        if step.vector:
            body.append(f"memcpy(y + {place}, {name}, {size[2]} * sizeof *y);")
            place += size[2]
            continue
        target = f"y + {place * output.plane} + {_at(output)}"
        source = seen_as(buffer.layout, size)
        line = f"memcpy({target}, {name} + {_at(source)}, {output.width} * sizeof *y);"
        loops = [
            f"for (int c = 0; c < {size[0]}; c++)",
            f"    for (int h = 0; h < {size[1]}; h++)",
        ]
        body += [*loops, f"        {line}"]
        place += size[0]
    return body


def _softmax(size: int) -> list[str]:
    return [
        "float top = x[0], sum = 0.0f;",
        f"for (int i = 1; i < {size}; i++)",
        "    top = x[i] > top ? x[i] : top;",
        f"for (int i = 0; i < {size}; i++) {{",
        "    y[i] = expf(x[i] - top);",
        "    sum += y[i];",
        "}",
        f"for (int i = 0; i < {size}; i++)",
        "    y[i] /= sum;",
    ]


def _argmax(layout: Layout) -> list[str]:
    return [
        "int best = 0;",
        f"for (int i = 1; i < {layout.channels * layout.height * layout.width}; i++)",
        "    best = x[i] > x[best] ? i : best;",
        "y[0] = (float)best;",
    ]
