"""Rotation keeps magnitudes, noise has the power that was asked for, gain control ends at 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator, Philox

from espalier.data.modulation.impairments import add_noise, rotate, unit_power

seeds = st.integers(0, 1000)
offsets = st.floats(-0.5, 0.5)
phases = st.floats(-np.pi, np.pi)


def signals(seed, rows=3, length=40):
    """Any complex signals."""
    drawn = Generator(Philox(seed)).standard_normal((2, rows, length))
    return drawn[0] + 1j * drawn[1]


@given(seed=seeds, gain=st.floats(1e-6, 1e6))
def test_unit_power_forgets_the_gain(seed, gain):
    """Power 1 in each row, whatever it was before; the shape stays."""
    x = signals(seed)
    scaled = unit_power(gain * x)
    np.testing.assert_allclose((np.abs(scaled) ** 2).mean(axis=1), 1)
    np.testing.assert_allclose(scaled, unit_power(x))


@given(seed=seeds, frequency=offsets, phase=phases)
def test_rotation_keeps_magnitudes_and_can_be_undone(seed, frequency, phase):
    """Turning back by the same offset gives the signal again."""
    x = signals(seed)
    f, p = np.full(3, frequency), np.full(3, phase)
    turned = rotate(x, frequency=f, phase=p)
    np.testing.assert_allclose(np.abs(turned), np.abs(x))
    np.testing.assert_allclose(rotate(turned, frequency=-f, phase=-p), x, atol=1e-9)


def test_rotation_moves_the_spectrum_by_the_offset():
    """A constant becomes a line at the offset's frequency, with its phase; each row its own."""
    frequency, phase = np.array([3, -5]) / 64, np.array([0.5, -1.0])
    turned = rotate(np.ones((2, 64), complex), frequency=frequency, phase=phase)
    lines = np.fft.fft(turned, axis=1) / 64
    np.testing.assert_allclose(lines[[0, 1], [3, -5]], np.exp(1j * phase), atol=1e-9)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 12.5, 30.0])
def test_measured_signal_to_noise_ratio_is_the_one_asked_for(snr_db):
    """Within .05 dB over 100,000 samples."""
    x = unit_power(signals(1, rows=50, length=2000))
    noise = add_noise(x, snr_db=np.full(50, snr_db), generator=Generator(Philox(2))) - x
    measured = -10 * np.log10((np.abs(noise) ** 2).mean())
    assert measured == pytest.approx(snr_db, abs=0.05)


def test_each_row_has_its_own_ratio():
    """A quiet row stays quiet beside a loud one."""
    x = unit_power(signals(1, rows=2, length=20_000))
    noise = add_noise(x, snr_db=np.array([0.0, 40.0]), generator=Generator(Philox(2))) - x
    np.testing.assert_allclose((np.abs(noise) ** 2).mean(axis=1), [1, 1e-4], rtol=0.05)


def test_noise_is_circular_and_white():
    """Both quadratures alike and uncorrelated; samples uncorrelated; fourth moment as Gaussian."""
    x = np.ones((20, 5000), complex)
    noise = add_noise(x, snr_db=np.zeros(20), generator=Generator(Philox(3))) - x
    bound = 5 / np.sqrt(noise.size)
    assert (noise.real**2).mean() == pytest.approx(0.5, abs=bound)
    assert (noise.imag**2).mean() == pytest.approx(0.5, abs=bound)
    assert abs((noise**2).mean()) < bound * 2
    assert abs((noise[:, 1:] * noise[:, :-1].conj()).mean()) < bound
    assert (np.abs(noise) ** 4).mean() == pytest.approx(2, abs=bound * 5)
