"""Operators against an independent numpy oracle, bit for bit, with and without the core."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from .oracle import apply_to, expected, noise_of, same_bits
from .strategies import quick, thorough, weights
from .table import each, over

pytestmark = pytest.mark.usefixtures("backend")


def check(row, tensors):
    """Compare values, masks and records of one pass with the oracle's."""
    named = {f"w{i}": torch.from_numpy(w) for i, w in enumerate(tensors)}
    op = row.of(len(tensors))
    noise = noise_of(op.init(named), tensors)
    written, state = apply_to(op, *tensors)
    values, masks = expected(tensors, state.written, noise=noise, **row.settings)
    for mine, theirs in zip(values, written, strict=True):
        assert same_bits(mine, theirs)
    assert state.written.kept.tolist() == [int(np.sum(m)) for m in masks]
    assert state.written.nonzero.tolist() == [np.count_nonzero(w) for w in written]


@quick
@given(tensors=st.lists(weights(), min_size=1, max_size=3))
def test_few_sets(tensors):
    """What is written, kept and counted is what equations 1 to 4 say."""
    for row in each():
        check(row, tensors)


@pytest.mark.slow
@thorough
@given(tensors=st.lists(weights(), min_size=1, max_size=4))
def test_many_sets(tensors):
    """The same for many more sets."""
    for row in each():
        check(row, tensors)


@over()
def test_many_entries(row):
    """The same where a tensor is larger than what the core reads in one piece."""
    rng = np.random.default_rng(5)
    tensors = [rng.standard_normal(n).astype(np.float32) for n in (40_000, 3, 16_384)]
    tensors[0][::7] = tensors[0][3]  # many ties, across pieces
    check(row, tensors)


@over("pq-4-stochastic", "std-q3-seeded", "pq-8")
def test_many_passes(row):
    """Each of several passes follows from the state that the one before has left."""
    rng = np.random.default_rng(6)
    tensors = [rng.standard_normal(s).astype(np.float32) for s in ((6, 5), (7,))]
    named = {f"w{i}": torch.from_numpy(w) for i, w in enumerate(tensors)}
    state = row.op.init(named)
    for _ in range(4):
        noise = noise_of(state, tensors)
        before = tensors
        written, state = apply_to(row.op, *tensors, state=state)
        values, _ = expected(before, state.written, noise=noise, **row.settings)
        assert all(same_bits(mine, w) for mine, w in zip(values, written, strict=True))
        tensors = [w + rng.normal(0, 0.05, w.shape).astype(np.float32) for w in written]
