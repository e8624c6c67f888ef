"""Leak checks: what train, validation and test of one fold may not share, each check with what it compared and what it found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sigvit.evidence.copied_signals import Copies
from sigvit.evidence.fold import Fold, first_rows, trial_order
from sigvit.evidence.groups import Groups
from sigvit.evidence.index_pairs import APART
from sigvit.evidence.intervals import near

PAIRS = (("train", "test"), ("validation", "test"), ("train", "validation"))

# Name of each check, and what it says of every pair of parts where it finds nothing.
CHECKS = {
    "row": "no row stands in two parts",
    "trial": "no trial of a recording has windows in two parts",
    "interval": "windows of one recording in two parts lie apart by the filters' support to both sides and the guard",
    "subject": "cross_subject: no subject in two parts",
    "session": "cross_session: no session in two parts",
    "run": "within_session, runs: no run in two parts",
    "alias": "no two names of what the protocol keeps apart that differ only in case, spaces, a BIDS prefix, leading zeros or Unicode form",
    "block": "within_session, blocks: no other part's trial between test trials of a recording",
    "calibration": "calibrated_subject, calibrated_session: nothing of the tested one is trained on that comes after its first tested trial",
    "shipped": "shipped: every row is on the side where its source puts it",
    "recording": "where every recording holds one class: no recording on both sides of the test",
    "signal": "no window of one part is byte-identical to a window of another",
    "copy": "no stretch of samples of one part stands in another, be it scaled, shifted or re-referenced, other than by overlap on one clock",
    "pretraining": "no pre-trained model has seen what the fold's protocol keeps apart from its test part",
}

# What a leak says of two parts where the check finds something.
SHARED = {
    "row": "share {n} rows",
    "trial": "share trials ({n} rows)",
    "interval": "hold {n} windows that lie nearer than {gap:g} s to the other part's on one recording's clock",
    "subject": "share subjects ({n} rows), which {protocol} keeps apart",
    "session": "share sessions ({n} rows), which {protocol} keeps apart",
    "run": "share runs ({n} rows), which {protocol} keeps apart where it leaves runs out",
    "alias": "hold {n} rows whose names differ from the other part's only in case, spaces, a BIDS prefix, leading zeros or Unicode form (write it one way)",
    "block": "are mixed in time: {n} rows where trials of the one lie between trials of the other's block",
    "calibration": "hold {n} rows of the tested subject or session that come after its first tested trial",
    "shipped": "hold {n} rows that the source put on the other side",
    "recording": "share recordings ({n} rows), and every recording holds one class: what identifies the recording identifies the class",
    "signal": "hold {n} windows that are byte-identical to one of the other part",
    "copy": "hold {n} windows with a stretch of samples that is copied from the other part",
    "pretraining": "share what the protocol keeps apart ({n} test rows): the model has seen them, or what lies too near, before it is judged on them",
}


@dataclass(frozen=True, eq=False)
class Judged:
    """What is known of the rows.

    Attributes
    ----------
    signal : code of every window's bytes, or None for bare metadata. copies : stretches in two places, or None.
    gap_s : seconds that must lie between two parts. shipped : "train", "validation" or "test" of every row, or None.
    """

    groups: Groups
    gap_s: float
    signal: np.ndarray | None = None
    copies: Copies | None = None
    shipped: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Finding:
    """One check of one pair of parts: how many pairs of rows it compared, the rows of either part that share something, and the codes by which they do."""

    check: str
    fold: Fold
    parts: tuple[str, str]
    compared: int
    first: np.ndarray
    second: np.ndarray
    codes: np.ndarray | None = None

    @property
    def rows(self) -> np.ndarray:
        return np.union1d(self.first, self.second)

    @property
    def leaks(self) -> bool:
        return len(self.first) + len(self.second) > 0


def check_fold(fold: Fold, judged: Judged) -> Iterator[Finding]:
    """Every check of every pair of the fold's parts that are not empty."""
    for parts in PAIRS:
        first, second = (getattr(fold, part) for part in parts)
        if len(first) and len(second):
            for check, compared, found in _compare(fold, parts, first, second, judged):
                yield Finding(check, fold, parts, compared, *found)
    yield from _check_order(fold, judged.groups)
    if fold.protocol == "shipped" and judged.shipped is not None:
        yield _check_shipped(fold, judged.shipped, judged.groups.label)


def claimed_group(fold: Fold) -> str | None:
    """The group that the fold's protocol keeps apart: "subject", "session", "run", or None where it promises nothing or cuts blocks.

    >>> claimed_group(Fold([0], [], [1], protocol="within_session", left_out="subject 1, session 1, run 2"))
    'run'
    """
    return None if is_block(fold) else APART.get(fold.protocol)


def is_block(fold: Fold) -> bool:
    """Whether the test part is a block in time, as its words say."""
    return fold.protocol == "within_session" and re.search(r", block \d+ of \d+$", fold.left_out) is not None


