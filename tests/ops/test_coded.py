"""Codes by distance and bits: what they save, what they carry on, and both ways to find them."""

import math

import numpy as np
import pytest
import torch

from espalier.errors import ConfigError
from espalier.ops import Chain, ClippedQuantizer, EntropyQuantizer, Lamp, StdThreshold, coded

from . import oracle_grids
from .oracle import apply_to


def normal(n, seed=1):
    """Return n weights as training has them."""
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def codes_of(values, step):
    """Return how often each code without its sign is taken."""
    return np.bincount(np.rint(np.abs(values) / float(step)).astype(int).ravel())


def bits_of(values, step):
    """Return the bits that an ideal coder takes for one tensor, with a bit a sign."""
    n = codes_of(values, step)
    entropy = -sum(c * math.log2(c / n.sum()) for c in n if c)
    return entropy + n[1:].sum()


@pytest.mark.parametrize(
    ("density", "bits", "price", "saves", "moves"),
    [(1, 3, 0.05, 0.02, 1.02), (1, 3, 0.2, 0.12, 1.4), (0.1, 5, 0.2, 0.04, 1.001)],
)
def test_bits_are_saved_at_little_distance(density, bits, price, saves, moves):
    """Against the nearest codes a file takes less, and the weights move hardly further."""
    w = normal(20_000)

    def passes(quantize, count):
        op, state = Chain(prune=Lamp(density=density), quantize=quantize), None
        for _ in range(count):
            (written,), state = apply_to(op, w, state=state)
        return written, state.written.step.item()

    near, step = passes(ClippedQuantizer(bits=bits, quantile=0.999), 1)
    cheap, same = passes(EntropyQuantizer(bits=bits, price=price, quantile=0.999), 5)
    assert same == step
    assert bits_of(cheap, step) < (1 - saves) * bits_of(near, step)
    assert np.square(cheap - w).sum() < moves * np.square(near - w).sum()


def test_without_a_price_codes_are_the_nearest():
    """Only ties differ: they go up instead of to even."""
    w = normal(5000)
    (near,), _ = apply_to(ClippedQuantizer(bits=3, quantile=0.97), w)
    (free,), _ = apply_to(EntropyQuantizer(bits=3, price=0.0, quantile=0.97), w)
    assert np.array_equal(near, free)


def test_the_next_pass_counts_with_this_one():
    """How often codes were taken is carried on; zeros that were pruned count among them."""
    op = Chain(prune=Lamp(density=0.5), quantize=EntropyQuantizer(bits=3, price=0.3, quantile=1.0))
    first, second = normal(400), normal(400, 2)
    (written,), state = apply_to(op, first)
    counts = state.carried["0.quantize"][0].tolist()
    expected = codes_of(written, state.written.step.item())
    assert counts == [*expected, *[0] * (4 - len(expected))]
    (after,), later = apply_to(op, second, state=state)
    mask = np.abs(second) >= later.written.threshold.item()
    step = np.float32(later.written.step.item())
    wanted = oracle_grids.coded(second, mask, step, 3, 0.3, counts)
    assert np.array_equal(after, np.where(mask, wanted, 0))
    (fresh,), _ = apply_to(op, second)
    assert not np.array_equal(after, fresh)


def test_a_tensor_that_was_dead_starts_anew():
    """Of a tensor of zeros nothing is learned about codes."""
    op = EntropyQuantizer(bits=3, price=0.3)
    _, state = apply_to(op, np.zeros(50, np.float32), normal(50, 3))
    assert state.carried["0.quantize"].sum(1).tolist() == [0, 50]
    (revived, _), _ = apply_to(op, normal(50), normal(50, 3), state=state)
    (fresh,), _ = apply_to(op, normal(50))
    assert np.array_equal(revived, fresh)


def test_both_ways_choose_the_same():
    """Choosing among the kept ones, and on a device among all, with the others at zero."""
    w = torch.from_numpy(normal(300))
    keep, step = w.abs() > 0.6, torch.tensor(0.5)
    starts = torch.tensor([0.7, 1.4, 2.8])
    host = coded._Scaled(w, keep, step)
    device = coded._Scaled(w, keep, step)
    device.keep, device.u = None, torch.where(keep, device.ratio.abs(), 0.0)
    codes = [s.codes(starts) for s in (host, device)]
    assert torch.equal(codes[0], codes[1][keep])
    assert torch.equal(host.counts(codes[0], 3), device.counts(codes[1], 3))
    offsets = [s.offsets(c) for s, c in zip((host, device), codes, strict=True)]
    assert torch.equal(offsets[0][keep], offsets[1][keep])


@pytest.mark.parametrize("price", [-0.1, float("nan"), float("inf")])
def test_prices_that_are_none(price):
    """A bit costs a finite share of a step's square."""
    with pytest.raises(ConfigError, match=rf"price is {price}; .*give a finite number >= 0"):
        EntropyQuantizer(bits=3, price=price)


def test_bits_and_quantiles_are_those_of_the_grid():
    """Up to 8 bits, and a quantile above 0."""
    with pytest.raises(ConfigError, match=r"bits is 9; give a whole number from 2 .* to 8"):
        EntropyQuantizer(bits=9)
    with pytest.raises(ConfigError, match=r"quantile is 0; .*above 0 and up to 1"):
        EntropyQuantizer(bits=3, quantile=0)


def test_no_joint_codes():
    """Counts are of a tensor, which a set taken as one has not."""
    op = Chain(prune=StdThreshold(gamma=0.5), quantize=EntropyQuantizer(bits=3), jointly=True)
    with pytest.raises(ConfigError, match="jointly=True is for grids of one step for all"):
        op(torch.arange(5.0))
