"""Where freed memory goes: back to the system, or to the next step."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
"""Numbers of ``mallopt``'s parameters, from glibc's malloc.h."""

_LARGEST_INT = 2**31 - 1
_LARGEST_OLD_MMAP_THRESHOLD = 32 * 2**20
"""What glibc before 2.35 accepts."""


def keep_freed_memory() -> bool:
    """Have this process keep the memory that it frees; return whether the C library can.

    A step on the CPU allocates and frees the same activations and gradients as the step before.
    glibc gives large blocks back to the system at once, and the next step pays for each page anew:
    with ``paper_cnn`` at batch 64 about 10,000 page faults, an eighth of the step's time. What is
    computed doesn't change. It holds for the whole process and can't be undone, so it is for
    programs, not for libraries, to call: before the first step, once.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept_mapped = mallopt(_M_MMAP_THRESHOLD, _LARGEST_INT) or mallopt(
        _M_MMAP_THRESHOLD, _LARGEST_OLD_MMAP_THRESHOLD
    )
    return bool(kept_mapped and mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT))
