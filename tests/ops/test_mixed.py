"""Bits of its own for each tensor of a set: each as if alone, under one pruner."""

import json

import pytest
import torch

from espalier.encoded import decode
from espalier.errors import ConfigError
from espalier.ops import (
    Chain,
    ClippedQuantizer,
    FilterMagnitude,
    GlobalMagnitude,
    LearnedStep,
    MixedBits,
    Then,
    UniformQuantizer,
    from_json,
    to_json,
)

pytestmark = pytest.mark.usefixtures("backend")

EACH = (3, 8, 3, 32, 2)


def weights():
    """Return a set of fixed weights."""
    generator = torch.Generator().manual_seed(2)
    shapes = [(6, 5), (7,), (4, 2, 3), (5,), (0,)]
    return {f"w{i}": torch.randn(s, generator=generator) for i, s in enumerate(shapes)}


@pytest.mark.parametrize(
    "quantize", [UniformQuantizer(bits=8), UniformQuantizer(bits=4, rounding="floor")]
)
def test_each_is_as_if_alone(quantize):
    """Every tensor is written, and encoded, as by a quantizer of its bits alone."""
    op, given = MixedBits(quantize=quantize, each=EACH), weights()
    written, state = op.apply(given, op.init(given))
    codes = op.encode(written, state)
    for (name, w), bits in zip(given.items(), EACH, strict=True):
        alone = UniformQuantizer(bits=bits, rounding=quantize.rounding)(w)
        assert torch.equal(written[name], alone)
        assert codes[name].bits == bits
        assert torch.equal(torch.from_numpy(decode(codes[name])), alone)


def test_grids_that_end():
    """A clipped grid ends where that of each tensor's bits does."""
    given = {n: w for n, w in weights().items() if n != "w3"}
    op = MixedBits(quantize=ClippedQuantizer(bits=4, quantile=0.6), each=(2, 8, 3, 2))
    written, _ = op.apply(given, op.init(given))
    for (name, w), bits in zip(given.items(), op.each, strict=True):
        assert torch.equal(written[name], ClippedQuantizer(bits=bits, quantile=0.6)(w))


def test_one_budget_for_all():
    """In a chain the largest of all together stay; bits are those of each."""
    given = weights()
    prune = GlobalMagnitude(density=0.4)
    op = Chain(prune=prune, quantize=MixedBits(quantize=UniformQuantizer(bits=8), each=EACH))
    written, state = op.apply(given, op.init(given))
    _, alone = prune.apply(given, prune.init(given))
    assert state.written.kept.tolist() == alone.written.kept.tolist()
    assert [e.bits for e in op.encode(written, state).values()] == list(EACH)
    after_filters = Then(first=FilterMagnitude(density=0.5), second=op)
    assert (op.bits, after_filters.bits_each(5)) == (2, list(EACH))
    for name, w in written.items():
        assert not w[given[name].abs() < state.written.threshold.max()].any()


def test_as_plain_data():
    """It goes through JSON, where tuples are lists."""
    op = MixedBits(quantize=UniformQuantizer(bits=8), each=EACH)
    assert from_json(json.loads(json.dumps(to_json(op)))) == op


def test_refused():
    """Another number of tensors, bits of another rounding, quantizers that learn."""
    op = MixedBits(quantize=UniformQuantizer(bits=8), each=(2, 3))
    with pytest.raises(ConfigError, match="names the bits of 2 tensors, and the set has 5"):
        op.apply(weights(), op.init(weights()))
    with pytest.raises(ConfigError, match="1 bit, of one magnitude, is rounded in another way"):
        MixedBits(quantize=UniformQuantizer(bits=8), each=(1, 3))
    with pytest.raises(ConfigError, match="each is empty"):
        MixedBits(quantize=UniformQuantizer(bits=8), each=())
    for quantize in (LearnedStep(bits=3), GlobalMagnitude(density=0.5)):
        with pytest.raises(ConfigError, match="can't be given other bits tensor by tensor"):
            MixedBits(quantize=quantize, each=(2, 3))
    with pytest.raises(ConfigError, match="bits is 99"):
        MixedBits(quantize=UniformQuantizer(bits=8), each=(99,))
