"""Checkpoints that survive a kill at any moment: written beside, flushed to the disk, renamed; and the orderly end on SIGTERM.

A checkpoint is a folder `step_00000120` with `state.pt` (tensors and plain data, read without unpickling code) and `manifest.json` (length and SHA-256
of the former). A folder that carries another name is unfinished and is never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sigvit.training.claims import Claims

FORMAT = 1
NAME = re.compile(r"step_(\d{8,})")


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
        return self.folder / f"step_{step:08d}"

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

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps (nested dicts, lists and tuples of tensors and plain data), then remove the oldest checkpoints.

        A kill at any moment leaves the earlier checkpoints and either all of this one or nothing.

        Raises
        ------
        OSError : the disk refused (it is full, say); what was written is removed and the checkpoints before it are untouched.
        BlockingIOError : another process writes its checkpoints into this folder.
        """
        self.claim()
        unfinished = self.folder / f"{self.path(step).name}.unfinished"
        try:
            self._remove_unfinished()
            unfinished.mkdir(parents=True)
            _write(unfinished, step, state)
            self._replace(unfinished, self.path(step))
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise OSError(error.errno, f"The checkpoint of step {step} couldn't be written ({error.strerror}); {self._last()}", str(self.folder)) from error
        self._remove_old(step)

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """Step and state, on the CPU, of the newest whole checkpoint, or None. A truncated or damaged one is warned of and the one before it taken.

        Raises
        ------
        ValueError : a checkpoint that holds more than tensors and plain data, such as code that would run on loading; or one of another format.
        """
        for step in reversed(self.steps()):
            fault = _fault(self.path(step))
            if fault is None:
                return step, _read(self.path(step) / "state.pt")
            warnings.warn(f"The checkpoint {self.path(step)} is damaged ({fault}); the one before it is used, or the beginning if there is none.", stacklevel=2)
        return None

    def _last(self) -> str:
        steps = self.steps()
        return f"the last good checkpoint is {self.path(steps[-1])}." if steps else "there is none before it."

    def _replace(self, unfinished: Path, path: Path) -> None:
        """Rename; what is already there was refused as damaged, or is the same."""
        if path.exists():
            self._discard(path)
        os.rename(unfinished, path)
        _flush_folder(self.folder)

    def _discard(self, path: Path) -> None:
        """Rename, then remove, so that a kill in between leaves no half a checkpoint under a good name."""
        gone = path.with_name(f"{path.name}.removed")
        shutil.rmtree(gone, ignore_errors=True)
        os.rename(path, gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _remove_old(self, step: int) -> None:
        """All but the newest `keep`; later ones than this are the damaged ones that training went back behind."""
        steps = self.steps()
        earlier = [number for number in steps if number <= step]
        for number in (set(steps) - set(earlier)) | set(earlier[: -self.keep]):
            self._discard(self.path(number))

    def _remove_unfinished(self) -> None:
        for pattern in ("step_*.unfinished", "step_*.removed"):
            for path in self.folder.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)


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


class _HashedFile:
    """A file that counts and hashes what is written. It keeps a refusal of the disk for later: torch's writer would turn it into another error."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.length, self.hash = file, 0, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self.file.write(data)
            except OSError as error:
                self.error = error
        self.hash.update(data)
        self.length += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing; `_write` flushes once, at the end."""


def _write(folder: Path, step: int, state: dict[str, Any]) -> None:
    with open(folder / "state.pt", "wb") as file:
        hashed = _HashedFile(file)
        torch.save(state, hashed)  # type: ignore[arg-type]  # a file by what it can do, not by its class
        if hashed.error is not None:
            raise hashed.error
        _flush(file)
    manifest = {"format": FORMAT, "step": step, "length": hashed.length, "sha256": hashed.hash.hexdigest()}
    with open(folder / "manifest.json", "wb") as file:
        file.write(json.dumps(manifest).encode())
        _flush(file)
    _flush_folder(folder)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Renames and new names reach the disk only with their folder; Windows can't be asked for it."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _fault(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        length, sha256, version = manifest["length"], manifest["sha256"], manifest["format"]
        found = (path / "state.pt").stat().st_size
        if found != length:
            return f"state.pt has {found} bytes instead of {length}"
        with open(path / "state.pt", "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return "state.pt has another SHA-256 than was written"
    except OSError as error:
        return f"{Path(error.filename).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return "manifest.json can't be read"
    if version != FORMAT:
        raise ValueError(f"The checkpoint {path} has the format {version!r}, but this version of sigvit reads format {FORMAT}.")
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise ValueError(f"{path} holds more than tensors and plain data, or isn't a checkpoint; it was not loaded, and nothing in it was run.") from error
