"""Where the memory of a training step comes from: kept from the last step, not fetched from the system anew."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

# Of glibc's malloc.h: freed memory at the heap's end that goes back to the system, what the heap asks for at a time, from which size a block is the system's
# own, and how many may be.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX = -1, -2, -3, -4
KEPT_BYTES = 2**30
# The largest block that glibc takes from the heap while any may be the system's, and how many usually may.
LARGEST_BLOCK, USUALLY = 2**25, 65536


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


class LargeBlocks:
    """Within it the process keeps freed blocks of any size, which are half of a large stack's step; afterwards what is free goes back to the system.

    Kept for good they would fill the memory: a block that is asked for again may miss the hole that it left by a few bytes.
    """

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """For a while; several threads may be inside at once."""
        if not keep_freed_memory():
            yield
            return
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        library = ctypes.CDLL(None)
        with self._lock:
            self._inside += change
            library.mallopt(MMAP_MAX, 0 if self._inside else USUALLY)
            if not self._inside:
                library.malloc_trim(0)


LARGE_BLOCKS = LargeBlocks()
