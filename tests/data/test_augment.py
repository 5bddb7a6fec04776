"""Augmentation of whole batches, against one image at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.data.augment import Augment, Draws
from espalier.errors import ConfigError

HEIGHT, WIDTH = 6, 8


def draws(**values: list[int]) -> Draws:
    count = len(next(iter(values.values())))
    given_or_zero = {
        name: torch.tensor(values.get(name, [0] * count))
        for name in ("flip", "down", "right", "cut_y", "cut_x")
    }
    given_or_zero["flip"] = given_or_zero["flip"].bool()
    return Draws(**given_or_zero)


@given(st.data())
def test_crop_and_flip_like_one_at_a_time(data: st.DataObject) -> None:
    """The gather equals numpy's reflecting pad, a window in it, and a mirror."""
    crop = data.draw(st.integers(0, HEIGHT - 1))
    count = data.draw(st.integers(1, 4))
    shift = st.lists(st.integers(-crop, crop), min_size=count, max_size=count)
    flips = data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    down, right = data.draw(shift), data.draw(shift)
    split = np.random.default_rng(0).integers(0, 256, (9, HEIGHT, WIDTH, 3), dtype=np.uint8)
    chosen = torch.tensor(data.draw(st.lists(st.integers(0, 8), min_size=count, max_size=count)))

    drawn = draws(flip=flips, down=down, right=right)
    pixels = drawn.pixels(chosen, HEIGHT, WIDTH)
    batch = split.reshape(-1, 3)[pixels.numpy()].reshape(count, HEIGHT, WIDTH, 3)

    for number in range(count):
        image = split[chosen[number]]
        padded = np.pad(image, ((crop, crop), (crop, crop), (0, 0)), mode="reflect")
        top, left = crop + down[number], crop + right[number]
        expected = padded[top : top + HEIGHT, left : left + WIDTH]
        if flips[number]:
            expected = expected[:, ::-1]
        np.testing.assert_array_equal(batch[number], expected)


@given(st.integers(0, HEIGHT), st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1))
def test_cut_like_one_pixel_at_a_time(side: int, y: int, x: int) -> None:
    """The square has the asked side around its center, and ends where the image ends."""
    cut = draws(cut_y=[y], cut_x=[x]).cut(side, HEIGHT, WIDTH)[0]
    for row in range(HEIGHT):
        for column in range(WIDTH):
            inside = all(
                center - side // 2 <= place < center - side // 2 + side
                for center, place in ((y, row), (x, column))
            )
            assert bool(cut[row, column]) == inside


def test_draws_cover_what_they_promise() -> None:
    """Half of the images are mirrored; every shift and every center occurs."""
    drawn = Draws.draw(Augment(crop=2, cutout=3), 4000, HEIGHT, WIDTH, np.random.default_rng(0))
    assert 0.47 < drawn.flip.float().mean() < 0.53
    for values, expected in (
        (drawn.down, range(-2, 3)),
        (drawn.right, range(-2, 3)),
        (drawn.cut_y, range(HEIGHT)),
        (drawn.cut_x, range(WIDTH)),
    ):
        found, counts = values.unique(return_counts=True)
        assert found.tolist() == list(expected)
        assert counts.min() > 0.8 * 4000 / len(expected)
    assert not torch.equal(drawn.down, drawn.right)


def test_draws_are_independent() -> None:
    """Turning one augmentation off leaves what the others draw."""
    rng = np.random.default_rng
    all_on = Draws.draw(Augment(flip=True, crop=2, cutout=3), 50, HEIGHT, WIDTH, rng(1))
    one_off = Draws.draw(Augment(flip=True, crop=0, cutout=0), 50, HEIGHT, WIDTH, rng(1))
    no_flip = Draws.draw(Augment(flip=False, crop=2, cutout=3), 50, HEIGHT, WIDTH, rng(1))
    assert torch.equal(all_on.flip, one_off.flip)
    assert torch.equal(all_on.cut_y, one_off.cut_y)
    assert torch.equal(all_on.down, no_flip.down)
    assert not no_flip.flip.any()
    assert not one_off.down.any()


@pytest.mark.parametrize(("name", "size"), [("crop", -1), ("cutout", -2)])
def test_negative_sizes(name: str, size: int) -> None:
    """A negative size is refused by name."""
    with pytest.raises(ConfigError, match=f"{name} is {size}; give 0"):
        Augment(**{name: size})


@pytest.mark.parametrize("augment", [Augment(crop=6), Augment(cutout=7)])
def test_sizes_must_fit(augment: Augment) -> None:
    """A crop can't reflect further than the image, a cutout can't be larger than it."""
    with pytest.raises(ConfigError, match="don't fit images of 6 x 8 pixels; give a crop of at mo"):
        augment.check_fits(HEIGHT, WIDTH)


def test_largest_sizes_fit() -> None:
    """The bounds themselves are allowed."""
    Augment(crop=5, cutout=6).check_fits(HEIGHT, WIDTH)
