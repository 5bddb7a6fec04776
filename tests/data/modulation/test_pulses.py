"""Pulses against their closed forms: energy, Nyquist's criterion, band, ramps."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from espalier.data.modulation.pulses import gaussian_ramp, linear_ramp, root_raised_cosine

PER_SYMBOL = 32
"""Samples a symbol of the numeric integrals here."""
TIMES = np.arange(-64 * PER_SYMBOL, 64 * PER_SYMBOL + 1) / PER_SYMBOL
rolloffs = st.floats(0.15, 1.0)


def raised_cosine(t, a):
    """The closed form, away from its poles."""
    return np.sinc(t) * np.cos(np.pi * a * t) / (1 - (2 * a * t) ** 2)


@given(rolloffs)
def test_root_raised_cosine_has_unit_energy(a):
    """The integral of its square is 1."""
    energy = (root_raised_cosine(TIMES, rolloff=a) ** 2).sum() / PER_SYMBOL
    assert energy == pytest.approx(1, abs=1e-4)


@given(rolloffs)
def test_matched_filter_leaves_no_intersymbol_interference(a):
    """Through its own matched filter it vanishes at every other symbol's instant (Nyquist)."""
    pulse = root_raised_cosine(TIMES, rolloff=a)
    matched = np.correlate(pulse, pulse, "full")[pulse.size - 1 :: PER_SYMBOL] / PER_SYMBOL
    assert matched[0] == pytest.approx(1, abs=1e-4)
    assert np.abs(matched[1:9]).max() < 1e-4


@given(a=rolloffs, shift=st.floats(0.05, 7.95))
def test_matched_filter_makes_a_raised_cosine(a, shift):
    """At any instant, not only at the symbols'."""
    assume(abs(2 * a * shift - 1) > 1e-3)  # the closed form's pole
    moved = root_raised_cosine(TIMES - shift, rolloff=a)
    found = (root_raised_cosine(TIMES, rolloff=a) * moved).sum() / PER_SYMBOL
    assert found == pytest.approx(raised_cosine(shift, a), abs=2e-4)


@given(a=rolloffs, sign=st.sampled_from([-1, 1]))
def test_root_raised_cosine_is_continuous_where_its_formula_divides_by_zero(a, sign):
    """At 0 and at +-1 / (4 a) the limits take over, seamlessly."""
    for pole in (0.0, sign / (4 * a)):
        near = root_raised_cosine(np.array([pole, pole + 2e-6, pole - 2e-6]), rolloff=a)
        assert np.ptp(near) < 1e-4


def test_root_raised_cosine_keeps_to_its_band():
    """Less than a ten-thousandth of the energy lies beyond (1 + a) / 2 cycles per symbol."""
    spectrum = np.abs(np.fft.fft(root_raised_cosine(TIMES, rolloff=0.35))) ** 2
    frequency = np.abs(np.fft.fftfreq(TIMES.size, 1 / PER_SYMBOL))
    assert spectrum[frequency > 1.35 / 2].sum() < 1e-4 * spectrum.sum()


@pytest.mark.parametrize(
    "ramp",
    [linear_ramp, lambda t: gaussian_ramp(t, bandwidth_time=0.3)],
    ids=["linear", "gaussian"],
)
def test_ramps_rise_from_0_to_1_symmetrically(ramp):
    """Monotone, complete, and r(t) + r(1 - t) = 1."""
    t = np.linspace(-6, 7, 500)
    values = ramp(t)
    assert values[0] == pytest.approx(0, abs=1e-9)
    assert values[-1] == pytest.approx(1, abs=1e-9)
    assert (np.diff(values) >= -1e-12).all()
    np.testing.assert_allclose(values + ramp(1 - t), 1, atol=1e-9)


def test_gaussian_ramp_is_the_filtered_linear_ramp():
    """Convolving with the Gaussian of 3 dB bandwidth BT numerically gives the closed form."""
    bandwidth_time = 0.5
    response = np.exp(
        -2 * (np.pi * bandwidth_time * TIMES) ** 2 / np.log(2)
    )  # its transform falls to 1/sqrt(2) at BT
    smoothed = np.convolve(linear_ramp(TIMES), response / response.sum(), "same")
    middle = np.abs(TIMES) < 8
    found = gaussian_ramp(TIMES[middle], bandwidth_time=bandwidth_time)
    np.testing.assert_allclose(found, smoothed[middle], atol=1e-3)
