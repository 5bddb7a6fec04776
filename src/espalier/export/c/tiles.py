"""How a plane of sums is cut into blocks that stay in registers."""

from collections.abc import Iterable, Sequence
from math import lcm

from espalier.export.c.steps import Tile

__all__ = ["best_row", "can_cut_blocks", "can_pool", "cut", "cut_blocks", "vectors_of"]

BLOCK_VECTORS = 0.6
"""What beginning a nonzero costs, in vectors: its offset, its value, the loop."""
SPLIT = 1.16
"""How much dearer loads are where no row begins at a vector: more of them cross a cache line."""
UNPACK_VECTORS = 4.0
"""The same where it is unpacked first: a third of the instructions that this takes."""
ANOTHER_KIND = 0.06
"""What time another size of block must save for the code that it takes, as a part."""


def can_pool(width: int, row: int, pool: tuple[int, int], *, block: int) -> bool:
    """Tell whether a block holds whole windows of a maximum."""
    return pool[0] == 1 or (pool[0] - 1) * row + width <= block


def cut(
    height: int,
    width: int,
    row: int,
    pool: tuple[int, int],
    *,
    vectors: int,
    lanes: int,
    more: int = 0,
) -> tuple[Tile, ...]:
    """Cut ``height`` rows of ``width`` sums, rows ``row`` apart, at whole windows of ``pool``.

    A block is whole rows, with what lies between them summed and forgotten; a row that is longer
    than a block is cut itself. To the right of a block's sums lie ``more`` that are needed too.
    """
    block = vectors * lanes
    if (pool[0] - 1) * row + width + more <= block:
        return _whole_rows(height, width, row, pool[0], block=block, lanes=lanes, more=more)
    step = lcm(lanes, pool[1])
    parts = -(-width // max((block - more) // step * step, step))
    columns = -(-width // (parts * step)) * step
    tiles = [_tile(1, columns, row, lanes, 0, height, 0, width // columns, more)]
    rest = width % columns
    if rest:
        tiles.append(_tile(1, rest, row, lanes, 0, height, width - rest, 1, more))
    return tuple(tile for tile in tiles if tile.column_count)


def can_cut_blocks(width: int, pool: tuple[int, int], *, vectors: int, lanes: int) -> bool:
    """Tell whether a block of :func:`cut_blocks` holds a window of a maximum."""
    return bool(_block_sizes(pool[0], width, pool, vectors=vectors, lanes=lanes))


def cut_blocks(
    height: int, width: int, pool: tuple[int, int], *, vectors: int, lanes: int
) -> tuple[Tile, ...]:
    """Cut rows of sums at whole windows of ``pool``, into blocks of several rows and columns.

    No sum is made in vain but those that fill a row's last vector. Tiles go from above to below.
    """
    options = []
    for rows, columns in _block_sizes(height, width, pool, vectors=vectors, lanes=lanes):
        parts = [
            _block(h, w, lanes, row, row_count, column, column_count)
            for h, row, row_count in _parts(height, rows)
            for w, column, column_count in _parts(width, columns)
        ]
        blocks = sum(t.row_count * t.column_count * (t.vectors + UNPACK_VECTORS) for t in parts)
        options.append((blocks * (1 + ANOTHER_KIND * (len(parts) - 1)), tuple(parts)))
    return min(options, key=lambda option: option[0])[1]


def _block_sizes(
    height: int, width: int, pool: tuple[int, int], *, vectors: int, lanes: int
) -> list[tuple[int, int]]:
    """Return all rows and columns that fit."""
    return [
        (rows, columns)
        for rows in range(pool[0], height + 1, pool[0])
        for columns in range(pool[1], width + 1, pool[1])
        if (columns % lanes == 0 or columns == width) and rows * -(-columns // lanes) <= vectors
    ]


def _parts(size: int, step: int) -> list[tuple[int, int, int]]:
    """Return sizes, where they begin and how many: whole steps and the rest."""
    whole, rest = divmod(size, step)
    return [(step, 0, whole), *([(rest, size - rest, 1)] if rest else [])]


def _block(
    rows: int, columns: int, lanes: int, row: int, row_count: int, column: int, column_count: int
) -> Tile:
    return Tile(
        rows=rows,
        columns=columns,
        vectors=rows * -(-columns // lanes),
        row=row,
        row_count=row_count,
        column=column,
        column_count=column_count,
        split=True,
    )


def vectors_of(tiles: Iterable[Tile]) -> float:
    """Return what a nonzero costs over all blocks, in vectors loaded."""
    return sum(t.row_count * t.column_count * (t.vectors + BLOCK_VECTORS) for t in tiles)


def best_row(columns: int, images: Sequence[tuple[int, int]], *, vectors: int, lanes: int) -> int:
    """Round a row up to whole vectors where aligned loads are worth it.

    Args:
        columns: that it has at least.
        images: height and width of what is made of such rows.
        vectors: of a block.
        lanes: sums a vector.
    """
    aligned = -(-columns // lanes) * lanes
    if aligned == columns:
        return columns

    def cost(row: int) -> float:
        tiles = [
            cut(height, width, row, (1, 1), vectors=vectors, lanes=lanes)
            for height, width in images
        ]
        return sum(map(vectors_of, tiles)) * (SPLIT if row % lanes else 1.0)

    return min((columns, aligned), key=cost)


def _whole_rows(
    height: int, width: int, row: int, unit: int, *, block: int, lanes: int, more: int
) -> tuple[Tile, ...]:
    options = []
    for rows in range(unit, height + 1, unit):
        if (rows - 1) * row + width + more > block:
            break
        rest = height % rows
        tiles = [_tile(rows, width, row, lanes, 0, height // rows, 0, 1, more)]
        if rest:
            tiles.append(_tile(rest, width, row, lanes, height - rest, 1, 0, 1, more))
        options.append(tuple(tiles))
    return min(options, key=vectors_of)


def _tile(
    rows: int,
    columns: int,
    row: int,
    lanes: int,
    first_row: int,
    row_count: int,
    column: int,
    column_count: int,
    more: int,
) -> Tile:
    return Tile(
        rows=rows,
        columns=columns,
        vectors=-(-((rows - 1) * row + columns + more) // lanes),
        row=first_row,
        row_count=row_count,
        column=column,
        column_count=column_count,
    )
