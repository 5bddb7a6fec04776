"""Grids of few values: where they end, what they cost, and both ways to find it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.errors import ConfigError
from espalier.ops import Chain, ClippedQuantizer, Lamp, UniformQuantizer, kernels, quantiles

from .oracle import apply_to
from .strategies import quick, weights
from .test_kernels import cuts


@quick
@given(arrays=st.lists(weights(), min_size=1, max_size=3), data=st.data())
def test_quantiles_both_ways(arrays, data):
    """On the host and on a device: the same magnitude, that of sorting what a cut keeps."""
    cut = data.draw(cuts(arrays))
    quantile = data.draw(st.sampled_from([0.01, 0.3, 0.5, 0.995, 1.0]))
    for i, a in enumerate(arrays):
        magnitude, at = torch.from_numpy(np.abs(a).ravel()), cut.threshold[i]
        ties = cut.ties if isinstance(cut.ties, int) else cut.ties[i]
        if not isinstance(ties, int):  # a quota is at most as many as there are
            ties = torch.minimum(ties, (magnitude == at).sum())
        kept = np.sort(magnitude.numpy()[kernels.keep_mask(magnitude, at, ties).numpy()])
        wanted = kept[int(np.ceil(quantile * kept.size)) - 1] if kept.size else 0
        assert quantiles.on_host(magnitude, at, ties, quantile) == wanted
        assert quantiles.on_device(magnitude, at, ties, quantile) == wanted


def test_no_outlier_stretches_the_grid():
    """One weight a hundred times larger than the others leaves their grid as it was."""
    w = np.random.default_rng(1).uniform(-1, 1, 1000).astype(np.float32)
    (plain,), before = apply_to(ClippedQuantizer(bits=3, quantile=0.99), w)
    w[7] = 100
    (written,), after = apply_to(ClippedQuantizer(bits=3, quantile=0.99), w)
    assert after.written.step == pytest.approx(before.written.step, rel=0.02)
    assert written[7] == 3 * after.written.step
    assert np.unique(written).size == np.unique(plain).size == 7
    (stretched,), _ = apply_to(UniformQuantizer(bits=3), w)
    assert np.unique(stretched).size == 2


def test_two_bits_are_ternary():
    """What is kept takes one magnitude; small kept weights are zero."""
    w = np.random.default_rng(2).standard_normal(500).astype(np.float32)
    op = Chain(prune=Lamp(density=0.2), quantize=ClippedQuantizer(bits=2, quantile=0.5))
    (written,), state = apply_to(op, w)
    step = state.written.step.item()
    assert set(np.unique(written)) == {np.float32(-step), np.float32(0), np.float32(step)}
    assert np.count_nonzero(written) == state.written.kept == 100


@pytest.mark.parametrize("quantile", [0, -0.1, 1.01, float("nan")])
def test_quantiles_that_span_nothing(quantile):
    """A grid spans a fraction of the weights."""
    with pytest.raises(ConfigError, match=r"give a number above 0 and up to 1"):
        ClippedQuantizer(bits=3, quantile=quantile)


@pytest.mark.parametrize("bits", [1, 25, 3.0, True])
def test_bits_of_such_grids(bits):
    """They have a sign and a magnitude."""
    with pytest.raises(ConfigError, match=r"give a whole number from 2 \(ternary"):
        ClippedQuantizer(bits=bits)
