"""CIFAR-10 from wherever it lies: what is found, how it is split, what is refused."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from espalier.data import Dataset, load_dataset
from espalier.data.archive import CLASSES
from espalier.errors import DataError


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the environment's data away and the cache in a folder of the test's own."""
    monkeypatch.delenv("ESPALIER_DATA", raising=False)
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))


def load(data_dir: Path) -> Dataset:
    return load_dataset("cifar10", data_dir=data_dir)


def same(first: Dataset, second: Dataset) -> bool:
    return all(
        torch.equal(a.inputs, b.inputs) and torch.equal(a.labels, b.labels)
        for a, b in (
            (first.train, second.train),
            (first.validation, second.validation),
            (first.test, second.test),
        )
    )


def pack_binary(folder: Path, archive: Path) -> Path:
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "cifar-10-batches-bin")
    return archive


def test_image_folder(image_folder) -> None:
    """An image folder gives its images, its classes in order, and says what it is."""
    folder = image_folder(classes=("dog", "cat"), train=10, test=3)
    dataset = load(folder)
    assert dataset.classes == ("cat", "dog")
    assert dataset.source == "CIFAR-10 (PNG copy)"
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [18, 2, 6]
    assert dataset.validation.labels.tolist() == [0, 1]
    assert dataset.input_shape == (3, 32, 32)


def test_images_are_the_files(image_folder) -> None:
    """Pixels equal the files', in the order of class and name, test likewise."""
    from PIL import Image

    folder = image_folder(train=2, test=2)
    dataset = load(folder)
    expected = [
        np.asarray(Image.open(folder / "test" / name / f"{number:04}.png"))
        for name in ("cat", "dog")
        for number in range(2)
    ]
    found = dataset.test.inputs.permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found, np.stack(expected))
    assert dataset.test.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("suffix", [".tar.xz", ".tar.gz"])
def test_archive_equals_folder(image_folder, pack, tmp_path: Path, suffix: str) -> None:
    """An archive of an image folder gives the same as the folder, named itself or by its folder."""
    folder = image_folder()
    archive = pack(folder, tmp_path / "archives" / f"images{suffix}")
    (archive.parent / "README.md").write_text("about")
    assert same(load(folder), load(archive))
    assert same(load(folder), load(archive.parent))


def test_archive_with_leading_folders(image_folder, pack, tmp_path: Path) -> None:
    """Folders above train and test in an archive don't matter."""
    folder = image_folder(name="above/inner/images")
    archive = pack(tmp_path / "above", tmp_path / "archives" / "images.tar.gz")
    assert same(load(folder), load(archive))


