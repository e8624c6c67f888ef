"""Shrinkage LDA on segment means: the strong plain baseline for evoked and slow potentials."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import solve
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.validation import check_is_fitted

from sigvit.evidence.metrics import window_log_loss

MICROVOLTS_PER_VOLT = 1e6
# The smaller of windows and features bounds the work of one fit; a candidate above it is left out.
LARGEST_SYSTEM = 2048
INNER_FOLDS = 5


def segment_means(signals: np.ndarray, segments: int) -> np.ndarray:
    """Means over ``segments`` nearly equal parts of time: (windows, electrodes, samples) in volts → (windows, electrodes · segments) in microvolts.

    >>> segment_means(np.array([[[1e-6, 3e-6, 5e-6]]]), 2).round(6).tolist()
    [[1.0, 4.0]]
    """
    edges = np.linspace(0, signals.shape[2], segments + 1).astype(int)
    # Sums between the edges; every part holds at least one sample, as there are never more parts than samples.
    sums = np.add.reduceat(np.asarray(signals, dtype=np.float64), edges[:-1], axis=2)
    return (sums / np.diff(edges) * MICROVOLTS_PER_VOLT).reshape(len(signals), -1)


def ledoit_wolf(centred: np.ndarray) -> tuple[float, float]:
    """Ledoit–Wolf shrinkage (Ledoit and Wolf 2004) and the mean variance, in time linear in the larger side of (windows, features).

    The same numbers as `sklearn.covariance.ledoit_wolf_shrinkage`, which needs time quadratic in the features: too slow for every sample of every electrode.

    >>> ledoit_wolf(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    (1.0, 0.5)
    """
    n, p = centred.shape
    squares = (centred**2).sum(axis=1)
    mean_variance = squares.sum() / n / p
    small = centred @ centred.T if n < p else centred.T @ centred
    second = (small**2).sum() / n**2
    spread = (second - p * mean_variance**2) / p
    noise = min((np.sum(squares**2) / n - second) / n / p, spread)
    return (float(noise / spread) if spread > 0 else 1.0), float(mean_variance)


def solve_shrunken(centred: np.ndarray, right: np.ndarray) -> np.ndarray:
    """S⁻¹ ``right`` for the Ledoit–Wolf covariance S of ``centred`` (windows, features); by Woodbury's identity where windows are fewer than features."""
    n, p = centred.shape
    shrinkage, mean_variance = ledoit_wolf(centred)
    # A trace of zero means that no feature varies within a class: then every direction is as good.
    ridge, weight = max(shrinkage * mean_variance, np.finfo(float).tiny ** 0.5), (1 - shrinkage) / n
    if p <= n:
        return solve(weight * centred.T @ centred + ridge * np.eye(p), right, assume_a="pos")
    inner = ridge * np.eye(n) + weight * centred @ centred.T
    return (right - weight * centred.T @ solve(inner, centred @ right, assume_a="pos")) / ridge


class ShrinkageLDA(ClassifierMixin, BaseEstimator):
    """Linear discriminant analysis with Ledoit–Wolf shrinkage on segment means.

    Blankertz et al. (2011), "Single-trial analysis and classification of ERP components — a tutorial", NeuroImage 56.

    Parameters
    ----------
    segments : how many parts of time are averaged, or several candidates, of which inner folds of the training windows choose by log-loss;
        "auto" is 4, 8, 16, … and every sample. Inner folds keep subjects whole where ``fit`` gets several in ``groups``; else they are blocks in each class.
        Every candidate is judged at its best temperature (Guo et al. 2017): with many features the discriminant ranks well but is far too sure.

    Attributes
    ----------
    segments_, temperature_ : what was chosen; log-probabilities are divided by the temperature. classes_ : sorted labels.
    coef_, intercept_ : (classes, features), (classes,), before the temperature. log_loss_ : {candidate: inner log-loss in nats}.
    out_of_fold_ : (windows, classes) log-probabilities of the training windows by discriminants of the inner folds; NaN where none judged.

    >>> signals = np.random.default_rng(0).normal(0, 1e-5, (40, 3, 32)); labels = np.repeat(["rest", "task"], 20)
    >>> signals[20:, 1, 8:16] += 2e-5
    >>> ShrinkageLDA().fit(signals, labels).score(signals, labels)
    1.0
    """

    def __init__(self, segments: int | tuple[int, ...] | str = "auto"):
        self.segments = segments

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> ShrinkageLDA:
        signals, labels = checked_signals(X), np.asarray(y)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"Shrinkage LDA needs at least two classes in its training windows, but all {len(labels)} are {self.classes_[0]!r}.")
        self.log_loss_: dict[int, float] = {}
        folds = inner_folds(numbers, groups)
        self.segments_, self.temperature_ = self._choose(signals, numbers, folds)
        self.out_of_fold_ = self._out_of_fold(signals, numbers, folds)
        self.coef_, self.intercept_ = fit_discriminant(segment_means(signals, self.segments_), numbers)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Log-probabilities up to a constant a window, (windows, classes); for two classes their difference, (windows,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return softmax(self._logits(X), axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classes_[self._logits(X).argmax(axis=1)]

    def _logits(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        return (segment_means(checked_signals(X), self.segments_) @ self.coef_.T + self.intercept_) / self.temperature_

    def _choose(self, signals: np.ndarray, numbers: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]) -> tuple[int, float]:
        """Segments and temperature of the smallest inner log-loss; where the windows allow no inner folds, the first candidate as it is."""
        candidates, temperatures = self._candidates(signals), {}
        if not folds:
            return candidates[0], 1.0
        for segments in candidates:
            logits, judged = inner_logits(segment_means(signals, segments), numbers, folds)
            temperatures[segments], self.log_loss_[segments] = best_temperature(logits, judged)
        best = min(candidates, key=self.log_loss_.__getitem__)
        return best, temperatures[best]

    def _out_of_fold(self, signals: np.ndarray, numbers: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        told = np.full((len(numbers), len(self.classes_)), np.nan)
        if folds:
            judged = np.concatenate([judge for _, judge in folds])
            logits, _ = inner_logits(segment_means(signals, self.segments_), numbers, folds)
            told[judged] = log_softmax(logits / self.temperature_, axis=1)
        return told

    def _candidates(self, signals: np.ndarray) -> list[int]:
        windows, electrodes, samples = signals.shape
        if self.segments == "auto":
            powers = [2**power for power in range(2, 20) if 2**power < samples]
            fitting = [segments for segments in (*powers, samples) if min(windows, electrodes * segments) <= LARGEST_SYSTEM]
            return fitting or [min(4, samples)]
        given = [self.segments] if isinstance(self.segments, int) else [segments for segments in self.segments if isinstance(segments, int)]
        if not given or min(given) < 1 or max(given) > samples:
            raise ValueError(f"segments is {self.segments!r}; give whole numbers from 1 to the {samples} samples of a window, or 'auto'.")
        return given


def fit_discriminant(features: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (classes, features) and offsets (classes,) of linear discriminant analysis with one shrunken covariance of all classes."""
    means = np.array([features[numbers == number].mean(axis=0) for number in range(numbers.max() + 1)])
    weights = solve_shrunken(features - means[numbers], means.T).T
    return weights, -0.5 * np.sum(weights * means, axis=1) + np.log(np.bincount(numbers) / len(numbers))


def inner_folds(numbers: np.ndarray, groups: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and judging rows of up to five inner folds that each train on every class; fewer, or none, where the data don't allow it."""
    n_groups = len(np.unique(groups)) if groups is not None else 1
    parts = min(INNER_FOLDS, n_groups if n_groups > 1 else int(np.bincount(numbers).min()))
    if parts < 2:
        return []
    splitter = StratifiedGroupKFold(parts) if n_groups > 1 else StratifiedKFold(parts)
    folds = splitter.split(numbers, numbers, groups if n_groups > 1 else None)
    n_classes = int(numbers.max()) + 1
    # A discriminant of one window a class has no deviations to learn from; scikit-learn's refuses it.
    return [(train, judge) for train, judge in folds if len(judge) and len(train) > n_classes == len(np.unique(numbers[train]))]


def inner_logits(features: np.ndarray, numbers: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Logits (judged windows, classes) from discriminants that didn't see them, and those windows' class numbers."""
    parts = []
    for train, judge in folds:
        weights, offsets = fit_discriminant(features[train], numbers[train])
        parts.append(features[judge] @ weights.T + offsets)
    return np.concatenate(parts), np.concatenate([numbers[judge] for _, judge in folds])


def best_temperature(logits: np.ndarray, numbers: np.ndarray) -> tuple[float, float]:
    """The temperature between 1/20 and 1000 with the smallest mean log-loss, and that loss in nats.

    >>> temperature, loss = best_temperature(np.array([[9.0, 0.0]] * 4), np.array([0, 0, 0, 1]))
    >>> round(9 / temperature, 2), round(loss, 3)
    (1.1, 0.562)
    """

    def loss(log_temperature: float) -> float:
        return float(window_log_loss(numbers, softmax(logits / np.exp(log_temperature), axis=1)).mean())

    found = minimize_scalar(loss, bounds=(-np.log(20), np.log(1000)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)), float(found.fun)


def checked_signals(signals: np.ndarray) -> np.ndarray:
    """The same array, if it is (windows, electrodes, samples) and finite; else a ValueError that says what it is."""
    values = np.asarray(signals)
    if values.ndim != 3 or not values.size:
        raise ValueError(f"Signals have shape {values.shape}; baselines take a non-empty array (windows, electrodes, samples) in volts.")
    if not np.isfinite(values).all():
        window, electrode = np.argwhere(~np.isfinite(values))[0][:2]
        raise ValueError(f"Window {window} holds NaN or infinity at electrode {electrode}; drop the window or the electrode.")
    return values


def in_microvolts(signals: np.ndarray) -> np.ndarray:
    """Volts to microvolts in double precision, after `checked_signals`."""
    return checked_signals(signals).astype(np.float64) * MICROVOLTS_PER_VOLT
