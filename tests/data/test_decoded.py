"""The cache of decoded images: read back exactly, or decoded again."""

from pathlib import Path

import numpy as np
import pytest

from espalier.data.decoded import Decoded, cache_folder, cached


def decoded(seed: int = 0) -> Decoded:
    rng = np.random.default_rng(seed)
    return Decoded(
        train_images=rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8),
        train_labels=np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8),
        test_images=rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8),
        test_labels=np.array([2, 1, 0], dtype=np.uint8),
        classes=("ant", "bee", "Käfer"),
        encoding="PNG",
    )


def equal(first: Decoded, second: Decoded) -> bool:
    return (
        np.array_equal(first.train_images, second.train_images)
        and np.array_equal(first.train_labels, second.train_labels)
        and np.array_equal(first.test_images, second.test_images)
        and np.array_equal(first.test_labels, second.test_labels)
        and first.classes == second.classes
        and first.encoding == second.encoding
    )


def never() -> Decoded:
    pytest.fail("decoded again")


def test_second_time_from_the_cache(tmp_path: Path) -> None:
    """What was decoded comes back exactly, and nothing else is left in the folder."""
    folder = tmp_path / "new" / "cache"
    first = cached("key", folder, decoded)
    assert equal(cached("key", folder, never), first)
    assert [path.name for path in folder.iterdir()] == ["key.npz"]


def test_keys_are_apart(tmp_path: Path) -> None:
    """Another key is another entry."""
    cached("one", tmp_path, decoded)
    assert equal(cached("two", tmp_path, lambda: decoded(1)), decoded(1))
    assert equal(cached("one", tmp_path, never), decoded())


@pytest.mark.parametrize("place", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_flipped_byte_is_decoded_again(tmp_path: Path, place: float) -> None:
    """A damaged entry is never believed; it is made anew."""
    cached("key", tmp_path, decoded)
    path = tmp_path / "key.npz"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0x10
    path.write_bytes(content)
    assert equal(cached("key", tmp_path, decoded), decoded())
    assert equal(cached("key", tmp_path, never), decoded())


@pytest.mark.parametrize("length", [0, 1, 100, 20_000])
def test_truncated_is_decoded_again(tmp_path: Path, length: int) -> None:
    """So is one that was cut off."""
    cached("key", tmp_path, decoded)
    path = tmp_path / "key.npz"
    path.write_bytes(path.read_bytes()[:length])
    assert equal(cached("key", tmp_path, decoded), decoded())
    assert equal(cached("key", tmp_path, never), decoded())


def test_another_content_is_decoded_again(tmp_path: Path) -> None:
    """An intact file of another shape, or with objects in it, is no entry."""
    np.savez(tmp_path / "shape.npz", train_images=np.zeros(3))
    assert equal(cached("shape", tmp_path, decoded), decoded())
    with (tmp_path / "objects.npz").open("wb") as file:
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    assert equal(cached("objects", tmp_path, decoded), decoded())


def test_unwritable_cache_warns(tmp_path: Path) -> None:
    """Without a cache the images are still there; the next run is only slower."""
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="can't keep the decoded images in .*cache_dir or ESPALIE"):
        found = cached("key", tmp_path / "file", decoded)
    assert equal(found, decoded())


def test_disk_full_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that can't be written whole is not written at all."""

    def full(file: object, **arrays: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("espalier.data.decoded.np.savez", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        cached("key", tmp_path, decoded)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": np.zeros((6, 32, 32, 3))}, "images are float64"),
        ({"train_images": np.zeros((5, 32, 32, 3), np.uint8)}, "images are uint8 of shape"),
        ({"test_labels": np.zeros(3)}, "labels are float64"),
        ({"test_labels": np.full(3, 3, np.uint8)}, "3 labels, 3 classes"),
    ],
)
def test_shapes_are_checked(change: dict[str, object], message: str) -> None:
    """Arrays that don't belong together are refused."""
    import dataclasses

    with pytest.raises(ValueError, match=message):
        dataclasses.replace(decoded(), **change)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names the folder, or the platform does."""
    monkeypatch.setenv("ESPALIER_CACHE", "/some/where")
    assert cache_folder() == Path("/some/where")
    monkeypatch.delenv("ESPALIER_CACHE")
    assert "espalier" in str(cache_folder())
