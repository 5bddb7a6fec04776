"""Files that a kill, a power cut or a full disk can't leave half written."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from espalier.errors import BusyError, StorageError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

__all__ = ["append_line", "exclusive", "make_directory", "write_atomically"]

LOCK = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What file systems without locks answer."""
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""What file systems answer that bring no directory to the disk."""


def make_directory(path: Path) -> None:
    """Make a directory and those above it.

    Raises:
        StorageError: the place can't be written to, or a file is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _storage_error(path, error) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one move: whoever looks finds the old content or the new one, whole.

    Content is on the disk before the move, and the move before the return.

    Raises:
        StorageError: the disk is full or the place can't be written to; the old file stays and the
            temporary one is removed. A folder or a device is no place for a file: it stays as well.
    """
    _check_place(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _storage_error(path, error) from error


def _check_place(path: Path) -> None:
    try:
        fits = not path.exists() or path.is_file()
    except OSError as error:  # a folder on the way can't be searched
        raise _storage_error(path, error) from error
    if not fits:
        what = "it is a folder" if path.is_dir() else "it is a device, which a file would replace"
        raise StorageError(f"can't write {path}: {what}. Name a file.")


def append_line(path: Path, line: str) -> None:
    """Add a line to a file; it is on the disk before the return.

    Raises:
        StorageError: the disk is full or the place can't be written to; the file is as before.
    """
    try:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                _write_all(file.fileno(), line.encode())
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(before)
                raise
    except OSError as error:
        raise _storage_error(path, error) from error


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Keep other processes out of a run's directory; a kill lets go of it by itself.

    Raises:
        BusyError: another process holds it.
        StorageError: the place can't be written to.
    """
    try:
        handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _storage_error(directory / LOCK, error) from error
    try:
        _lock(handle, directory)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, directory: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(
            f"another process is training in {directory}; wait for it or choose another --out."
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise _storage_error(directory, error) from error


def _write_all(handle: int, content: bytes) -> None:
    """``os.write`` may take a part; a full disk shows at the next part."""
    while content:
        content = content[os.write(handle, content) :]


def _sync_directory(directory: Path) -> None:
    """Bring the move itself to the disk, where the system can do that."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(handle)


def _storage_error(path: Path, error: OSError) -> StorageError:
    return StorageError(f"can't write {path}: {error.strerror}.")
