"""Files that are whole or not there: written beside their place and renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside this one to write to, which takes its place once it is written and on the disk: readers see the old file or the whole new one.

    Raises
    ------
    OSError : the disk is full or the folder can't be written; what was there before is untouched.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield beside
        with beside.open("r+b") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"{path} could not be written ({error.strerror}); what was there before is untouched.") from error
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a text (UTF-8, its line ends as they are) or bytes as a `whole_file`."""
    with whole_file(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
