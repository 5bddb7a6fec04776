"""Image folders that aren't as they should be."""

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from espalier.data.archive import Member
from espalier.data.images import decode_images, image_members
from espalier.errors import DataError


def picture(width: int = 32, height: int = 32, mode: str = "RGB", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, format=kind)
    return buffer.getvalue()


def decode(folder: Path):
    return decode_images(folder, image_members(folder))


def members(*names: str) -> Iterator[Member]:
    for name in names:
        yield Member(name, None if name.endswith("/") else picture())


WHOLE = ("train/cat/1.png", "train/cat/2.png", "test/cat/1.png")


def test_wrong_size(image_folder) -> None:
    """An image of another size is named, with its size and the expected one."""
    folder = image_folder()
    (folder / "train" / "cat" / "0003.png").write_bytes(picture(64, 48))
    with pytest.raises(
        DataError, match=r"train/cat/0003.png in .* has 64 x 48 pixels; expected 32 x 32. Resize"
    ):
        decode(folder)


@pytest.mark.parametrize("content", [b"", b"no image", picture()[:60], b"GIF89a"])
def test_unreadable_image(image_folder, content: bytes) -> None:
    """A damaged image, or another format under an image's name, is named."""
    folder = image_folder()
    (folder / "test" / "dog" / "0001.png").write_bytes(content)
    with pytest.raises(DataError, match=r"test/dog/0001.png in .* can't be read as an image \("):
        decode(folder)


def test_truncated_jpeg(image_folder) -> None:
    """A JPEG cut off in the middle is no image, not a gray one."""
    folder = image_folder(suffix=".jpg", kind="JPEG")
    path = folder / "test" / "dog" / "0001.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"0001.jpg in .* can't be read as an image"):
        decode(folder)


def test_huge_image(image_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that would unpack to gigabytes is refused before it does."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    folder = image_folder(train=2, test=1)
    with pytest.raises(DataError, match="can't be read as an image"):
        decode(folder)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_other_color_modes(mode: str) -> None:
    """Gray, palette and transparent images become RGB."""
    files = [Member(name, picture(mode=mode)) for name in WHOLE]
    assert decode_images(Path("x"), files).train_images.shape == (2, 32, 32, 3)


def test_empty_class(image_folder) -> None:
    """A class without images is named."""
    folder = image_folder()
    for path in (folder / "test" / "dog").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"class folder test/dog in .* is empty. Put its images"):
        decode(folder)


def test_empty_class_in_an_archive(image_folder, pack, tmp_path: Path) -> None:
    """An archive's empty class is found too."""
    from espalier.data.archive import members as archived

    folder = image_folder()
    (folder / "train" / "frog").mkdir()
    archive = pack(folder, tmp_path / "images.tar.gz")
    with pytest.raises(DataError, match=r"class folder train/frog in .* is empty"):
        decode_images(archive, archived(archive))


@pytest.mark.parametrize("gone", ["train", "test"])
def test_empty_split(gone: str) -> None:
    """A split without any class is named."""
    files = members(*(name for name in WHOLE if not name.startswith(gone)), f"{gone}/")
    with pytest.raises(DataError, match=f"x has no images in '{gone}'; expected {gone}/<class>"):
        decode_images(Path("x"), files)


def test_different_classes(image_folder) -> None:
    """Classes that only one split has are listed."""
    folder = image_folder(classes=("cat", "dog"))
    shutil.move(folder / "test" / "dog", folder / "test" / "dogs")
    with pytest.raises(DataError, match=r"only train has dog, only test has dogs. Give both"):
        decode(folder)


@pytest.mark.parametrize(
    "name", ["train/cat/notes.txt", "train/1.png", "train/cat/deeper/1.png", "test/cat/1.gif"]
)
def test_unexpected_files(name: str) -> None:
    """A file in a split that is no image of a class is refused, not left out in silence."""
    with pytest.raises(DataError, match=f"{name} in x is not expected there; a split holds"):
        decode_images(Path("x"), members(*WHOLE, name))


def test_twice_the_same_file() -> None:
    """An archive may hold a name twice; which one is meant can't be known."""
    with pytest.raises(DataError, match=r"x holds train/cat/1.png twice"):
        decode_images(Path("x"), members(*WHOLE, "train/cat/1.png"))


def test_too_many_classes() -> None:
    """Labels are bytes."""
    names = [f"{split}/{number}/1.png" for split in ("train", "test") for number in range(257)]
    with pytest.raises(DataError, match="x has 257 classes; at most 256"):
        decode_images(Path("x"), members(*names))


def test_what_lies_outside_is_left_aside() -> None:
    """A readme beside train and test doesn't matter."""
    files = [Member("README.md", b"about"), Member("images/", None), *members(*WHOLE)]
    assert len(decode_images(Path("x"), files).train_labels) == 2


def test_mixed_encodings_are_both_named() -> None:
    """JPEG and PNG together are said to be both."""
    files = [*members(*WHOLE), Member("test/cat/2.jpg", picture(kind="JPEG"))]
    assert decode_images(Path("x"), files).encoding == "JPEG and PNG"


def test_tar_of_current_folder(image_folder, tmp_path: Path) -> None:
    """Archives made of '.' name their files './train/...'; those count too."""
    from espalier.data.archive import members as archived

    folder = image_folder()
    archive = tmp_path / "dot.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, ".")
    assert len(decode_images(archive, archived(archive)).test_labels) == 6
