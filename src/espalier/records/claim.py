"""Who works on a directory: a lock that the system lets go of when its holder dies."""

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

__all__ = ["claim", "is_claimed", "take_claim"]

CLAIM = ".claim"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What file systems without locks answer."""


@contextlib.contextmanager
def claim(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a directory against all other processes that claim it.

    Args:
        directory: must exist.
        wait: until the holder lets go.

    Raises:
        BusyError: another process holds it, and ``wait`` is false.
        StorageError: the place can't be written to.
    """
    handle = take_claim(directory, wait=wait)
    try:
        yield
    finally:
        os.close(handle)


def take_claim(directory: Path, *, wait: bool = False) -> int:
    """Hold a directory until the file with this number is closed, also in a child that got it.

    Raises:
        BusyError: another process holds it, and ``wait`` is false.
        StorageError: the place can't be written to.
    """
    path = directory / CLAIM
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StorageError(f"can't write {path}: {error.strerror}.") from error
    try:
        if _lock(handle, exclusive=True, wait=wait):
            return handle
        raise BusyError(f"another process works on {directory}; wait for it.")
    except BaseException:
        os.close(handle)
        raise


def is_claimed(directory: Path) -> bool:
    """Say whether another process holds the directory; nothing is written.

    For the moment of the question, who claims without waiting may find it busy.
    """
    try:
        handle = os.open(directory / CLAIM, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _lock(handle, exclusive=False, wait=False)
    finally:
        os.close(handle)


def _lock(handle: int, *, exclusive: bool, wait: bool) -> bool:
    """Lock an open file; False if somebody else has. Without locks everybody gets it."""
    if fcntl is None:
        return True
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise StorageError(f"can't lock a file: {error.strerror}.") from error
    return True
