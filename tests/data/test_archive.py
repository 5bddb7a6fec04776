"""Archives: damaged ones, hostile ones, and the official binary files."""

import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espalier.data.archive import decode_binary, folder_members, members
from espalier.errors import DataError

DAMAGED = "is truncated or damaged .*Fetch it again and compare its checksum"


def tar_bytes(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


FILES = {f"file{number}": bytes([number]) * 3000 for number in range(8)}


@pytest.fixture(scope="module", params=[gzip.compress, lzma.compress], ids=["gz", "xz"])
def packed(request: pytest.FixtureRequest) -> bytes:
    """Return a compressed archive of eight files, compressed either way."""
    return request.param(tar_bytes(**FILES))


def test_members(packed: bytes, tmp_path: Path) -> None:
    """Files come with their content, in the archive's order; the name's ending doesn't matter."""
    path = written(tmp_path / "whatever", packed)
    assert {member.name: member.data for member in members(path)} == FILES


def test_truncated_anywhere(packed: bytes, tmp_path: Path) -> None:
    """An archive cut off at any byte is an error of the data, never a shorter data set."""
    for length in range(6, len(packed)):
        path = written(tmp_path / "cut.tar", packed[:length])
        with pytest.raises(DataError, match=DAMAGED):
            list(members(path))


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_byte(packed: bytes, tmp_path: Path, data: st.DataObject) -> None:
    """A changed byte is an error, unless it is one that means nothing (a gzip header's time)."""
    place = data.draw(st.integers(0, len(packed) - 1))
    changed = bytearray(packed)
    changed[place] ^= data.draw(st.integers(1, 255))
    path = written(tmp_path / "changed.tar", bytes(changed))
    try:
        found = {member.name: member.data for member in members(path)}
    except DataError:
        return
    assert found == FILES


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_damaged_inside(tmp_path: Path, pack) -> None:
    """A tar that was damaged before it was compressed is found out too."""
    whole = tar_bytes(**FILES)
    header = whole.index(b"file4")
    changed = whole[:header] + b"?" + whole[header + 1 :]
    with pytest.raises(DataError, match="a header in the middle is damaged"):
        list(members(written(tmp_path / "a.tar", pack(changed))))
    with pytest.raises(DataError, match="the end is missing"):
        list(members(written(tmp_path / "b.tar", pack(whole[:header]))))
    with pytest.raises(DataError, match=DAMAGED):
        list(members(written(tmp_path / "c.tar", pack(whole[: header + 1000]))))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04zip", tar_bytes(file=b"x")])
def test_neither_gzip_nor_xz(tmp_path: Path, content: bytes) -> None:
    """A file that is something else says how it starts."""
    with pytest.raises(DataError, match="is neither gzip nor xz: it starts with"):
        list(members(written(tmp_path / "x.tar.gz", content)))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices(tmp_path: Path, kind: bytes) -> None:
    """A link can't lead out of the archive: it is refused."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("train/cat/1.png")
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry)
    path = written(tmp_path / "x.tar.gz", gzip.compress(buffer.getvalue()))
    with pytest.raises(DataError, match=r"train/cat/1.png in .* is a link or a device"):
        list(members(path))


def test_names_are_never_paths(tmp_path: Path) -> None:
    """Names that lead upward are names only; nothing is written anywhere."""
    content = gzip.compress(tar_bytes(**{"../../evil": b"x", "/absolute": b"y"}))
    path = written(tmp_path / "x.tar.gz", content)
    assert [member.data for member in members(path)] == [b"x", b"y"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.tar.gz"]


def test_large_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file larger than any of CIFAR-10's is refused before it is read."""
    monkeypatch.setattr("espalier.data.archive._LARGEST_MEMBER", 2000)
    path = written(tmp_path / "x.tar.gz", gzip.compress(tar_bytes(**FILES)))
    with pytest.raises(DataError, match=r"file0 in .* has 3000 bytes; no file of CIFAR-10 has mo"):
        list(members(path))


def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that unpacks to far more than CIFAR-10 is given up."""
    monkeypatch.setattr("espalier.data.archive._LARGEST_ARCHIVE", 20_000)
    path = written(tmp_path / "x.tar.gz", gzip.compress(tar_bytes(**FILES)))
    with pytest.raises(DataError, match="unpacks to more than 20000 bytes"):
        list(members(path))


def test_official_files_missing(binary_folder: Path) -> None:
    """Files that are missing are named, and those that are there."""
    (binary_folder / "data_batch_3.bin").unlink()
    (binary_folder / "test_batch.bin").unlink()
    with pytest.raises(
        DataError, match=r"lacks data_batch_3.bin, test_batch.bin; found data_batch_1.bin, .*Fetch"
    ):
        decode_binary(binary_folder, folder_members(binary_folder))


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: b""])
def test_official_file_of_another_size(binary_folder: Path, change) -> None:
    """A file cut off is named, with its size and the expected one."""
    path = binary_folder / "data_batch_2.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=r"data_batch_2.bin in .* has \d+ bytes; expected 61460"):
        decode_binary(binary_folder, folder_members(binary_folder))


def test_official_label_out_of_range(binary_folder: Path) -> None:
    """A label that is no class is an error of the data."""
    path = binary_folder / "test_batch.bin"
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])
    with pytest.raises(
        DataError, match=r"test_batch.bin in .* holds the label 10; expected 0 to 9"
    ):
        decode_binary(binary_folder, folder_members(binary_folder))
