"""Order warnings: can the class be told from where, when or after what it was recorded, without looking at the signal?

Trials count once each (their first window); the times are those of clocks, and where there are none nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import chi2, chi2_contingency, norm, poisson
from scipy.stats.contingency import crosstab

from sigvit.evidence.fold import Fold, first_rows
from sigvit.evidence.groups import Groups

# A warning needs both: rarer than this if order were random, and large enough to matter for a score.
RARE, MATTERS = 0.001, 0.05
NEIGHBOURS = 5
# Every pair of labels has a covariance with every other: classes⁴ numbers. Of more classes only the guess of the next label is judged.
MOST_TABULATED_CLASSES = 30


def order_warnings(groups: Groups, folds: list[Fold]) -> list[str]:
    """Sentences about classes confounded with recording, block or time, and about labels that the label before gives away.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence import folds
    >>> from sigvit.evidence.groups import read_groups
    >>> metadata = synthetic_windows(n_subjects=1, n_trials=40).metadata
    >>> metadata["label"] = ["left", "right"] * 40
    >>> order_warnings(read_groups(metadata), folds.within_session(metadata))
    ['The label before tells the next: ... alternating classes, ...]
    """
    trials = np.unique(first_rows(groups, np.arange(len(groups))))
    chains = _chains(groups, trials)
    return [*_recordings(groups, trials), *_blocks(groups, chains), *_previous_label(groups, chains), *_time_alone(groups, folds)]


def _chains(groups: Groups, trials: np.ndarray) -> list[np.ndarray]:
    """Per recording with a clock, its trials in time."""
    trials = trials[groups.clocked[trials]]
    order = trials[np.lexsort((trials, groups.start_s[trials], groups.recording[trials]))]
    return [chain for chain in np.split(order, np.flatnonzero(np.diff(groups.recording[order])) + 1) if len(chain) > 1]


def _recordings(groups: Groups, trials: np.ndarray) -> Iterator[str]:
    """How well the recording alone names the class, beside the same for shuffled labels (chi-squared test of independence)."""
    sizes = np.bincount(groups.recording[trials])
    if groups.label_follows_recording:
        yield f"Every one of {len(sizes)} recordings holds one class: what identifies the recording identifies the class."
        return
    # A recording of one trial names its class in any order; many of them make p too small.
    trials = trials[sizes[groups.recording[trials]] > 1]
    if not len(trials):
        return
    table = crosstab(groups.recording[trials], groups.label[trials]).count
    accuracy, chance = table.max(axis=1).sum() / table.sum(), table.sum(axis=0).max() / table.sum()
    p = chi2_contingency(table).pvalue
    if p < RARE and accuracy >= chance + MATTERS:
        lacking = int(((table == 0).any(axis=1)).sum())
        yield (
            f"Classes are confounded with recordings: the recording alone names {accuracy:.0%} of classes right (the commonest class {chance:.0%}; p {_p(p)}); "
            f"{lacking} of {len(table)} recordings lack a class."
        )


def _blocks(groups: Groups, chains: list[np.ndarray]) -> Iterator[str]:
    """Runs test for several classes (Wallis and Roberts, 1956): fewer changes of class than random order within the recordings gives."""
    found = expected = variance = 0.0
    for chain in chains:
        labels = groups.label[chain]
        mean, spread = _changes(np.bincount(labels).astype(float))
        found, expected, variance = found + float((np.diff(labels) != 0).sum()), expected + mean, variance + spread
    if variance == 0:
        return
    p = float(norm.cdf((found - expected) / np.sqrt(variance)))
    if p < RARE and found < (1 - MATTERS) * expected:
        yield f"Classes come in blocks: the class changes {found:.0f} times within the recordings, in random order it would {expected:.0f} times (p {_p(p)})."


def _changes(counts: np.ndarray) -> tuple[float, float]:
    """Expectation and variance of the number of changes of class in random order, of so many trials of each class."""
    n, squares, cubes = counts.sum(), (counts**2).sum(), (counts**3).sum()
    variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3) / (n * n * (n - 1))
    return float((n * n - squares) / n), max(0.0, float(variance))


def _previous_label(groups: Groups, chains: list[np.ndarray]) -> Iterator[str]:
    """Markov test: are neighbouring trials' labels independent inside each recording?"""
    n_classes = len(groups.classes)
    if n_classes > MOST_TABULATED_CLASSES:
        yield from _guessed_label(groups, chains) if chains else ()
        return
    tables = np.zeros((len(chains), n_classes, n_classes))
    for table, chain in zip(tables, chains, strict=True):
        np.add.at(table, (groups.label[chain[:-1]], groups.label[chain[1:]]), 1)
    n_pairs = tables.sum()
    if n_pairs == 0:
        return
    p = _stratified_independence(tables)
    accuracy = tables.sum(axis=0).max(axis=1).sum() / n_pairs
    chance = tables.sum(axis=1).max(axis=1).sum() / n_pairs
    if p < 10 * RARE and accuracy >= chance + MATTERS:
        changes = 1 - np.trace(tables.sum(axis=0)) / n_pairs
        by_chance = 1 - sum((table.sum(axis=0) * table.sum(axis=1)).sum() / table.sum() for table in tables) / n_pairs
        kind = "alternating" if changes > by_chance else "repeated"
        yield (
            f"The label before tells the next: {accuracy:.0%} of {n_pairs:.0f} labels are named right by the one before ({chance:.0%} by the commonest; "
            f"Markov test p {_p(p)}; {kind} classes, {changes:.0%} changes), so a response to the last trial can pass for one to this."
        )


def _guessed_label(groups: Groups, chains: list[np.ndarray]) -> Iterator[str]:
    """The same of many classes: what follows a label in the first halves of the recordings is guessed to follow it in the second halves."""
    labels = [groups.label[chain] for chain in chains]
    follower = _commonest_follower([own[: len(own) // 2 + 1] for own in labels], len(groups.classes))
    hits, expected, n_pairs = 0, 0.0, 0
    for own in labels:
        before, truth = own[len(own) // 2 : -1], own[len(own) // 2 + 1 :]
        guess = follower[before]
        hits, n_pairs = hits + int((guess == truth).sum()), n_pairs + len(truth)
        guessed, there = np.bincount(guess, minlength=len(follower)), np.bincount(truth, minlength=len(follower))
        expected += float(guessed @ there) / max(1, len(truth))
    p = float(poisson.sf(hits - 1, expected))
    if p < 10 * RARE and hits >= expected + MATTERS * n_pairs:
        yield (
            f"The label before tells the next: {hits / n_pairs:.0%} of {n_pairs} labels are named right by what followed the one before earlier on "
            f"({expected / n_pairs:.0%} in random order; p {_p(p)}), so a response to the last trial can pass for one to this."
        )


def _commonest_follower(sequences: list[np.ndarray], n_classes: int) -> np.ndarray:
    """(classes,) the label that comes most often after each; the label itself where nothing does."""
    before, after = (np.concatenate(column) for column in ([own[:-1] for own in sequences], [own[1:] for own in sequences]))
    pairs, counts = np.unique(before * n_classes + after, return_counts=True)
    pairs = pairs[np.argsort(counts, kind="stable")]
    follower = np.arange(n_classes)
    follower[pairs // n_classes] = pairs % n_classes  # the last one written stays
    return follower


def _stratified_independence(tables: np.ndarray) -> float:
    """p of general association over strata (Cochran, Mantel and Haenszel; Landis, Heyman and Koch, 1978): so that recordings with unlike classes don't count.

    `tables` holds (strata, rows, columns) counts.
    """
    difference = np.zeros(tables[0].size)
    covariance = np.zeros((tables[0].size, tables[0].size))
    for table in tables[tables.sum(axis=(1, 2)) > 1]:
        n, rows, columns = table.sum(), table.sum(axis=1), table.sum(axis=0)
        difference += (table - np.outer(rows, columns) / n).ravel()
        spread = [np.diag(margin) - np.outer(margin, margin) / n for margin in (rows, columns)]
        covariance += np.kron(*spread) / (n - 1)
    # margins are fixed, so (rows - 1) × (columns - 1) directions are free, fewer where classes are missing
    free = np.linalg.matrix_rank(covariance)
    return float(chi2.sf(difference @ np.linalg.pinv(covariance, hermitian=True) @ difference, free)) if free else 1.0


def _time_alone(groups: Groups, folds: list[Fold]) -> Iterator[str]:
    """Nearest neighbours in time, judged in the same folds: in the same recording where train has some of it, else by seconds from the beginning."""
    begin = np.full(groups.recording.max() + 1, np.inf)
    timed = groups.clocked
    np.minimum.at(begin, groups.recording[timed], groups.start_s[timed])
    # the seconds of an unclocked recording are never read
    seconds = np.where(timed, groups.start_s - np.where(np.isfinite(begin), begin, 0.0)[groups.recording], 0.0)
    pairs = [_guesses(groups, seconds, fold) for fold in folds]
    truth, guess = (np.concatenate(column) for column in zip(*pairs, strict=True))
    if len(np.unique(truth)) < 2:
        return
    balanced, chance, spread = _balanced_accuracy(truth, guess)
    p = float(norm.sf((balanced - chance) / spread)) if spread > 0 else 1.0
    if p < RARE and balanced >= chance + MATTERS:
        found = f"a balanced accuracy of {balanced:.2f} in these folds (chance {chance:.2f}; p {_p(p)})"
        yield f"Time alone tells the class: nearest neighbours in time reach {found}."


def _balanced_accuracy(truth: np.ndarray, guess: np.ndarray) -> tuple[float, float, float]:
    """The balanced accuracy, and its expectation and standard deviation where each guess is drawn by the share of its class among the guesses."""
    labels, counts = np.unique(truth, return_counts=True)
    hits, guessed = (np.bincount(of, minlength=labels[-1] + 1)[labels] for of in (guess[guess == truth], guess))
    own = guessed / len(guess)
    return float(np.mean(hits / counts)), float(own.mean()), float(np.sqrt((own * (1 - own) / counts).sum()) / len(counts))


def _guesses(groups: Groups, seconds: np.ndarray, fold: Fold) -> tuple[np.ndarray, np.ndarray]:
    """(true label, guessed label) of the fold's test trials that have a clock."""
    test, train = (np.unique(first_rows(groups, rows)) for rows in (fold.test, np.union1d(fold.train, fold.validation)))
    test, train = test[groups.clocked[test]], train[groups.clocked[train]]
    if not len(test) or not len(train):
        return test[:0], test[:0]
    weight = 1 / np.maximum(1, np.bincount(groups.label[train], minlength=len(groups.classes)))
    guess = np.empty(len(test), np.int64)
    for members, order in _neighbourhoods(groups, seconds, test, train):
        nearest = _nearest(seconds[order], seconds[test[members]], min(len(order), NEIGHBOURS))
        # Sorted, so that of equal votes the first class wins.
        labels = np.sort(groups.label[order[nearest]], axis=1)
        votes = (labels[:, :, None] == labels[:, None, :]).sum(axis=2) * weight[labels]
        guess[members] = labels[np.arange(len(labels)), votes.argmax(axis=1)]
    return groups.label[test], guess


def _neighbourhoods(groups: Groups, seconds: np.ndarray, test: np.ndarray, train: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(positions among the test trials, training trials by their seconds): those of the same recording, or all where it has too few."""
    by_time = train[np.argsort(seconds[train], kind="stable")]
    by_recording = by_time[np.argsort(groups.recording[by_time], kind="stable")]
    sought = groups.recording[test]
    first, behind = (np.searchsorted(groups.recording[by_recording], sought, side) for side in ("left", "right"))
    enough = behind - first >= NEIGHBOURS
    yield np.flatnonzero(~enough), by_time
    for recording in np.unique(sought[enough]):
        members = np.flatnonzero(sought == recording)
        yield members, by_recording[first[members[0]] : behind[members[0]]]


def _nearest(sorted_s: np.ndarray, wanted_s: np.ndarray, n: int) -> np.ndarray:
    """(wanted, n) positions around each moment, half before and half after."""
    first = np.clip(np.searchsorted(sorted_s, wanted_s) - n // 2, 0, len(sorted_s) - n)
    return first[:, None] + np.arange(n)


def _p(p: float) -> str:
    return "< .0001" if p < 0.0001 else f"= {p:.4f}"
