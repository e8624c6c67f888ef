"""Inner folds of a training part: on them weights and temperatures are chosen, by windows that nothing was fitted on."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from sigvit.evidence.covariance_cache import contents
from sigvit.evidence.silence import SILENT

INNER_FOLDS = 5
# Windows are silent beside one that is stronger than so many others: most of a training part may be dead, and an artefact is rarer than that.
STRONG = 0.9


def first_alike(signals: np.ndarray) -> np.ndarray:
    """(windows,) the row of the first window that holds the same numbers, in most sets its own.

    >>> first_alike(np.array([5.0, 0.0, 5.0, -0.0])).tolist()
    [0, 1, 0, 1]
    """
    first: dict[bytes, int] = {}
    # Without the sign of a zero; one by one, for a set may fill the memory.
    return np.array([first.setdefault(contents(window[None] + 0.0)[0], row) for row, window in enumerate(signals)])


def telling_windows(signals: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Sorted rows of the windows that can tell whose advice is good: no silent ones, each once, and none that stands under two labels.

    A dead recording's windows are alike whatever their labels are, and who has learned a window knows its copy.

    Parameters
    ----------
    signals : (windows, electrodes, samples). numbers : (windows,) the classes'.

    >>> signals = np.array([[5.0, 7.0], [2.0, 8.0], [5.0, 7.0], [2.0, 8.0], [7.0, 6.0], [4.0, 4.0]])[:, None]
    >>> telling_windows(signals, np.array([1, 0, 1, 1, 0, 1])).tolist()
    [0, 4]
    """
    powers = np.array([window.var(axis=-1, dtype=np.float64).sum() for window in signals])
    heard = (powers > SILENT * np.quantile(powers, STRONG)) | ~powers.any()
    first = first_alike(signals)
    unsure = first[numbers != numbers[first]]
    return np.flatnonzero(heard & (first == np.arange(len(first))) & ~np.isin(first, unsure))


def with_validation_group(groups: np.ndarray | None, count: int) -> np.ndarray | None:
    """Groups with so many validation windows behind them, which are a group of their own; None where nothing is to be kept whole.

    >>> with_validation_group(np.array([1, 2]), 1).tolist(), with_validation_group(np.array([1, 1]), 1)
    (['1', '2', 'validation'], None)
    """
    several = groups is not None and len(np.unique(groups)) > 1
    return np.concatenate([np.asarray(groups).astype(str), np.full(count, "validation")]) if several else None


def inner_folds(numbers: np.ndarray, groups: Any, rows: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and judging rows of up to five inner folds that each train on every class; fewer, or none, where the data don't allow it.

    Parameters
    ----------
    numbers : (windows,) the classes'. groups : (windows,) what stays whole, where there are several; else folds are blocks in each class.
    rows : of the windows that are divided; None: all.
    """
    rows = np.arange(len(numbers)) if rows is None else rows
    own, whole = numbers[rows], None if groups is None else np.asarray(groups)[rows]
    n_classes = int(numbers.max()) + 1
    n_groups = len(np.unique(whole)) if whole is not None else 1
    most = int(np.bincount(own, minlength=n_classes).max())  # of the commonest class: a rare one mustn't take the folds from all others
    parts = min(INNER_FOLDS, most, n_groups if n_groups > 1 else most)
    if parts < 2:
        return []
    splitter = StratifiedGroupKFold(parts) if n_groups > 1 else StratifiedKFold(parts)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # those that then train without it are left out
        folds = list(splitter.split(own, own, whole if n_groups > 1 else None))
    # A discriminant of one window a class has no deviations to learn from; scikit-learn's refuses it.
    kept = [(rows[train], rows[judge]) for train, judge in folds if len(judge) and len(train) > n_classes == len(np.unique(own[train]))]
    # Judges of one class would be content with whoever always names it.
    return kept if len(np.unique(numbers[[row for _, judge in kept for row in judge]])) > 1 else []


def calibrating_folds(numbers: np.ndarray, calibrating: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and judging rows of up to five inner folds that divide the calibrating windows alone: all others train in each of them.

    With one calibrating window of some class there is a single fold: the others train, and all calibrating windows judge. No fold trains without a class.

    Parameters
    ----------
    numbers : (windows,) the classes'. calibrating : (windows,) truth values, at least one of them true.

    >>> [judge.tolist() for _, judge in calibrating_folds(np.array([0, 1, 0, 1, 0, 1]), np.arange(6) >= 2)]
    [[2, 3], [4, 5]]
    """
    own = np.flatnonzero(calibrating)
    parts = min(INNER_FOLDS, int(np.unique(numbers[own], return_counts=True)[1].min()))
    judges = [judge for _, judge in StratifiedKFold(parts).split(own, numbers[own])] if parts > 1 else [np.arange(len(own))]
    folds = [(np.setdiff1d(np.arange(len(numbers)), own[judge]), own[judge]) for judge in judges]
    return [(train, judge) for train, judge in folds if len(np.unique(numbers[train])) == len(np.unique(numbers))]
