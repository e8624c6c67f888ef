"""One set of windows that grows from parts, such as one a recording: values in place, in the order of the first part's electrodes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from sigvit.data.windows import Windows, abridged
from sigvit.labels import plain_labels


class GrowingArray:
    """Float32 rows that grow in place, so that filling an array from many recordings needs no second one.

    >>> rows = GrowingArray((2, 3))
    >>> rows.extend(5)[:] = 1
    >>> rows.extend(2)[:] = 2
    >>> rows.take().shape
    (7, 2, 3)
    """

    def __init__(self, row_shape: tuple[int, ...]) -> None:
        self._rows = np.empty((0, *row_shape), np.float32)

    def extend(self, n_rows: int) -> np.ndarray:
        """A view of so many new rows at the end; it must be gone when the array grows again."""
        old = len(self._rows)
        # The allocator moves the pages of large blocks instead of copying them; nothing else refers to them.
        self._rows.resize((old + n_rows, *self._rows.shape[1:]), refcheck=False)
        return self._rows[old:]

    def shorten(self, n_rows: int) -> None:
        """Forgets so many rows at the end."""
        self._rows.resize((len(self._rows) - n_rows, *self._rows.shape[1:]), refcheck=False)

    def take(self) -> np.ndarray:
        """The array itself; nothing may be added after that."""
        return self._rows


class Rows(Protocol):
    """Float32 rows that grow: `GrowingArray` in memory, `sigvit.data.storage.GrowingFile` on disk."""

    def extend(self, n_rows: int) -> np.ndarray: ...
    def shorten(self, n_rows: int) -> None: ...
    def take(self) -> np.ndarray: ...


NewRows = Callable[[str, tuple[int, ...]], Rows]


def rows_in_memory(name: str, row_shape: tuple[int, ...]) -> Rows:
    """Where values and control values grow unless something else is asked for."""
    return GrowingArray(row_shape)


class Joining:
    """A set that grows: `order` tells where a part's electrodes belong, its samples go into `values` and `control`, and `close` takes what is known of them."""

    def __init__(self, new_rows: NewRows = rows_in_memory) -> None:
        self.new_rows = new_rows
        self.first: tuple[str, Any, int, int | None] | None = None
        self.tables: list[pd.DataFrame] = []
        self.labels: list[np.ndarray] = []
        self.bads: list[tuple[str, Sequence[str]]] = []
        self.support_s = 0.0

    def add(self, part: Windows) -> None:
        """All of a set that is there already."""
        recordings, control = abridged(part.metadata["recording"].unique().tolist(), 3), part.control_values
        order = self.order(f"{part.name} ({recordings})", part.info, part.values.shape[2], None if control is None else control.shape[2])
        which = slice(None) if order == sorted(order) else order
        self.values.extend(len(part))[:] = part.values[:, which]
        if self.control is not None and control is not None:
            self.control.extend(len(part))[:] = control[:, which]
        self.close(part.metadata, part.labels, recordings, part.info["bads"], part.filter_support_s)

    def order(self, where: str, info: Any, n_times: int, n_control: int | None) -> list[int]:
        """Where the first part's electrodes are in this one, whose `info` (mne.Info) tells them; the arrays start at the first.

        Raises
        ------
        ValueError : the two don't fit: rates, samples of windows or of control values, electrodes.
        """
        if self.first is None:
            self.first = (where, info, n_times, n_control)
            self.values = self.new_rows("values", (len(info["ch_names"]), n_times))
            self.control = None if n_control is None else self.new_rows("control_values", (len(info["ch_names"]), n_control))
        earlier, common, *lengths = self.first
        both = f"{where} and {earlier}"
        if info["sfreq"] != common["sfreq"]:
            rates = f"{info['sfreq']:g} and {common['sfreq']:g} Hz"
            raise ValueError(f"The sampling rates of {both} differ: {rates}; resample both to one rate (resample_hz=…), or leave one out.")
        if n_times != lengths[0]:
            raise ValueError(f"The windows of {both} differ in length: {n_times} and {lengths[0]} samples.")
        if n_control != lengths[1]:
            raise ValueError(f"The control values of {both} differ: {n_control} and {lengths[1]} samples.")
        different = sorted(set(info["ch_names"]) ^ set(common["ch_names"]))
        if different:
            raise ValueError(f"The electrodes {different} are only in one of {both}; name those in common with electrodes=….")
        return [info["ch_names"].index(name) for name in common["ch_names"]]

    def close(self, table: pd.DataFrame, labels: np.ndarray, where: str, bad: Sequence[str], support_s: float) -> None:
        """Metadata and labels of the rows that a part added, its bad electrodes, and how far filters smear there."""
        self.tables.append(table)
        self.labels.append(labels)
        self.bads.append((where, bad))
        self.support_s = max(self.support_s, support_s)

    def finish(self, name: str, page: dict) -> Windows:
        """The set; nothing may be added after that."""
        assert self.first is not None, "somebody added a part"
        filled = [number for number, table in enumerate(self.tables) if len(table)] or range(len(self.tables))
        table = pd.concat([self.tables[number] for number in filled], ignore_index=True)
        parts = [self.labels[number] for number in filled]
        labels = np.concatenate(parts)
        if len({part.dtype.kind for part in parts}) > 1:
            table["label"] = labels = plain_labels([label for part in parts for label in part.tolist()], f"windows of {name}")
        info = _with_shared_bads(self.first[1], [self.bads[number] for number in filled])
        control = None if self.control is None else self.control.take()
        return Windows(self.values.take(), labels, table, info, self.support_s, name, page, control)


