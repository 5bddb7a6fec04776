"""Samples from files: as training normalizes them, and clear errors for what is none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from espalier.errors import ConfigError, DataError
from espalier.export.inputs import find_inputs

IMAGES = {
    "shape": [3, 4, 6],
    "type": "uint8",
    "scale": 255,
    "mean": [0.5, 0.25, 0],
    "std": [0.5, 1, 2],
}
SIGNALS = {"shape": [2, 8], "type": "float32", "scale": 1, "mean": [1, 0], "std": [2, 1]}


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)


def normalized(image: np.ndarray) -> np.ndarray:
    x = image.transpose(2, 0, 1) / 255
    mean, std = (np.array(IMAGES[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    return (x - mean) / std


def test_a_folder_of_images(tmp_path: Path) -> None:
    """Found in depth, in order of names; hidden files and texts are left aside."""
    (tmp_path / "sub").mkdir()
    for i, name in enumerate(("b.png", "a.PNG", "sub/c.bmp", ".hidden.png")):
        Image.fromarray(pixels(i)).save(tmp_path / name, format="PNG")
    (tmp_path / "notes.txt").write_text("no image")
    found = find_inputs(tmp_path, IMAGES)
    assert [Path(name).name for name in found.names] == ["a.PNG", "b.png", "c.bmp"]
    batches = list(found.batches(2))
    assert [len(batch) for batch in batches] == [2, 1]
    together = np.concatenate(batches)
    assert together.dtype == np.float32
    expected = np.stack([normalized(pixels(i)) for i in (1, 0, 2)])
    np.testing.assert_allclose(together, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found.spread(2), together[[0, 2]])
    np.testing.assert_array_equal(found.spread(9), together)


def test_one_image_of_any_mode(tmp_path: Path) -> None:
    """Grey and transparent images become what the network takes."""
    path = tmp_path / "x.png"
    Image.fromarray(pixels()).convert("RGBA").save(path)
    (batch,) = find_inputs(path, IMAGES).batches(8)
    np.testing.assert_allclose(batch[0], normalized(pixels()), rtol=1e-6, atol=1e-6)
    grey = {"shape": [1, 4, 6], "type": "uint8", "scale": 1, "mean": [0], "std": [1]}
    (batch,) = find_inputs(path, grey).batches(8)
    expected = np.asarray(Image.fromarray(pixels()).convert("L"), np.float32)
    np.testing.assert_array_equal(batch[0, 0], expected)


def test_arrays(tmp_path: Path) -> None:
    """A .npy holds one sample or many, before normalization."""
    path = tmp_path / "x.npy"
    signals = np.random.default_rng(0).normal(size=(3, 2, 8)).astype(np.float32)
    np.save(path, signals)
    found = find_inputs(path, SIGNALS)
    assert found.names == tuple(f"{path}[{i}]" for i in range(3))
    (batch,) = found.batches(3)
    np.testing.assert_allclose(batch[:, 0], (signals[:, 0] - 1) / 2, rtol=1e-6)
    np.save(path, signals[0])
    assert len(find_inputs(path, SIGNALS)) == 1


def test_refused(tmp_path: Path) -> None:
    """Each message says what is there and what the network takes."""
    path = tmp_path / "x.png"
    with pytest.raises(ConfigError, match="does not say how its inputs are normalized"):
        find_inputs(tmp_path, None)
    with pytest.raises(ConfigError, match=r"there is no .*nothing; expected an image"):
        find_inputs(tmp_path / "nothing", IMAGES)
    with pytest.raises(DataError, match=r"holds no image; looked for \.png"):
        find_inputs(tmp_path, IMAGES)
    with pytest.raises(ConfigError, match=r"float32 of shape \[2, 8\], which are no images"):
        find_inputs(tmp_path, SIGNALS)
    Image.fromarray(np.zeros((6, 4, 3), np.uint8)).save(path)
    with pytest.raises(DataError, match=r"x\.png is 4 x 6 pixels; the network takes 6 x 4"):
        next(find_inputs(path, IMAGES).batches(1))
    path.write_bytes(b"no image at all")
    with pytest.raises(DataError, match=r"x\.png is no image that can be read"):
        next(find_inputs(path, IMAGES).batches(1))
    Image.fromarray(pixels()).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"x\.png is no image that can be read"):
        next(find_inputs(path, IMAGES).batches(1))


def test_refused_arrays(tmp_path: Path) -> None:
    """Other types, other shapes, nothing, pickles."""
    path = tmp_path / "x.npy"
    for content, message in (
        (np.zeros((1, 2, 8)), "holds float64; the network takes float32"),
        (
            np.zeros((1, 2, 9), np.float32),
            r"shape \(1, 2, 9\); the network takes \(samples, 2, 8\)",
        ),
        (np.zeros((0, 2, 8), np.float32), r"shape \(0, 2, 8\)"),
        (np.full((1, 2, 8), np.nan, np.float32), "NaN or infinity"),
        (np.array([{}], object), "can't read"),
    ):
        np.save(path, content, allow_pickle=True)
        with pytest.raises(DataError, match=message):
            find_inputs(path, SIGNALS)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="can't read"):
        find_inputs(path, SIGNALS)
