"""Equations 5 and 6: what they give, and what they refuse."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.errors import ConfigError
from espalier.metrics import density, efficiency, ratio

fractions = st.floats(0, 1)
percents = st.floats(1, 100)
ratios = st.floats(1e-6, 10)
rhos = st.floats(1, 8)


@given(kept=st.integers(0, 10**9), pruned=st.integers(0, 10**9))
def test_density_lies_between_none_and_all(kept, pruned):
    """0 to 1, and exactly the endpoints where none or all are kept."""
    found = density(kept, kept + pruned)
    assert 0 <= found <= 1
    assert (found == 1) >= (pruned == 0)


def test_density_of_no_weights_is_that_of_nothing_pruned():
    """An empty tensor isn't a dead layer."""
    assert density(0, 0) == 1.0


@pytest.mark.parametrize(("kept", "size"), [(-1, 4), (5, 4), (1, 0)])
def test_density_refuses_impossible_counts(kept, size):
    """Fewer than none or more than all are kept."""
    with pytest.raises(ConfigError, match=rf"kept={kept} of size={size}: expected a count between"):
        density(kept, size)


@given(share=fractions, bits=st.integers(1, 32))
def test_ratio_is_at_most_the_density(share, bits):
    """Eq. 6 with 32 bits is the density; fewer bits only lower it."""
    assert ratio(share, 32) == share
    assert 0 <= ratio(share, bits) <= share


def test_ratio_knows_other_original_widths():
    """A model that was bfloat16 before halves the gain."""
    assert ratio(0.5, 8, original_bits=16) == 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-0.1, 8), r"density=-0.1: expected a fraction"),
        ((1.01, 8), r"density=1.01: expected a fraction"),
        ((math.nan, 8), r"density=nan: expected a fraction"),
        ((0.5, 0), r"bits=0: expected 1 to 32"),
        ((0.5, 33), r"bits=33: expected 1 to 32"),
        ((0.5, math.nan), r"bits=nan: expected 1 to 32"),
        ((0.5, 1, 0), r"original_bits=0: expected a finite number >= 1"),
    ],
)
def test_ratio_refuses_what_is_out_of_bounds(arguments, message):
    """The message says which argument and its bounds."""
    with pytest.raises(ConfigError, match=message):
        ratio(*arguments)


@given(baseline=percents, compressed=ratios, rho=rhos)
def test_efficiency_without_loss_is_one_over_the_ratio(baseline, compressed, rho):
    """Where no accuracy was lost rho doesn't matter."""
    found = efficiency(baseline, baseline, compressed, rho)
    assert found == pytest.approx(1 / compressed)


@given(lost=st.floats(0, 0.9), baseline=percents, compressed=ratios, rho=rhos)
def test_efficiency_falls_with_rho_where_accuracy_was_lost(lost, baseline, compressed, rho):
    """A larger rho makes lost accuracy dearer."""
    accuracy = baseline * (1 - lost)
    dearer = efficiency(accuracy, baseline, compressed, rho + 1)
    assert dearer <= efficiency(accuracy, baseline, compressed, rho)


@given(accuracy=percents, baseline=percents, compressed=ratios, rho=rhos)
def test_efficiency_by_logarithms(accuracy, baseline, compressed, rho):
    """Eq. 5 computed another way."""
    logarithm = rho * (math.log(accuracy) - math.log(baseline)) - math.log(compressed)
    found = efficiency(accuracy, baseline, compressed, rho)
    assert found == pytest.approx(math.exp(logarithm), rel=1e-9)


def test_efficiency_of_the_uncompressed_baseline_is_one():
    """Density 1 at 32 bits with the baseline's accuracy."""
    assert efficiency(87.21, 87.21, ratio(1, 32), 2) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 80, 0.1, 2), r"accuracy=-1: expected percent, 0 to 100"),
        ((101, 80, 0.1, 2), r"accuracy=101: expected percent"),
        ((math.nan, 80, 0.1, 2), r"accuracy=nan: expected percent"),
        ((80, 0, 0.1, 2), r"baseline=0: expected percent, above 0"),
        ((80, math.nan, 0.1, 2), r"baseline=nan: expected percent"),
        ((80, 80, 0, 2), r"ratio=0: .* all pruned has no efficiency score"),
        ((80, 80, math.inf, 2), r"ratio=inf: expected a finite number above 0"),
        ((80, 80, 0.1, 0.5), r"rho=0.5: expected a finite number >= 1"),
        ((80, 80, 0.1, math.nan), r"rho=nan: expected a finite number >= 1"),
        ((80, 80, 0.1, math.inf), r"rho=inf: expected a finite number >= 1"),
    ],
)
def test_efficiency_refuses_what_is_out_of_bounds(arguments, message):
    """The message says which argument and its bounds."""
    with pytest.raises(ConfigError, match=message):
        efficiency(*arguments)
