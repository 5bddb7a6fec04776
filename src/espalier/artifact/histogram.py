"""The static model's table: one frequency a symbol, of sum 2^16."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from espalier.artifact.cursor import Cursor, varint
from espalier.artifact.matrix import Matrix
from espalier.errors import ArtifactHeaderError

__all__ = ["MAX_SYMBOLS", "Histogram", "histogram_of", "read_histogram", "symbols_of"]

WHOLE = 65_536
"""Sum of the frequencies."""
MAX_SYMBOLS = 65_536
MAX_CODE = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Symbols ascending, 0 being a zero weight, and their frequencies."""

    symbols: NDArray[np.int64]
    frequencies: NDArray[np.uint32]

    def to_bytes(self) -> bytes:
        """Return the table as it stands before the stream."""
        out, last = bytearray(varint(len(self.symbols))), None
        pairs = zip(self.symbols.tolist(), self.frequencies.tolist(), strict=True)
        for symbol, frequency in pairs:
            out += varint(_zigzag(symbol) if last is None else symbol - last) + varint(frequency)
            last = symbol
        return bytes(out)


def histogram_of(
    mask: NDArray[np.bool_], codes: NDArray[np.int64] | None, matrix: Matrix
) -> Histogram:
    """Count the symbols of a tensor that has a nonzero.

    Frequencies are proportional to counts, at least 1; what rounding leaves goes to the symbols of
    the largest remainders, or is taken from the most frequent ones.

    Raises:
        ArtifactHeaderError: there are more symbols than a table holds.
    """
    nonzero = symbols_of(codes, matrix) if codes is not None else np.ones(matrix.nonzero, np.int64)
    symbols, counts = np.unique(nonzero, return_counts=True)
    zeros = mask.size - matrix.nonzero
    if zeros:
        at = int(np.searchsorted(symbols, 0))
        symbols, counts = np.insert(symbols, at, 0), np.insert(counts, at, zeros)
    if len(symbols) > MAX_SYMBOLS:
        raise ArtifactHeaderError(
            f"{len(symbols)} different codes; a static model holds {MAX_SYMBOLS}."
        )
    return Histogram(symbols.astype(np.int64), _frequencies(counts.astype(np.int64)))


def symbols_of(codes: NDArray[np.int64], matrix: Matrix) -> NDArray[np.int64]:
    """Return each code's symbol: its magnitude above the offset, from 1, with its sign."""
    return np.where(codes < 0, codes + matrix.offset - 1, codes - matrix.offset + 1)


def _frequencies(counts: NDArray[np.int64]) -> NDArray[np.uint32]:
    exact = counts * WHOLE
    shares: NDArray[np.int64] = np.maximum(exact // counts.sum(), 1)
    left = WHOLE - int(shares.sum())
    if left > 0:
        remainders = exact - shares * counts.sum()
        shares[np.argsort(-remainders, kind="stable")[:left]] += 1
    while left < 0:  # symbols raised to 1 took what others must give
        most = int(np.argmax(shares))
        given = min(-left, max(int(shares[most]) // 64, 1))
        shares[most] -= given
        left += given
    return shares.astype(np.uint32)


def read_histogram(cursor: Cursor, matrix: Matrix) -> Histogram:
    """Read what :meth:`Histogram.to_bytes` gave.

    Raises:
        ArtifactHeaderError: a number is out of its bounds, or the sum isn't 2^16.
        ArtifactLengthError: the payload ends within it.
    """
    count = cursor.bounded("number of symbols", 1, MAX_SYMBOLS)
    most = MAX_CODE - matrix.offset + 1
    symbols: list[int] = []
    frequencies: list[int] = []
    place = cursor.place
    for i in range(count):
        if i:
            symbol = symbols[-1] + cursor.bounded("step to the next symbol", 1, 2 * most)
        else:
            symbol = _unzigzag(cursor.varint())
        if not -most <= symbol <= most or (symbol < 0 and not matrix.signed):
            raise ArtifactHeaderError(f"symbol {symbol} is out of bounds", offset=place)
        symbols.append(symbol)
        frequencies.append(cursor.bounded("frequency", 1, WHOLE))
    if sum(frequencies) != WHOLE:
        raise ArtifactHeaderError(
            f"frequencies sum to {sum(frequencies)}; expected {WHOLE}", offset=place
        )
    return Histogram(np.array(symbols, np.int64), np.array(frequencies, np.uint32))


def _zigzag(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1


def _unzigzag(number: int) -> int:
    return number >> 1 if number % 2 == 0 else -(number + 1 >> 1)
