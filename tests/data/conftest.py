"""Small data sets on disk."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ImageFolder = Callable[..., Path]
Pack = Callable[[Path, Path], Path]


def encoded_image(seed: int, *, side: int = 32, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


@pytest.fixture
def image_folder(tmp_path: Path) -> ImageFolder:
    """Return a function that writes an image folder and returns its path."""

    def build(
        *,
        name: str = "images",
        classes: tuple[str, ...] = ("dog", "cat"),
        train: int = 10,
        test: int = 3,
        suffix: str = ".png",
        kind: str = "PNG",
    ) -> Path:
        seed = 0
        for split, count in (("train", train), ("test", test)):
            for label in classes:
                folder = tmp_path / name / split / label
                folder.mkdir(parents=True)
                for number in range(count):
                    (folder / f"{number:04}{suffix}").write_bytes(encoded_image(seed, kind=kind))
                    seed += 1
        return tmp_path / name

    return build


@pytest.fixture
def pack() -> Pack:
    """Return a function that packs a folder's content into a tar archive."""

    def build(folder: Path, archive: Path) -> Path:
        mode = "w:xz" if archive.suffix == ".xz" else "w:gz"
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, mode) as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, path.name)
        return archive

    return build


@pytest.fixture
def binary_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return the six official files, of 20 images each instead of 10,000, by name."""
    monkeypatch.setattr("espalier.data.archive._IMAGES_A_FILE", 20)
    rng = np.random.default_rng(0)
    files = {}
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        records = rng.integers(0, 256, (20, 3073), dtype=np.uint8)
        records[:, 0] = rng.permutation(np.arange(20) % 10)
        files[name] = records.tobytes()
    return files


@pytest.fixture
def binary_folder(binary_files: dict[str, bytes], tmp_path: Path) -> Path:
    """Return a folder as the official archive unpacks to."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, content in binary_files.items():
        (folder / name).write_bytes(content)
    (folder / "readme.html").write_text("about")
    return folder
