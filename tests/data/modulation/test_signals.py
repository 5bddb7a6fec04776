"""Transmitted signals against theory: constellations, power, envelopes, bands, bit error rates."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.random import Generator, Philox

from espalier.data.modulation import signals
from espalier.data.modulation.impairments import add_noise
from espalier.data.modulation.pulses import root_raised_cosine
from espalier.data.modulation.signals import (
    CONSTELLATIONS,
    MODULATIONS,
    PULSE_REACH,
    ROLLOFF,
    SAMPLES_PER_SYMBOL,
    superpose,
    symbols_needed,
)


@pytest.fixture
def generator():
    """A stream of random numbers that is the same in every run."""
    return Generator(Philox(7))


def pulse(t):
    """The root raised cosine that the signals use."""
    return root_raised_cosine(t, rolloff=ROLLOFF)


def spectrum(x):
    """Share of the mean power at each frequency, and the frequencies in cycles per sample."""
    window = np.hanning(x.shape[1])
    power = (np.abs(np.fft.fft(x * window, axis=1)) ** 2).mean(axis=0)
    return power / power.sum(), np.fft.fftfreq(x.shape[1])


@pytest.mark.parametrize(
    ("name", "size", "distance"),
    [
        ("BPSK", 2, 2),
        ("QPSK", 4, math.sqrt(2)),
        ("8PSK", 8, 2 * math.sin(math.pi / 8)),
        ("PAM4", 4, 2 / math.sqrt(5)),
        ("16QAM", 16, 2 / math.sqrt(10)),
        ("64QAM", 64, 2 / math.sqrt(42)),
    ],
)
def test_constellations_have_their_size_power_and_least_distance(name, size, distance):
    """Unit mean power, zero mean, points as far apart as the textbook says."""
    points = CONSTELLATIONS[name]
    apart = np.abs(points[:, None] - points)[~np.eye(size, dtype=bool)]
    assert len(points) == size
    assert (np.abs(points) ** 2).mean() == pytest.approx(1)
    assert abs(points.mean()) < 1e-12
    assert apart.min() == pytest.approx(distance)


def test_there_are_eleven_modulations():
    """The eleven kinds of O'Shea et al., in a fixed order: a label is a place in it."""
    assert list(MODULATIONS) == [
        *("BPSK", "QPSK", "8PSK", "PAM4", "16QAM", "64QAM"),
        *("GFSK", "CPFSK", "AM-DSB", "AM-SSB", "WBFM"),
    ]


@pytest.mark.parametrize("name", MODULATIONS)
def test_every_modulation_has_unit_mean_power(name, generator):
    """Over many signals, within the spread of a mean."""
    sent = MODULATIONS[name](generator, 2000, 128)
    power = (np.abs(sent) ** 2).mean(axis=1)
    assert sent.shape == (2000, 128)
    assert power.mean() == pytest.approx(1, abs=4 * power.std() / math.sqrt(2000) + 2e-3)


@pytest.mark.parametrize("name", MODULATIONS)
def test_every_modulation_is_a_function_of_its_generator(name):
    """The same stream gives the same bits; another one doesn't."""
    first, again, other = (MODULATIONS[name](Generator(Philox(s)), 3, 50) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@given(length=st.integers(1, 70), seed=st.integers(0, 99))
def test_superpose_is_the_sum_over_symbols(length, seed):
    """Against one loop over samples and symbols, for any length and timing."""
    generator = Generator(Philox(seed))
    symbols = generator.standard_normal((2, symbols_needed(length))).astype(complex)
    timing = generator.random(2)
    found = superpose(symbols, pulse, timing=timing, length=length)
    for row in range(2):
        for n in range(length):
            t = n / SAMPLES_PER_SYMBOL + timing[row]
            slot = n // SAMPLES_PER_SYMBOL
            near = np.arange(slot - PULSE_REACH, slot + PULSE_REACH + 2)
            expected = (symbols[row, near + PULSE_REACH] * pulse(t - near)).sum()
            assert found[row, n] == pytest.approx(expected, abs=1e-9)


def shaped(points, generator, *, rows, symbols, timing):
    """Random symbols with guards around them, as sent; and the symbols that a receiver decides."""
    length = (symbols + 4 * PULSE_REACH) * SAMPLES_PER_SYMBOL
    indices = generator.integers(len(points), size=(rows, symbols_needed(length)))
    sent = superpose(points[indices], pulse, timing=np.full(rows, timing), length=length)
    first = 3 * PULSE_REACH
    return sent, indices[:, first : first + symbols]


def matched(received, *, symbols, timing):
    """The matched filter's output at each symbol's instant; it knows the timing, as in theory."""
    taps = np.arange(-2 * PULSE_REACH * SAMPLES_PER_SYMBOL, 2 * PULSE_REACH * SAMPLES_PER_SYMBOL)
    windows = sliding_window_view(received, taps.size, axis=1)[:, ::SAMPLES_PER_SYMBOL]
    return windows[:, :symbols] @ pulse(taps / SAMPLES_PER_SYMBOL + timing) / SAMPLES_PER_SYMBOL


@pytest.mark.parametrize("name", CONSTELLATIONS)
def test_ideal_receiver_recovers_the_constellation(name, generator):
    """Noiseless, every symbol comes back; cutting the pulse off costs less than -45 dB."""
    points = CONSTELLATIONS[name]
    sent, indices = shaped(points, generator, rows=20, symbols=100, timing=0.3)
    found = matched(sent, symbols=100, timing=0.3)
    error_power = (np.abs(found - points[indices]) ** 2).mean()
    assert 10 * math.log10(error_power) < -45


@pytest.mark.parametrize(("name", "bits"), [("BPSK", 1), ("QPSK", 2)])
@pytest.mark.parametrize("ebn0_db", [0.0, 4.0, 7.0])
def test_bit_error_rate_of_an_ideal_detector_meets_theory(name, bits, ebn0_db, generator):
    """Q(sqrt(2 Eb / N0)), within 4 standard deviations of the binomial."""
    rows, symbols, timing = 80, 1000, 0.6
    snr_db = ebn0_db + 10 * math.log10(bits / SAMPLES_PER_SYMBOL)
    sent, indices = shaped(CONSTELLATIONS[name], generator, rows=rows, symbols=symbols, timing=0.6)
    noisy = add_noise(sent, snr_db=np.full(rows, snr_db), generator=generator)
    found, ideal = matched(noisy, symbols=symbols, timing=timing), CONSTELLATIONS[name][indices]
    errors = np.count_nonzero(np.sign(found.real) != np.sign(ideal.real))
    if bits == 2:
        errors += np.count_nonzero(np.sign(found.imag) != np.sign(ideal.imag))
    rate = 0.5 * math.erfc(math.sqrt(10 ** (ebn0_db / 10)))
    expected = rows * symbols * bits * rate
    assert errors == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - rate)))


