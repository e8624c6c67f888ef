"""Who trains what in a folder: each training is one byte of a file, locked by the process that trains it."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no locks of this kind; there nothing is claimed.
    fcntl = None  # type: ignore[assignment]

# By device and number: closing any handle of a file lets go of all that its process has locked there.
OPEN: weakref.WeakValueDictionary[tuple[int, int], _LockFile] = weakref.WeakValueDictionary()


class Claims:
    """What this process alone trains in a folder, as long as this object lives."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "claims"
        self._held: dict[int, _LockFile] = {}
        weakref.finalize(self, _let_go, self._held).atexit = False  # the end of the process lets go of all

    def __reduce__(self) -> tuple[type[Claims], tuple[Path]]:
        """A copy, as in another process, holds none."""
        return Claims, (self.path.parent,)

    def take(self, keys: Iterable[str]) -> None:
        """Claim the trainings of these keys, all or none.

        Raises
        ------
        BlockingIOError : another process has one of them.
        """
        if fcntl is None:
            return
        file = _opened(self.path)
        taken: dict[int, _LockFile] = {}
        for place in sorted({_place(key) for key in keys} - set(self._held)):
            try:
                file.lock(place)
            except BlockingIOError as error:
                _let_go(taken)
                raise BlockingIOError(f"Another process trains the same into {self.path.parent}; end it first, or train into another folder.") from error
            taken[place] = file
        self._held |= taken

    def let_go(self) -> None:
        """Others may train them."""
        _let_go(self._held)


class _LockFile:
    """An open file, closed with the last claim in it."""

    def __init__(self, path: Path) -> None:
        self.number, self.holders = os.open(path, os.O_CREAT | os.O_RDWR), Counter[int]()
        weakref.finalize(self, os.close, self.number).atexit = False

    def lock(self, place: int) -> None:
        fcntl.lockf(self.number, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        self.holders[place] += 1

    def unlock(self, place: int) -> None:
        """With the last of this process that holds it."""
        self.holders[place] -= 1
        if not self.holders[place]:
            fcntl.lockf(self.number, fcntl.LOCK_UN, 1, place)


def _opened(path: Path) -> _LockFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        told = path.stat()  # before it is opened: what opens it closes it again
        if (file := OPEN.get((told.st_dev, told.st_ino))) is not None:
            return file
    file = _LockFile(path)
    told = os.fstat(file.number)
    OPEN[told.st_dev, told.st_ino] = file
    return file


def _let_go(held: dict[int, _LockFile]) -> None:
    for place, file in held.items():
        file.unlock(place)
    held.clear()


def _place(key: str) -> int:
    """Two of a thousand keys meet once in 10¹² folders."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:15], 16)
