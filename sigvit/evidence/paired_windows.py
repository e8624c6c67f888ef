"""Uncertainty and tests over the windows of one test part, for sets that allow no more than one fold."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata


def influence(predictions: pd.DataFrame) -> np.ndarray:
    """How much each test window moves the score, averaged over seeds: (windows,) in the order of row numbers.

    The square root of the sum of squares is the score's standard error.
    For ROC-AUC these are the structural components of DeLong et al. (1988), "Comparing the areas under two or more correlated receiver operating
    characteristic curves", centred and divided by the class's windows; for balanced accuracy the hits, likewise.

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
        centred[numbers == number] = (own - own.mean()) / np.sqrt(len(own) * max(len(own) - 1, 1))
    return centred


def interval_from_influence(score: float, moved: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Normal interval of a score (or of a difference, from the difference of influences)."""
    half = norm.ppf(0.5 + level / 2) * np.sqrt(np.sum(moved**2))
    return float(score - half), float(score + half)


def swap_test(first: pd.DataFrame, second: pd.DataFrame, n: int = 9999, seed: int = 0) -> float:
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
    swapped = np.random.default_rng(seed).integers(0, 2, (n, len(numbers))).astype(float)
    differences = _auc_differences if one.shape[2] == 2 else _recall_differences
    found = np.abs(differences(one, other, numbers, np.vstack([np.zeros(len(numbers)), swapped])))
    # Ties count as reached; the tolerance is rounding in sums of at most 1e5 windows.
    return float(np.mean(found >= found[0] - 1e-10))


def _by_seed(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (seeds, windows, classes) and the windows' class numbers, windows in the order of row numbers."""
    columns = [column for column in predictions.columns if column.startswith("probability_")]
    names = [column.removeprefix("probability_") for column in columns]
    ordered = predictions.sort_values(["seed", "row"])
    seeds = ordered["seed"].nunique()
    labels = ordered["label"].astype(str).to_numpy()[: len(ordered) // seeds]
    values = ordered[columns].to_numpy(dtype=float).reshape(seeds, len(labels), len(names))
    return values, np.array([names.index(label) for label in labels])


def _kernel(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """1 where the positive window is above the negative one, ½ where they tie, averaged over seeds: (positive windows, negative windows)."""
    above = positive[:, :, None] - negative[:, None, :]
    return (0.5 + 0.5 * np.sign(above)).mean(axis=0)


def _auc_components(scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    kernel = _kernel(scores[:, numbers == 1], scores[:, numbers == 0])
    components = np.empty(len(numbers))
    components[numbers == 1], components[numbers == 0] = kernel.mean(axis=1), kernel.mean(axis=0)
    return components


def _recall_components(probabilities: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Hits, averaged over seeds, divided by the number of classes that are there."""
    return (probabilities.argmax(axis=2) == numbers).mean(axis=0) / len(np.unique(numbers))


def _recall_differences(one: np.ndarray, other: np.ndarray, numbers: np.ndarray, swapped: np.ndarray) -> np.ndarray:
    """Difference of balanced accuracy under every swap pattern (patterns, windows)."""
    weights = 1 / np.bincount(numbers, minlength=one.shape[2])[numbers]
    return (1 - 2 * swapped) @ (weights * (_recall_components(one, numbers) - _recall_components(other, numbers)))


def _auc_differences(one: np.ndarray, other: np.ndarray, numbers: np.ndarray, swapped: np.ndarray) -> np.ndarray:
    """Difference of ROC-AUC under every swap pattern; AUC is a bilinear form in who stands where, so each pattern costs one product."""
    ranks = [rankdata(scores[..., 1], axis=1) for scores in (one, other)]
    up, down = swapped[:, numbers == 1], swapped[:, numbers == 0]
    differences = np.zeros(len(swapped))
    for first, positive in enumerate(ranks):
        for second, negative in enumerate(ranks):
            kernel = _kernel(positive[:, numbers == 1], negative[:, numbers == 0]) / (up.shape[1] * down.shape[1])
            # A window shows pipeline `first` in the first place where its swap equals `first`, and in the second place where it doesn't.
            there = np.einsum("np,pm,nm->n", np.abs(1 - first - up), kernel, np.abs(1 - second - down), optimize=True)
            differences += there - np.einsum("np,pm,nm->n", np.abs(first - up), kernel, np.abs(second - down), optimize=True)
    return differences
