"""Samples that are mapped from files: joblib's processes open those by name, and must find there what this process has certified."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from joblib.parallel import LokyBackend, MultiprocessingBackend, get_active_backend

from sigvit.data.windows import Windows

# Device, file, bytes and the time of the last change.
Identity = tuple[int, int, int, int]

AT_ONCE = 1 << 24  # bytes that are compared together
ADVICE = "open the set again, or copy its samples into memory (dataclasses.replace(windows, values=np.array(windows.values)))"


def mapped_files(windows: Windows) -> dict[str, Identity]:
    """Name → identity of the files that processes would map for these windows. Ask before the samples are hashed.

    Raises
    ------
    ValueError : a file isn't there any more or holds other samples by now, such as a set that was saved anew under its name.
    """
    chosen, _ = get_active_backend()
    if not isinstance(chosen, LokyBackend | MultiprocessingBackend):  # others send the samples themselves, or share them
        return {}
    found = {}
    for mapped in _maps(windows):
        name = str(mapped.filename)
        try:
            found[name] = _identity(name)
            there = np.memmap(name, mapped.dtype, "r", mapped.offset, mapped.shape, "C" if mapped.flags.c_contiguous else "F")
        except (OSError, ValueError):  # gone, or too short
            there = None
        if there is None or not _equal(mapped, there):
            state = "aren't there any more" if there is None else "have been replaced by others"
            raise ValueError(f"The samples of {windows.name}, which were mapped from {name}, {state}; several processes would read them there: {ADVICE}.")
    return found


def require_same_files(files: dict[str, Identity]) -> None:
    """ValueError: samples reached this process as the names of files, which have changed since `mapped_files` saw them."""
    for name, identity in files.items():
        if not os.path.exists(name) or _identity(name) != identity:
            raise ValueError(f"The samples in {name} were replaced while the fits ran: {ADVICE}.")


def _maps(windows: Windows) -> Iterator[np.memmap]:
    """The whole maps behind values and control values."""
    for values in (windows.values, windows.control_values):
        while isinstance(values, np.ndarray):
            if isinstance(values, np.memmap) and values.filename is not None and not isinstance(values.base, np.ndarray):
                yield values
            values = values.base


def _identity(name: str) -> Identity:
    told = os.stat(name)
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    one, other = (each.ravel("K").view(np.uint8) for each in (one, other))
    return all(np.array_equal(one[first : first + AT_ONCE], other[first : first + AT_ONCE]) for first in range(0, len(one), AT_ONCE))
