"""Batches: order, completeness, resuming, normalization, augmentation."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.core import core
from espalier.data import Augment, Batches, Dataset, Split
from espalier.errors import ConfigError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def images(count: int, *, side: int = 8, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    pixels = torch.from_numpy(rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8))
    split = Split(pixels, torch.arange(count))
    return Dataset(
        name="images",
        train=split,
        validation=split,
        test=split,
        classes=tuple(map(str, range(count))),
        mean=MEAN,
        std=STD,
        source="made up",
    )


def signals(count: int) -> Dataset:
    rng = np.random.default_rng(0)
    split = Split(
        torch.from_numpy(rng.normal(size=(count, 2, 16)).astype(np.float32)), torch.arange(count)
    )
    return Dataset(
        name="signals",
        train=split,
        validation=split,
        test=split,
        classes=tuple(map(str, range(count))),
        mean=(0.1, -0.2),
        std=(2.0, 0.5),
        source="made up",
    )


def normalized(pixels: np.ndarray) -> np.ndarray:
    """Normalize (..., 3, height, width) bytes, slowly and in float64."""
    mean, std = (np.array(values)[:, None, None] for values in (MEAN, STD))
    return (pixels / 255 - mean) / std


@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
    augment=st.sampled_from([None, Augment(crop=2, cutout=3)]),
)
def test_every_sample_once(
    count: int, batch_size: int, seed: int, epoch: int, augment: Augment | None
) -> None:
    """An epoch holds each sample exactly once, in batches of the asked size but the last."""
    dataset = images(count)
    batches = Batches(dataset.train, dataset, batch_size=batch_size, seed=seed, augment=augment)
    labels = [labels for _, labels in batches.epoch(epoch)]
    assert len(labels) == len(batches)
    assert sorted(torch.cat(labels).tolist()) == list(range(count))
    assert all(len(each) == batch_size for each in labels[:-1])


@given(
    count=st.integers(1, 30),
    batch_size=st.integers(1, 9),
    augment=st.sampled_from([None, Augment(crop=3, cutout=2)]),
    data=st.data(),
)
def test_skipping_gives_the_same_rest(
    count: int, batch_size: int, augment: Augment | None, data: st.DataObject
) -> None:
    """An epoch begun at batch k equals the whole epoch from batch k on, bit for bit."""
    dataset = images(count)
    batches = Batches(dataset.train, dataset, batch_size=batch_size, seed=3, augment=augment)
    start = data.draw(st.integers(0, len(batches)))
    whole = list(batches.epoch(5))
    again = Batches(dataset.train, dataset, batch_size=batch_size, seed=3, augment=augment)
    rest = list(again.epoch(5, start=start))
    assert len(rest) == len(batches) - start
    for (inputs, labels), (same_inputs, same_labels) in zip(whole[start:], rest, strict=True):
        assert torch.equal(inputs, same_inputs)
        assert torch.equal(labels, same_labels)


def test_order_depends_on_seed_and_epoch() -> None:
    """Another epoch or another seed is another order; neither repeats the split's own."""
    dataset = images(40)

    def order(seed: int, epoch: int) -> tuple[int, ...]:
        batches = Batches(dataset.train, dataset, batch_size=7, seed=seed)
        return tuple(torch.cat([labels for _, labels in batches.epoch(epoch)]).tolist())

    orders = {order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders | {tuple(range(40))}) == 5


def test_order_does_not_depend_on_augmentation() -> None:
    """The same samples come at the same place with and without augmentation."""
    dataset = images(20)
    plain = Batches(dataset.train, dataset, batch_size=6)
    augmented = Batches(dataset.train, dataset, batch_size=6, augment=Augment(crop=1))
    for (_, labels), (_, same) in zip(plain.epoch(2), augmented.epoch(2), strict=True):
        assert torch.equal(labels, same)


