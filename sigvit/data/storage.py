"""Windows on disk: a folder of .npy, .json and .fif files that is there whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import time
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd

from sigvit.data.windows import Windows
from sigvit.labels import is_missing, plain_labels
from sigvit.whole_file import DAY_S

FORMAT = "sigvit windows 1"
_MANIFEST = "windows.json"


class WindowsFolder:
    """A folder of windows while it is written: beside its place, renamed when it is whole, gone where it didn't become so.

    `rows` gives arrays that grow on disk, so that a set larger than memory can be filled; `finish` writes what isn't there yet.

    Raises
    ------
    FileExistsError : something is in the folder's place already, and it isn't windows or `overwrite` wasn't asked for.
    """

    def __init__(self, folder: str | Path, overwrite: bool = False) -> None:
        self.folder = Path(folder).resolve()  # through links, which stay
        if self.folder.exists() and not overwrite:
            raise FileExistsError(f"{self.folder} is there already; give another folder, or overwrite=True to replace it.")
        if self.folder.exists() and not (self.folder / _MANIFEST).is_file():
            raise FileExistsError(f"{self.folder} holds something else than windows; it isn't overwritten.")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.beside = _beside(self.folder)

    def __enter__(self) -> WindowsFolder:
        self.beside.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.beside, ignore_errors=True)

    def rows(self, name: str, row_shape: tuple[int, ...]) -> GrowingFile:
        """Float32 rows of this shape that grow in a file of the folder; `name` is "values" or "control_values"."""
        return GrowingFile(self.beside / f"{name}.npy", row_shape)

    def finish(self, windows: Windows) -> None:
        """Writes the windows; values that grew in the folder are there already.

        Raises
        ------
        ValueError : labels or metadata that can't be read back.
        OSError : the disk is full or can't be written; what was in the folder's place before is untouched.
        """
        try:
            self._write(windows)
            _replace(self.beside, self.folder)
        except OSError as error:
            told = f"{self.folder} could not be written ({error.strerror or error}); what was there before is untouched."
            raise OSError(error.errno or errno.EIO, told) from error

    def _write(self, windows: Windows) -> None:
        import mne

        beside, labels, table = self.beside, plain_labels(windows.labels, f"windows of {windows.name}"), _table_to_json(windows.metadata)
        if labels.tolist() != windows.labels.tolist():
            raise ValueError(f"Labels must be all text or all numbers to be saved, but they are {sorted({type(label).__name__ for label in windows.labels})}.")
        for name, values in (("values", windows.values), ("control_values", windows.control_values)):
            if values is not None and not (beside / f"{name}.npy").exists():
                np.save(beside / f"{name}.npy", values)
        np.save(beside / "labels.npy", labels)
        info, names = windows.info.copy(), list(windows.electrodes)
        if not all(map(str.isascii, names)):  # a .fif file holds no others
            mne.rename_channels(info, {name: f"electrode {number}" for number, name in enumerate(names)}, verbose="ERROR")
        mne.io.write_info(beside / "electrodes-info.fif", info, verbose="ERROR")
        (beside / "metadata.json").write_text(table)
        sizes = {path.name: path.stat().st_size for path in sorted(beside.iterdir())}
        head = {"format": FORMAT, "name": windows.name, "sampling_rate": windows.sampling_rate, "filter_support_s": windows.filter_support_s}
        head["electrodes"] = names
        (beside / _MANIFEST).write_text(json.dumps({**head, "page": windows.page, "bytes": sizes}, indent=1, default=_plain))


class GrowingFile:
    """Float32 rows in a .npy file that grows on disk: what `GrowingArray` is in memory.

    >>> import tempfile
    >>> rows = GrowingFile(Path(tempfile.mkdtemp()) / "rows.npy", (2, 3))
    >>> rows.extend(5)[:] = 1
    >>> rows.extend(2)[:] = 2
    >>> rows.shorten(1)
    >>> rows.take().sum(axis=(1, 2)).tolist()
    [6.0, 6.0, 6.0, 6.0, 6.0, 12.0]
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...]) -> None:
        self.path, self.row_shape, self.n_rows = path, row_shape, 0
        self.start = self._write_header("wb")

    def extend(self, n_rows: int) -> np.ndarray:
        """A view of so many new rows at the end; it must be gone when they are shortened."""
        old, self.n_rows = self.n_rows, self.n_rows + n_rows
        self._fit()
        if n_rows == 0 or not self._row_bytes:
            return np.empty((n_rows, *self.row_shape), np.float32)
        return np.memmap(self.path, np.float32, "r+", self.start + old * self._row_bytes, (n_rows, *self.row_shape))

    def shorten(self, n_rows: int) -> None:
        """Forgets so many rows at the end."""
        self.n_rows -= n_rows
        self._fit()

    def take(self) -> np.ndarray:
        """The rows, mapped; nothing may be added after that."""
        # numpy leaves room in its headers for the number of rows.
        if self._write_header("r+b") != self.start:
            raise ValueError(f"{self.path} has more rows than its header has room for.")
        return _mapped(self.path)

    @property
    def _row_bytes(self) -> int:
        return 4 * math.prod(self.row_shape)

    def _fit(self) -> None:
        size = self.start + self.n_rows * self._row_bytes
        with self.path.open("r+b") as file:
            held = file.seek(0, os.SEEK_END)
            file.truncate(size)
            if size > held and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), held, size - held)  # a full disk is an error here, and the end of the process where a map is written

    def _write_header(self, mode: str) -> int:
        with self.path.open(mode) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (self.n_rows, *self.row_shape)}
            np.lib.format.write_array_header_1_0(file, header)
            return file.tell()


