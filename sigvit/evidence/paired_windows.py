"""Uncertainty and tests over the windows of one test part, for sets that allow no more than one fold."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import beta, norm, rankdata

ROUNDING = 1e-9  # far above that of a mean over seeds, far below what one window moves
DRAWS = 9999  # random patterns of swaps, or of signs
LEVEL = 0.95  # of intervals
# Numbers of swap patterns that are held at once.
MOST_NUMBERS = 2**22


def influence(predictions: pd.DataFrame) -> np.ndarray:
    """How much each test window moves the score, averaged over seeds: (windows,) in the order of row numbers.

    The square root of the sum of squares is the score's standard error.
    For ROC-AUC these are the structural components of DeLong et al. (1988), "Comparing the areas under two or more correlated receiver operating
    characteristic curves", centred and divided by the class's windows; for balanced accuracy the hits, likewise. NaN for the window of a class that has no
    other, since one window has no spread to judge by.

    Parameters
    ----------
    predictions : one pipeline's rows of `Results.predictions` for one fold: seed, row, label and a probability of each class.
    """
    probabilities, numbers = _by_seed(predictions)
    components = _auc_components(probabilities[..., 1], numbers) if probabilities.shape[2] == 2 else _recall_components(probabilities, numbers)
    centred = np.zeros(len(numbers))
    for number in np.unique(numbers):
        own = components[numbers == number]
        # n - 1 under the root: the variance inside the class is estimated.
        centred[numbers == number] = (own - own.mean()) / np.sqrt(len(own) * (len(own) - 1)) if len(own) > 1 else np.nan
    return centred


def interval_from_influence(difference: float, moved: np.ndarray) -> tuple[float, float]:
    """Normal 95 % interval of a difference of two scores, from the difference of their influences; (NaN, NaN) where a class has one window."""
    half = norm.ppf(0.5 + LEVEL / 2) * np.sqrt(np.sum(moved**2))
    return float(difference - half), float(difference + half)


def score_interval(score: float, predictions: pd.DataFrame) -> tuple[float, float]:
    """95 % interval of one pipeline's score, normal in its logit, and so inside 0 to 1 (Pepe 2003, "The statistical evaluation of medical tests", 5.2.4).

    Where every pair of windows is right there is no spread to judge by: then the exact lower limit of Clopper and Pearson (1934), "The use of confidence or
    fiducial limits", of as many hits as the rarest class has windows; where every pair is wrong, likewise the upper one. Where none of several classes has
    a spread (its windows are all right, or all wrong), the mean over classes of the limits of their recalls. Where a class has one window: (NaN, NaN).

    >>> rows = pd.DataFrame({"seed": 0, "row": range(40), "label": [0, 1] * 20})
    >>> [round(limit, 3) for limit in score_interval(1.0, rows.assign(probability_0=1 - rows.label, probability_1=rows.label))]
    [0.832, 1.0]
    """
    moved = influence(predictions)
    if np.isnan(moved).any():
        return float("nan"), float("nan")
    if not ROUNDING < score < 1 - ROUNDING:
        fewest = np.unique(_by_seed(predictions)[1], return_counts=True)[1].min()
        limit = float((0.5 - LEVEL / 2) ** (1 / fewest))
        return (limit, 1.0) if score > 0.5 else (0.0, 1 - limit)
    probabilities, numbers = _by_seed(predictions)
    if probabilities.shape[2] > 2 and np.abs(moved).max() < ROUNDING:
        return _mean_of_recall_limits(probabilities, numbers)
    half = norm.ppf(0.5 + LEVEL / 2) * np.sqrt(np.sum(moved**2)) / (score * (1 - score))
    return float(expit(logit(score) - half)), float(expit(logit(score) + half))


def swap_test(first: pd.DataFrame, second: pd.DataFrame, n: int = DRAWS, seed: int = 0) -> float:
    """Two-sided p of equal scores: the two pipelines' predictions are swapped window by window, at random.

    Bandos et al. (2005), "A permutation test sensitive to differences in areas for comparing ROC curves from a paired design", with all seeds of a window
    swapped together; for more than two classes the hits are swapped. ROC-AUC is computed from ranks, so that the scales of the two pipelines don't matter.

    >>> rows = pd.DataFrame({"seed": 0, "row": range(40), "label": [0, 1] * 20})
    >>> good = rows.assign(probability_0=1 - 0.8 * rows.label, probability_1=0.8 * rows.label)
    >>> poor = rows.assign(probability_0=0.5, probability_1=0.5)
    >>> swap_test(good, poor) < 0.001, swap_test(good, good)
    (True, 1.0)
    """
    (one, numbers), (other, also) = _by_seed(first), _by_seed(second)
    if one.shape != other.shape or not np.array_equal(numbers, also):
        raise ValueError(f"Two pipelines are compared on the same windows and seeds, but have (seeds, windows, classes) {one.shape} and {other.shape}.")
    moved = _auc_moves(one, other, numbers) if one.shape[2] == 2 else _recall_moves(one, other, numbers)
    generator, at_once = np.random.default_rng(seed), max(1, MOST_NUMBERS // len(numbers))
    sizes = [min(at_once, n - first) for first in range(0, n, at_once)]
    # Ties count as reached; the tolerance is rounding in sums of at most 1e5 windows.
    least = abs(moved.sum()) - 1e-10
    reached = sum(int((np.abs((1 - 2 * generator.integers(0, 2, (size, len(numbers)))) @ moved) >= least).sum()) for size in sizes)
    return (1 + reached) / (1 + n)


def _by_seed(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (seeds, windows, classes) and the windows' class numbers, windows in the order of row numbers."""
    columns = [column for column in predictions.columns if column.startswith("probability_")]
    names = [column.removeprefix("probability_") for column in columns]
    ordered = predictions.sort_values(["seed", "row"])
    seeds = ordered["seed"].nunique()
    labels = ordered["label"].astype(str).to_numpy()[: len(ordered) // seeds]
    values = ordered[columns].to_numpy(dtype=float).reshape(seeds, len(labels), len(names))
    return values, np.array([names.index(label) for label in labels])


def _below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many of the others lie below each value, ties counting half: averaged over seeds, (seeds, values) and (seeds, others) → (values,)."""
    counts = [sum(np.searchsorted(ranked, own, side) for side in ("left", "right")) for own, ranked in zip(values, np.sort(others, axis=1), strict=True)]
    return np.sum(counts, axis=0) / (2 * len(counts))


def _auc_components(scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    positive, negative = scores[:, numbers == 1], scores[:, numbers == 0]
    components = np.empty(len(numbers))
    components[numbers == 1] = _below(positive, negative) / negative.shape[1]
    components[numbers == 0] = 1 - _below(negative, positive) / positive.shape[1]
    return components


def _recall_components(probabilities: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Hits, averaged over seeds, divided by the number of classes that are there."""
    return (probabilities.argmax(axis=2) == numbers).mean(axis=0) / len(np.unique(numbers))


def _mean_of_recall_limits(probabilities: np.ndarray, numbers: np.ndarray) -> tuple[float, float]:
    """Lower and upper limits of Clopper and Pearson of every class's recall, each averaged over classes."""
    present, counts = np.unique(numbers, return_counts=True)
    right = (probabilities.argmax(axis=2) == numbers).mean(axis=0)
    hits = np.array([right[numbers == number].sum() for number in present])
    # The beta distribution has no limit below no hits, nor one above hits alone.
    low = np.where(hits > 0, beta.ppf(0.5 - LEVEL / 2, hits, counts - hits + 1), 0.0)
    high = np.where(hits < counts, beta.ppf(0.5 + LEVEL / 2, hits + 1, counts - hits), 1.0)
    return float(low.mean()), float(high.mean())


def _recall_moves(one: np.ndarray, other: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(windows,) by half of what each window's swap moves the difference of balanced accuracy: under signs, -1 where swapped, it is their sum."""
    weights = 1 / np.bincount(numbers, minlength=one.shape[2])[numbers]
    return weights * (_recall_components(one, numbers) - _recall_components(other, numbers))


def _auc_moves(one: np.ndarray, other: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The same of ROC-AUC: over both states of the opposite window, what a window gains or loses against it doesn't depend on that window's own swap."""
    ranks = [rankdata(scores[..., 1], axis=1) for scores in (one, other)]
    moved = np.empty(len(numbers))
    for own, sign in ((1, 1), (0, -1)):
        opposite = np.concatenate([each[:, numbers == 1 - own] for each in ranks], axis=1)
        first, second = (_below(each[:, numbers == own], opposite) for each in ranks)
        moved[numbers == own] = sign * (first - second) / (2 * np.prod(np.bincount(numbers)))
    return moved
