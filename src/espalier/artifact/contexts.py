"""The context model in Python: the compiled core's twin, byte for byte, slowly.

docs/format.md, section 3.4, says what each part is and why.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.artifact.cells import Cell, Mixer, clamp, single
from espalier.artifact.matrix import Matrix
from espalier.artifact.range_coder import RangeReader, RangeWriter
from espalier.artifact.status import Status, StreamFault

__all__ = ["read_contexts", "write_contexts"]

HALF = 32_768
NEGATIVE = 16
MAX_EXPONENT = 62
TREE_BITS = 3
MAX_CODE = 2**62


def write_contexts(
    mask: NDArray[np.bool_], codes: NDArray[np.int64] | None, matrix: Matrix
) -> bytes:
    """Return the stream of a mask and its codes."""
    coder = RangeWriter()
    flat = mask.reshape(matrix.rows, matrix.columns)
    flags = ([bool(row.any()) for row in flat], [bool(column.any()) for column in flat.T])
    walk = _Walk(matrix, coder.bit, has_codes=codes is not None)
    walk.run(flat, codes, flags)
    return coder.end()


def read_contexts(
    stream: bytes, mask: NDArray[np.bool_], codes: NDArray[np.int64] | None, matrix: Matrix
) -> None:
    """Fill a mask of zeros and its codes from a stream.

    Raises:
        StreamFault: the stream is not one of that matrix.
    """
    coder = RangeReader(stream)
    walk = _Walk(matrix, coder.bit, has_codes=codes is not None, reads=True)
    flat = mask.reshape(matrix.rows, matrix.columns)
    found = walk.run(flat, codes, ([False] * matrix.rows, [False] * matrix.columns))
    coder.end()
    if found != matrix.nonzero:
        raise StreamFault(Status.TOO_FEW)


@dataclass(slots=True)
class _Column:
    at: int
    kernel: int
    position: int
    cell: Cell
    mean: int = 0


@dataclass(slots=True)
class _Row:
    cell: Cell
    kernel: int = -1
    count: int = 0
    history: int = 0
    last: int = 0
    last_sign: int = 0


@dataclass(slots=True)
class _Around:
    left: int
    before: int
    above: int
    beyond: int


@dataclass(slots=True)
class _Cells:
    """Cells by context, each made when it is first needed."""

    start: int
    found: dict[Any, Cell] = field(default_factory=dict)

    def __getitem__(self, key: Any) -> Cell:
        cell = self.found.get(key)
        if cell is None:
            cell = self.found[key] = Cell(self.start)
        return cell


class _Walk:
    """One walk over a matrix, whether its bits are written or read."""

    def __init__(
        self,
        matrix: Matrix,
        bit: Callable[[int, int], int],
        *,
        has_codes: bool,
        reads: bool = False,
    ) -> None:
        self.matrix = matrix
        self.bit = bit
        self.has_codes = has_codes
        self.reads = reads
        self.height, self.width = matrix.kernel
        self.size = self.height * self.width
        self.margin = max(self.size, 2)
        self.others = _Cells(HALF)
        self.mask_mixer = Mixer(4, 19_660)
        self.sign_mixer = Mixer(2, 26_214)
        self.mixers: dict[Any, Mixer] = {}

    def run(
        self,
        mask: NDArray[np.bool_],
        codes: NDArray[np.int64] | None,
        flags: tuple[list[bool], list[bool]],
    ) -> int:
        """Return how many nonzeros there were."""
        rows = [r for r, kept in enumerate(self._flags("row", flags[0])) if kept]
        kept_columns = self._flags("column", flags[1])
        left = sum(kept_columns)
        start = HALF
        if rows and left:
            start = clamp((self.matrix.nonzero << 16) // (len(rows) * left), 64, 65_500)
        columns = [
            _Column(c, c // self.size, c % self.size, Cell(start))
            for c, kept in enumerate(kept_columns)
            if kept
        ]
        self.masks = _Cells(start)
        lines = [[0] * (self.margin + self.matrix.columns) for _ in range(3)]
        found = 0
        for r in rows:
            found = self._row(mask[r], codes, found, columns, _Row(Cell(start)), lines)
            lines = [[0] * (self.margin + self.matrix.columns), lines[0], lines[1]]
        return found

    def _flags(self, what: str, flags: list[bool]) -> list[bool]:
        before, found = 1, []
        for flag in flags:
            before = single(self.bit, self.others[what, before], int(flag))
            found.append(bool(before))
        return found

    def _row(
        self,
        mask: NDArray[np.bool_],
        codes: NDArray[np.int64] | None,
        found: int,
        columns: list[_Column],
        row: _Row,
        lines: list[list[int]],
    ) -> int:
        for column in columns:
            near = self._around(column, lines)
            if not self._mask_bit(row, column, near, int(mask[column.at])):
                continue
            if found == self.matrix.nonzero:
                raise StreamFault(Status.TOO_MANY)
            symbol = 1
            if self.reads:
                mask[column.at] = True
            if codes is not None:
                code = 0 if self.reads else int(codes[found])
                codes_read, symbol = self._code(row, column, near, code)
                if self.reads:
                    codes[found] = codes_read
            lines[0][self.margin + column.at] = symbol
            found += 1
        return found

    def _around(self, column: _Column, lines: list[list[int]]) -> _Around:
        at = self.margin + column.at
        line = lines[0]
        if self.height > 1:
            above = line[at - self.width] if column.position >= self.width else 0
        else:
            above = line[at - 2]
        beyond = line[at - self.size] if self.size > 1 else lines[2][at]
        return _Around(line[at - 1], lines[1][at], above, beyond)

    def _mask_bit(self, row: _Row, column: _Column, near: _Around, bit: int) -> int:
        around = _weight(near.left) + _weight(near.before) + _weight(near.above)
        around += _weight(near.beyond)
        context: Any = row.history
        if self.size > 1:
            if column.kernel != row.kernel:
                row.kernel, row.count = column.kernel, 0
            context = (min(column.position, 63), row.count)
        cells = (
            row.cell,
            column.cell,
            self.masks["kernel", context],
            self.masks["near", around, column.cell.grade],
        )
        bit = self.mask_mixer.code(self.bit, cells, bit)
        row.count = min(row.count + bit, 15)
        row.history = (row.history << 1 | bit) & 255
        return bit

    def _code(self, row: _Row, column: _Column, near: _Around, code: int) -> tuple[int, int]:
        """Return a code and its symbol."""
        negative = int(code < 0)
        if self.matrix.signed:
            across = ("across", _sign(near.left), _sign(near.above))
            back = ("back", _sign(near.before), _sign(near.beyond), row.last_sign)
            cells = (self.others[across], self.others[back])
            negative = self.sign_mixer.code(self.bit, cells, negative)
        magnitude = self._magnitude(row, column, near, abs(code) - self.matrix.offset)
        size = magnitude + self.matrix.offset
        if size > MAX_CODE:
            raise StreamFault(Status.TOO_LARGE)
        symbol = min(magnitude, 7) + 1
        row.last, row.last_sign = min(symbol, 7), 1 + negative
        column.mean = (column.mean + symbol + 1) >> 1
        return (-size if negative else size), symbol | NEGATIVE * negative

    def _magnitude(self, row: _Row, column: _Column, near: _Around, magnitude: int) -> int:
        number = 0 if self.reads else magnitude + 1
        above, grade = near.above & 15, row.cell.grade >> 2
        exponent = 0
        while True:
            step = min(exponent, 15)
            cells = (
                self.others["exponent", above, row.last, step],
                self.others["exponent of column", column.mean, grade, step],
            )
            mixer = self._mixer("exponent", step)
            if not mixer.code(self.bit, cells, int(number >> exponent > 1)):
                break
            if exponent == MAX_EXPONENT:
                raise StreamFault(Status.TOO_LARGE)
            exponent += 1
        return self._lower_bits(near, exponent, number) - 1

    def _lower_bits(self, near: _Around, exponent: int, number: int) -> int:
        where = (near.left & 15 > 2, near.before & 15 > 2)
        found = node = 1
        for i in range(exponent - 1, -1, -1):
            bit = number >> i & 1
            if exponent - i > TREE_BITS:
                bit = self.bit(HALF, bit)
            else:
                cells = (
                    self.others["tree", exponent, node],
                    self.others["tree", where, exponent, node],
                )
                bit = self._mixer("tree", exponent).code(self.bit, cells, bit)
                node = node << 1 | bit
            found = found << 1 | bit
        return found

    def _mixer(self, what: str, which: int) -> Mixer:
        mixer = self.mixers.get((what, which))
        if mixer is None:
            mixer = self.mixers[what, which] = Mixer(2, HALF)
        return mixer


def _weight(symbol: int) -> int:
    found = symbol & 15
    return found if found < 2 else 1 + (found > 2)


def _sign(symbol: int) -> int:
    return 0 if symbol == 0 else 2 if symbol & NEGATIVE else 1
