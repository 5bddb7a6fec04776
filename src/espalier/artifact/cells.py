"""Adaptive probabilities and their mixing, of integers alone (docs/format.md, section 3.4)."""

from collections.abc import Callable, Sequence

__all__ = ["Cell", "Mixer", "clamp", "single", "squash", "stretch"]

KNOTS = (
    *(22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108),
    *(4971, 7812, 11955, 17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565),
    *(62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438, 65476, 65500, 65514),
)
MAX_LOGIT, MAX_SEEN, MAX_WEIGHT = 2047, 500, 1 << 20
LEAST, MOST = 24, 65_512
RATES = tuple(131_072 // (2 * seen + 3) for seen in range(MAX_SEEN + 1))


def clamp(number: int, least: int, most: int) -> int:
    """Return the number of [least, most] that is nearest."""
    return least if number < least else most if number > most else number


def squash(logit: int) -> int:
    """Return a probability in 2^-16 of a logit in units of 1/256.

    Example:
        >>> squash(0), squash(256)
        (32768, 47911)
    """
    at = logit + 2048
    knot, part = at >> 7, at & 127
    return (KNOTS[knot] * (128 - part) + KNOTS[knot + 1] * part + 64) >> 7


def _stretches() -> tuple[int, ...]:
    found: list[int] = []
    for logit in range(-MAX_LOGIT, MAX_LOGIT + 1):
        found += [logit] * ((squash(logit) >> 4) + 1 - len(found))
    return tuple(found + [MAX_LOGIT] * (4096 - len(found)))


STRETCHES = _stretches()


def stretch(q: int) -> int:
    """Return the least logit whose probability in 2^-12 is at least ``q``.

    Example:
        >>> stretch(2048)
        0
    """
    return STRETCHES[q]


class Cell:
    """How often a bit was 1 in one context."""

    __slots__ = ("p", "seen")

    def __init__(self, p: int) -> None:
        """Start at a probability in 2^-16."""
        self.p, self.seen = p, 0

    @property
    def grade(self) -> int:
        """The probability in 32 grades of the logit."""
        return STRETCHES[self.p >> 4] + 2048 >> 7

    def learn(self, bit: int) -> None:
        """Move towards a bit, ever slower."""
        if bit:
            self.p += (65_535 - self.p) * RATES[self.seen] >> 16
        else:
            self.p -= self.p * RATES[self.seen] + 65_535 >> 16
        if self.seen < MAX_SEEN:
            self.seen += 1


def single(code: Callable[[int, int], int], cell: Cell, bit: int) -> int:
    """Code a bit by one cell."""
    bit = code(clamp(cell.p, LEAST, MOST), bit)
    cell.learn(bit)
    return bit


class Mixer:
    """Learns how much each of some cells is worth."""

    __slots__ = ("weights",)

    def __init__(self, count: int, weight: int) -> None:
        """Start with equal weights in units of 2^-16."""
        self.weights = [weight] * count

    def code(self, code: Callable[[int, int], int], cells: Sequence[Cell], bit: int) -> int:
        """Code a bit by several cells."""
        logits = [STRETCHES[cell.p >> 4] for cell in cells]
        mixed = sum(w * x for w, x in zip(self.weights, logits, strict=True)) >> 16
        p = clamp(squash(clamp(mixed, -MAX_LOGIT, MAX_LOGIT)), LEAST, MOST)
        bit = code(p, bit)
        error = (bit << 16) - p
        for i, (cell, logit) in enumerate(zip(cells, logits, strict=True)):
            weight = self.weights[i] + (logit * error + 65_536 >> 17)
            self.weights[i] = clamp(weight, -MAX_WEIGHT, MAX_WEIGHT)
            cell.learn(bit)
        return bit
