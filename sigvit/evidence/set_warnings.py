"""Set warnings: what no leak check forbids but a reader must know, such as who is judged, on how many, and what could not be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy.stats.contingency import crosstab

from sigvit.data.windows import abridged
from sigvit.evidence.fold import Fold
from sigvit.evidence.groups import Groups
from sigvit.evidence.leak_checks import claimed_group

UNEQUAL_CLASSES, UNEQUAL_SUBJECTS, WIDE_INTERVAL = 2.0, 4.0, 0.05


def set_warnings(groups: Groups, folds: list[Fold], signal: np.ndarray | None = None) -> list[str]:
    """Sentences about the set and its division; none where there is nothing to say.

    Parameters
    ----------
    signal : code of every window's bytes; None where the signals aren't there.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence import folds
    >>> from sigvit.evidence.groups import read_groups
    >>> metadata = synthetic_windows(n_subjects=3, n_trials=90).metadata
    >>> set_warnings(read_groups(metadata), folds.cross_subject(metadata))
    []
    """
    return [
        *_not_compared(groups),
        *_clocks(groups, folds),
        *_protocols(groups, folds),
        *_missing_classes(groups, folds),
        *_unequal(groups),
        *_constant_labels(groups),
        *_few_trials(groups, folds),
        *_untested(groups, folds),
        *_guard(groups, folds),
        *_duplicates(signal),
    ]


def rejection_warnings(page: Mapping[str, Any]) -> list[str]:
    """What a set's page says of limits that were learned from its own windows before any fold was made.

    >>> learned = {"cut": {"reject_v": "autoreject"}, "recordings": {"run 1": {"reject_v": 8e-05}, "run 2": {"reject_v": 1.2e-04}}, "dropped": {"windows": []}}
    >>> rejection_warnings(learned)[0][:80]
    'Which windows are here was decided by limits that autoreject learned from all wi'
    """
    if (page.get("cut") or {}).get("reject_v") != "autoreject":
        return []
    limits = [note["reject_v"] for note in page.get("recordings", {}).values() if note.get("reject_v") is not None]
    dropped = [each for each in page.get("dropped", {}).get("windows", []) if "peak_to_peak_v" in each]
    span = f" (from {min(limits) * 1e6:.0f} to {max(limits) * 1e6:.0f} µV peak to peak)" if limits else ""
    return [
        f"Which windows are here was decided by limits that autoreject learned from all windows of each recording, unlabelled, test windows included{span}; "
        f"{len(dropped)} windows were dropped by them. The score holds for recordings that are there as a whole before the first window is judged."
    ]


def _not_compared(groups: Groups) -> Iterator[str]:
    if groups.missing:
        yield f"The metadata lacks {abridged(list(groups.missing))}; what these would show was not compared."


def _clocks(groups: Groups, folds: list[Fold]) -> Iterator[str]:
    unknown = np.isnan(groups.start_s)
    if not unknown.any():
        return
    part = "The source gives no clock" if unknown.all() else f"The source gives no clock for {unknown.sum()} of {len(groups)} windows"
    consequence = "whether these windows overlap, and how near they lie, could not be compared"
    if any(fold.protocol in ("within_session", "shipped") for fold in folds):
        consequence += "; their row order isn't time, so blocks are cut inside each class, and blocks inside classes protect little"
    yield f"{part}: {consequence}."


def _protocols(groups: Groups, folds: list[Fold]) -> Iterator[str]:
    shuffled = [fold for fold in folds if fold.protocol == "shuffled_trials"]
    if shuffled:
        yield "Single trials were shuffled: neighbours share drift and attention, so the score says little about a later recording."
    open_folds = [fold for fold in folds if claimed_group(fold) is None and fold.protocol not in ("within_session", "shuffled_trials")]
    if open_folds:
        yield from _shared_subjects(groups, open_folds)
    for group in ("subject", "session", "run"):
        codes = getattr(groups, group)
        close = [fold for fold in folds if claimed_group(fold) == group and np.isin(codes[fold.validation], codes[fold.train]).any()]
        if close:
            yield f"In {len(close)} of {len(folds)} folds validation shares a {group} with train, for want of another: choices made there are optimistic."


def _shared_subjects(groups: Groups, folds: list[Fold]) -> Iterator[str]:
    name, codes = ", ".join(sorted({fold.protocol or "no protocol" for fold in folds})), groups.subject
    most = max(len(np.intersect1d(codes[fold.test], codes[np.union1d(fold.train, fold.validation)])) for fold in folds)
    if most:
        yield f"Train and test share subjects (up to {most} in a fold; the protocol is {name}): the score holds for these subjects, not for new ones."


def _missing_classes(groups: Groups, folds: list[Fold]) -> Iterator[str]:
    n_classes = len(groups.classes)
    if n_classes < 2:
        yield (
            f"There is one class only, {groups.classes[0]!r}: nothing can be told apart."
            if "label" not in groups.missing
            else "Without labels, classes were not looked at."
        )
        return
    for part, consequence in (
        ("test", "a fold with one class has no ROC-AUC, and none can show a class it lacks"),
        ("train", "what isn't learned can't be predicted"),
        ("validation", "a choice made there doesn't see that class"),
    ):
        held = [(fold, len(np.unique(groups.label[getattr(fold, part)]))) for fold in folds if len(getattr(fold, part))]
        lacking = [fold for fold, n_held in held if n_held < n_classes]
        if lacking:
            names = abridged([f"fold {fold.number} ({fold.left_out})" for fold in lacking], 4)
            yield f"A class is missing from the {part} part of {len(lacking)} of {len(folds)} folds: {names}; {consequence}."


def _unequal(groups: Groups) -> Iterator[str]:
    counts = np.bincount(groups.label)
    if len(counts) > 1 and counts.max() >= UNEQUAL_CLASSES * counts.min():
        numbers = ", ".join(f"{name} {count}" for name, count in zip(groups.classes, counts, strict=True))
        yield f"The classes are very unequal ({numbers}): a constant has accuracy {counts.max() / counts.sum():.2f}; read balanced accuracy or ROC-AUC."
    counts = np.bincount(groups.subject)
    if len(counts) > 1 and counts.max() >= UNEQUAL_SUBJECTS * counts.min():
        names = groups.distinct("subject", np.arange(len(groups)))
        largest, smallest = names[counts.argmax()], names[counts.argmin()]
        yield f"The subjects are very unequal: subject {largest} has {counts.max()} windows, subject {smallest} {counts.min()}; average over subjects."


def _constant_labels(groups: Groups) -> Iterator[str]:
    table = crosstab(groups.subject, groups.label).count
    if table.shape[1] > 1 and ((table > 0).sum(axis=1) == 1).all():
        yield (
            f"The label is constant in every subject: the effective sample size is {len(table)} subjects, not {len(groups)} windows, "
            "and a split that shares subjects measures who it is."
        )


def _few_trials(groups: Groups, folds: list[Fold]) -> Iterator[str]:
    n_tested = len(np.unique(groups.trial[np.unique(np.concatenate([fold.test for fold in folds]))]))
    half_width = 1.96 * np.sqrt(0.25 / n_tested)
    if half_width > WIDE_INTERVAL:
        yield f"{n_tested} trials are tested in all: the 95 % interval of an accuracy near .5 is ± {100 * half_width:.0f} points."


def _untested(groups: Groups, folds: list[Fold]) -> Iterator[str]:
    rows = np.setdiff1d(np.arange(len(groups)), np.concatenate([fold.test for fold in folds]))
    if len(rows) and all(fold.protocol in ("cross_session", "within_session") for fold in folds):
        yield f"{len(rows)} of {len(groups)} windows are tested in no fold, of subject {abridged(groups.distinct('subject', rows), 4)}."
    counts = np.bincount(np.concatenate([fold.test for fold in folds]), minlength=len(groups))
    if (counts > 1).any():
        yield f"{(counts > 1).sum()} windows are tested in several folds: the folds' scores aren't independent."


def _guard(groups: Groups, folds: list[Fold]) -> Iterator[str]:
    """Rows that a protocol would divide but that are in no part: any of a shipped split, else a tenth or more of a fold."""
    everything = np.zeros_like(groups.subject)
    divided = {"shipped": everything, "cross_subject": everything, "cross_session": groups.subject, "within_session": groups.session}
    for protocol, codes in divided.items():
        mine = [fold for fold in folds if fold.protocol == protocol]
        counts = [np.isin(codes, codes[fold.test]).sum() for fold in mine]
        unused = [count - len(fold.train) - len(fold.validation) - len(fold.test) for fold, count in zip(mine, counts, strict=True)]
        shares = [number / count for number, count in zip(unused, counts, strict=True)]
        if mine and max(shares) >= (0.1 if protocol != "shipped" else 1 / len(groups)):
            most = int(np.argmax(shares))
            yield (
                f"Up to {shares[most]:.0%} of a fold ({unused[most]} of {counts[most]} windows, fold {mine[most].number}) lie too near another part, "
                f"or belong to one of its trials, and are in no part ({protocol})."
            )


def _duplicates(signal: np.ndarray | None) -> Iterator[str]:
    if signal is not None:
        n_repeats = len(signal) - len(np.unique(signal))
        if n_repeats:
            yield f"{n_repeats} windows are byte-identical to an earlier one; where they share a part they count twice."