def load_windows(folder: Path) -> Windows:
    """See `Windows.load`."""
    import mne

    manifest = _read_manifest(folder)
    for file, size in manifest["bytes"].items():
        found = (folder / file).stat().st_size if (folder / file).is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise ValueError(f"{folder / file} {state}: the folder is damaged; save the windows again.")
    control = folder / "control_values.npy"
    info = mne.io.read_info(folder / "electrodes-info.fif", verbose="ERROR")
    with info._unlock():  # .fif keeps the rate in single precision
        info["sfreq"] = manifest["sampling_rate"]
    names = manifest["electrodes"]
    mne.rename_channels(info, {stored: name for stored, name in zip(info["ch_names"], names, strict=True) if stored != name}, verbose="ERROR")
    return Windows(
        _mapped(folder / "values.npy"),
        np.load(folder / "labels.npy"),
        _table_from_dict(json.loads((folder / "metadata.json").read_text())),
        info,
        manifest["filter_support_s"],
        manifest["name"],
        manifest["page"],
        _mapped(control) if "control_values.npy" in manifest["bytes"] else None,
    )


def _read_manifest(folder: Path) -> dict:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no {_MANIFEST}, so Windows.save didn't write it.") from None
    except ValueError as error:
        raise ValueError(f"{folder / _MANIFEST} is damaged ({error}); save the windows again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{folder / _MANIFEST} isn't of the format {FORMAT!r}, so this version of Windows.save didn't write it.")
    missing = [name for name in ("name", "sampling_rate", "filter_support_s", "electrodes", "page", "bytes") if name not in manifest]
    if missing:
        raise ValueError(f"{folder / _MANIFEST} lacks {', '.join(missing)}: it was edited, or an earlier sigvit wrote it; save the windows again.")
    return manifest


def _replace(beside: Path, folder: Path) -> None:
    """Renames the finished folder into place; an older one is put aside first."""
    if folder.exists():
        aside = _beside(folder)
        os.replace(folder, aside)
        os.replace(beside, folder)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        os.replace(beside, folder)
    _remove_left(folder)


def _beside(folder: Path) -> Path:
    """A new name in the same place, hidden."""
    return folder.with_name(f".{folder.name}-{uuid4().hex}")


def _remove_left(folder: Path) -> None:
    """What kills left beside it: folders in which nothing was written for a day."""
    name = re.compile(rf"\.{re.escape(folder.name)}-[0-9a-f]{{32}}")
    with suppress(OSError):  # another process removes them too
        for left in (path for path in folder.parent.iterdir() if name.fullmatch(path.name)):
            if time.time() - max(path.stat().st_mtime for path in (left, *left.iterdir())) > DAY_S:
                shutil.rmtree(left, ignore_errors=True)


def _mapped(path: Path) -> np.ndarray:
    """The array in a file, read when used; an empty one can't be mapped."""
    try:
        return np.load(path, mmap_mode="r")
    except ValueError:
        return np.load(path)


def _table_to_json(table: pd.DataFrame) -> str:
    numbers = [name for name in table.columns if not isinstance(name, str)]
    if numbers:
        raise ValueError(f"The metadata have a column {numbers[0]!r}, which would be text after loading; rename it: names of columns are text.")
    twice = table.columns[table.columns.duplicated()].tolist()
    if twice:
        raise ValueError(f"The metadata have several columns {twice[0]!r}; names of columns must differ to be saved.")
    text = json.dumps(_table_to_dict(table), default=_plain)
    for name, column in json.loads(text).items():
        try:
            loaded = pd.Series(column["values"], dtype=_dtype(column))
        except (TypeError, ValueError) as error:
            raise ValueError(f"The metadata's column {name!r} is {column['dtype']}, which can't be saved; make text or numbers of it.") from error
        _check_same(table[name], loaded)
    return text


def _check_same(column: pd.Series, loaded: pd.Series) -> None:
    """ValueError where a value isn't the same after loading; a category or text may be stored in another way."""
    if column.dtype != object and column.equals(loaded):
        return
    pairs = zip(column.astype(object), loaded.astype(object), strict=True)
    other = next(((row, value, found) for row, (value, found) in enumerate(pairs) if not _is_same(value, found)), None)
    if other is not None:
        told = "holds {1!r} in row {0}, which would be {2!r} after loading".format(*other)
        raise ValueError(f"The metadata's column {column.name!r} {told}; make text or numbers of it.")


def _is_same(value: Any, loaded: Any) -> bool:
    value = value.item() if isinstance(value, np.generic) else value
    if value is pd.NA or is_missing(value):
        return loaded is None or is_missing(loaded)
    if isinstance(value, str) and not isinstance(value, Enum):
        return bool(value == loaded)  # a package's own kind of text is text
    return type(value) is type(loaded) and (value == loaded or repr(value) == repr(loaded))  # a list that holds NaN isn't equal to itself


def _table_to_dict(table: pd.DataFrame) -> dict:
    plain = {column: [None if value is pd.NA else value for value in table[column].tolist()] for column in table}
    return {str(column): {**_kind(table[column].dtype), "values": values} for column, values in plain.items()}


def _kind(dtype: Any) -> dict[str, Any]:
    if isinstance(dtype, pd.CategoricalDtype):
        return {"dtype": "category", "categories": dtype.categories.tolist(), "ordered": bool(dtype.ordered)}
    return {"dtype": str(dtype)}


def _table_from_dict(columns: dict) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(column["values"], dtype=_dtype(column)) for name, column in columns.items()})


def _dtype(column: dict[str, Any]) -> Any:
    return pd.CategoricalDtype(column["categories"], column["ordered"]) if "categories" in column else column["dtype"]


def _plain(value: Any) -> Any:
    """JSON's own types for numpy's; text for everything else (times, paths)."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(value) if isinstance(value, tuple | set) else str(value)