def test_evaluation_keeps_order_and_normalizes() -> None:
    """Without shuffling, batches are the split itself, normalized."""
    dataset = images(10)
    batches = Batches(dataset.test, dataset, batch_size=4, shuffle=False)
    inputs, labels = (torch.cat(parts) for parts in zip(*batches.epoch(0), strict=True))
    assert labels.tolist() == list(range(10))
    expected = normalized(dataset.test.inputs.numpy())
    np.testing.assert_allclose(inputs.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("augment", [None, Augment(crop=1)])
def test_images_come_channels_last(
    memory_format: torch.memory_format, augment: Augment | None
) -> None:
    """Batches are channels_last however the split is stored, and hold the same values."""
    dataset = images(6)
    split = Split(dataset.train.inputs.contiguous(memory_format=memory_format), torch.arange(6))
    stored = Batches(dataset.train, dataset, batch_size=6, augment=augment)
    inputs, _ = next(Batches(split, dataset, batch_size=6, augment=augment).epoch(0))
    assert inputs.shape == (6, 3, 8, 8)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(inputs, next(stored.epoch(0))[0])


@pytest.mark.parametrize("augment", [None, Augment(crop=2, cutout=3)])
def test_bfloat16_is_rounded_once(augment: Augment | None) -> None:
    """Batches in bfloat16 are the float32 ones, rounded."""
    dataset = images(12)
    exact = Batches(dataset.train, dataset, batch_size=5, augment=augment)
    rounded = Batches(dataset.train, dataset, batch_size=5, augment=augment, dtype=torch.bfloat16)
    for (inputs, _), (same, _) in zip(exact.epoch(1), rounded.epoch(1), strict=True):
        assert inputs.dtype == torch.float32
        assert torch.equal(inputs.bfloat16(), same)


def test_augmented_images_are_shifts_and_mirrors() -> None:
    """Each augmented image is its original, reflected, shifted and mirrored in some allowed way."""
    dataset = images(25)
    batches = Batches(dataset.train, dataset, batch_size=8, augment=Augment(flip=True, crop=2))
    used = set()
    for inputs, labels in batches.epoch(0):
        for image, label in zip(inputs.numpy(), labels.tolist(), strict=True):
            original = normalized(dataset.train.inputs[label].numpy())
            padded = np.pad(original, ((0, 0), (2, 2), (2, 2)), mode="reflect")
            matches = {
                (top, left, mirror)
                for top, left, mirror in itertools.product(range(5), range(5), (1, -1))
                if np.allclose(
                    padded[:, top : top + 8, left : left + 8][..., ::mirror], image, atol=1e-5
                )
            }
            assert len(matches) == 1
            used |= matches
    assert len(used) > 10


def test_cutout_sets_squares_to_the_mean() -> None:
    """A cutout is 0 after normalization, in every channel, and nothing else changes."""
    dataset = images(30)
    off = Batches(dataset.train, dataset, batch_size=30, augment=Augment(crop=1))
    on = Batches(dataset.train, dataset, batch_size=30, augment=Augment(crop=1, cutout=3))
    (plain, _), (cut, _) = next(off.epoch(0)), next(on.epoch(0))
    changed = (plain != cut).all(dim=1)
    assert torch.equal((plain != cut).any(dim=1), changed)
    assert (cut[changed[:, None].expand_as(cut)] == 0).all()
    areas = changed.sum(dim=(1, 2))
    assert areas.max() == 9
    assert areas.min() >= 4


def test_augmentation_differs_between_batches_and_epochs() -> None:
    """The same image is augmented anew in every batch and epoch."""
    dataset = images(1, side=32)
    split = Split(dataset.train.inputs.expand(20, -1, -1, -1), torch.arange(20))
    batches = Batches(split, dataset, batch_size=10, augment=Augment(crop=4))
    seen = [inputs for epoch in (0, 1) for inputs, _ in batches.epoch(epoch)]
    for first, second in itertools.combinations(seen, 2):
        assert not torch.equal(first, second)


def test_signals_are_normalized_by_channel() -> None:
    """Signals keep their shape; each channel has its own mean and deviation."""
    dataset = signals(9)
    batches = Batches(dataset.test, dataset, batch_size=4, shuffle=False)
    inputs = torch.cat([inputs for inputs, _ in batches.epoch(0)])
    mean, std = torch.tensor([[0.1], [-0.2]]), torch.tensor([[2.0], [0.5]])
    torch.testing.assert_close(inputs, (dataset.test.inputs - mean) / std)


def test_the_split_stays_as_it_is() -> None:
    """Batches never write into the data set."""
    dataset = images(10)
    before = dataset.train.inputs.clone()
    batches = Batches(dataset.train, dataset, batch_size=3, augment=Augment(crop=2, cutout=4))
    for inputs, _ in batches.epoch(0):
        inputs.zero_()
    assert torch.equal(dataset.train.inputs, before)


def test_drop_last() -> None:
    """A last batch that isn't full is left out where that is asked for."""
    dataset = images(10)
    batches = Batches(dataset.train, dataset, batch_size=4, drop_last=True)
    assert len(batches) == 2
    assert [len(labels) for _, labels in batches.epoch(0)] == [4, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch size is 0; give at least 1"),
        ({"seed": -1}, "seed is -1; give 0 or more"),
        ({"dtype": torch.float16}, "dtype is torch.float16; give torch.float32 or torch.bfloat16"),
        ({"batch_size": 11, "drop_last": True}, "10 samples make no batch of 11 and drop_last"),
        ({"augment": Augment(crop=8)}, "don't fit images of 8 x 8 pixels"),
    ],
)
def test_bad_settings(options: dict[str, object], message: str) -> None:
    """A setting out of its bounds is named when batches are made, not when they are used."""
    dataset = images(10)
    with pytest.raises(ConfigError, match=message):
        Batches(dataset.train, dataset, **{"batch_size": 4, **options})