def _compare(fold: Fold, parts: tuple[str, str], first: np.ndarray, second: np.ndarray, judged: Judged) -> Iterator[tuple]:
    groups, n_pairs, only = judged.groups, len(first) * len(second), _apart(first, second)
    yield "row", n_pairs, _sharing(np.arange(len(groups)), first, second)
    yield "trial", n_pairs, _sharing(groups.trial, first, second)
    yield "interval", _timed(groups, first) * _timed(groups, second), _too_near(groups, *only, judged.gap_s)
    claimed = claimed_group(fold)
    if claimed is not None and ("test" in parts or can_spare(getattr(groups, claimed), groups.label, np.union1d(first, second))):
        yield claimed, n_pairs, (same := _sharing(getattr(groups, claimed), first, second))
        written_alike = _sharing(groups.plain[claimed], first, second)
        yield "alias", n_pairs, (np.setdiff1d(written_alike[0], same[0]), np.setdiff1d(written_alike[1], same[1]), written_alike[2])
    if "test" in parts and groups.label_follows_recording:
        yield "recording", n_pairs, _sharing(groups.recording, first, second)
    if judged.signal is not None:
        yield "signal", n_pairs, _sharing(judged.signal, *only)
    if judged.copies is not None:
        yield "copy", judged.copies.compared, _copied(judged, first, second)


def can_spare(codes: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> bool:
    """Whether the rows hold a group without which every class is still there; else validation can't keep whole groups apart from train."""
    pairs = np.unique(np.stack([codes[rows], labels[rows]], axis=1), axis=0)
    classes, holders = np.unique(pairs[:, 1], return_counts=True)
    needed = np.unique(pairs[np.isin(pairs[:, 1], classes[holders == 1]), 0])
    return len(needed) < len(np.unique(codes[rows]))


def _sharing(codes: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of either part whose code the other part holds too, and the codes."""
    held = np.zeros((2, codes.max() + 1), bool)
    held[0, codes[first]], held[1, codes[second]] = True, True
    return first[held[1, codes[first]]], second[held[0, codes[second]]], codes


def _apart(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both parts without the rows that stand in both: those are judged as rows, and their own signal or interval says nothing more."""
    shared = np.intersect1d(first, second, assume_unique=True)
    return np.setdiff1d(first, shared, assume_unique=True), np.setdiff1d(second, shared, assume_unique=True)


def _timed(groups: Groups, rows: np.ndarray) -> int:
    return int((~np.isnan(groups.start_s[rows])).sum())


def _too_near(groups: Groups, first: np.ndarray, second: np.ndarray, gap_s: float) -> tuple[np.ndarray, np.ndarray]:
    return first[near(groups, second, first, gap_s)], second[near(groups, first, second, gap_s)]


def _copied(judged: Judged, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that hold a stretch which a row of the other part holds too; whole windows that are byte-identical are judged as signals."""
    copies, signal = judged.copies, judged.signal
    assert copies is not None
    assert signal is not None
    members = np.isin(copies.rows, first).astype(np.int8) + 2 * np.isin(copies.rows, second)
    inside = members > 0
    rows, members = copies.rows[inside], members[inside]
    stretches = np.unique(copies.stretches[inside], return_inverse=True)[1]
    if not len(rows):
        return first[:0], second[:0]
    n_stretches = stretches.max() + 1
    in_first, in_second = (np.bincount(stretches, weights=members & bit, minlength=n_stretches) > 0 for bit in (1, 2))
    lowest, highest = np.full(n_stretches, np.iinfo(np.int64).max), np.full(n_stretches, -1)
    np.minimum.at(lowest, stretches, signal[rows])
    np.maximum.at(highest, stretches, signal[rows])
    leaking = rows[(in_first & in_second & (lowest < highest))[stretches]]
    return np.intersect1d(leaking, first), np.intersect1d(leaking, second)


def _check_order(fold: Fold, groups: Groups) -> Iterator[Finding]:
    """Nothing is trained or chosen on that lies between a block's tested trials, or, of a calibrated subject or session, behind its first tested trial.

    Without a clock row order stands for time, inside each class.
    """
    block = is_block(fold)
    units = {"calibrated_subject": groups.subject, "calibrated_session": groups.session} | ({"within_session": groups.recording} if block else {})
    if fold.protocol not in units:
        return
    rows = np.concatenate([fold.train, fold.validation, fold.test])
    tested = np.arange(len(rows)) >= len(rows) - len(fold.test)
    # What follows a trial is told by recordings in natural order, and by time in each; by row number where there is no clock.
    unit, position = units[fold.protocol][rows], trial_order(groups, rows)
    clocked = ~np.isin(unit, unit[~groups.clocked[rows]])
    places = np.stack([unit, np.where(clocked, -1, groups.label[first_rows(groups, rows)])], axis=1)
    place = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
    begin, end = np.full(place.max() + 1, np.inf), np.full(place.max() + 1, -np.inf)
    np.minimum.at(begin, place[tested], position[tested])
    np.maximum.at(end, place[tested], position[tested])
    late = ~tested & (position > begin[place]) & ((position < end[place]) | (not block))
    around = tested & np.isin(place, place[late]) & block
    found, codes = (np.sort(rows[late]), np.sort(rows[around])), groups.recording if block else None
    yield Finding("block" if block else "calibration", fold, ("train", "test"), int((~tested).sum() * tested.sum()), *found, codes)


def _check_shipped(fold: Fold, shipped: np.ndarray, labels: np.ndarray) -> Finding:
    rest = np.union1d(fold.train, fold.validation)
    wrong = rest[shipped[rest] == "test"], fold.test[shipped[fold.test] != "test"]
    return Finding("shipped", fold, ("train", "test"), len(rest) + len(fold.test), *wrong, labels)
