"""Intervals: which rows come too near to which others on one recording's clock, or belong to one trial with them."""

from __future__ import annotations

import numpy as np

from sigvit.evidence.groups import Groups

# Two windows that touch do not overlap; sums of seconds carry float dust, and a microsecond is far under a sample at any rate.
TOUCH_S = 1e-6


def required_gap_s(filter_support_s: float, guard_s: float) -> float:
    """Seconds that must lie between two windows of one recording: each is smeared by the filter to its own side, and the guard comes on top.

    Raises
    ------
    ValueError : a negative, infinite or unknown number of seconds.

    >>> required_gap_s(filter_support_s=1.5, guard_s=0.25)
    3.25
    """
    for name, seconds in (("filter_support_s", filter_support_s), ("guard_s", guard_s)):
        if not 0 <= seconds < np.inf:
            raise ValueError(f"{name} is {seconds}; give seconds, 0 or more.")
    return 2 * float(filter_support_s) + float(guard_s)


def near(groups: Groups, rows: np.ndarray, others: np.ndarray, gap_s: float) -> np.ndarray:
    """Which of `others` lie less than `gap_s` from one of `rows` in the same recording: boolean (others,). Rows without a clock are near nothing."""
    found = np.zeros(len(others), bool)
    recordings = groups.recording[rows], groups.recording[others]
    shared = np.intersect1d(*recordings)  # most often none: parts seldom share a recording
    for own, at in zip(*(_places(codes, shared) for codes in recordings), strict=True):
        mine, theirs = rows[own], others[at]
        begun = np.searchsorted(np.sort(groups.start_s[mine]), groups.stop_s[theirs] + gap_s - TOUCH_S)
        ended = np.searchsorted(np.sort(groups.stop_s[mine]), groups.start_s[theirs] - gap_s + TOUCH_S, side="right")
        found[at] = begun > ended  # one has begun before the other ends, and has not ended before it begins; NaN sorts last
    return found


def _places(codes: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """Where each of the wanted codes, which are sorted, stands; one sort for all of them, since a table may be of many thousand recordings."""
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], wanted), np.searchsorted(codes[order], wanted, side="right")
    return [order[first:last] for first, last in zip(*bounds, strict=True)]


def guarded(groups: Groups, rows: np.ndarray, others: np.ndarray, gap_s: float) -> np.ndarray:
    """Which of `others` can't be in another part than `rows`: near them, or of a trial that has a window near them or among them; boolean (others,)."""
    trials = groups.trial[others]
    close = near(groups, rows, others, gap_s) | np.isin(trials, groups.trial[rows])
    return np.isin(trials, trials[close])
