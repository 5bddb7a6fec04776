"""The modulation data: the same seed the same bits, balanced splits, bounds that are named."""

import math

import numpy as np
import pytest
import torch
from numpy.random import Generator, Philox

from espalier.data import load_dataset
from espalier.data.modulation import MODULATIONS, modulation, received
from espalier.errors import ConfigError


@pytest.fixture(scope="module")
def data():
    """The data set in its default size."""
    return modulation()


def splits(data):
    return (data.train, data.validation, data.test)


def test_default_size_and_types(data):
    """float32 (N, 2, 128) and int64 labels: 7,920 / 2,640 / 2,640 signals of eleven kinds."""
    assert [len(split) for split in splits(data)] == [7920, 2640, 2640]
    assert data.input_shape == (2, 128)
    assert data.classes == tuple(MODULATIONS)
    for split in splits(data):
        assert split.inputs.dtype == torch.float32
        assert split.labels.dtype == torch.int64
        assert split.inputs.isfinite().all()


def test_splits_and_their_prefixes_are_balanced(data):
    """Each kind as often as every other, in each split and in any whole elevens of it."""
    for split in splits(data):
        for taken in (11, 110, len(split)):
            counts = split.labels[:taken].bincount(minlength=11)
            assert (counts == taken // 11).all()


def test_no_signal_is_in_two_splits(data):
    """All signals are different."""
    everything = torch.cat([split.inputs for split in splits(data)]).flatten(1)
    assert len(everything.unique(dim=0)) == len(everything)


def test_signals_have_unit_power_and_the_stated_statistics(data):
    """Mean power 1 in each signal; mean and deviation per channel near those of the record."""
    x = data.train.inputs
    power = x.square().sum(dim=1).mean(dim=1)
    torch.testing.assert_close(power, torch.ones_like(power), rtol=1e-5, atol=0)
    assert data.std == (math.sqrt(0.5), math.sqrt(0.5))
    for channel in range(2):
        spread = x[:, channel].square().mean().sqrt().item()
        assert 0.4 < spread < 0.95  # double sideband AM stands nearly on one axis


def test_same_seed_same_bits():
    """Generated again, every bit is the same; another seed shares no signal."""
    first, again, other = (modulation(seed=s, per_class=10) for s in (3, 3, 4))
    for a, b, c in zip(splits(first), splits(again), splits(other), strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.labels, b.labels)
        assert not (a.inputs == c.inputs).any()


def test_loads_by_its_name():
    """The name in DATASETS gives the same data."""
    found = load_dataset("modulation", seed=1)
    assert found.name == "modulation"
    assert torch.equal(found.test.inputs[:5], modulation(seed=1).test.inputs[:5])
    assert "seed 1, 0 to 20 dB" in found.source


def test_data_does_not_change_from_version_to_version(data):
    """Golden samples of both ends: results measured on this data stay comparable."""
    first, last = data.train.inputs[0, :, :3], data.test.inputs[-1, :, -3:]
    expected_first = [[0.5937403, 1.1219233, 1.5267758], [0.5046328, -0.9906516, 0.3155585]]
    expected_last = [[0.2099951, -0.2161923, -0.6333033], [-0.1316859, -1.4979846, -1.3898795]]
    torch.testing.assert_close(first, torch.tensor(expected_first), rtol=0, atol=1e-5)
    torch.testing.assert_close(last, torch.tensor(expected_last), rtol=0, atol=1e-5)


def test_length_size_and_ratios_are_options():
    """Another length, fewer signals, one fixed ratio."""
    data = modulation(length=50, per_class=5, snr_db=(6.0, 6.0))
    assert data.input_shape == (2, 50)
    assert [len(split) for split in splits(data)] == [33, 11, 11]
    assert "6 to 6 dB" in data.source


def test_ratios_are_uniform_within_their_bounds():
    """The ratios that come with the signals fill the range asked for."""
    _, ratios = received("QPSK", 4000, generator=Generator(Philox(1)), snr_db=(-5.0, 10.0))
    assert -5 <= ratios.min() < -4.9
    assert 9.9 < ratios.max() <= 10
    assert ratios.mean() == pytest.approx(2.5, abs=0.3)


def test_offsets_are_options():
    """Synchronized BPSK stays on the real axis; unsynchronized it points anywhere."""
    quiet = {"snr_db": (80.0, 80.0), "max_frequency": 0.0}
    still, _ = received("BPSK", 50, generator=Generator(Philox(1)), max_phase=0.0, **quiet)
    assert np.abs(still.imag).max() < 1e-3
    turned, _ = received("BPSK", 50, generator=Generator(Philox(1)), max_phase=math.pi, **quiet)
    assert np.std(np.angle((turned**2).mean(axis=1))) > 1


def test_unknown_modulation_suggests_the_nearest():
    """The message lists what there is."""
    with pytest.raises(ConfigError, match=r"no modulation '16QM'; .* Did you mean '16QAM'\?"):
        received("16QM", 1, generator=Generator(Philox(1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed=-1: expected an integer >= 0"),
        ({"seed": 1.0}, "seed=1.0: expected an integer >= 0"),
        ({"length": 31}, "length=31: expected an integer >= 32"),
        ({"per_class": 4}, "per_class=4: expected an integer >= 5"),
        ({"snr_db": (10.0, 0.0)}, r"snr_db=\(10.0, 0.0\): expected two finite numbers"),
        ({"snr_db": (0.0, math.inf)}, r"snr_db=\(0.0, inf\): expected two finite numbers"),
        ({"snr_db": (0.0,)}, r"snr_db=\(0.0,\): expected two finite numbers"),
        ({"max_frequency": 0.6}, "max_frequency=0.6: expected a number between 0 and 0.5"),
        ({"max_phase": -0.1}, "max_phase=-0.1: expected a number between 0 and 3.14159"),
        ({"max_phase": math.nan}, "max_phase=nan: expected a number between 0 and 3.14159"),
    ],
)
def test_options_out_of_bounds_are_named(options, message):
    """The message says which option, what was given and what is expected."""
    with pytest.raises(ConfigError, match=message):
        modulation(**options)
