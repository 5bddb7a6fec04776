"""One choice a row, the least loss within a budget: solved exactly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from espalier.errors import ConfigError

__all__ = ["cheapest", "least_loss"]

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

HALVINGS = 60
"""Of the interval of the multiplier; what is left of it is below float64's precision."""
SLACK = 1e-9
"""Relative: how far above the best known loss a bound may lie by rounding."""


def least_loss(
    costs: Sequence[Sequence[int]], losses: Sequence[Sequence[float]], budget: int
) -> list[int]:
    """Return the choice of each row with the least sum of losses whose costs fit a budget.

    Dynamic programming over the costs that can be reached, keeping of them what no other betters
    and what a Lagrangian bound doesn't rule out. The result is exact, to the rounding of the sums;
    among equal losses it is the cheapest.

    Args:
        costs: integers >= 0, a row a decision, an entry a choice.
        losses: finite, of the same form.
        budget: most that the costs may come to.

    Raises:
        ConfigError: the cheapest choices together exceed the budget.

    Example:
        >>> least_loss([[1, 5], [1, 2]], [[3.0, 0.0], [2.0, 1.0]], budget=6)
        [1, 0]
    """
    rows = [
        (np.asarray(c, np.int64), np.asarray(x, float)) for c, x in zip(costs, losses, strict=True)
    ]
    least = _sums_from([int(c.min()) for c, _ in rows])
    if least[0] > budget:
        raise ConfigError(f"a budget of {budget} is below {int(least[0])}, the least possible.")
    bound = _bound(rows, budget)
    cost, loss = np.zeros(1, np.int64), np.zeros(1)
    steps: list[tuple[Ints, Ints]] = []
    for i, (c, x) in enumerate(rows):
        cost, loss = (cost[:, None] + c).ravel(), (loss[:, None] + x).ravel()
        after = bound.rest[i + 1] - bound.multiplier * (budget - cost)
        possible = (cost + least[i + 1] <= budget) & (loss + after <= bound.above)
        order = np.flatnonzero(possible)
        order = order[np.lexsort((loss[order], cost[order]))]
        best = np.minimum.accumulate(loss[order])
        order = order[np.concatenate([[True], loss[order][1:] < best[:-1]])]
        cost, loss = cost[order], loss[order]
        steps.append((order // len(c), order % len(c)))
    at, chosen = len(loss) - 1, []
    for parents, choices in reversed(steps):
        chosen.append(int(choices[at]))
        at = int(parents[at])
    return chosen[::-1]


def cheapest(costs: Sequence[Sequence[int]]) -> int:
    """Return the least that all rows together can cost."""
    return sum(min(row) for row in costs)


@dataclass(frozen=True, slots=True)
class _Bound:
    """What no choice of the rows from i on can be better than: ``rest[i] - multiplier * left``."""

    multiplier: float
    rest: Doubles
    above: float
    """A loss that is reached, and a little more."""


def _bound(rows: Sequence[tuple[Ints, Doubles]], budget: int) -> _Bound:
    """Return the Lagrangian bound with the multiplier at which the choices just fit."""
    low, high = 0.0, 1.0
    while _relaxed(rows, high)[0] > budget:
        high *= 4
    if _relaxed(rows, low)[0] <= budget:
        high = low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _relaxed(rows, middle)[0] > budget else (low, middle)
    reached = _relaxed(rows, high)[1]
    rest = _sums_from([float((x + high * c).min()) for c, x in rows])
    return _Bound(high, rest, reached + SLACK * (1 + abs(reached) + high * budget))


def _relaxed(rows: Sequence[tuple[Ints, Doubles]], multiplier: float) -> tuple[int, float]:
    """Return cost and loss of what is best where a unit of cost is worth so much loss."""
    cost, loss = 0, 0.0
    for c, x in rows:
        best = np.lexsort((c, x + multiplier * c))[0]
        cost, loss = cost + int(c[best]), loss + float(x[best])
    return cost, loss


def _sums_from(values: Sequence[float]) -> Doubles:
    """Return for each place the sum from there on, and 0 at the end."""
    return np.concatenate([np.cumsum(np.asarray(values, float)[::-1])[::-1], [0.0]])
