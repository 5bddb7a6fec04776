"""Files survive what may happen while they are written."""

import errno
import os
from pathlib import Path

import pytest

from espalier.errors import ConfigError, StorageError
from espalier.files import append_line, exclusive, make_directory, write_atomically


def no_space(*_args: object, **_options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    """The new content is there and nothing else is."""
    path = tmp_path / "a.json"
    path.write_bytes(b"old and long")

    write_atomically(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Wherever it fails, the old content stays and no temporary file does."""
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    target = os if call == "fsync" else Path
    monkeypatch.setattr(target, call, no_space)

    with pytest.raises(StorageError, match=r"can't write .*a.json: No space left on device"):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSPC])
def test_file_systems_that_sync_no_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Some of those in networks say so; the file is in place. Other failures are told."""
    sync = os.fsync

    def files_only(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    if number == errno.ENOSPC:
        with pytest.raises(StorageError, match=r"a.json: No space left"):
            write_atomically(tmp_path / "a.json", b"new")
    else:
        write_atomically(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"


def test_what_is_no_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, the current one too, and a pipe or device are never replaced by a file."""
    monkeypatch.chdir(tmp_path)
    for folder in (Path(), tmp_path):
        with pytest.raises(StorageError, match=r"it is a folder. Name a file"):
            write_atomically(folder, b"new")
    os.mkfifo("pipe")
    with pytest.raises(StorageError, match=r"can't write pipe: it is a device"):
        write_atomically(Path("pipe"), b"new")
    assert Path("pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_full_disk_leaves_the_lines_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that can't be finished is taken back."""
    path = tmp_path / "metrics.jsonl"
    append_line(path, "one\n")
    monkeypatch.setattr(os, "fsync", no_space)

    with pytest.raises(StorageError, match=r"can't write .*metrics.jsonl: No space left"):
        append_line(path, "two\n")

    assert path.read_bytes() == b"one\n"


def test_lines_are_appended(tmp_path: Path) -> None:
    """The file is made by the first line."""
    path = tmp_path / "metrics.jsonl"

    append_line(path, "one\n")
    append_line(path, "two\n")

    assert path.read_text() == "one\ntwo\n"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file in the way is the usual reason."""
    (tmp_path / "a").write_text("")

    with pytest.raises(StorageError, match=r"can't write .*a/b: Not a directory"):
        make_directory(tmp_path / "a" / "b")


def test_a_directory_belongs_to_one_process(tmp_path: Path) -> None:
    """The second one is refused until the first lets go."""
    with (
        exclusive(tmp_path),
        pytest.raises(ConfigError, match="another process is training in"),
        exclusive(tmp_path),
    ):
        pass

    with exclusive(tmp_path):
        pass


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A directory that is gone can't be locked."""
    with pytest.raises(StorageError, match="No such file"), exclusive(tmp_path / "gone"):
        pass
