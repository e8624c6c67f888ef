"""Checkpoints that survive a kill at any moment: written beside, flushed to the disk, renamed; and the orderly end on SIGTERM.

A checkpoint is a file `step_00000120.pt`: tensors and plain data as torch writes them (`torch.load` reads it), then the SHA-256 of all that.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sigvit.training.claims import Claims
from sigvit.whole_file import whole_file

FORMAT = 1
NAME = re.compile(r"step_(\d{8,})\.pt")
DIGEST_BYTES = 32
AT_ONCE = 2**20  # bytes


class Stopped(SystemExit):
    """Raised by training after it has saved on SIGTERM; where nothing catches it, the program ends with exit code 0.

    >>> Stopped(120).step, Stopped(120).code
    (120, 0)
    """

    def __init__(self, step: int) -> None:
        super().__init__(0)
        self.step = step


class Checkpoints:
    """The last checkpoints of one training, in one folder.

    Parameters
    ----------
    folder : made where it isn't there.
    keep : so many of the newest are kept.
    every : steps from one checkpoint to the next.

    Raises
    ------
    ValueError : keep or every below 1.

    >>> import tempfile
    >>> checkpoints = Checkpoints(tempfile.mkdtemp(), keep=2, every=10)
    >>> checkpoints.due(20), checkpoints.latest()
    (True, None)
    >>> for step in (10, 20, 30):
    ...     checkpoints.save(step, {"model": {"weight": torch.full((2,), step)}})
    >>> checkpoints.steps(), checkpoints.latest()
    ([20, 30], (30, {'model': {'weight': tensor([30, 30])}}))
    """

    def __init__(self, folder: str | Path, keep: int = 3, every: int = 1000) -> None:
        for name, number in (("keep", keep), ("every", every)):
            if number < 1:
                raise ValueError(f"{name} is {number}; it must be at least 1.")
        self.folder, self.keep, self.every = Path(folder), keep, every
        self._claims = Claims(self.folder)

    def due(self, step: int) -> bool:
        """Whether a checkpoint is to be written after so many steps."""
        return step % self.every == 0

    def path(self, step: int) -> Path:
        """Where the checkpoint after so many steps is, or would be."""
        return self.folder / f"step_{step:08d}.pt"

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, ascending; damaged ones are among them."""
        found = (NAME.fullmatch(path.name) for path in self.folder.glob("step_*"))
        return sorted(int(match[1]) for match in found if match)

    def claim(self) -> None:
        """Take the right to write here, as long as this object and its process live; two trainings would remove each other's checkpoints.

        Raises
        ------
        BlockingIOError : another process has it.
        """
        self._claims.take([""])

    def let_go(self) -> None:
        """Another process may write here."""
        self._claims.let_go()

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps (nested dicts, lists and tuples of tensors and plain data), then remove the oldest checkpoints.

        A kill at any moment leaves the earlier checkpoints and either all of this one or nothing.

        Raises
        ------
        OSError : the disk refused (it is full, say); what was written is removed and the checkpoints before it are untouched.
        BlockingIOError : another process writes its checkpoints into this folder.
        """
        self.claim()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(".*.part"):  # by a kill
                left.unlink()
            with whole_file(self.path(step)) as beside:
                _write(beside, state)
            _flush_folder(self.folder)
        except OSError as error:
            reason = f"The checkpoint of step {step} couldn't be written ({os.strerror(error.errno or 0)}); {self._last()}"
            raise OSError(error.errno, reason, str(self.folder)) from error
        self._remove_old(step)

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """Step and state, on the CPU, of the newest whole checkpoint, or None. A truncated or damaged one is warned of and the one before it taken.

        Raises
        ------
        ValueError : a checkpoint that holds more than tensors and plain data, such as code that would run on loading; or one of another format.
        """
        steps = self.steps()
        if not steps:
            self._refuse_folders()
        for step in reversed(steps):
            try:
                return step, _read(self.path(step))
            except OSError as error:
                told = f"The checkpoint {self.path(step)} is damaged ({error.strerror}); the one before it is used, or the beginning if there is none."
                warnings.warn(told, stacklevel=2)
        return None

    def _refuse_folders(self) -> None:
        found = sorted(path for path in self.folder.glob("step_*") if path.is_dir() and NAME.fullmatch(f"{path.name}.pt"))
        if found:
            raise ValueError(
                f"{found[-1]} is a checkpoint of an earlier version of sigvit, a folder, but this version reads files step_N.pt. "
                f"Go on with the version that wrote it, or take away the folders in {self.folder} to begin anew."
            )

    def _last(self) -> str:
        steps = self.steps()
        return f"the last good checkpoint is {self.path(steps[-1])}." if steps else "there is none before it."

    def _remove_old(self, step: int) -> None:
        """All but the newest `keep`; later ones than this are the damaged ones that training went back behind."""
        steps = self.steps()
        earlier = [number for number in steps if number <= step]
        for number in (set(steps) - set(earlier)) | set(earlier[: -self.keep]):
            self.path(number).unlink()


@contextmanager
def stop_on_sigterm() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGTERM has come; what SIGTERM did before is put back at the end. Outside the main thread it always says no.

    >>> with stop_on_sigterm() as stop:
    ...     before = stop()
    ...     signal.raise_signal(signal.SIGTERM)
    ...     print(before, stop())
    False True
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.set())
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(path: Path, state: dict[str, Any]) -> None:
    try:
        with path.open("w+b") as file:
            torch.save({"format": FORMAT, "state": state}, file)
            file.write(_digest(file, file.tell()))
    except RuntimeError as error:  # into which torch's writer turns a refusal of the disk
        raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def _digest(file: BinaryIO, length: int) -> bytes:
    """SHA-256 of the first so many bytes; the file stands behind them then."""
    digest = hashlib.sha256()
    file.seek(0)
    for start in range(0, length, AT_ONCE):
        digest.update(file.read(min(AT_ONCE, length - start)))
    return digest.digest()


def _flush_folder(folder: Path) -> None:
    """Renames and new names reach the disk only with their folder; Windows can't be asked for it."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _read(path: Path) -> dict[str, Any]:
    """The state; OSError: the file is damaged, or can't be read."""
    with path.open("rb") as file:
        if _digest(file, os.fstat(file.fileno()).st_size - DIGEST_BYTES) != file.read():
            raise OSError(errno.EIO, "it has another SHA-256 than was written")
        file.seek(0)
        try:
            saved = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path} holds more than tensors and plain data; it was not loaded, and nothing in it was run.") from error
    if saved["format"] != FORMAT:
        raise ValueError(f"The checkpoint {path} has the format {saved['format']!r}, but this version of sigvit reads format {FORMAT}.")
    return saved["state"]
