"""What operators refuse, each with a message that says what to do."""

import pytest
import torch

from espalier.errors import ConfigError, NonFiniteError
from espalier.ops import (
    Chain,
    GlobalMagnitude,
    PruneThenQuantize,
    QuantizeThenPrune,
    StdThreshold,
    UniformQuantizer,
)
from espalier.ops.kernels import keep_largest


@pytest.mark.parametrize("gamma", [-0.1, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "make",
    [
        StdThreshold,
        lambda gamma: PruneThenQuantize(gamma=gamma, bits=8),
        lambda gamma: QuantizeThenPrune(gamma=gamma, bits=8),
    ],
)
def test_gamma_that_is_no_strength(make, gamma):
    """Negative, NaN and infinite strengths make no operator."""
    with pytest.raises(ConfigError, match=rf"gamma is {gamma}; .*give a finite number >= 0"):
        make(gamma=gamma)


@pytest.mark.parametrize("density", [-0.1, 1.01, float("nan"), float("inf")])
def test_density_that_is_no_fraction(density):
    """A budget is a fraction of the weights."""
    with pytest.raises(ConfigError, match=rf"density is {density}; .*from 0 to 1"):
        GlobalMagnitude(density=density)


@pytest.mark.parametrize("make", [UniformQuantizer, lambda **s: PruneThenQuantize(gamma=0.5, **s)])
def test_bits_that_no_weight_has(make):
    """Bits are a whole number from 1 to 32."""
    for bits in (0, 33, -1):
        with pytest.raises(ConfigError, match=rf"bits is {bits}; give 1 to 32, where 32 means no"):
            make(bits=bits)
    for bits in (8.0, "8", True, None):
        with pytest.raises(ConfigError, match=rf"bits is {bits!r}; give a whole number from 1 to"):
            make(bits=bits)


def test_rounding_that_does_not_exist():
    """The nearest known name is suggested."""
    with pytest.raises(ConfigError, match=r"'stochastics'; it is one of .*mean 'stochastic'\?"):
        UniformQuantizer(bits=4, rounding="stochastics")
    with pytest.raises(ConfigError, match=r"rounding is None; it is one of nearest, floor"):
        QuantizeThenPrune(gamma=0.5, bits=4, rounding=None)


def test_a_chain_of_the_wrong_parts():
    """A chain's parts have their places: a pruner, then a quantizer."""
    prune, quantize = StdThreshold(gamma=0.5), UniformQuantizer(bits=4)
    with pytest.raises(ConfigError, match=r"prune is UniformQuantizer.*, which is no pruner"):
        Chain(prune=quantize, quantize=prune)
    with pytest.raises(ConfigError, match=r"quantize is StdThreshold.*, which is no quantizer"):
        Chain(prune=prune, quantize=prune)
    with pytest.raises(ConfigError, match="prune is None, which is no pruner"):
        Chain(prune=None, quantize=quantize)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64], ids=str)
def test_weights_of_another_kind(dtype):
    """Only floating-point weights are compressed; the message names the tensor and its type."""
    weights = {"a": torch.ones(3), "table": torch.ones(3).to(dtype)}
    with pytest.raises(ConfigError, match=rf"table is {dtype}; only floating-point"):
        StdThreshold(gamma=0.5).init(weights)


def test_weights_on_two_devices():
    """A set lies on one device."""
    weights = {"a": torch.ones(3), "b": torch.ones(3, device="meta")}
    with pytest.raises(ConfigError, match="the weights lie on cpu, meta; bring them onto one"):
        StdThreshold(gamma=0.5).init(weights)


def test_weights_that_the_state_is_not_of():
    """Other names, or another order, are another set."""
    op = StdThreshold(gamma=0.5)
    a, b = torch.ones(3), torch.ones(2)
    state = op.init({"a": a, "b": b})
    for other in ({"a": a}, {"b": b, "a": a}, {"a": a, "c": b}):
        with pytest.raises(ConfigError, match=r"state is of \['a', 'b'\] and the weights are \["):
            op.apply(other, state)


def test_encoding_before_the_first_pass():
    """There are no codes of weights that nobody wrote."""
    op, w = UniformQuantizer(bits=4), {"w": torch.ones(3)}
    with pytest.raises(ConfigError, match="nothing was written yet: encode the weights that apply"):
        op.encode(w, op.init(w))


def test_encoding_weights_that_have_moved():
    """Weights that came back since the pass are no longer what it wrote."""
    op, w = StdThreshold(gamma=1), {"w": torch.tensor([0.1, 0.1, -3.0])}
    _, state = op.apply(w, op.init(w))
    with pytest.raises(ConfigError, match=r"kept=1 lies outside \[3, 3\]"):
        op.encode(w, state)


def test_many_bad_tensors_are_named_briefly():
    """The first five names are enough."""
    weights = {f"layer{i}": torch.full((2,), float("nan")) for i in range(7)}
    op = StdThreshold(gamma=0.5)
    with pytest.raises(NonFiniteError, match=r"layer0, layer1, layer2, layer3, layer4, \.\.\. are"):
        op.apply(weights, op.init(weights))


@pytest.mark.parametrize("correction", [2, -1, 0.5])
def test_a_correction_of_neither_kind(correction):
    """The variance is divided by n or by n - 1."""
    with pytest.raises(ConfigError, match=rf"correction is {correction}; give 0 to .* n, or"):
        StdThreshold(gamma=0.5, correction=correction)


class Quota:
    """A pruner of a user's own that keeps so many of a set."""

    def cut(self, tensors, moments, step):
        """Keep the three largest."""
        return keep_largest(tensors, 3)

    def budget(self, step):
        """Ask for no density."""


def test_a_quota_is_of_the_set_already():
    """A budget has no threshold that could be taken jointly."""
    quantize = UniformQuantizer(bits=4)
    with pytest.raises(ConfigError, match=r"is for thresholds; a budget, as of GlobalM"):
        Chain(prune=GlobalMagnitude(density=0.5), quantize=quantize, jointly=True)
    with pytest.raises(ConfigError, match=r"a pruner that keeps a quota of a set"):
        Chain(prune=Quota(), quantize=quantize, jointly=True)(torch.ones(5))