def test_hidden_files_are_left_aside(image_folder) -> None:
    """What file browsers leave behind is no image."""
    folder = image_folder()
    (folder / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    assert len(load(folder).test) == 6


def test_official_class_order(image_folder) -> None:
    """CIFAR-10's own classes keep their official order."""
    dataset = load(image_folder(classes=tuple(reversed(CLASSES)), train=2, test=1))
    assert dataset.classes == CLASSES
    assert dataset.classes[0] == "airplane"


def test_jpeg_is_named(image_folder) -> None:
    """JPEG images are said to be JPEG, whatever their file names end with."""
    assert load(image_folder(suffix=".png", kind="JPEG")).source == "CIFAR-10 (JPEG copy)"


def test_official_folder_and_archive(
    binary_folder: Path, binary_files: dict[str, bytes], tmp_path: Path
) -> None:
    """The official files give the same from their folder, above it, and from their archive."""
    dataset = load(binary_folder)
    assert same(dataset, load(binary_folder.parent))
    archive = pack_binary(binary_folder, tmp_path / "official" / "cifar-10-binary.tar.gz")
    assert same(dataset, load(archive))
    assert same(dataset, load(archive.parent))
    assert dataset.source == "CIFAR-10 (official)"
    assert dataset.classes == CLASSES
    record = np.frombuffer(binary_files["test_batch.bin"], np.uint8)[:3073]
    assert dataset.test.labels[0] == record[0]
    red_green_blue = dataset.test.inputs[0].numpy()
    np.testing.assert_array_equal(red_green_blue, record[1:].reshape(3, 32, 32))


def test_official_archive_comes_first(image_folder, binary_folder: Path, tmp_path: Path) -> None:
    """Where several forms lie together, the official archive is taken, then its folder."""
    folder = image_folder()
    pack_binary(binary_folder, folder / "cifar-10-binary.tar.gz")
    assert load(folder).source == "CIFAR-10 (official)"
    (folder / "cifar-10-binary.tar.gz").unlink()
    assert load(folder).source == "CIFAR-10 (PNG copy)"
    shutil.copytree(binary_folder, folder / "cifar-10-batches-bin")
    assert load(folder).source == "CIFAR-10 (official)"


def test_environment_names_the_folder(image_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """ESPALIER_DATA stands in for data_dir."""
    monkeypatch.setenv("ESPALIER_DATA", str(image_folder()))
    assert load_dataset("cifar10").classes == ("cat", "dog")


def test_splits_are_disjoint_and_complete(image_folder) -> None:
    """Each training image is in train or validation, once; none is in test."""
    dataset = load(image_folder(train=20))

    def pictures(inputs: torch.Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in inputs}

    train, held, test = (
        pictures(split.inputs) for split in (dataset.train, dataset.validation, dataset.test)
    )
    assert len(train) == 36
    assert len(held) == 4
    assert len(test) == 6
    assert not train & held
    assert not (train | held) & test


def test_statistics(image_folder) -> None:
    """Mean and deviation are those of all training images, channel by channel."""
    dataset = load(image_folder(train=5))
    inputs = torch.cat([dataset.train.inputs, dataset.validation.inputs]).double() / 255
    mean = inputs.mean(dim=(0, 2, 3))
    std = inputs.std(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(torch.tensor(dataset.mean, dtype=torch.float64), mean)
    torch.testing.assert_close(torch.tensor(dataset.std, dtype=torch.float64), std)


def test_constant_channels(image_folder) -> None:
    """Images of one color don't divide by zero."""
    from PIL import Image

    folder = image_folder(train=2, test=1)
    for path in folder.glob("train/*/*.png"):
        Image.new("RGB", (32, 32), (255, 0, 51)).save(path)
    dataset = load(folder)
    assert dataset.mean == (1.0, 0.0, 0.2)
    assert dataset.std == (1.0, 1.0, 1.0)


def test_missing_folder(tmp_path: Path) -> None:
    """A folder that isn't there is named, and nothing is downloaded in its place."""
    with pytest.raises(DataError, match=r"data folder .*nowhere doesn't exist. Name one"):
        load(tmp_path / "nowhere")


def test_useless_folder(tmp_path: Path) -> None:
    """A folder without data says what was looked for and what was found."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("x")
    with pytest.raises(
        DataError, match=r"looked for cifar-10-binary.tar.gz.*image folder.*found todo.txt"
    ):
        load(tmp_path / "notes")
    (tmp_path / "notes" / "todo.txt").unlink()
    with pytest.raises(DataError, match="found nothing"):
        load(tmp_path / "notes")


def test_several_archives(tmp_path: Path) -> None:
    """Two candidates are not chosen between in silence."""
    for name in ("a.tar.xz", "b.tar.gz"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"several archives: a.tar.xz, b.tar.gz. Name one"):
        load(tmp_path)


@pytest.mark.parametrize("gone", ["train", "test"])
def test_missing_split(image_folder, gone: str) -> None:
    """A folder with one split only names the other one."""
    folder = image_folder()
    shutil.rmtree(folder / gone)
    with pytest.raises(DataError, match=f"has no folder '{gone}'; expected train/<class>/<image>"):
        load(folder)


def test_too_few_images(image_folder) -> None:
    """One training image can't be both trained on and held out."""
    with pytest.raises(DataError, match="has 1 training image; validation needs another"):
        load(image_folder(classes=("cat",), train=1, test=1))


def test_unreadable_file(image_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system refuses to read is an error of the data."""
    folder = image_folder()

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"can't read .*Permission denied.* Check its permissions"):
        load(folder)


def test_decoded_once(image_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time nothing is decoded; a changed folder is decoded again."""
    from espalier.data import images

    folder = image_folder()
    calls = []
    decode = images._pixels
    monkeypatch.setattr(images, "_pixels", lambda *given: calls.append(given) or decode(*given))
    first = load(folder)
    assert len(calls) == 26
    assert same(first, load(folder))
    assert len(calls) == 26
    shutil.copy(folder / "test" / "cat" / "0000.png", folder / "test" / "cat" / "0009.png")
    assert len(load(folder).test) == 7
    assert len(calls) == 26 + 27


def test_archive_cache_follows_content(
    image_folder, pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moved archive is known by its content; another content is another entry."""
    archive = pack(image_folder(), tmp_path / "archives" / "images.tar.gz")
    load(archive)
    entries = list((tmp_path / "cache").iterdir())
    assert len(entries) == 1
    load(archive.rename(tmp_path / "moved.tar.gz"))
    assert list((tmp_path / "cache").iterdir()) == entries
    load(pack(image_folder(name="others", train=11), tmp_path / "moved.tar.gz"))
    assert len(list((tmp_path / "cache").iterdir())) == 2
