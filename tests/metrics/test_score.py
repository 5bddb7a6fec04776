"""Scores count the compressed weights; totals are those of all stored bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.encoded import encode
from espalier.errors import ConfigError
from espalier.metrics import Score, score_of, scores_by_layer, total_score


@st.composite
def scores(draw):
    """Any possible score of one tensor, empty and dead ones among them."""
    parameters = draw(st.integers(0, 10_000))
    kept = draw(st.integers(0, parameters))
    return Score(
        parameters=parameters,
        kept=kept,
        nonzero=draw(st.integers(0, kept)),
        bits=draw(st.integers(1, 32)),
    )


def test_counts_mask_and_nonzeros_apart():
    """A kept weight that rounding sent to zero counts in the mask's density alone."""
    weights = np.array([[0.0, 0.5, -1.0], [0.0, 0.0, 1.5]], np.float32)
    score = score_of(encode(weights, step=0.5, bits=3, kept=4))
    assert score == Score(parameters=6, kept=4, nonzero=3, bits=3)
    assert score.density_mask == 4 / 6
    assert score.density_nonzero == 3 / 6
    assert score.ratio == pytest.approx(4 / 6 * 3 / 32)


@given(st.lists(scores(), min_size=1))
def test_total_ratio_is_that_of_all_stored_bits(parts):
    """The bits of every kept weight over 32 bits of every weight, by integer arithmetic."""
    total = total_score(parts)
    stored = sum(int(part.kept * part.bits) for part in parts)
    dense = 32 * sum(part.parameters for part in parts)
    assert total.ratio == pytest.approx(stored / dense if dense else 1.0)
    assert min(p.bits for p in parts) <= total.bits <= 32


@given(st.lists(scores(), min_size=1), st.integers(0, 10_000))
def test_ratio_over_all_parameters_counts_dense_ones_in_full(parts, dense):
    """As if the dense parameters were one more tensor, all kept at 32 bits."""
    rest = Score(parameters=dense, kept=dense, nonzero=dense, bits=32)
    total = total_score(parts)
    found = total.ratio_over(total.parameters + dense)
    assert found == pytest.approx(total_score([*parts, rest]).ratio)


@given(scores())
def test_total_of_one_is_itself(score):
    """Summing nothing to it changes nothing, its bits neither."""
    assert total_score([score]) == score or score.parameters == 0


def test_total_over_encoded_tensors_follows_their_scores():
    """By name or by score, the same total; the order of layers is kept."""
    encoded = {
        "b": encode(np.array([0, 1], np.float32), step=1, bits=4),
        "a": encode(np.array([2, 1], np.float32), step=1, bits=8),
    }
    by_layer = scores_by_layer(encoded)
    assert list(by_layer) == ["b", "a"]
    assert total_score(encoded) == total_score(by_layer.values())
    assert total_score(encoded).bits == pytest.approx((4 + 2 * 8) / 3)


def test_dead_layers_keep_the_bits_they_were_asked_for():
    """Nothing is stored, the ratio is 0, and bits still say what was asked."""
    dead = Score(parameters=10, kept=0, nonzero=0, bits=4)
    assert total_score([dead, dead]).bits == 4
    assert total_score([dead, dead]).ratio == 0


def test_total_of_nothing_is_that_of_a_dense_model():
    """No tensor compressed: density 1, 32 bits, ratio 1."""
    total = total_score({})
    assert (total.density_mask, total.bits, total.ratio) == (1.0, 32, 1.0)
    assert total.ratio_over(100) == 1.0
    assert total.ratio_over(0) == 1.0


def test_a_total_below_the_compressed_parameters_is_refused():
    """A model can't hold fewer parameters than its compressed tensors."""
    score = Score(parameters=10, kept=5, nonzero=5, bits=4)
    with pytest.raises(ConfigError, match="total_parameters=9: the compressed tensors alone hold"):
        score.ratio_over(9)
