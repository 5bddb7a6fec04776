"""The ratio that leaves nothing out, by hand."""

import numpy as np
import pytest

from espalier.encoded import encode
from espalier.errors import ConfigError
from espalier.metrics import efficiency, strict_bits, strict_ratio


def tensor(codes, bits, step=0.5):
    """Return a tensor of these codes."""
    return encode(np.float32(codes) * np.float32(step), step=step, bits=bits)


@pytest.mark.parametrize(
    ("codes", "bits", "counted"),
    [
        ([0, 1, -1], 1, 2),  # a sign alone
        ([0, 1, -1], 2, 2),
        ([0, 1], 8, 8),  # as asked, though fewer would do
        ([1, 2, -1, -2], 2, 2),
        ([1, 2, 3, -1, -2], 2, 3),  # five values don't fit into 2 bits
        (list(range(1, 10)), 3, 4),
        ([0, 0], 4, 4),
        ([], 1, 2),
    ],
)
def test_bits_hold_what_is_there(codes, bits, counted):
    """At least the operator's, at least two, at least enough for the values."""
    assert strict_bits(tensor(codes, bits)) == counted


def test_values_on_no_grid():
    """They take what float32 takes."""
    assert strict_bits(encode(np.float32([0.1, 0.37]), step=0, bits=3)) == 32


def test_a_model_by_hand():
    """Nonzeros times their bits, and 32 bits for every parameter that was left dense."""
    encoded = {"a": tensor([0] * 90 + [1, -1] * 5, 1), "b": tensor([0] * 30 + [3, 1] * 10, 3)}
    ratio = strict_ratio(encoded, 160)
    assert ratio == (10 * 2 + 20 * 3 + 10 * 32) / (160 * 32)
    assert efficiency(80, 80, ratio, 2) == 1 / ratio
    assert strict_ratio({}, 7) == 1
    assert strict_ratio({}, 0) == 1


def test_models_smaller_than_their_tensors():
    """The count of the whole model is asked for."""
    with pytest.raises(
        ConfigError, match="total_parameters=2: the compressed tensors alone hold 3"
    ):
        strict_ratio({"a": tensor([0, 1, 2], 3)}, 2)