def test_no_samples() -> None:
    """An empty split makes no batch."""
    dataset = images(1)
    empty = Split(dataset.train.inputs[:0], dataset.train.labels[:0])
    with pytest.raises(ConfigError, match="0 samples make no batch of 4"):
        Batches(empty, dataset, batch_size=4)


def test_signals_are_not_augmented() -> None:
    """Image augmentation of signals is refused."""
    dataset = signals(4)
    with pytest.raises(ConfigError, match="'signals' holds signals, and augmentation is for image"):
        Batches(dataset.train, dataset, batch_size=2, augment=Augment())


def test_bad_epoch_and_start() -> None:
    """Epoch and start are checked at the call, before the first batch."""
    dataset = images(10)
    batches = Batches(dataset.train, dataset, batch_size=4)
    with pytest.raises(ConfigError, match="epoch is -1; give 0 or more"):
        batches.epoch(-1)
    for start in (-1, 4):
        with pytest.raises(ConfigError, match=f"start is batch {start}; give 0 to 3"):
            batches.epoch(0, start=start)


@pytest.mark.skipif(core is None, reason="the compiled core is not built")
@given(
    seed=st.integers(0, 1000),
    channels=st.integers(1, 4),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    data=st.data(),
)
def test_core_and_torch_give_the_same_bits(
    seed: int, channels: int, height: int, width: int, data: st.DataObject
) -> None:
    """One pass of the compiled core gives what gather, mirror and normalization give one by one."""
    crop = data.draw(st.integers(0, min(height, width) - 1))
    rng = np.random.default_rng(seed)
    pixels = torch.from_numpy(rng.integers(0, 256, (12, channels, height, width), dtype=np.uint8))
    split = Split(pixels, torch.arange(12))
    spread = tuple(rng.uniform(0.1, 1, channels))
    dataset = dataclasses.replace(images(1), train=split, mean=spread, std=spread)
    batches = Batches(split, dataset, batch_size=5, seed=seed, augment=Augment(crop=crop, cutout=1))
    compiled = list(batches.epoch(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("espalier.data.batches.core", None)
        plain = list(batches.epoch(3))
    for (inputs, labels), (same_inputs, same_labels) in zip(compiled, plain, strict=True):
        assert torch.equal(inputs.view(torch.int32), same_inputs.view(torch.int32))
        assert torch.equal(labels, same_labels)
        assert inputs.stride() == same_inputs.stride()
