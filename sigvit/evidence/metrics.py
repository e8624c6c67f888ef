"""Scores of predicted probabilities, and what chance alone would reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.signal import fftconvolve
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score

# A probability below this counts as this: one certain mistake costs 16.1 nats, and a float32 softmax is judged like a float64 one.
SMALLEST_PROBABILITY = 1e-7
# Times the variance of independent guesses: a mean score over folds whose test parts train each other, of linear classifiers without signal (docs/log.md).
OF_SHARED_FOLDS = 2.0
# Into so many steps a balanced accuracy is cut where recalls of unequal classes are added up.
STEPS = 100_000
# Of confidence, equally wide.
BINS = 10


def score_predictions(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence) -> dict:
    """All metrics of one fit's test part.

    Parameters
    ----------
    labels : (windows,) true labels, each one of ``classes``.
    probabilities : (windows, classes), columns in the order of ``classes``; each row sums to 1.
    classes : all classes of the set, sorted; the second of two is the positive one of ROC-AUC.

    Returns
    -------
    dict : `score` (ROC-AUC for two classes, balanced accuracy for more; NaN where the test part holds one class, since neither can be told apart
        from a constant there), `metric` (its name), `accuracy`, `balanced_accuracy` (mean recall of the classes that are there), `log_loss` (nats a window),
        `calibration_error` (see `calibration_error`), `n_classes`, `chance` (the score of guessing: one in so many classes as have a recall here).

    Raises
    ------
    ValueError : no windows, one class, an unknown label, or rows that are not probabilities.

    >>> right = score_predictions(["left", "right"], [[0.9, 0.1], [0.2, 0.8]], ["left", "right"])
    >>> right["score"], right["metric"], right["accuracy"], round(right["log_loss"], 3)
    (1.0, 'roc_auc', 1.0, 0.164)
    """
    numbers, probabilities = _checked(labels, probabilities, classes)
    hits = probabilities.argmax(axis=1) == numbers
    there = np.unique(numbers)
    balanced = float(np.mean([hits[numbers == number].mean() for number in there]))
    return {
        "score": _score(numbers, probabilities, balanced),
        "metric": "roc_auc" if len(classes) == 2 else "balanced_accuracy",
        "accuracy": float(hits.mean()),
        "balanced_accuracy": balanced,
        "log_loss": float(window_log_loss(numbers, probabilities).mean()),
        "calibration_error": calibration_error(hits, probabilities.max(axis=1)),
        "n_classes": len(classes),
        "chance": 1 / (len(there) if len(there) > 1 else len(classes)),
    }


def window_log_loss(numbers: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Log-loss of every window in nats: minus the natural logarithm of the true class's probability, which is clipped at 1e-7.

    >>> window_log_loss(np.array([0, 1]), np.array([[0.75, 0.25], [0.5, 0.5]])).round(3).tolist()
    [0.288, 0.693]
    """
    own = probabilities[np.arange(len(numbers)), numbers]
    return -np.log(np.clip(own, SMALLEST_PROBABILITY, 1.0))


def calibration_error(hits: np.ndarray, confidence: np.ndarray) -> float:
    """Expected calibration error: how far confidence is from accuracy, over ten bins of confidence, weighted by their windows.

    Guo et al. (2017), "On calibration of modern neural networks", ICML.

    >>> calibration_error(np.array([True, False]), np.array([0.75, 0.75]))
    0.25
    """
    return float(sum(count * abs(accuracy - sure) for sure, accuracy, count in calibration_bins(hits, confidence)) / len(hits))


