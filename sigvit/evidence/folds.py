"""Folds: which rows train, which choose, which judge.

Every splitter takes the metadata table of a window set and returns a list of `Fold`. They share these parameters:

metadata : DataFrame with the columns of `Windows.metadata`; all groups are required.
guard_s : seconds that must lie between the windows of two parts in one recording; 0 still keeps overlapping windows apart.
filter_support_s : how far to each side filters smear a sample (`windows.filter_support_s`); both windows are widened by it.
validation : share of the training side that is set apart for choices such as the stopping epoch; 0 for none.

Trials are never cut, and rows too near to another part are in no part. Validation keeps the protocol's groups whole: subjects under `cross_subject`,
sessions under `cross_session`, runs or blocks under `within_session`; where only one such group is left to train on, or every one holds the last of a class,
it takes the next smaller kind: sessions, runs, blocks in time, at last blocks in time inside each class.

All raise ValueError, in a sentence: a missing column or value, fewer groups than folds, a fold that would train without one of its classes.
"""

from __future__ import annotations

from numbers import Integral

import numpy as np
import pandas as pd

from sigvit.evidence.calibration_folds import calibrate
from sigvit.evidence.fold import Division, Fold, block_codes, folds_of_units, trial_order
from sigvit.evidence.folds_csv import read_csv, write_csv
from sigvit.evidence.groups import Groups, read_groups
from sigvit.evidence.intervals import required_gap_s

__all__ = ["Fold", "calibrate", "cross_session", "cross_subject", "read_csv", "shipped", "shuffled_trials", "within_session", "write_csv"]

BLOCKS: list[np.ndarray | str] = ["blocks", "blocks inside classes"]


def cross_subject(
    metadata: pd.DataFrame, k: int | None = None, seed: int = 0, *, guard_s: float = 0.0, filter_support_s: float = 0.0, validation: float = 0.2
) -> list[Fold]:
    """Leave one subject out at a time, or k groups of subjects.

    Parameters
    ----------
    k : number of groups; None leaves out one subject at a time. Subjects of one class each are spread, so that every group has of each class.
    seed : shuffles who is grouped with whom.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> folds = cross_subject(synthetic_windows(n_subjects=5).metadata)
    >>> folds[1].left_out, len(folds), len(folds[1].train), len(folds[1].validation), len(folds[1].test)
    ('subject 02', 5, 60, 20, 20)
    """
    groups = read_groups(metadata)
    everything = np.arange(len(groups))
    subjects = np.unique(groups.subject)
    _require_groups(len(subjects), 2 if k is None else k, "subjects", "cross_subject")
    division = Division(groups, validation, required_gap_s(filter_support_s, guard_s))
    keys = [_shuffled(groups.subject, seed), groups.session, groups.run, *BLOCKS]
    parts = [subjects[at : at + 1] for at in range(len(subjects))] if k is None else _spread(groups, subjects, k, seed)
    folds = []
    for number, part in enumerate(parts):
        test = np.flatnonzero(np.isin(groups.subject, part))
        folds.append(division.fold(everything, test, keys, number, "cross_subject", _words(groups, test, "subject")))
    return folds


def cross_session(
    metadata: pd.DataFrame, k: int | None = None, seed: int = 0, *, guard_s: float = 0.0, filter_support_s: float = 0.0, validation: float = 0.2
) -> list[Fold]:
    """Per subject: leave one session out at a time, or k groups of sessions; train on the same subject's other sessions.

    A subject with one session has nothing to be judged on: its rows are in no fold, which the certificate says.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> [fold.left_out for fold in cross_session(synthetic_windows(n_subjects=2, n_sessions=2).metadata)]
    ['subject 01, session 1', 'subject 01, session 2', 'subject 02, session 1', 'subject 02, session 2']
    """
    groups = read_groups(metadata)
    division = Division(groups, validation, required_gap_s(filter_support_s, guard_s))
    keys = [groups.session, groups.run, *BLOCKS]
    folds: list[Fold] = []
    for subject in np.unique(groups.subject):
        rows = np.flatnonzero(groups.subject == subject)
        sessions = np.unique(groups.session[rows])
        if len(sessions) < 2:
            continue
        words = _words(groups, rows, "subject")
        _require_groups(len(sessions), 2 if k is None else k, "sessions", f"cross_session of {words}")
        for part in _split(sessions, k, seed):
            test = rows[np.isin(groups.session[rows], part)]
            folds.append(division.fold(rows, test, keys, len(folds), "cross_session", f"{words}, {_words(groups, test, 'session')}"))
    if not folds:
        n_subjects = groups.subject.max() + 1
        raise ValueError(f"cross_session needs a subject with two sessions or more, and none of the {n_subjects} here has them. Try within_session.")
    return folds


