"""Calibration folds: train on other people or sessions and on the first n trials a class of the new one, judge on what comes after."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sigvit.evidence.fold import Division, Fold, first_rows, folds_of_units, trial_order
from sigvit.evidence.groups import Groups, read_groups
from sigvit.evidence.intervals import guarded, required_gap_s

UNITS = ("subject", "session")


def calibrate(
    metadata: pd.DataFrame,
    n: int,
    *,
    by: str = "subject",
    reserve: int | None = None,
    undividable: str = "refuse",
    seed: int = 0,
    guard_s: float = 0.0,
    filter_support_s: float = 0.0,
    validation: float = 0.2,
) -> list[Fold]:
    """One fold a subject (or session): train on all others and on its own first n trials of each class, test on those after its first `reserve`.

    The test part depends on `reserve` alone, so that folds of several n, with the same `reserve`, are judged on the same windows: a calibration curve.

    Parameters
    ----------
    n : trials of each class that calibrate; 0 trains on others alone (the protocol is then "cross_subject" or "cross_session", else "calibrated_subject" or
        "calibrated_session").
    by : "subject": others are all other subjects; "session": the same subject's other sessions.
    reserve : trials of each class that are set apart for calibration, the largest n of a curve; None is n. Where a recording has a clock, everything up to the
        last of them is in no test part; else these trials alone.
    undividable : what becomes of a subject or session that has too few trials: "refuse", or "leave out": its rows are then trained on, and never tested.
    seed, guard_s, filter_support_s, validation : as for the other splitters (`sigvit.folds`); validation is taken from the others.

    Raises
    ------
    ValueError : n above `reserve`, an unknown `by`, a unit with too few trials, recordings of one class each that would be in train and test.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> fold = calibrate(synthetic_windows().metadata, 2, reserve=5)[0]
    >>> fold.left_out, len(fold.train), len(fold.validation), len(fold.test)
    ('subject 01 after its first 5 trials a class, 2 of them trained on', 24, 20, 10)
    """
    reserve = n if reserve is None else reserve
    if by not in UNITS:
        raise ValueError(f"by is {by!r}; calibration is by 'subject' or 'session'.")
    if not 0 <= n <= reserve:
        raise ValueError(f"n is {n} and reserve {reserve}; n must be at least 0 and at most reserve.")
    groups = read_groups(metadata)
    division = Division(groups, validation, required_gap_s(filter_support_s, guard_s))
    codes = groups.subject if by == "subject" else groups.session
    shuffled = np.random.default_rng(seed).permutation(groups.subject.max() + 1)[groups.subject]
    keys: list[np.ndarray | str] = [*([shuffled] if by == "subject" else []), groups.session, groups.run, "blocks", "blocks inside classes"]
    return folds_of_units(codes, lambda own, number: [_fold(division, own, n, reserve, keys, number, by)], undividable, "never tests it.")


def _fold(division: Division, own: np.ndarray, n: int, reserve: int, keys: list[np.ndarray | str], number: int, by: str) -> Fold:
    groups = division.groups
    of_subject = groups.subject == groups.subject[own[0]]
    others = np.flatnonzero(~of_subject) if by == "subject" else np.setdiff1d(np.flatnonzero(of_subject), own)
    words = _words(groups, own, by)
    if not len(others):
        raise ValueError(f"{words} has no other {by} to train on.")
    rank, later = _ranks(groups, own, reserve)
    kept = own[rank < reserve]
    test = own[later]
    test = test[~guarded(groups, kept, test, division.gap_s)]
    classes = sorted(set(groups.names["label"][own]))
    if len(classes) < 2:
        raise ValueError(f"{words} holds class {classes[0]!r} only; whom calibration judges needs two.")
    lacking = sorted(set(classes) - set(groups.names["label"][test]))
    if lacking:
        raise ValueError(f"{words} has too few trials to set {reserve} of each class apart and test all classes after them (lacking: {', '.join(lacking)}).")
    if groups.label_follows_recording and np.isin(groups.recording[own[rank < n]], groups.recording[test]).any():
        raise ValueError(f"{words} would calibrate and test inside the same recordings, and each holds one class: the recording would tell it.")
    told = f"{words} after its first {reserve} trials a class, {n} of them trained on" if reserve else words
    fold = division.fold(np.union1d(others, test), test, keys, number, f"{'calibrated' if n else 'cross'}_{by}", told)
    return Fold(np.union1d(fold.train, own[rank < n]), fold.validation, fold.test, number, fold.protocol, told)


def _ranks(groups: Groups, own: np.ndarray, reserve: int) -> tuple[np.ndarray, np.ndarray]:
    """For every row of a unit: which trial of its class it is, in time, from 0; and whether it comes after the last of the first `reserve` of each class."""
    position, label = trial_order(groups, own), groups.label[first_rows(groups, own)]
    rank = np.empty(len(own), np.int64)
    for each in np.unique(label):
        _, rank[label == each] = np.unique(position[label == each], return_inverse=True)
    if not groups.clocked[own].all():
        return rank, rank >= reserve  # row order isn't time: each class by itself
    last = position[rank < reserve].max(initial=-1)
    return rank, position > last


def _words(groups: Groups, own: np.ndarray, by: str) -> str:
    subject = f"subject {groups.distinct('subject', own)[0]}"
    return subject if by == "subject" else f"{subject}, session {groups.distinct('session', own)[0]}"