def calibration_bins(hits: np.ndarray, confidence: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, windows) of every bin that holds a window; a bin holds its upper edge.

    >>> calibration_bins(np.array([True, False]), np.array([0.6, 0.95]))
    [(0.6, 1.0, 1), (0.95, 0.0, 1)]
    """
    # Rounded, so that 0.1 + 0.2 falls into the bin whose upper edge is 0.3.
    place = np.clip(np.ceil(np.round(np.asarray(confidence, dtype=float) * BINS, 9)).astype(int), 1, BINS)
    chosen = [place == number for number in np.unique(place)]
    return [(float(confidence[rows].mean()), float(hits[rows].mean()), int(rows.sum())) for rows in chosen]


def chance_line(counts: ArrayLike, alpha: float = 0.05, units: ArrayLike | None = None) -> float:
    """The score that a pipeline exceeds with probability at most ``alpha`` where nothing tells the classes (about so, where it is a mean over folds).

    Parameters
    ----------
    counts : test windows of every class, (classes,), or (folds, classes) for the mean score of several folds.
        Folds that hold one class have no score and are passed over.
    units : (folds,) the unit, such as the subject, of each fold, where the score is a mean over units of means over their folds.

    Returns
    -------
    float : for two classes the limit of ROC-AUC, from the Mann–Whitney statistic's null variance, (n₁ + n₂ + 1) / (12 n₁ n₂);
        for more the limit of balanced accuracy, from the binomial distribution of hits (Müller-Putz et al. 2008, "Better than
        random? A closer look on BCI results"): exact for one part, where the classes' own distributions are convolved if their windows
        are unequally many; over folds with as many windows as a balanced part of the same variance would have. Recalls are of the classes that a fold holds,
        so that always naming one of them, however few they are, is guessing.
        For several folds twice the variance: each fold's test part trains the others, so that what one pair of folds has in common by chance counts in both.
        NaN where no fold holds two classes.

    >>> round(chance_line([50, 50]), 3), round(chance_line([10, 10, 10, 10]), 3)
    (0.595, 0.375)
    """
    table = np.atleast_2d(np.asarray(counts, dtype=float))
    if table.shape[1] < 2:
        raise ValueError(f"A chance line needs the windows of at least two classes, but got {table.shape[1]}.")
    scored = (table > 0).sum(axis=1) > 1
    if not scored.any():
        return float("nan")
    table, weights = table[scored], _weights(np.arange(len(table)) if units is None else np.asarray(units), scored)
    if table.shape[1] == 2:
        return _auc_limit(table, weights, alpha)
    there = table[0][table[0] > 0].astype(int)
    if len(table) == 1 and len(set(there)) > 1:
        return _unequal_recalls_limit(there, alpha)
    return _balanced_accuracy_limit(table, weights, alpha)


def shared_variance(n_folds: int) -> float:
    """Times the variance of independent guesses, a mean score over so many folds of one set varies."""
    return OF_SHARED_FOLDS if n_folds > 1 else 1.0


def _weights(units: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """What each scored fold counts in a mean over units; the largest is 1."""
    _, own, folds = np.unique(units[scored], return_inverse=True, return_counts=True)
    return folds.min() / folds[own]


def _auc_limit(table: np.ndarray, weights: np.ndarray, alpha: float) -> float:
    variances = (table.sum(axis=1) + 1) / (12 * table.prod(axis=1))
    spread = np.sqrt(shared_variance(len(table)) * (weights**2 * variances).sum())
    return float(min(1.0, 0.5 + norm.ppf(1 - alpha) * spread / weights.sum()))


def _balanced_accuracy_limit(table: np.ndarray, weights: np.ndarray, alpha: float) -> float:
    """A class without windows has no recall; the mean is over those that are there."""
    there = (table > 0).sum(axis=1)
    chance = np.sum(weights / there) / weights.sum()
    # of a hit, then of a fold's mean recall
    hits = (1 - 1 / there) / there
    variances = hits * [np.sum(1 / fold[fold > 0]) for fold in table] / there**2
    variance = shared_variance(len(table)) * np.sum(weights**2 * variances) / weights.sum() ** 2
    alike = max(1, int(np.floor(chance * (1 - chance) / variance + 1e-9)))
    return float(binom.ppf(1 - alpha, alike, chance) / alike)


def _unequal_recalls_limit(counts: np.ndarray, alpha: float) -> float:
    """For one part: the distribution of the mean recall of its classes, in steps that are rounded up, so that the limit is never too low."""
    likely = np.ones(1)
    for count, alike in zip(*np.unique(counts, return_counts=True), strict=True):
        hits = np.arange(alike * count + 1)
        places = np.ceil(hits * STEPS / (count * len(counts)) - 1e-9).astype(int)
        likely = fftconvolve(likely, np.bincount(places, binom.pmf(hits, alike * count, 1 / len(counts))))
    return float(min(1.0, np.searchsorted(likely.cumsum(), 1 - alpha) / STEPS))


def _score(numbers: np.ndarray, probabilities: np.ndarray, balanced: float) -> float:
    if len(np.unique(numbers)) < 2:
        return float("nan")
    return float(roc_auc_score(numbers, probabilities[:, 1])) if probabilities.shape[1] == 2 else balanced


def _checked(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Labels as column numbers, probabilities as float64."""
    values, places = np.asarray(probabilities, dtype=float), {label: number for number, label in enumerate(classes)}
    if len(places) < 2:
        raise ValueError(f"A score needs at least two classes, but got {list(classes)}.")
    if not len(labels) or values.shape != (len(labels), len(places)):
        raise ValueError(
            f"Probabilities have shape {values.shape}, but {len(labels)} labels of {len(places)} classes need ({len(labels)}, {len(places)}), at least one row."
        )
    wrong = ~np.isfinite(values).all(axis=1) | (values.min(axis=1) < -1e-6) | (np.abs(values.sum(axis=1) - 1) > 1e-3)  # float32 sums stay within 1e-6 · classes
    if wrong.any():
        raise ValueError(f"Row {int(np.argmax(wrong))} of the predictions is {values[np.argmax(wrong)].tolist()}; probabilities are ≥ 0 and sum to 1.")
    unknown = sorted({str(label) for label in labels if label not in places})
    if unknown:
        raise ValueError(f"Labels {unknown} are not among the classes {list(classes)}.")
    return np.array([places[label] for label in labels]), values