def within_session(
    metadata: pd.DataFrame,
    k: int | None = None,
    by: str | None = None,
    *,
    undividable: str = "refuse",
    guard_s: float = 0.0,
    filter_support_s: float = 0.0,
    validation: float = 0.2,
) -> list[Fold]:
    """Per subject and session: leave runs out, or contiguous blocks in time; nothing is shuffled.

    Parameters
    ----------
    k : number of groups of neighbouring runs (None: one run at a time), or of blocks (None: 5).
    by : "run", "block", or None: runs in sessions that have two or more, blocks in the others.
    undividable : what becomes of a session that is too small to divide: "refuse", or "leave out": its rows are in no fold, which the certificate says.

    Where a recording has no clock, its row order isn't time; blocks are then cut inside each class, in row order, and protect little.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> [fold.left_out for fold in within_session(synthetic_windows(n_subjects=1, n_runs=2).metadata)]
    ['subject 01, session 1, run 1', 'subject 01, session 1, run 2']
    """
    if by not in (None, "run", "block"):
        raise ValueError(f"within_session can't divide by {by!r}; by is 'run', 'block' or None.")
    groups = read_groups(metadata)
    division = Division(groups, validation, required_gap_s(filter_support_s, guard_s))
    return folds_of_units(groups.session, lambda rows, number: _session_folds(division, rows, k, by, number), undividable, "leaves such sessions out.")


def shipped(metadata: pd.DataFrame, *, guard_s: float = 0.0, filter_support_s: float = 0.0, validation: float = 0.2) -> list[Fold]:
    """The split that the source gives: one fold, from the column `shipped` ("train", "test", and "validation" where the source has one).

    Where it has none, validation keeps whole what the split itself keeps apart: subjects, sessions, runs, else blocks.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> metadata = synthetic_windows(n_subjects=3).metadata
    >>> folds = shipped(metadata.assign(shipped=["train"] * 40 + ["test"] * 20))
    >>> len(folds), len(folds[0].train), folds[0].test[0].item()
    (1, 20, 40)
    """
    groups = read_groups(metadata)
    if "shipped" not in metadata:
        raise ValueError("The metadata lacks 'shipped'; this set has no split of its own. Use cross_subject, cross_session or within_session.")
    side = np.array([str(value) for value in metadata["shipped"].tolist()])
    if set(side) - {"validation"} != {"train", "test"}:
        raise ValueError(f"Column 'shipped' must hold 'train' and 'test', may hold 'validation', and nothing else; it holds {sorted(set(side.tolist()))}.")
    train, given, test = (np.flatnonzero(side == part) for part in ("train", "validation", "test"))
    kept = [codes for codes in (groups.subject, groups.session, groups.run) if not np.isin(codes[train], codes[test]).any()]
    division = Division(groups, validation, required_gap_s(filter_support_s, guard_s))
    if len(given) and validation:
        return [division.fold_with(given, test, "shipped", "the shipped test part")]
    return [division.fold(np.arange(len(groups)), test, [*kept, *BLOCKS], 0, "shipped", "the shipped test part")]


def shuffled_trials(metadata: pd.DataFrame, k: int = 5, seed: int = 0, *, validation: float = 0.2) -> list[Fold]:
    """Per subject and session: k parts of single trials in random order, classes spread evenly; for comparison with published protocols only.

    Neighbouring trials share drift, attention and, where windows overlap, samples: the score is too good. Windows that overlap are a `Leak` in the certificate
    unless they are tolerated by name.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> shuffled_trials(synthetic_windows(n_subjects=1).metadata)[0].left_out
    'subject 01, session 1, shuffled part 1 of 5'
    """
    groups = read_groups(metadata)
    division = Division(groups, validation, gap_s=-np.inf)
    folds: list[Fold] = []
    for session in np.unique(groups.session):
        rows = np.flatnonzero(groups.session == session)
        words = f"{_words(groups, rows, 'subject')}, {_words(groups, rows, 'session')}"
        _require_groups(len(np.unique(groups.trial[rows])), k, "trials", f"shuffled_trials of {words}")
        parts = np.full(len(groups), -1)
        parts[rows] = _shuffled_parts(groups, rows, k, np.random.default_rng([seed, int(session)]))
        for part in range(k):
            left_out = f"{words}, shuffled part {part + 1} of {k}"
            folds.append(division.fold(rows, np.flatnonzero(parts == part), [parts], len(folds), "shuffled_trials", left_out))
    return folds


