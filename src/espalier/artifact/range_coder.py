"""The range coder in Python: the compiled core's twin, byte for byte, slowly."""

from espalier.artifact.status import Status, StreamFault

__all__ = ["RangeReader", "RangeWriter"]

WHOLE = 1 << 16
LEAST = 1 << 24
FULL = 0xFFFFFFFF


class RangeWriter:
    """Narrows an interval and writes the bytes that are settled."""

    def __init__(self) -> None:
        """Start with the whole interval."""
        self._low, self._range = 0, FULL
        self._out = bytearray()

    def bit(self, p: int, bit: int) -> int:
        """Write a bit that is 1 with probability p / 2^16."""
        bound = (self._range >> 16) * p
        if bit:
            self._range = bound
        else:
            self._low += bound
            self._range -= bound
        self._renew()
        return bit

    def part(self, start: int, share: int) -> None:
        """Write the part [start, start + share) of 2^16."""
        unit = self._range >> 16
        self._low += unit * start
        self._range = self._range - unit * start if start + share == WHOLE else unit * share
        self._renew()

    def end(self) -> bytes:
        """Return the stream: it ends on the interval's lower bound."""
        for _ in range(4):
            self._shift()
        return bytes(self._out)

    def _renew(self) -> None:
        while self._range < LEAST:
            self._range <<= 8
            self._shift()

    def _shift(self) -> None:
        """Move the top byte of the lower bound out, with its carry."""
        if self._low > FULL:
            self._low &= FULL
            at = len(self._out) - 1
            while self._out[at] == 0xFF:
                self._out[at] = 0
                at -= 1
            self._out[at] += 1
        self._out.append(self._low >> 24)
        self._low = self._low << 8 & FULL


class RangeReader:
    """Finds where a stream's number lies."""

    def __init__(self, stream: bytes) -> None:
        """Start with the whole interval.

        Raises:
            StreamFault: the stream is too short for any, or its number is outside.
        """
        self._stream = stream
        self.at = 0
        """Bytes used."""
        self._range, self._code = FULL, 0
        for _ in range(4):
            self._code = self._code << 8 | self._next()
        if self._code == FULL:
            raise StreamFault(Status.STATE)

    def bit(self, p: int, bit: int = 0) -> int:
        """Read a bit that is 1 with probability p / 2^16; ``bit`` is what a writer would give."""
        bound = (self._range >> 16) * p
        if self._code < bound:
            self._range, bit = bound, 1
        else:
            self._code -= bound
            self._range -= bound
            bit = 0
        self._renew()
        return bit

    def find(self) -> int:
        """Return which of the 2^16 parts comes next."""
        return min(self._code // (self._range >> 16), WHOLE - 1)

    def part(self, start: int, share: int) -> None:
        """Take the part [start, start + share) that :meth:`find` has pointed to."""
        unit = self._range >> 16
        self._code -= unit * start
        self._range = self._range - unit * start if start + share == WHOLE else unit * share
        self._renew()

    def end(self) -> None:
        """Check that the stream ends as a writer leaves it.

        Raises:
            StreamFault: it does not.
        """
        if self._code:
            raise StreamFault(Status.STATE)
        if self.at < len(self._stream):
            raise StreamFault(Status.ENDS_LATE)

    def _renew(self) -> None:
        while self._range < LEAST:
            self._range <<= 8
            self._code = self._code << 8 | self._next()

    def _next(self) -> int:
        if self.at == len(self._stream):
            raise StreamFault(Status.ENDS_EARLY)
        self.at += 1
        return self._stream[self.at - 1]