@pytest.mark.parametrize("name", CONSTELLATIONS)
def test_linear_modulations_keep_to_their_band(name, generator):
    """99.9 % of the power within (1 + rolloff) / 2 symbol rates of the carrier."""
    share, frequency = spectrum(MODULATIONS[name](generator, 50, 1024))
    assert share[np.abs(frequency) > (1 + ROLLOFF) / 2 / SAMPLES_PER_SYMBOL].sum() < 1e-3


@pytest.mark.parametrize("name", ["GFSK", "CPFSK", "WBFM"])
def test_frequency_modulations_have_a_constant_envelope(name, generator):
    """Magnitude 1 at every sample."""
    np.testing.assert_allclose(np.abs(MODULATIONS[name](generator, 20, 200)), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "index"), [("GFSK", signals.GFSK_INDEX), ("CPFSK", signals.CPFSK_INDEX)]
)
def test_frequency_shift_keying_turns_by_its_index(name, index, generator):
    """Within a symbol the phase turns by +-pi * index, evenly in CPFSK and at most so in GFSK."""
    sent = MODULATIONS[name](generator, 100, 400)
    turns = np.abs(np.angle(sent[:, 1:] / sent[:, :-1])) * SAMPLES_PER_SYMBOL / (np.pi * index)
    assert turns.max() == pytest.approx(1, abs=1e-2)
    even = np.count_nonzero(np.abs(turns - 1) < 1e-6) / turns.size
    if name == "CPFSK":  # a frequency changes within one sample in eight, and then half the time
        assert even == pytest.approx(1 - 0.5 / SAMPLES_PER_SYMBOL, abs=5e-3)
    else:
        assert even < 0.5


def test_double_sideband_is_real_around_its_carrier(generator):
    """The phase stays; the carrier holds 1 / (1 + index**2) of the power."""
    sent = MODULATIONS["AM-DSB"](generator, 500, 512)
    share, frequency = spectrum(sent)
    assert np.count_nonzero(sent.imag) == 0
    carrier = share[np.abs(frequency) < 2.5 / 512].sum()
    assert carrier == pytest.approx(1 / (1 + signals.AM_INDEX**2), abs=0.05)


def test_single_sideband_has_positive_frequencies_only(generator):
    """Nearly all power lies in the message's band above the carrier."""
    share, frequency = spectrum(MODULATIONS["AM-SSB"](generator, 100, 1024))
    low, high = signals.MESSAGE_BAND
    inside = (frequency > low - 3 / 1024) & (frequency < high + 3 / 1024)
    assert share[inside].sum() > 0.999
    assert share[frequency < 0].sum() < 1e-3


def test_wideband_fm_deviates_as_asked(generator):
    """The root mean square of its frequency is FM_DEVIATION cycles per sample."""
    sent = MODULATIONS["WBFM"](generator, 2000, 128)
    frequency = np.angle(sent[:, 1:] / sent[:, :-1]) / (2 * np.pi)
    deviation = math.sqrt((frequency**2).mean())
    assert deviation == pytest.approx(signals.FM_DEVIATION, rel=0.03)
