"""Where the memory of a training step comes from: kept from the last step, not fetched from the system anew."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

# Of glibc's malloc.h: freed memory at the heap's end that goes back to the system, what it asks for at a time, and the size from which a block is the system's.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
KEPT_BYTES = 2**30
# The largest block that glibc takes from the heap.
LARGEST_BLOCK = 2**25


@cache
def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of freed memory for its next tensors; True where the C library can be asked to (glibc).

    By default glibc hands a step's tensors back to the system, which fills them with zeros, page by page, in the next step: up to 40 % of a small step.

    >>> keep_freed_memory() in (True, False)
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    settings = ((TRIM_THRESHOLD, KEPT_BYTES), (TOP_PAD, LARGEST_BLOCK), (MMAP_THRESHOLD, LARGEST_BLOCK))
    return all(ctypes.CDLL(None).mallopt(name, value) for name, value in settings)