def _with_shared_bads(info: Any, bads: Sequence[tuple[str, Sequence[str]]]) -> Any:
    """The Info of a joined set of (recording, its bad electrodes): marked are those that all mark; of the others a warning tells."""
    marks = {name: [where for where, bad in bads if name in bad] for name in info["ch_names"]}
    partly = [f"{name} (in {abridged(where, 3)})" for name, where in marks.items() if 0 < len(where) < len(bads)]
    if partly:
        told = f"Some recordings mark electrodes as bad that others don't: {abridged(partly)}"
        warnings.warn(f"{told}. In the joined set these count as good; leave them or the recordings out, or interpolate them.", stacklevel=6)
    shared = [name for name, where in marks.items() if len(where) == len(bads)]
    if shared != info["bads"]:
        info = info.copy()
        info["bads"] = shared
    return info


def joint_page(pages: list[dict]) -> dict:
    """The first page, with what all pages say of recordings, dropped windows and the limit that dropped them."""
    told: list[list[dict]] = []
    for page in pages:
        mine = [page.get(key) or {} for key in ("recordings", "dropped", "cut")]
        if mine not in told:  # parts of one set have one page
            told.append(mine)
    joint = dict(pages[0])
    if any(page.get("citation") != joint.get("citation") for page in pages):
        joint.pop("citation", None)  # one for all would call the others' people somebody else
    if len(told) == 1:
        return joint
    if any(recordings for recordings, _, _ in told):
        joint["recordings"] = {name: note for recordings, _, _ in told for name, note in recordings.items()}
    if dropped := [each for _, each, _ in told if each]:
        reasons = sum((Counter(each["reasons"]) for each in dropped), Counter())
        joint["dropped"] = {key: sum(each[key] for each in dropped) for key in ("planned", "kept")}
        joint["dropped"] |= {"reasons": dict(reasons.most_common()), "windows": [window for each in dropped for window in each["windows"]]}
    if limits := [cut["reject_v"] for _, _, cut in told if "reject_v" in cut]:
        joint["cut"] = {**(pages[0].get("cut") or {}), "reject_v": "autoreject" if "autoreject" in limits else limits[0]}
    return joint
