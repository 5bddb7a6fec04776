"""Where values lie: padded planes inside a buffer, buffers inside one arena."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from espalier.export.graph import Sizes

__all__ = ["SPREAD", "TURNED", "Buffer", "Layout", "allocate", "image_of", "least"]


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
TURNED = ":turned"
"""Ends the name of a value's copy, or a part of it, that has channels last."""


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


def allocate(buffers: Sequence[Buffer], *, align: int) -> int:
    """Give every buffer its offset and return the arena's size, in its units.

    Of several orders the best. A chain of layers takes what its fullest step takes: its values lie
    at the two ends of the arena by turns.
    """
    bound = least(buffers, align=align)
    by_size = sorted(buffers, key=lambda b: (-b.size, b.first, b.name))
    by_time = sorted(buffers, key=lambda b: (b.first, -b.size, b.name))
    by_end = sorted(buffers, key=lambda b: (-b.last, -b.size, b.name))
    ways = [(by_time, True), *((order, False) for order in (by_size, by_time, by_end))]
    best = min(ways, key=lambda way: _place(*way, bound=bound, align=align))
    return _place(*best, bound=bound, align=align)


def least(buffers: Sequence[Buffer], *, align: int) -> int:
    """Return the units that live at once at the fullest step: no arena is smaller."""
    steps = range(max((b.last for b in buffers), default=0) + 1)
    return max(
        sum(_up(b.size, align) for b in buffers if b.first <= step <= b.last) for step in steps
    )


def _place(buffers: Sequence[Buffer], turns: bool, *, bound: int, align: int) -> int:
    """Place buffers in this order, each at the lowest place, and return where the arena ends.

    With ``turns`` every other one goes to the highest place below ``bound``, where there is one.
    """
    placed: list[Buffer] = []
    for i, buffer in enumerate(buffers):
        size = _up(buffer.size, align)
        taken = [
            (other.offset, _up(other.offset + other.size, align))
            for other in placed
            if other.first <= buffer.last and buffer.first <= other.last
        ]
        places = [0, *(end for _, end in taken)]
        if turns and i % 2:
            high = (bound - size, *(start - size for start, _ in taken))
            low = sorted(places)
            places = sorted((p for p in high if 0 <= p <= bound - size), reverse=True) + low
        else:
            places.sort()
        buffer.offset = next(
            offset
            for offset in places
            if all(offset + size <= start or end <= offset for start, end in taken)
        )
        placed.append(buffer)
    return max((_up(b.offset + b.size, align) for b in buffers), default=0)


def _up(size: int, align: int) -> int:
    return -(-size // align) * align
