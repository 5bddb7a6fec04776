"""The exact choice under a budget, against all choices one by one."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.compressor.knapsack import cheapest, least_loss
from espalier.errors import ConfigError


def brute_force(costs, losses, budget):
    """Return the least loss of all choices that fit."""
    found = []
    for chosen in product(*(range(len(row)) for row in costs)):
        cost = sum(row[i] for row, i in zip(costs, chosen, strict=True))
        loss = sum(row[i] for row, i in zip(losses, chosen, strict=True))
        if cost <= budget:
            found.append((loss, cost))
    return min(found)


def total(rows, chosen):
    return sum(row[i] for row, i in zip(rows, chosen, strict=True))


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_no_choice_is_better(data):
    """Of all choices within the budget it is the one of least loss, and of those the cheapest."""
    widths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    few = st.integers(0, 8).map(float) | st.floats(0, 1e6) | st.floats(0, 1e-6)
    costs = [data.draw(st.lists(st.integers(0, 40), min_size=n, max_size=n)) for n in widths]
    losses = [data.draw(st.lists(few, min_size=n, max_size=n)) for n in widths]
    budget = cheapest(costs) + data.draw(st.integers(0, 100))
    chosen = least_loss(costs, losses, budget)
    loss, cost = brute_force(costs, losses, budget)
    assert total(costs, chosen) <= budget
    assert total(losses, chosen) == pytest.approx(loss, rel=1e-12)
    if all(float(x).is_integer() for row in losses for x in row):
        assert total(costs, chosen) == cost


def test_many_rows_of_large_costs():
    """A network of a hundred layers and millions of bytes; at a bound it is the continuous one."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1_000, 3_000_000, 100)
    costs = [[int(n) * b // 8 for b in (2, 3, 4, 8)] for n in sizes]
    losses = [[float(rng.uniform(0.5, 2) * 4.0**-b) for b in (2, 3, 4, 8)] for _ in sizes]
    budget = int(sizes.sum() * 3 // 8)
    chosen = least_loss(costs, losses, budget)
    assert 0.999 * budget < total(costs, chosen) <= budget
    assert total(losses, chosen) < sum(row[1] for row in losses)


def test_a_budget_below_everything():
    """The least possible is named."""
    with pytest.raises(ConfigError, match="a budget of 2 is below 3, the least possible"):
        least_loss([[1, 2], [2, 9]], [[1.0, 0.0], [1.0, 0.0]], 2)


def test_no_rows():
    """Nothing to choose."""
    assert least_loss([], [], 0) == []
