"""Windows: equally long cuts of recordings, with what is known of each; numpy and pandas only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from sigvit.data.joining import NewRows

METADATA_COLUMNS = ("subject", "session", "run", "recording", "start_s", "stop_s", "trial", "label")


@dataclass
class Windows:
    """A labelled set of windows.

    Attributes
    ----------
    values : float32 (windows, electrodes, samples), volts. May be memory-mapped.
    labels : (windows,) class names or integers, as they were given.
    metadata : one row a window: subject, session, run, recording, start_s, stop_s, trial, label, and any further columns.
        `recording` names one unbroken clock; `start_s` and `stop_s` are seconds on it, NaN where the source doesn't tell (then row order isn't time either).
        `trial` numbers what was cut, within its recording: two windows of one trial share it.
        `shipped`, where there is one, is "train", "validation" or "test" as the source splits it.
    info : the `mne.Info` of the electrodes.
    filter_support_s : how far to each side earlier filters smear a sample, in seconds.
    name : the dataset's name.
    page : plain data: what the dataset's page says (title, task, licence, citation).
    control_values : float32 (windows, electrodes, samples) before the cue, or None: a score from them shows what isn't the task.

    Raises
    ------
    ValueError : values that aren't float32 of three axes, or labels, metadata, electrodes and control values that don't fit them.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> windows = synthetic_windows(n_subjects=2)
    >>> len(windows), windows.electrodes, windows.sampling_rate, windows[windows.metadata.subject == "02"].values.shape
    (40, ('C3', 'Cz', 'C4'), 64.0, (20, 3, 67))
    """

    values: np.ndarray
    labels: np.ndarray
    metadata: pd.DataFrame
    info: Any
    filter_support_s: float = 0.0
    name: str = "arrays"
    page: dict = field(default_factory=dict)
    control_values: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.dtype != np.float32:
            raise ValueError(f"Windows hold float32 (windows, electrodes, samples), but got {self.values.dtype} of shape {self.values.shape}.")
        # Labels and metadata are in the windows' order, whatever index they bring along.
        self.labels, self.metadata = np.asarray(self.labels), self.metadata.reset_index(drop=True)
        if len(self.labels) != len(self.values) or len(self.metadata) != len(self.values):
            raise ValueError(f"There are {len(self.values)} windows, but {len(self.labels)} labels and {len(self.metadata)} rows of metadata.")
        if len(self.electrodes) != self.values.shape[1]:
            raise ValueError(f"The info names {len(self.electrodes)} electrodes, but the values of {self.name} are {self.values.shape}.")
        missing = [column for column in METADATA_COLUMNS if column not in self.metadata]
        if missing:
            raise ValueError(f"The metadata lack the columns {missing}; sigvit.windows_from_arrays fills in what isn't known.")
        if self.control_values is not None and self.control_values.shape[:2] != self.values.shape[:2]:
            raise ValueError(f"The control values have shape {self.control_values.shape}, the values {self.values.shape}: windows and electrodes must agree.")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(windows, electrodes, samples)."""
        return self.values.shape

    @property
    def classes(self) -> tuple:
        """The different labels, sorted."""
        return tuple(np.unique(self.labels).tolist())

    @property
    def sampling_rate(self) -> float:
        """Hz."""
        return float(self.info["sfreq"])

    @property
    def electrodes(self) -> tuple[str, ...]:
        return tuple(self.info["ch_names"])

    def __getitem__(self, rows: Any) -> Windows:
        """The windows of these rows: numbers, a slice, a boolean array, or a boolean column of the metadata, which is read by its index.

        Raises
        ------
        ValueError : rows of another shape, or a boolean column whose index isn't that of the metadata.
        """
        if isinstance(rows, tuple) and len(rows) == 2 and rows[1] is Ellipsis:
            rows = rows[0]  # as scikit-learn takes rows of what has a shape
        if isinstance(rows, tuple) or np.ndim(rows) != (0 if isinstance(rows, slice) else 1):
            raise ValueError(f"Rows of windows are a list, an array or a slice, but here is {rows!r:.60}; windows[[3]] is the set of one window.")
        rows = rows if isinstance(rows, slice) else plain_rows(rows, self.metadata.index)
        control = None if self.control_values is None else self.control_values[rows]
        return Windows(self.values[rows], self.labels[rows], self.metadata.iloc[rows], self.info, self.filter_support_s, self.name, self.page, control)

    def row_hashes(self) -> list[str]:
        """SHA-256 of every window's bytes: equal signals under two names have equal hashes."""
        return [hashlib.sha256(np.ascontiguousarray(window).tobytes()).hexdigest() for window in self.values]

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Writes all of it to a folder, from which `Windows.load` maps the values: .npy, .json and .fif files.

        The folder is written beside and renamed, so that a kill leaves either the whole set under this name or none.

        Raises
        ------
        FileExistsError : the folder is there and `overwrite` wasn't asked for.
        ValueError : labels or metadata that `load` couldn't give back, such as a column of intervals, tuples or dates that aren't pandas' own.
        """
        from sigvit.data.storage import WindowsFolder

        with WindowsFolder(Path(folder), overwrite) as written:
            written.finish(self)

    @classmethod
    def load(cls, folder: str | Path) -> Windows:
        """The windows that `save` wrote; the values stay on disk and are read when used.

        Raises
        ------
        ValueError : the folder isn't one that `save` wrote, or one of its files is cut short, damaged or missing.
        """
        from sigvit.data.storage import load_windows

        return load_windows(Path(folder))


def plain_rows(rows: Any, index: pd.Index) -> np.ndarray:
    """Row numbers or a boolean array, whatever holds them; a boolean Series says by its index which rows of the table it means, as in pandas.

    Raises
    ------
    ValueError : a boolean Series with gaps, or whose index isn't that of the table, in whatever order.

    >>> plain_rows(pd.Series([True, False, False], index=[2, 0, 1]), pd.RangeIndex(3))
    array([False, False,  True])
    """
    if not pd.api.types.is_bool_dtype(getattr(rows, "dtype", None)):
        numbers = np.asarray(rows)
        return numbers if numbers.size else np.empty(0, np.int64)
    if isinstance(rows, pd.Series) and not rows.index.equals(index):
        if not (rows.index.is_unique and index.is_unique and len(rows) == len(index) and index.isin(rows.index).all()):
            raise ValueError(f"The boolean column of {len(rows)} rows has another index than the table of {len(index)} rows; make it of that table's columns.")
        rows = rows.reindex(index)
    if np.any(pd.isna(rows)):
        raise ValueError("The boolean column has gaps, which say neither yes nor no; fillna(False) leaves those rows out.")
    return np.asarray(rows, dtype=bool)


def concatenate(parts: Iterable[Windows], name: str | None = None, page: dict | None = None, new_rows: NewRows | None = None) -> Windows:
    """One set from many, such as one a recording; given a generator, no part need stay in memory beside the result.

    `new_rows` says where the values grow, such as `sigvit.data.storage.WindowsFolder.rows`; None: in memory.
    Electrodes are brought into the order of the first part. The filter support is the longest of all; name and page are the first part's unless given,
    but `page["recordings"]` and `page["dropped"]` tell of all parts, and `page["cut"]["reject_v"]` is "autoreject" where any part's is. Parts that don't
    state the same citation have none together: whose recordings these are is not said of all. An electrode is marked bad in the info where all parts that
    have windows mark it.

    Raises
    ------
    ValueError : no parts, or parts that differ in electrodes, sampling rate, samples a window or in whether they have control values; recordings named.
        Labels of parts that would become one, as 1 and "1".

    Warns
    -----
    UserWarning : some parts mark an electrode as bad that others don't.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> windows = synthetic_windows()
    >>> len(concatenate([windows[:7], windows[7:]])) == len(windows)
    True
    """
    from sigvit.data.joining import Joining, joint_page, rows_in_memory

    held: list[Windows] = []  # one part alone is the result, without a copy
    joining, heads = Joining(new_rows or rows_in_memory), []
    for part in parts:
        heads.append((part.name, part.page))
        held.append(part)
        del part  # its memory is free before the next is made
        while held and (new_rows is not None or len(heads) > 1):
            joining.add(held.pop(0))
    if not heads:
        raise ValueError("There are no windows to concatenate; give at least one set.")
    whole = held[0] if held else joining.finish(heads[0][0], joint_page([page for _, page in heads]))
    return replace(whole, name=name or whole.name, page=whole.page if page is None else page)


def abridged(names: Sequence, most: int = 8) -> str:
    """The first names, and how many more.

    >>> abridged(["a", "b", "c", "d", "e", "f"], 4)
    'a, b, c, d and 2 more'
    """
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
