"""How much of a network fits into a number of bytes."""

from collections.abc import Callable

__all__ = ["fit_kept"]

WINDOW = 0.995
"""Share of the budget from which on a size is near enough."""
TRIALS = 40
"""Most sizes that are looked at; a bisection alone needs 31 for 2^31 weights."""


def fit_kept(
    size_of: Callable[[int], int], budget: int, *, least: int, most: int, guess: int
) -> int | None:
    """Return how many weights can stay so that the file takes at most the budget.

    Sizes are looked at from the guess outwards, then between a fit and a misfit, by interpolation
    where it closes in and by halves where it doesn't, until one takes 99.5 % of the budget or none
    lies between. A size need not grow with every weight (a grid moves with what it spans), so that
    the count is a fit, and mostly but not surely the largest one.

    Args:
        size_of: bytes of the file where so many weights stay.
        budget: in bytes.
        least: weights that stay at least, >= 1.
        most: weights that there are.
        guess: where to look first.

    Returns:
        The count; None where even ``least`` takes more than the budget.

    Example:
        >>> fit_kept(lambda kept: 100 + kept // 8, 225, least=1, most=100_000, guess=50)
        995
    """
    search = _Search(least, most)
    kept = min(max(guess, least), most)
    for trial in range(TRIALS):
        size = size_of(kept)
        search.note(kept, size, budget)
        if WINDOW * budget <= size <= budget:
            break
        following = search.following(budget, by_halves=trial % 3 == 2)
        if following is None:
            break
        kept = following
    return None if search.fit is None else search.fit[0]


class _Search:
    """The largest fit and the smallest misfit above it, each with its size."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most
        self.fit: tuple[int, int] | None = None
        self.misfit: tuple[int, int] | None = None
        self.strides = 0
        """Looks outwards so far; the first goes as far as the size says, later ones further."""

    def note(self, kept: int, size: int, budget: int) -> None:
        """Take in a size."""
        if size <= budget:
            self.fit = (kept, size)
        else:
            self.misfit = (kept, size)

    def following(self, budget: int, *, by_halves: bool) -> int | None:
        """Return the count to look at next; None where there is none left."""
        if self.fit is None or self.misfit is None:
            return self._outwards(budget)
        (low, small), (high, large) = self.fit, self.misfit
        if high - low <= 1:
            return None
        if by_halves:
            return (low + high) // 2
        aim = (1 + WINDOW) / 2 * budget
        between = low + int((high - low) * (aim - small) / (large - small))
        return min(max(between, low + 1), high - 1)

    def _outwards(self, budget: int) -> int | None:
        kept, size = self.fit or self.misfit or (self.least, budget)
        if kept == (self.least if self.fit is None else self.most):
            return None
        self.strides += 1
        stride = 1.02 ** (self.strides * self.strides * 4)
        if self.fit is None:
            return max(self.least, min(kept - 1, int(kept * budget / size / stride)))
        return min(self.most, max(kept + 1, int(kept * budget / size * stride)))
