"""The layer-adaptive budget: its score by hand, exact counts, and both ways to find them."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.errors import ConfigError
from espalier.ops import Cubic, GlobalMagnitude, Lamp, from_json, kernels, lamp, to_json

from .oracle import apply_to, best
from .strategies import quick, weights


def normal(n, seed, scale=1.0):
    """Return n weights as training has them."""
    return (scale * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def test_the_score_by_hand():
    """Each weight is divided by what stands above it in its own layer: scale does not matter."""
    a, b = np.float32([4, 3, 2, 1]), np.float32([0.04, 0.04, 0.001])
    # scores: 1, 9/25, 4/29, 1/30 and 1, 1/2, 1e-6/0.003201
    for k, kept in ((1, (1, 0)), (2, (1, 1)), (3, (1, 2)), (4, (2, 2)), (5, (3, 2)), (6, (4, 2))):
        _, state = apply_to(Lamp(density=k / 7), a, b)
        assert tuple(state.written.kept.tolist()) == kept


def test_of_one_tensor_it_is_magnitude():
    """Within a tensor the score follows the magnitude."""
    w = normal(20_000, 1)
    (mine,), _ = apply_to(Lamp(density=0.13), w)
    (other,), _ = apply_to(GlobalMagnitude(density=0.13), w)
    assert np.array_equal(mine, other)


def test_no_tensor_dies():
    """A budget of one weight a tensor gives each its largest, however small it is."""
    tensors = [normal(900, 1), normal(10, 2, 1e-6), normal(30, 3, 1e3)]
    written, state = apply_to(Lamp(density=3 / 940), *tensors)
    assert state.written.kept.tolist() == [1, 1, 1]
    assert [np.abs(w).max() for w in written] == [np.abs(w).max() for w in tensors]


def test_least_protects_small_tensors():
    """Each keeps at least so many, a smaller one all; the sum stays exact."""
    tensors = [normal(900, 1), normal(100, 2), normal(3, 3)]
    _, plain = apply_to(Lamp(density=0.028), *tensors)
    assert plain.written.kept[2] < 3
    _, state = apply_to(Lamp(density=0.028, least=12), *tensors)
    assert state.written.kept.tolist() == [13, 12, 3]


def test_a_budget_below_least_goes_round():
    """The largest of every tensor first, then the second largest."""
    tensors = [normal(40, 1), normal(40, 2), normal(20, 3)]
    _, state = apply_to(Lamp(density=0.05, least=10), *tensors)
    assert state.written.kept.tolist() == [2, 2, 1]


def ways(arrays, k, least, prices=None):
    """Return the cut that each way to find it gives."""
    prices = prices or [1.0] * len(arrays)
    tensors = [torch.from_numpy(a) for a in arrays]
    magnitudes = [t.abs().ravel() for t in tensors]
    yield lamp._on_host([m.numpy() for m in magnitudes], k, least, prices)
    yield lamp._on_device(magnitudes, k, least, prices)
    if kernels.core is not None and k > sum(min(least, a.size) for a in arrays):
        yield kernels.keep_best(tensors, k, least, prices, kernels.measure(tensors).max_abs)


def same_cuts(cuts):
    """Check that cuts say the same, and return the first."""
    first, *others = cuts
    for other in others:
        assert torch.equal(first.threshold, other.threshold)
        mine, theirs = (torch.as_tensor(c.ties).expand(len(c.threshold)) for c in (first, other))
        assert torch.equal(mine, theirs)  # one number speaks for all tensors
    return first


@quick
@given(arrays=st.lists(weights(), min_size=1, max_size=4), data=st.data())
def test_exactly_k_every_way(arrays, data):
    """In the core, by numpy and on a device: the same cut, exactly k weights, ties and zeros."""
    k = data.draw(st.integers(0, sum(a.size for a in arrays)))
    least = data.draw(st.integers(0, 3))
    price = st.sampled_from([1.0, 2.0, 3.7, 900.0])
    prices = data.draw(st.lists(price, min_size=len(arrays), max_size=len(arrays)))
    if not 0 < k < sum(a.size for a in arrays):
        return
    cut = same_cuts(ways(arrays, k, least, prices))
    masks = kernels.keep_masks([torch.from_numpy(a) for a in arrays], cut)
    kept = [int(m.sum()) for m in masks]
    assert sum(kept) == k
    assert kept == [int(m.sum()) for m in best(arrays, k, least, prices)]


@pytest.mark.parametrize("least", [0, 1, 40, 5000])
@pytest.mark.parametrize("density", [0.001, 0.02, 0.3, 0.71, 0.999])
@pytest.mark.parametrize("kind", ["plain", "rounded", "sparse", "wide"])
@pytest.mark.parametrize("prices", [None, (1.5, 1.0, 37.0, 900.0)], ids=["alike", "priced"])
def test_every_way_on_large_sets(kind, density, least, prices):
    """Weights as training has them, on a grid, mostly zero, or over all of float32's range."""
    arrays = [normal(n, n, scale) for n, scale in ((70_001, 1), (9_000, 1e-3), (400, 7.0), (3, 1))]
    if kind == "rounded":
        arrays = [np.round(a * 8) / 8 for a in arrays]
    elif kind == "sparse":
        arrays = [np.where(np.arange(a.size) % 9, 0, a).astype(np.float32) for a in arrays]
    elif kind == "wide":
        arrays = [np.exp2(np.clip(30 * a, -148, 120)).astype(np.float32) for a in arrays]
    k = int(density * sum(a.size for a in arrays))
    cut = same_cuts(ways(arrays, k, least, prices))
    masks = kernels.keep_masks([torch.from_numpy(a) for a in arrays], cut)
    assert sum(int(m.sum()) for m in masks) == k


