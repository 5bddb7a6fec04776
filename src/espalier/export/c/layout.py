"""Where values lie: padded planes inside a buffer, buffers inside one arena."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from espalier.export.graph import Sizes

__all__ = ["SPREAD", "Buffer", "Layout", "allocate", "image_of"]


def image_of(shape: Sizes) -> tuple[int, int, int]:
    """Return (channels, height, width) of any value; a vector is one long row.

    Example:
        >>> image_of((3, 8, 9)), image_of((3, 9)), image_of((9,)), image_of(())
        ((3, 8, 9), (3, 1, 9), (1, 1, 9), (1, 1, 1))
    """
    if len(shape) == 3:
        return (shape[0], shape[1], shape[2])
    if len(shape) == 2:
        return (shape[0], 1, shape[1])
    return (1, 1, prod(shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Planes of rows, with zeros around an image where a convolution wants them."""

    channels: int
    height: int
    width: int
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    row: int
    """Elements from a row to the next, >= left + width + right."""

    @property
    def plane(self) -> int:
        """Elements from a channel to the next."""
        return (self.top + self.height + self.bottom) * self.row

    @property
    def start(self) -> int:
        """Where the first element lies, in elements."""
        return self.top * self.row + self.left

    @property
    def size(self) -> int:
        """Elements in all."""
        return self.channels * self.plane

    @property
    def bordered(self) -> bool:
        """Whether zeros lie around the image."""
        return bool(self.top or self.bottom or self.left or self.right)

    @property
    def compact(self) -> bool:
        """Whether elements lie in C order without gaps."""
        return not self.bordered and self.row == self.width


SPREAD = ":spread"
"""Ends the name of a value's copy that is taken apart for a strided convolution."""


@dataclass(slots=True, eq=False)
class Buffer:
    """Memory of one value, from the step that writes it to the last that reads it."""

    name: str
    layout: Layout
    first: int
    last: int
    slack: int = 0
    """Elements after the end that a reader may touch, and forgets."""
    offset: int = 0
    """In the arena, in its units: floats, or bytes where values are integers."""
    item: int = 1
    """Units an element."""

    @property
    def size(self) -> int:
        """Units in all."""
        return (self.layout.size + self.slack) * self.item


def allocate(buffers: Iterable[Buffer], *, align: int) -> int:
    """Give every buffer its offset and return the arena's size, in its units.

    Large buffers first, each at the lowest place that is free for as long as it lives.
    """
    placed: list[Buffer] = []
    end = 0
    for buffer in sorted(buffers, key=lambda b: (-b.size, b.first, b.name)):
        size = _up(buffer.size, align)
        offset = 0
        for other in sorted(placed, key=lambda b: b.offset):
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if offset + size <= other.offset:
                break
            offset = max(offset, _up(other.offset + other.size, align))
        buffer.offset = offset
        placed.append(buffer)
        end = max(end, offset + size)
    return end


def _up(size: int, align: int) -> int:
    return -(-size // align) * align
