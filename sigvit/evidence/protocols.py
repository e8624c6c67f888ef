"""Folds by a protocol's name, as scripts and their users say it."""

from __future__ import annotations

from sigvit.data.windows import Windows
from sigvit.evidence import folds
from sigvit.evidence.fold import Fold

PROTOCOLS = ("shipped", "within_session", "cross_session", "cross_subject")


def folds_of(windows: Windows, protocol: str, k: int | None = None, *, guard_s: float = 0.0, validation: float = 0.2) -> list[Fold]:
    """The folds of `sigvit.folds`' function of this name, widened by the windows' own filters; sessions too small to divide are left out.

    Parameters
    ----------
    protocol : "shipped", "within_session", "cross_session" or "cross_subject".
    k : number of groups or blocks; None leaves out one subject, session or run at a time.
    guard_s, validation : as there.

    Raises
    ------
    ValueError : another protocol, a k for the split that a set ships, or folds that can't be made.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> [fold.left_out for fold in folds_of(synthetic_windows(n_subjects=2), "cross_subject")]
    ['subject 01', 'subject 02']
    """
    metadata, support_s = windows.metadata, windows.filter_support_s
    if protocol == "within_session":
        return folds.within_session(metadata, k, undividable="leave out", guard_s=guard_s, filter_support_s=support_s, validation=validation)
    if protocol == "cross_session":
        return folds.cross_session(metadata, k, guard_s=guard_s, filter_support_s=support_s, validation=validation)
    if protocol == "cross_subject":
        return folds.cross_subject(metadata, k, guard_s=guard_s, filter_support_s=support_s, validation=validation)
    if protocol != "shipped":
        raise ValueError(f"There is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}.")
    if k is not None:
        raise ValueError(f"k is {k}, but nothing reads it: the split that the page ships is one fold; name another protocol.")
    return folds.shipped(metadata, guard_s=guard_s, filter_support_s=support_s, validation=validation)
