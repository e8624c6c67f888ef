"""Groups: what a metadata table says of each row, as text and as integer codes, checked once for every room that divides or judges."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.stats.contingency import crosstab

from sigvit.data.windows import METADATA_COLUMNS
from sigvit.labels import text_of

NAMED = ("subject", "session", "run", "recording", "trial", "label")


@dataclass(frozen=True, eq=False)
class Groups:
    """One entry a row. Codes are int64 and number the groups in natural order ("2" before "10").

    Attributes
    ----------
    names : column → text of every row, as `folds.csv` has it: equal text is one group, whatever the type was.
    subject, recording, label : codes of the plain columns.
    session, run : codes of (subject, session) and of (subject, session, run): session "1" of two subjects is two sessions.
    trial : codes of (recording, trial).
    start_s, stop_s : float64 seconds on the recording's clock, NaN where the source doesn't tell.
    clocked : whether every window of the row's recording has a clock.
    plain : "subject", "session", "run" → codes where names that differ only in how they are written (`plain_name`) are one.
    missing : columns that the table lacks and that stand empty here (only where the reader asked for that).
    """

    names: dict[str, np.ndarray]
    subject: np.ndarray
    session: np.ndarray
    run: np.ndarray
    recording: np.ndarray
    trial: np.ndarray
    label: np.ndarray
    start_s: np.ndarray
    stop_s: np.ndarray
    clocked: np.ndarray
    plain: dict[str, np.ndarray]
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.subject)

    @cached_property
    def classes(self) -> list[str]:
        """Class names in the order of their codes."""
        return self.distinct("label", np.arange(len(self)))

    def distinct(self, column: str, rows: np.ndarray) -> list[str]:
        """The different names of these rows, in natural order."""
        return sorted(set(self.names[column][rows].tolist()), key=natural_key)

    @cached_property
    def label_follows_recording(self) -> bool:
        """Whether every recording holds one class only, where shuffled labels would do so less than once in a hundred times."""
        trials, first = np.unique(self.trial, return_index=True)
        table = crosstab(self.recording[first], self.label[first]).count
        if (self.recording.max() == 0) or (table.shape[1] < 2) or ((table > 0).sum(axis=1) > 1).any():
            return False
        share = table.sum(axis=0) / len(trials)
        return bool(np.log((share ** table.sum(axis=1, keepdims=True)).sum(axis=1)).sum() < np.log(0.01))


def natural_key(name: str) -> tuple:
    """Sort key under which numbers inside names count as numbers.

    >>> sorted(["s10", "s2", "s02"], key=natural_key)
    ['s02', 's2', 's10']
    """
    parts = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]
    return parts, name


def plain_name(name: str) -> str:
    """The name without what people write in two ways.

    >>> plain_name("sub-01") == plain_name("1 ") == plain_name("1"), plain_name("S 02"), plain_name("1 0") == plain_name("10")
    (True, 's2', False)
    >>> plain_name("Jose\u0301") == plain_name("José"), plain_name("0.05"), plain_name("01.5")
    (True, '0.05', '1.5')
    """
    # A space between two digits tells "1 2" from "12"; any other is one of writing.
    joined = re.sub(r"(?<!\d) | (?!\d)", "", " ".join(unicodedata.normalize("NFKC", name).casefold().split()))
    bare = re.sub(r"^(sub|ses|run)-(?=.)", "", joined)
    # Zeros behind a decimal point are no leading ones.
    return re.sub(r"(?<!\d)(?<!\d\.)0+(?=\d)", "", bare)


def read_groups(metadata: pd.DataFrame, may_lack: tuple[str, ...] = ()) -> Groups:
    """The groups of a metadata table.

    Parameters
    ----------
    metadata : one row a window, with the columns of `Windows.metadata`.
    may_lack : columns that may be missing. Without `recording` it is subject/session/run; without `trial` every row is one; without clock or
        label these are unknown.

    Raises
    ------
    ValueError : not a table, no rows, a column or a value missing, a name with a line break, or an interval that ends before it starts.
    """
    if not isinstance(metadata, pd.DataFrame):
        raise ValueError(f"The metadata is a {type(metadata).__name__}; give a pandas DataFrame with the columns {', '.join(METADATA_COLUMNS)}.")
    if len(metadata) == 0:
        raise ValueError("The metadata table has no rows; an empty window set can't be divided into folds.")
    missing = tuple(column for column in METADATA_COLUMNS if column not in metadata.columns)
    refused = [column for column in missing if column not in may_lack]
    if refused:
        raise ValueError(f"The metadata lacks {', '.join(map(repr, refused))}; it has {', '.join(map(repr, metadata.columns))}. Folds need every group named.")
    names = {column: _names(metadata[column], column) for column in NAMED if column not in missing}
    _fill(names, len(metadata))
    start_s, stop_s = _interval(metadata, missing)
    codes = {column: _codes(names[column]) for column in NAMED}
    session = _joint(codes["subject"], codes["session"])
    unclocked = np.unique(codes["recording"][np.isnan(start_s)])
    return Groups(
        names=names,
        subject=codes["subject"],
        session=session,
        run=_joint(session, codes["run"]),
        recording=codes["recording"],
        trial=_joint(codes["recording"], codes["trial"]),
        label=codes["label"],
        start_s=start_s,
        stop_s=stop_s,
        clocked=~np.isin(codes["recording"], unclocked),
        plain=_plain(names),
        missing=missing,
    )


def _names(column: pd.Series, name: str) -> np.ndarray:
    """The column as text; factorised first, so that each different value is written once."""
    codes, values = pd.factorize(column.astype(object))
    if (codes < 0).any():
        raise ValueError(f"Column {name!r} has no value in row {int(np.argmax(codes < 0))}; every row needs its {name} named.")
    texts = [text_of(value) for value in values]
    broken = [text for text in texts if "\n" in text or "\r" in text or "\0" in text]
    if broken:
        raise ValueError(f"Column {name!r} holds {broken[0]!r}; a name can't have a line break or a null character.")
    return np.array(texts, dtype=object)[codes]


def _fill(names: dict[str, np.ndarray], n_rows: int) -> None:
    """Stand-ins for the columns that may be missing."""
    for column in ("subject", "session", "run", "label"):
        names.setdefault(column, np.array([""] * n_rows, dtype=object))
    if "recording" not in names:
        names["recording"] = names["subject"] + "/" + names["session"] + "/" + names["run"]
    if "trial" not in names:
        names["trial"] = np.array([f"row {row}" for row in range(n_rows)], dtype=object)


def _codes(names: np.ndarray) -> np.ndarray:
    codes, distinct = pd.factorize(names)
    rank = np.empty(len(distinct), np.int64)
    rank[sorted(range(len(distinct)), key=lambda position: natural_key(str(distinct[position])))] = np.arange(len(distinct))
    return rank[codes]


def _joint(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    return np.unique(outer * (inner.max() + 1) + inner, return_inverse=True)[1].astype(np.int64)


def _plain(names: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found, outer = {}, np.zeros(len(names["subject"]), np.int64)
    for column in ("subject", "session", "run"):
        codes, distinct = pd.factorize(names[column])
        plain = pd.factorize(np.array([plain_name(name) for name in distinct], dtype=object))[0]
        found[column] = outer = _joint(outer, plain[codes])
    return found


def _interval(metadata: pd.DataFrame, missing: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    if {"start_s", "stop_s"} & set(missing):
        unknown = np.full(len(metadata), np.nan)
        return unknown, unknown.copy()
    start_s, stop_s = (_seconds(metadata[column], column) for column in ("start_s", "stop_s"))
    half = np.isnan(start_s) != np.isnan(stop_s)
    if half.any():
        raise ValueError(f"Row {int(np.argmax(half))} has a start or a stop but not both; give both in seconds, or NaN for both.")
    backwards = stop_s <= start_s
    if backwards.any():
        row = int(np.argmax(backwards))
        raise ValueError(f"Row {row} starts at {start_s[row]} s and stops at {stop_s[row]} s; a window stops after it starts.")
    return start_s, stop_s


def _seconds(column: pd.Series, name: str) -> np.ndarray:
    try:
        seconds = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Column {name!r} holds something that isn't a number of seconds ({error}).") from error
    if np.isinf(seconds).any():
        raise ValueError(f"Column {name!r} is infinite in row {int(np.argmax(np.isinf(seconds)))}; give seconds, or NaN where they aren't known.")
    return seconds
