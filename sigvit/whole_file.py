"""Files that are whole or not there: written beside their place and renamed."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

PART = re.compile(r"\.[0-9a-f]{32}\.part")
# No writing lasts so long: a part that is older was left by a kill.
DAY_S = 86_400.0


@contextmanager
def whole_file(path: Path, place: Callable[[Path, Path], object] = os.replace) -> Iterator[Path]:
    """A path beside this one to write to, which takes its place once it is written and on the disk: readers see the old file or the whole new one.

    `place` brings it there, such as `link_first`, which leaves an old one. Parts of a day ago, which a kill left, are removed.

    Raises
    ------
    OSError : the disk is full or the folder can't be written; what was there before is untouched.
    """
    _remove_left(path.parent.absolute())
    beside = path.with_name(f".{uuid4().hex}.part")
    try:
        yield beside
        with beside.open("r+b") as file:
            os.fsync(file.fileno())
        place(beside, path)
    except OSError as error:
        raise OSError(error.errno, f"{path} could not be written ({error.strerror}); what was there before is untouched.") from error
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a text (UTF-8, its line ends as they are) or bytes as a `whole_file`."""
    with whole_file(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def link_first(beside: Path, path: Path) -> None:
    """Give the file this name as well; of processes that do so at once one is the first. FileExistsError: another was."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.replace(beside, path)


@cache  # once a process: a folder of thousands of fits isn't listed for each
def _remove_left(folder: Path) -> None:
    with suppress(OSError):  # another process removes them too
        for entry in os.scandir(folder):
            if PART.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > DAY_S:
                os.unlink(entry)
