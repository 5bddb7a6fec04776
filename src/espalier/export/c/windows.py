"""A convolution as one of stride 1: where each weight finds its input."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from espalier.export.c.layout import Layout, image_of
from espalier.export.graph import Convolution, Value

__all__ = ["Windows", "pair"]


class Windows:
    """A convolution seen as one of stride 1 over an image that may have been taken apart."""

    def __init__(self, layer: Convolution, source: Value, output: Value) -> None:
        self.layer = layer
        self.output = output
        self.kernel = pair(layer.weight.shape[2:], 1)
        self.stride = pair(layer.stride, 1)
        self.dilation = pair(layer.dilation, 1)
        pads = ((0, 0), *layer.padding)[-2:]
        self.margins = (*pads[0], *pads[1])
        self.padding = (pads[0][0], pads[1][0])
        self.direct = self.stride == (1, 1)
        self._channels = image_of(source.shape)[0]
        used = [
            sorted({k * d % s for k in range(size)})
            for size, d, s in zip(self.kernel, self.dilation, self.stride, strict=True)
        ]
        self.phases = tuple((y, x) for y, x in product(*used))

    @property
    def spread_image(self) -> tuple[int, int, int]:
        """Channels, and the height and width of a part: as far as windows reach."""
        _, height, width = image_of(self.output.shape)
        reach = [
            (k - 1) * d // s
            for k, d, s in zip(self.kernel, self.dilation, self.stride, strict=True)
        ]
        return self._channels, height + reach[0], width + reach[1]

    def group_floats(self, layout: Layout) -> int:
        """Return how far a group's input lies from the one before."""
        return self._channels // self.layer.groups * self.channel_step(layout)

    def channel_step(self, layout: Layout) -> int:
        """Return how far a channel's input lies from the one before."""
        return len(self.phases) * layout.plane

    def taps(self, layout: Layout) -> NDArray[np.int64]:
        """Return where the weights of a channel find their inputs, from the channel's start."""
        result: NDArray[np.int64] = self._rows(layout) + self._columns()
        return result

    def _rows(self, layout: Layout) -> NDArray[np.int64]:
        """Return the same of the first column of each weight's row."""
        phase = {position: i for i, position in enumerate(self.phases)}
        inside = []
        for y, x in product(range(self.kernel[0]), range(self.kernel[1])):
            at = (y * self.dilation[0], x * self.dilation[1])
            part = phase[(at[0] % self.stride[0], at[1] % self.stride[1])]
            inside.append(part * layout.plane + at[0] // self.stride[0] * layout.row)
        return np.array(inside, np.int64)

    def _columns(self) -> NDArray[np.int64]:
        """Return how many columns further the weights of a channel find their inputs."""
        columns = np.arange(self.kernel[1]) * self.dilation[1] // self.stride[1]
        return np.tile(columns, self.kernel[0])

    def offsets(self, layout: Layout) -> NDArray[np.int64]:
        """Return where each weight of a filter finds its input, from the group's start."""
        return self._of_filter(self.taps(layout), layout)

    def _of_filter(self, taps: NDArray[np.int64], layout: Layout) -> NDArray[np.int64]:
        channels = np.arange(self.layer.weight.shape[1], dtype=np.int64)
        planes = channels[:, None] * self.channel_step(layout)
        result: NDArray[np.int64] = (planes + taps).reshape(-1)
        return result

    def moves(self, layout: Layout) -> NDArray[np.int64]:
        """Return how far to the right of its output each weight of a filter finds its input.

        From the first column of the layout; negative where a margin is left out.
        """
        begin = layout.left - self.padding[1] if self.direct else 0
        moves = self._columns() + begin
        return np.tile(moves, self.layer.weight.shape[1])

    def row_offsets(self, layout: Layout) -> NDArray[np.int64]:
        """Return :meth:`filter_offsets` without what :meth:`moves` says."""
        return self._of_all(self._of_filter(self._rows(layout), layout), layout)

    def runs(self, row: int, channels: int) -> tuple[tuple[int, ...], int]:
        """Return where a patch's parts begin where channels lie last, and how long each is.

        A part is a row of the window, or a place of it where it has gaps.

        Args:
            row: places from a row of the image to the next.
            channels: of the image.
        """
        inside = self.layer.weight.shape[1]
        (height, width), (down, across) = self.kernel, self.dilation
        if across == 1 and inside == channels:
            return tuple(y * down * row * channels for y in range(height)), width * channels
        places = product(range(height), range(width))
        return tuple((y * down * row + x * across) * channels for y, x in places), inside

    def filter_offsets(self, layout: Layout) -> NDArray[np.int64]:
        """Return the same from the image's start: (filters, weights a filter), or one row."""
        return self._of_all(self.offsets(layout), layout)

    def _of_all(self, offsets: NDArray[np.int64], layout: Layout) -> NDArray[np.int64]:
        filters = self.layer.weight.shape[0] // self.layer.groups
        groups = np.repeat(np.arange(self.layer.groups), filters)[:, None]
        return offsets + groups * self.group_floats(layout)


def pair(sizes: tuple[int, ...], fill: int) -> tuple[int, int]:
    """Return sizes of one or two axes as those of two."""
    full = (fill, *sizes)[-2:]
    return (full[0], full[1])
