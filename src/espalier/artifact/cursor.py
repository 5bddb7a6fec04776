"""Reading and writing the numbers of the format, each with its place in the file."""

import struct

from espalier.errors import ArtifactHeaderError, ArtifactLengthError

__all__ = ["VARINT_LIMIT", "Cursor", "float32_bytes", "varint"]

VARINT_LIMIT = 2**63
"""Varints are below it."""


def varint(number: int) -> bytes:
    """Return an unsigned number in groups of seven bits, the lowest first.

    Example:
        >>> varint(300).hex()
        'ac02'
    """
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def float32_bytes(*values: float) -> bytes:
    """Return numbers as little-endian float32."""
    return struct.pack(f"<{len(values)}f", *values)


class Cursor:
    """A place in bytes that lie at a known offset of the file; never reads past their end."""

    def __init__(self, content: bytes, offset: int, what: str) -> None:
        """Start at the first byte.

        Args:
            content: what may be read.
            offset: of its first byte in the file.
            what: how messages call it.
        """
        self._content = content
        self._offset = offset
        self._what = what
        self._at = 0

    @property
    def place(self) -> int:
        """The next byte's offset in the file."""
        return self._offset + self._at

    @property
    def left(self) -> int:
        """How many bytes there are still."""
        return len(self._content) - self._at

    def take(self, count: int) -> bytes:
        """Return the next bytes.

        Raises:
            ArtifactLengthError: there are fewer.
        """
        if count > self.left:
            raise ArtifactLengthError(
                f"{self._what} ends early: {count} more bytes expected, {self.left} left",
                offset=self.place,
            )
        found = self._content[self._at : self._at + count]
        self._at += count
        return found

    def u8(self) -> int:
        """Return a byte's number."""
        return self.take(1)[0]

    def u32(self) -> int:
        """Return a number of four bytes."""
        return int.from_bytes(self.take(4), "little")

    def float32s(self, count: int) -> tuple[float, ...]:
        """Return numbers of four bytes each."""
        return struct.unpack(f"<{count}f", self.take(4 * count))

    def varint(self) -> int:
        """Return a number that :func:`varint` wrote.

        Raises:
            ArtifactHeaderError: it is 2^63 or more, or not in its shortest form.
        """
        start, number = self.place, 0
        for shift in range(0, 63, 7):
            byte = self.u8()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise ArtifactHeaderError(
                        f"{self._what}: a number is not in its shortest form", offset=start
                    )
                return number
        raise ArtifactHeaderError(f"{self._what}: a number is 2^63 or more", offset=start)

    def bounded(self, name: str, least: int, most: int) -> int:
        """Return a varint that must lie in [least, most].

        Raises:
            ArtifactHeaderError: it does not.
        """
        return self.check(name, self.place, self.varint(), least, most)

    def small(self, name: str, least: int, most: int) -> int:
        """Return a byte's number that must lie in [least, most].

        Raises:
            ArtifactHeaderError: it does not.
        """
        return self.check(name, self.place, self.u8(), least, most)

    def check(self, name: str, place: int, number: int, least: int, most: int) -> int:
        """Return a number read at ``place`` once it lies in [least, most].

        Raises:
            ArtifactHeaderError: it does not.
        """
        if not least <= number <= most:
            raise ArtifactHeaderError(
                f"{self._what}: {name} is {number}; expected {least} to {most}", offset=place
            )
        return number