@pytest.mark.parametrize("density", [0.003, 0.02, 0.3, 0.9, 0.999])
def test_large_tensors_are_sampled_first(density):
    """What a sample said never decides: the masks are those of sorting everything."""
    tensors = [normal(150_000, 1), normal(60_000, 2, 0.1), normal(500, 3), normal(7, 4)]
    tensors[1][:: lamp.SAMPLE] *= 1e-3  # the sample sees small ones only
    tensors[0][:: lamp.SAMPLE] *= 5  # and here the large ones
    k = int(np.floor(density * sum(w.size for w in tensors) + 0.5))
    _, state = apply_to(Lamp(density=density), *tensors)
    host = [torch.from_numpy(np.abs(w)) for w in tensors]
    ones = [1.0] * len(host)
    device = lamp._on_device(host, k, 0, ones)
    assert torch.equal(state.written.threshold, device.threshold)
    on_host = lamp._on_host([m.numpy() for m in host], k, 0, ones)
    assert torch.equal(on_host.threshold, device.threshold)
    assert state.written.kept.sum() == k


def test_prices_by_hand():
    """What costs more must score more."""
    a, b = np.float32([4, 3, 2, 1]), np.float32([0.04, 0.04, 0.001])
    # scores: 1/2, 9/50, 2/29, 1/60 and 1, 1/2, 1e-6/0.003201; among equals the first tensor
    for k, kept in ((1, (0, 1)), (2, (1, 1)), (3, (1, 2)), (4, (2, 2)), (5, (3, 2)), (6, (4, 2))):
        written, state = apply_to(Lamp(density=k / 7, prices=(2.0, 1.0)), a, b)
        assert tuple(state.written.kept.tolist()) == kept
        assert [int((w != 0).sum()) for w in written] == list(kept)


def test_equal_prices_change_nothing():
    """Neither do none: the same weights stay, and operators of earlier records read as they did."""
    tensors = [normal(900, 1), normal(100, 2)]
    (_, alike), (_, none) = (
        apply_to(Lamp(density=0.1, prices=p), *tensors) for p in ((8.0, 8.0), ())
    )
    assert torch.equal(alike.written.kept, none.written.kept)
    assert "prices" not in repr(Lamp(density=0.1))
    priced = Lamp(density=0.1, prices=(1.0, 2.5))
    assert from_json(json.loads(json.dumps(to_json(priced)))) == priced


def test_prices_are_of_each_tensor():
    """Not of more or fewer than there are."""
    with pytest.raises(ConfigError, match="in 3 tensors, and the set has 1"):
        Lamp(density=0.5, prices=(1.0, 2.0, 3.0))(torch.ones(4))


@pytest.mark.parametrize("price", [0.5, -1.0, math.inf, math.nan])
def test_prices_that_are_none(price):
    """The least is 1."""
    with pytest.raises(ConfigError, match="give finite numbers >= 1"):
        Lamp(density=0.1, prices=(1.0, price))


def test_ties_without_a_quota_where_none_is_split():
    """Any memory layout is served by the core, as long as no tensor's ties are split."""
    tensors = [torch.from_numpy(normal(60, 1)), torch.tensor([2.0, 2.0, 1.0, 1.0])]
    moments = kernels.measure(tensors)
    assert isinstance(Lamp(density=0.5).cut(tensors, moments, 0).ties, int)
    ones = [torch.ones(8)]
    split = Lamp(density=0.75).cut(ones, kernels.measure(ones), 0)
    assert split.ties.tolist() == [6]


def test_density_follows_a_schedule():
    """The budget of a step is that of its density."""
    op = Lamp(density=Cubic(start=1.0, end=0.1, end_step=10))
    assert (op.asked_density(0), op.asked_density(10)) == (1.0, 0.1)


@pytest.mark.parametrize("least", [-1, 0.5, True, "3"])
def test_least_that_is_no_count(least):
    """It counts weights."""
    with pytest.raises(ConfigError, match="give a whole number >= 0"):
        Lamp(density=0.1, least=least)


def test_density_that_is_no_fraction():
    """A budget is a fraction of the weights."""
    with pytest.raises(ConfigError, match=r"density is 1.5; .*from 0 to 1"):
        Lamp(density=1.5)


def test_selecting_every_few_steps():
    """Between two selections the thresholds stay, whatever the weights do; then all is exact."""
    op, w = Lamp(density=0.2, every=3), normal(500, 1)
    thresholds, kept = [], []
    state = None
    for step in range(7):
        _, state = apply_to(op, w * np.float32(1 + step / 10), normal(50, 2), state=state)
        thresholds.append(state.written.threshold.tolist())
        kept.append(int(state.written.kept.sum()))
    assert thresholds[0] == thresholds[1] == thresholds[2] != thresholds[3]
    assert thresholds[3] == thresholds[5] != thresholds[6]
    assert kept[0] == kept[3] == kept[6] == 110
    assert kept[0] < kept[1] < kept[2]


def test_the_first_pass_selects_at_any_step():
    """A pass that starts between two selections has no thresholds to go on with."""
    op, w = Lamp(density=0.2, every=100), {"w": torch.from_numpy(normal(500, 1))}
    _, state = op.apply(w, replace(op.init(w), step=7))
    assert state.written.kept.item() == 100


@pytest.mark.parametrize("every", [0, -1, 2.0, True])
def test_every_that_is_no_count(every):
    """It counts steps."""
    with pytest.raises(ConfigError, match=r"every is .*give a whole number >= 1"):
        Lamp(density=0.1, every=every)
