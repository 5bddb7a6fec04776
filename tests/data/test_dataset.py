"""Splits, stratified draws, limits."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.data import DATASETS, Dataset, Split, limit, load_dataset
from espalier.data.dataset import stratified
from espalier.errors import ConfigError, DataError


def tiny(count: int = 30, classes: int = 3) -> Dataset:
    labels = torch.arange(count) % classes
    inputs = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    split = Split(inputs.contiguous(), labels)
    return Dataset(
        name="tiny",
        train=split,
        validation=split,
        test=split,
        classes=tuple("abc"),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        source="made up",
    )


def shares_by_largest_remainder(sizes: list[int], count: int) -> list[int]:
    exact = [Fraction(size * count, sum(sizes)) for size in sizes]
    shares = [int(share) for share in exact]
    order = sorted(range(len(sizes)), key=lambda label: (shares[label] - exact[label], label))
    for label in order[: count - sum(shares)]:
        shares[label] += 1
    return shares


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
def test_stratified_draws_proportionally(labels: list[int], data: st.DataObject) -> None:
    """Each class gives its share by largest remainder; indices ascend and are unique."""
    count = data.draw(st.integers(0, len(labels)))
    seed = data.draw(st.integers(0, 9))
    drawn = stratified(torch.tensor(labels), count, seed=seed)
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    sizes = np.bincount(labels).tolist()
    found = np.bincount(np.array(labels)[drawn.numpy()], minlength=len(sizes)).tolist()
    assert found == shares_by_largest_remainder(sizes, count)
    assert torch.equal(drawn, stratified(torch.tensor(labels), count, seed=seed))


def test_stratified_golden() -> None:
    """The validation set of CIFAR-10 is the same on every machine and version."""
    labels = torch.arange(10).repeat_interleave(5000)
    drawn = stratified(labels, 5000, seed=10)
    assert torch.equal(drawn.div(5000, rounding_mode="floor").bincount(), torch.full((10,), 500))
    digest = hashlib.sha256(drawn.numpy().astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "8db658401fdeea38"


def test_stratified_needs_randomness() -> None:
    """Another seed draws other samples."""
    labels = torch.zeros(1000, dtype=torch.int64)
    assert not torch.equal(stratified(labels, 100, seed=0), stratified(labels, 100, seed=1))


@pytest.mark.parametrize("count", [-1, 4])
def test_stratified_bounds(count: int) -> None:
    """One can't draw more samples than there are, nor fewer than none."""
    with pytest.raises(ConfigError, match=f"asked to draw {count} of 3 samples; give 0 to 3"):
        stratified(torch.zeros(3, dtype=torch.int64), count, seed=0)


def test_stratified_of_nothing() -> None:
    """No samples give no indices."""
    assert stratified(torch.zeros(0, dtype=torch.int64), 0, seed=0).shape == (0,)


def test_limit_keeps_a_stratified_subset() -> None:
    """Training shrinks evenly, the rest stays, and the same samples are kept every time."""
    dataset = tiny()
    few = limit(dataset, 6)
    assert few.train.labels.bincount().tolist() == [2, 2, 2]
    assert set(few.train.inputs[:, 0, 0, 0].tolist()) < set(range(30))
    assert few.test is dataset.test
    assert few.validation is dataset.validation
    assert few.mean == dataset.mean
    assert torch.equal(few.train.inputs, limit(dataset, 6).train.inputs)


@pytest.mark.parametrize("count", [0, 31])
def test_limit_bounds(count: int) -> None:
    """A limit keeps one sample at least and can't keep more than there are."""
    with pytest.raises(ConfigError, match=f"asked for {count} training samples; tiny has 30"):
        limit(tiny(), count)


def test_shape_and_kind() -> None:
    """A data set knows the shape of one sample and whether it is an image."""
    assert tiny().input_shape == (3, 4, 4)
    assert tiny().has_images
    assert len(tiny().train) == 30


@pytest.mark.parametrize(
    "inputs", [torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, dtype=torch.uint8), torch.zeros(2)]
)
def test_split_checks_inputs(inputs: torch.Tensor) -> None:
    """Inputs are byte images or float signals, nothing else."""
    with pytest.raises(DataError, match="expected uint8 images"):
        Split(inputs, torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("labels", [torch.zeros(3, dtype=torch.int64), torch.zeros(2)])
def test_split_checks_labels(labels: torch.Tensor) -> None:
    """Every input has one int64 label."""
    with pytest.raises(DataError, match=r"expected int64 of shape \(2,\)"):
        Split(torch.zeros(2, 3, 4), labels)


def test_unknown_name() -> None:
    """An unknown data set is answered with the nearest name."""
    with pytest.raises(ConfigError, match=r"there are cifar10, modulation. Did you mean 'cifar10'"):
        load_dataset("cifar100")


def test_unknown_option() -> None:
    """An option that the data set doesn't have is refused, not dropped."""
    with pytest.raises(ConfigError, match="'cifar10' has no option 'seed'; it takes data_dir"):
        load_dataset("cifar10", seed=1)


def test_options_reach_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given arrives; what is None is left to the data set's default."""
    seen: dict[str, object] = {}

    def load(*, seed: int = 7, data_dir: object = "own", size: int = 1) -> Dataset:
        seen.update(seed=seed, data_dir=data_dir, size=size)
        return tiny()

    monkeypatch.setitem(DATASETS, "mine", load)
    assert load_dataset("mine", size=3).name == "tiny"
    assert seen == {"seed": 7, "data_dir": "own", "size": 3}
