"""Index pairs: what scikit-learn's and MOABB's splitters yield, read as folds."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from sigvit.data.windows import plain_rows
from sigvit.evidence.fold import PARTS, Fold

# What a protocol keeps apart; the other known names promise nothing about groups.
APART = {"cross_subject": "subject", "cross_session": "session", "within_session": "run"}
PROTOCOLS = (*APART, "calibrated_subject", "calibrated_session", "shipped", "shuffled_trials", "index_pairs")


def as_folds(folds: Iterable[Any], n_rows: int, protocol: str | None = None, index: pd.Index | None = None) -> list[Fold]:
    """Folds as they are; pairs (train, test) of row numbers or boolean masks as folds without validation.

    Parameters
    ----------
    n_rows : rows of the table that they divide.
    protocol : what the pairs promise: "cross_subject", "cross_session", "within_session" or None: nothing about groups.
    index : of the table, by which boolean Series are read; None: 0, 1, …

    Raises
    ------
    ValueError : no folds, a part that names a row twice or one that isn't there, a boolean Series with another index, an empty train or test part, a
        protocol that is nearly a known one.

    >>> as_folds([([2, 0], [False, True, False])], n_rows=3)[0].train
    array([0, 2])
    """
    folds = list(folds)
    if not folds:
        raise ValueError("There are no folds to judge; give a list of Fold, or of (train, test) row numbers.")
    index = pd.RangeIndex(n_rows) if index is None else index
    found = [_fold(entry, number, index, protocol) for number, entry in enumerate(folds)]
    numbers = [fold.number for fold in found]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"Fold number {max(numbers, key=numbers.count)} stands for several folds; number them 0, 1, … (dataclasses.replace(fold, number=…)).")
    for fold in found:
        _require_whole(fold, n_rows)
    return found


def _fold(entry: Any, number: int, index: pd.Index, protocol: str | None) -> Fold:
    if isinstance(entry, Fold):
        if protocol is not None:
            raise ValueError(f"protocol={protocol!r} is for index pairs; a Fold carries its own ({entry.protocol!r}).")
        return entry
    try:
        train, test = entry
    except (TypeError, ValueError) as error:
        raise ValueError(f"Fold {number} is {type(entry).__name__}; give a Fold or a pair (train, test) of row numbers.") from error
    parts = [_rows(rows, index, f"The {part} part of fold {number}") for part, rows in (("train", train), ("test", test))]
    return Fold(parts[0], np.empty(0, np.int64), parts[1], number, protocol or "index_pairs", f"fold {number}")


def _rows(rows: Any, index: pd.Index, place: str) -> np.ndarray:
    try:
        rows = plain_rows(rows, index)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    if rows.dtype == bool:
        if rows.shape != (len(index),):
            raise ValueError(f"{place} is a mask of shape {rows.shape}, but there are {len(index)} rows.")
        return np.flatnonzero(rows)
    return np.sort(rows) if rows.ndim == 1 and rows.dtype.kind in "iu" else rows  # what is no list of row numbers, Fold refuses


def _require_whole(fold: Fold, n_rows: int) -> None:
    for part in PARTS:
        rows = getattr(fold, part)
        if not len(rows) and part != "validation":
            raise ValueError(f"Fold {fold.number} ({fold.left_out}) has an empty {part} part; every fold needs rows to train on and rows to judge.")
        if len(rows) and rows[-1] >= n_rows:
            raise ValueError(f"The {part} part of fold {fold.number} names row {rows[-1]}, but there are {n_rows} rows; the folds belong to another table.")
    name = "_".join(fold.protocol.lower().replace("-", "_").split())
    near = difflib.get_close_matches(name, PROTOCOLS, n=1, cutoff=0.8)
    if near and fold.protocol not in PROTOCOLS:
        raise ValueError(f"Fold {fold.number} has the protocol {fold.protocol!r}; did you mean {near[0]!r}? An unknown name promises nothing about groups.")
