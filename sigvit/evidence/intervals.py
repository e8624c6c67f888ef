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
    rows = rows[~np.isnan(groups.start_s[rows])]
    timed = np.flatnonzero(~np.isnan(groups.start_s[others]))
    if not len(rows) or not len(timed):
        return found
    timed = timed[np.isin(groups.recording[others[timed]], groups.recording[rows])]  # most often none: parts seldom share a recording
    theirs = others[timed]
    recordings = groups.recording[rows], groups.recording[theirs]
    begun = _count_below(recordings, groups.start_s[rows], groups.stop_s[theirs] + gap_s - TOUCH_S, or_equal=False)
    ended = _count_below(recordings, groups.stop_s[rows], groups.start_s[theirs] - gap_s + TOUCH_S, or_equal=True)
    found[timed] = begun > ended  # one has begun before the other ends, and has not ended before it begins
    return found


def guarded(groups: Groups, rows: np.ndarray, others: np.ndarray, gap_s: float) -> np.ndarray:
    """Which of `others` can't be in another part than `rows`: near them, or of a trial that has a window near them or among them; boolean (others,)."""
    trials = groups.trial[others]
    close = near(groups, rows, others, gap_s) | np.isin(trials, groups.trial[rows])
    return np.isin(trials, trials[close])


def _count_below(recordings: tuple[np.ndarray, np.ndarray], values: np.ndarray, limits: np.ndarray, or_equal: bool) -> np.ndarray:
    """For every limit: how many values of its recording lie below it; exact, by one sort of both together."""
    is_value = np.r_[np.ones(len(values), bool), np.zeros(len(limits), bool)]
    tie = is_value != or_equal  # at equality the one that sorts first: limits, or values where equal counts as below
    order = np.lexsort((tie, np.r_[values, limits], np.r_[recordings[0], recordings[1]]))
    counted = np.empty(len(order), np.int64)
    counted[order] = np.cumsum(is_value[order])
    earlier_recordings = np.searchsorted(np.sort(recordings[0]), recordings[1])
    return counted[len(values) :] - earlier_recordings
