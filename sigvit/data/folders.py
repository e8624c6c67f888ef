"""Folders and the files in them; hidden folders are passed over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def visible_folders(top: Path) -> Iterator[tuple[str, list[str]]]:
    """`top` and the folders below it with their files, each folder once: links are followed after all else, so that one to a folder around it ends."""
    waiting, seen = [str(top)], set()
    while waiting:
        for place, folders, files in os.walk(waiting.pop(0)):
            folders[:] = sorted(name for name in folders if not name.startswith("."))  # the first of two links to a folder is taken, on every file system
            if os.path.realpath(place) in seen:
                folders.clear()
                continue
            seen.add(os.path.realpath(place))
            waiting += [path for name in folders if os.path.islink(path := os.path.join(place, name))]
            yield place, files


def linked_folders(top: Path | str, around: frozenset[str] = frozenset()) -> Iterator[tuple[str, list[str]]]:
    """`top` and the folders below it with their files, by every link to them; one to a folder `around` it ends there."""
    here = os.path.realpath(top)
    if here in around:
        return
    place, folders, files = next(os.walk(top), (str(top), [], []))
    yield place, files
    for name in sorted(folders):
        if not name.startswith("."):
            yield from linked_folders(os.path.join(place, name), around | {here})
