"""Numbers, arrays and blocks as C."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.export.c.layout import Layout
from espalier.export.graph import Activation

__all__ = [
    "activated",
    "array",
    "comment",
    "function_text",
    "indented",
    "initializer",
    "integer_type",
    "literal",
    "offset_type",
    "quoted",
    "seen_as",
]

LINE = 96


def literal(value: float) -> str:
    """Write a float32 so that a compiler reads the same bits.

    Example:
        >>> literal(0.1), literal(-2.0), literal(1e-30)
        ('0.1f', '-2.0f', '1e-30f')
    """
    text = str(np.float32(value))
    return f"{text}f"


def offset_type(values: NDArray[Any]) -> str:
    """Return the smallest of the two unsigned types that holds all values."""
    return "uint16_t" if not values.size or int(values.max()) < 1 << 16 else "uint32_t"


def integer_type(values: NDArray[Any]) -> str:
    """Return the smallest type that holds all values, unsigned where none is negative."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    kinds = ("int8", "int16", "int32") if low < 0 else ("uint8", "uint16", "uint32")
    fits = (k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    return f"{next(fits, 'int64')}_t"


def array(kind: str, name: str, values: NDArray[Any] | Sequence[float]) -> str:
    """Write a constant array; C knows no empty ones, so that those hold a zero."""
    numbers = np.asarray(values).reshape(-1)
    if kind == "float":
        words = [f"{text}f" for text in numbers.astype(np.float32).astype(str).tolist()]
    else:
        words = [str(number) for number in numbers.tolist()]
        if kind == "int64_t":
            words = [f"INT64_C({word})" for word in words]
    words = words or ["0"]
    lines = [f"static const {kind} {name}[{len(words)}] = {{"]
    line = "   "
    for word in words:
        if len(line) + len(word) + 2 > LINE:
            lines.append(line)
            line = "   "
        line += f" {word},"
    return "\n".join([*lines, line, "};", ""])


def initializer(words: Iterable[str]) -> str:
    """Write what a macro stands for to fill an array, on as many lines as it takes."""
    lines = ["{"]
    for word in words:
        if len(lines[-1]) + len(word) + 4 > LINE:
            lines.append("   ")
        lines[-1] += f" {word},"
    return " \\\n".join(lines) + " }"


def quoted(text: str) -> str:
    """Write a string literal of its UTF-8, whatever it holds."""
    plain = {*range(32, 127)} - set(b'"\\?')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'


def comment(text: str) -> str:
    """Write a comment on a line of its own, whatever a user's names hold."""
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return f"/* {plain.replace('*/', '* /').replace('/*', '/ *').replace('?', '.')} */"


def indented(lines: Iterable[str], depth: int = 1) -> list[str]:
    """Move lines to the right."""
    return [f"{'    ' * depth}{line}" if line else line for line in lines]


def function_text(signature: str, body: Iterable[str]) -> str:
    """Write a function of one file, its name with its arguments given."""
    return "\n".join([f"static void {signature}", "{", *indented(body), "}", ""])


def activated(variable: str, activation: Activation | None) -> str:
    """Return the expression of an activation of a variable."""
    if activation is None:
        return variable
    match activation.kind:
        case "relu":
            return f"{variable} > 0.0f ? {variable} : 0.0f"
        case "relu6":
            return f"{variable} > 0.0f ? ({variable} < 6.0f ? {variable} : 6.0f) : 0.0f"
        case "leaky_relu":
            return f"{variable} > 0.0f ? {variable} : {literal(activation.slope)} * {variable}"
        case "hardswish":
            inside = f"({variable} < 3.0f ? {variable} * ({variable} + 3.0f) / 6.0f : {variable})"
            return f"{variable} > -3.0f ? {inside} : 0.0f"


def seen_as(layout: Layout, size: tuple[int, int, int]) -> Layout:
    """Look at a layout without gaps as one of other sizes: what flattening does."""
    if (layout.channels, layout.height, layout.width) == size or not layout.compact:
        return layout
    return Layout(channels=size[0], height=size[1], width=size[2], row=size[2])
