"""Images from parquet files as Hugging Face's `datasets` writes them, here or far away, read in a random order without reading everything.

A parquet file is made of row groups, each of which can be fetched alone. An epoch's order shuffles the row groups, takes `BLOCK` of them at a
time and shuffles all rows of these: it is a pure function of (seed, epoch), nothing is kept between steps, and going on at any step costs the
row groups of one block (two, where a batch reaches into the next), not what the epoch had read before. A stream with a shuffle buffer would have to be
read again from the epoch's start. The price: images that share a row group stay within a block of each other, so files sorted by class need
many small row groups or a larger block.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from sigvit.data.images import Images

BLOCK = 8  # row groups that are shuffled together
PARTS = {"train": ("train", "training"), "test": ("test", "validation", "val")}  # what files of a split are named after, the first that is found


class ParquetFiles:
    """Encoded images in the row groups of parquet files; the last `BLOCK` + 1 row groups read are kept."""

    def __init__(self, system: Any, paths: Sequence[str], column: str, block: int = BLOCK) -> None:
        self.paths, self.column, self.block = tuple(paths), column, block
        self._files = [_opened(system, path) for path in paths]
        self._places = [(file, number) for file, opened in enumerate(self._files) for number in range(opened.num_row_groups)]
        self._starts = np.cumsum([0, *(self._files[file].metadata.row_group(number).num_rows for file, number in self._places)])
        self._kept: OrderedDict[int, Any] = OrderedDict()
        # A parquet file's reader isn't safe to use from several threads.
        self._lock = threading.Lock()

    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        found: dict[int, bytes] = {}
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        with self._lock:
            for group in dict.fromkeys(groups.tolist()):
                column = self._group(group)
                for row in (row for row, of in zip(rows, groups, strict=True) if of == group):
                    found[row] = self._bytes(column[row - int(self._starts[group])].as_py(), row)
        return [found[row] for row in rows]

    def name(self, row: int) -> str:
        group = int(np.searchsorted(self._starts, row, side="right") - 1)
        file = self._places[group][0]
        first = self._starts[next(number for number, place in enumerate(self._places) if place[0] == file)]
        return f"row {row - int(first)} of {self.paths[file]}"

    def order(self, generator: np.random.Generator) -> np.ndarray:
        groups = generator.permutation(len(self._places))
        blocks = [groups[first : first + self.block] for first in range(0, len(groups), self.block)]
        return np.concatenate([generator.permutation(np.concatenate([self._rows(group) for group in block])) for block in blocks])

    def described(self) -> str:
        sizes = [self._files[file].metadata.row_group(number).total_byte_size for file, number in self._places]
        return repr(([path.rpartition("/")[2] for path in self.paths], self._starts.tolist(), sizes))

    def labels(self, column: str) -> list[Any]:
        """The label column of all files; no image is read for it."""
        found: list[Any] = []
        for path, file in zip(self.paths, self._files, strict=True):
            with _named(path):
                found += file.read(columns=[column]).column(column).to_pylist()
        return found

    def _rows(self, group: int) -> np.ndarray:
        return np.arange(self._starts[group], self._starts[group + 1])

    def _group(self, group: int) -> Any:
        if group not in self._kept:
            file, number = self._places[group]
            with _named(self.paths[file]):
                self._kept[group] = self._files[file].read_row_group(number, columns=[self.column]).column(0)
            while len(self._kept) > self.block + 1:
                self._kept.popitem(last=False)
        self._kept.move_to_end(group)
        return self._kept[group]

    def _bytes(self, cell: Any, row: int) -> bytes:
        """An Image feature is {"bytes", "path"}; a plain binary column is the bytes alone."""
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not data:
            raise ValueError(f"{self.name(row)} holds no bytes of an image (a path alone doesn't travel); write the images into the parquet file.")
        return data


def _opened(system: Any, path: str) -> Any:
    from pyarrow import parquet

    with _named(path):
        return parquet.ParquetFile(system.open(path, "rb"))


@contextmanager
def _named(path: str) -> Iterator[None]:
    """A file that can't be read is a ValueError that names it: pyarrow's errors don't."""
    from pyarrow import ArrowInvalid

    try:
        yield
    except (ArrowInvalid, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{path} can't be read: {reason}. If it is cut short or damaged, fetch it again or take it out of the set.") from error


def parquet_images(
    pattern: str, split: str = "train", channels: int = 3, image_column: str = "image", label_column: str = "label", block: int = BLOCK
) -> Images:
    """The images of parquet files with a column of images ({bytes, path}, or bytes) and one of labels (ClassLabel, whole numbers, or text).

    Parameters
    ----------
    pattern : a path with wildcards, or a folder; any address that fsspec knows, such as hf://datasets/OWNER/NAME/data. {split} stands for the split's
        name (for "test" also validation or val). Without it, the files that are named after the split are taken (train-0.parquet), so that no file is
        both trained on and tested; files that a pattern finds and that name no split are for training.
    block : row groups that are shuffled together, and kept in memory.

    Raises
    ------
    ValueError : no files, no such columns, labels that are missing or of another kind.
    """
    system, paths = _paths(pattern, split)
    if not paths:
        raise ValueError(
            f"There are no parquet files of the {split} part at {pattern}: name them after it, as {split}-0.parquet, or put {{split}} where the parts differ."
        )
    files = ParquetFiles(system, paths, image_column, block)
    names = _class_names(files, image_column, label_column)
    labels, classes = _numbered(files.labels(label_column), names, f"{pattern} ({label_column})")
    return Images(labels, classes, None, channels, f"{pattern} ({split})", files)


def _paths(pattern: str, split: str) -> tuple[Any, list[str]]:
    """The file system and the files of one part. Without {split} their names tell the parts apart, and a file that names none is for training."""
    import fsspec

    if "{split}" in pattern:
        found = [fsspec.core.url_to_fs(pattern.format(split=name)) for name in PARTS[split]]
        return found[0][0], next((paths for system, path in found if (paths := sorted(system.glob(path)))), [])
    system, path = fsspec.core.url_to_fs(pattern)
    folder = system.isdir(path)
    paths = sorted(system.glob(f"{path.rstrip('/')}/**/*.parquet" if folder else path))
    named = [part for name in PARTS[split] if (part := [path for path in paths if _names(path, name)])]
    if named or folder or split == "test":
        return system, named[0] if named else []
    return system, [path for path in paths if not any(_names(path, name) for names in PARTS.values() for name in names)]


def _names(path: str, part: str) -> bool:
    """Whether a file's name holds this word: "test" stands in test-0.parquet, not in latest.parquet."""
    return re.search(rf"(?<![a-z]){part}(?![a-z])", path.rpartition("/")[2].lower()) is not None


def _class_names(files: ParquetFiles, image_column: str, label_column: str) -> list[str] | None:
    """The names of a ClassLabel column, None for other columns; all files must have the same columns."""
    from datasets import ClassLabel, Features  # type: ignore[attr-defined]  # type checkers see the checkout's folder of pages

    schemas = [file.schema_arrow for file in files._files]
    for path, schema in zip(files.paths, schemas, strict=True):
        missing = {image_column, label_column} - set(schema.names)
        if missing:
            raise ValueError(f"{path} has no column {' or '.join(sorted(missing))}; it has {', '.join(schema.names)}.")
    features = [Features.from_arrow_schema(schema)[label_column] for schema in schemas]
    names = [feature.names if isinstance(feature, ClassLabel) else None for feature in features]
    other = next((number for number, classes in enumerate(names) if classes != names[0]), None)
    if other is not None:
        raise ValueError(f"{files.paths[0]} and {files.paths[other]} name different classes; they are no parts of one set.")
    return names[0]


def _numbered(labels: list[Any], names: list[str] | None, source: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers and names: those of the file, else the texts in sorted order, else the numbers up to the largest."""
    if any(label is None for label in labels):
        raise ValueError(f"{source}: {sum(label is None for label in labels)} of {len(labels)} labels are missing.")
    if labels and all(isinstance(label, str) for label in labels):
        classes = sorted(set(labels))
        return np.searchsorted(classes, labels), tuple(classes)
    if not all(isinstance(label, int) for label in labels):
        raise ValueError(f"{source}: labels are {type(labels[0]).__name__}; they should be a ClassLabel, whole numbers or text.")
    numbers = np.array(labels, dtype=np.int64)
    return numbers, tuple(names or (str(number) for number in range(int(numbers.max(initial=-1)) + 1)))
