"""Where the memory of a training step comes from: kept from the last step, not fetched from the system anew."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

# Of glibc's malloc.h: freed memory at the heap's end that goes back to the system, what the heap asks for at a time, from which size a block is the system's
# own, and how many may be.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX = -1, -2, -3, -4
KEPT_BYTES = 2**30
# The largest block that glibc takes from the heap while any may be the system's.
LARGEST_BLOCK = 2**25


@cache
def keep_freed_memory(any_size: bool = False) -> bool:
    """Let this process keep freed memory for its next tensors, of the heap's end up to 1 GiB; True where the C library can be asked to (glibc).

    By default glibc hands a step's tensors back to the system, which fills them with zeros, page by page, in the next step: up to 40 % of a small step, and
    half of a large stack's. That one's blocks of more than 32 MiB are kept only where `any_size` asks for it: glibc then gives none of them back one by one.

    >>> keep_freed_memory() in (True, False)
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    settings = ((TRIM_THRESHOLD, KEPT_BYTES), (TOP_PAD, LARGEST_BLOCK), (MMAP_MAX, 0) if any_size else (MMAP_THRESHOLD, LARGEST_BLOCK))
    return all(ctypes.CDLL(None).mallopt(name, value) for name, value in settings)
