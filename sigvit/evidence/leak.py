"""Leak: the error that names what two parts of a fold share."""

from __future__ import annotations

import numpy as np

from sigvit.evidence.groups import Groups
from sigvit.evidence.intervals import near
from sigvit.evidence.leak_checks import SHARED, Finding, Judged


class Leak(Exception):  # noqa: N818  (what people catch is a leak)
    """Folds whose parts share what they may not.

    Attributes
    ----------
    rows : sorted row numbers of all that leaks, over all folds and checks.
    pairs : examples (row, row of another part), at most three of each check of each fold.
    checks : names of the checks that found something.
    """

    def __init__(self, message: str, rows: list[int] | None = None, pairs: list[tuple[int, int]] | None = None, checks: list[str] | None = None) -> None:
        super().__init__(message, rows or [], pairs or [], checks or [])
        self.rows, self.pairs, self.checks = rows or [], pairs or [], checks or []

    def __str__(self) -> str:
        return self.args[0]


def leak_of(findings: list[Finding], judged: Judged) -> Leak:
    """The error for these findings: a sentence for the first fold that each check refused, and how many more there are."""
    checks = list(dict.fromkeys(finding.check for finding in findings))
    sentences = []
    for check in checks:
        same = [finding for finding in findings if finding.check == check]
        more = f" ({check}: the same in {len(same) - 1} more places.)" if len(same) > 1 else ""
        sentences.append(_sentence(same[0], judged) + more)
    rows = np.unique(np.concatenate([finding.rows for finding in findings])).tolist()
    pairs = [pair for finding in findings for pair in _examples(finding, judged)]
    advice = f"An overlap that is wanted, to compare with a published protocol, is tolerated by name: tolerate={tuple(checks)!r}."
    return Leak("\n".join([*sentences, advice]), rows, pairs, checks)


def _sentence(finding: Finding, judged: Judged) -> str:
    fold, groups = finding.fold, judged.groups
    shared = SHARED[finding.check].format(n=len(finding.rows), gap=judged.gap_s, protocol=fold.protocol)
    examples = []
    for first, second in _examples(finding, judged):
        examples.append(_row(groups, first) if first == second else f"{_row(groups, first)} and {_row(groups, second)}")
    where = f"Fold {fold.number} ({fold.left_out} left out)" if fold.left_out else f"Fold {fold.number}"
    return f"{where}: {finding.parts[0]} and {finding.parts[1]} {shared}, such as {'; '.join(examples)}."


def _row(groups: Groups, row: int) -> str:
    when = "no clock" if np.isnan(groups.start_s[row]) else f"{groups.start_s[row]:.3f} to {groups.stop_s[row]:.3f} s"
    return f"row {row} (subject {groups.names['subject'][row]}, recording {groups.names['recording'][row]}, trial {groups.names['trial'][row]}, {when})"


def _examples(finding: Finding, judged: Judged) -> list[tuple[int, int]]:
    """Up to three rows of the one part (or of the other, where the one has none), each with a row that it shares something with."""
    mine, theirs = (finding.first, finding.second) if len(finding.first) else (finding.second, finding.first)
    return [(int(row), _partner(int(row), theirs, finding, judged)) for row in mine[:3]]


def _partner(row: int, others: np.ndarray, finding: Finding, judged: Judged) -> int:
    if finding.check == "interval":
        fits = near(judged.groups, np.array([row]), others, judged.gap_s)
    elif finding.check == "copy":
        assert judged.copies is not None
        mine = judged.copies.stretches[judged.copies.rows == row]
        fits = np.isin(others, judged.copies.rows[np.isin(judged.copies.stretches, mine)])
    elif finding.codes is None:
        return row  # it shares nothing, but comes too late; or with a window that has no row here
    else:
        fits = finding.codes[others] == finding.codes[row]
    return int(others[fits][0]) if fits.any() else row