def _session_folds(division: Division, rows: np.ndarray, k: int | None, by: str | None, first_number: int) -> list[Fold]:
    groups = division.groups
    words = f"{_words(groups, rows, 'subject')}, {_words(groups, rows, 'session')}"
    n_runs = len(np.unique(groups.run[rows]))
    if by == "run" or (by is None and n_runs > 1):
        _require_groups(n_runs, 2 if k is None else k, "runs", f"within_session of {words}")
        return _run_folds(division, rows, k, words, first_number)
    return _block_folds(division, rows, 5 if k is None else k, words, first_number)


def _run_folds(division: Division, rows: np.ndarray, k: int | None, words: str, first_number: int) -> list[Fold]:
    runs = division.groups.run
    tests = [rows[np.isin(runs[rows], part)] for part in _split(np.unique(runs[rows]), k)]
    names = [f"{words}, {_words(division.groups, test, 'run')}" for test in tests]
    return [division.fold(rows, test, [runs, *BLOCKS], first_number + at, "within_session", names[at]) for at, test in enumerate(tests)]


def _block_folds(division: Division, rows: np.ndarray, k: int, words: str, first_number: int) -> list[Fold]:
    _require_groups(len(np.unique(division.groups.trial[rows])), k, "trials", f"within_session of {words}")
    codes = np.full(len(division.groups), -1)
    codes[rows] = block_codes(division.groups, rows, k)
    tests = [rows[codes[rows] == block] for block in range(k)]
    if any(len(test) == 0 for test in tests):
        raise ValueError(f"within_session of {words} has no clock and a class of fewer than {k} trials, so some of {k} blocks are empty; ask for fewer.")
    names = [f"{words}, block {block + 1} of {k}" for block in range(k)]
    return [division.fold(rows, test, [codes, *BLOCKS], first_number + at, "within_session", names[at]) for at, test in enumerate(tests)]


def _shuffled_parts(groups: Groups, rows: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """The part of every row: its trial's turn in a random order sorted by class, so that classes are dealt evenly."""
    positions = trial_order(groups, rows)
    label = np.zeros(positions.max() + 1, np.int64)
    label[positions] = groups.label[rows]
    order = generator.permutation(len(label))
    turn = np.empty(len(label), np.int64)
    turn[order[np.argsort(label[order], kind="stable")]] = np.arange(len(label)) % k
    return turn[positions]


def _spread(groups: Groups, subjects: np.ndarray, k: int, seed: int) -> list[np.ndarray]:
    """k groups of subjects in random order; subjects that hold one class each are dealt class by class."""
    order = np.random.default_rng(seed).permutation(subjects)
    held = [np.unique(groups.label[groups.subject == subject]) for subject in order]
    if all(len(labels) == 1 for labels in held):
        order = order[np.argsort([labels[0] for labels in held], kind="stable")]
    return [np.sort(order[part::k]) for part in range(k)]


def _split(ordered: np.ndarray, k: int | None, seed: int | None = None) -> list[np.ndarray]:
    """One at a time, or k groups: of neighbours, or with a seed of a random order."""
    if k is None:
        return [ordered[at : at + 1] for at in range(len(ordered))]
    order = ordered if seed is None else np.random.default_rng(seed).permutation(ordered)
    return [np.sort(part) for part in np.array_split(order, k)]


def _shuffled(codes: np.ndarray, seed: int) -> np.ndarray:
    if seed is None:
        raise ValueError("seed is None, which would draw another division at each call; give a whole number.")
    return np.random.default_rng(seed).permutation(codes.max() + 1)[codes]


def _require_groups(found: int, wanted: int, kind: str, who: str) -> None:
    if not isinstance(wanted, Integral):
        raise ValueError(f"k is {wanted!r}; it is a whole number of folds.")
    if wanted < 2:
        raise ValueError(f"k is {wanted}; cross-validation needs 2 folds or more.")
    if found < wanted:
        raise ValueError(
            f"{who} needs {wanted} {kind} for {wanted} folds, but there {'is' if found == 1 else 'are'} {found}; ask for fewer or another protocol."
        )


def _words(groups: Groups, rows: np.ndarray, column: str) -> str:
    names = groups.distinct(column, rows)
    return f"{column}{'s' if len(names) > 1 else ''} {', '.join(names)}"
