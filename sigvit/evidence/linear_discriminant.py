"""Shrinkage LDA on segment means: the strong plain baseline for evoked and slow potentials."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from sigvit.evidence.handed_windows import MICROVOLTS_PER_VOLT, asked_signals, fitted_signals, in_microvolts
from sigvit.evidence.inner_folds import inner_folds, telling_windows
from sigvit.evidence.log_linear_pool import pooled, weigh
from sigvit.evidence.silence import alike
from sigvit.evidence.window_blocks import in_blocks
from sigvit.labels import plain_labels

# Windows · features · the smaller of the two: multiplications of one fit. A candidate above it is left out.
MOST_WORK = 5e10


def segment_means(signals: np.ndarray, segments: int) -> np.ndarray:
    """Means over ``segments`` nearly equal parts of time: (windows, electrodes, samples) in volts → (windows, electrodes · segments) in microvolts.

    >>> segment_means(np.array([[[1e-6, 3e-6, 5e-6]]]), 2).round(6).tolist()
    [[1.0, 4.0]]
    """
    edges = np.linspace(0, signals.shape[2], segments + 1).astype(int)

    def means(few: np.ndarray) -> np.ndarray:
        # Sums between the edges; every part holds at least one sample, as there are never more parts than samples.
        sums = np.add.reduceat(np.asarray(few, dtype=np.float64), edges[:-1], axis=2)
        return (sums / np.diff(edges) * MICROVOLTS_PER_VOLT).reshape(len(few), -1)

    return in_blocks(means, signals)


def ledoit_wolf(centred: np.ndarray) -> tuple[float, float]:
    """Ledoit–Wolf shrinkage (Ledoit and Wolf 2004) and the mean variance, in time linear in the larger side of (windows, features).

    The same numbers as `sklearn.covariance.ledoit_wolf_shrinkage`, which needs time quadratic in the features: too slow for every sample of every electrode.

    >>> ledoit_wolf(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    (1.0, 0.5)
    """
    n, p = centred.shape
    squares = in_blocks(lambda few: (few**2).sum(axis=1), centred)
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
    """Linear discriminant analysis with Ledoit–Wolf shrinkage on segment means, pooled over several lengths of the segments.

    Blankertz et al. (2011), "Single-trial analysis and classification of ERP components — a tutorial", NeuroImage 56. How long a segment should be is
    hard to tell from a few hundred windows; the log-linear pool of all, each at its best temperature (Guo et al. 2017: with many features a discriminant ranks
    well but is far too sure), is ahead of the one that inner folds choose (docs/log.md).

    Parameters
    ----------
    segments : how many parts of time are averaged, or several such numbers; "auto" is 4, 8, 16, … and every sample. Temperatures and weights are chosen on
        inner folds of the training windows, which keep subjects whole where ``fit`` gets several in ``groups``; else they are blocks in each class. Where the
        windows allow no inner folds, the first number stands alone.

    Attributes
    ----------
    log_loss_ : {number of segments: inner log-loss in nats at its temperature}, empty without inner folds. classes_ : sorted labels.
    scales_ : {number of segments: what its log-probabilities are multiplied by: weight / temperature}.
    coef_, intercept_ : (classes, electrodes · samples) for microvolts and (classes,): a pool of linear discriminants is one itself.
    shape_ : (electrodes, samples) of the training windows.
    out_of_fold_ : (windows, classes) log-probabilities of the training windows by discriminants of the inner folds; NaN where none judged.

    >>> signals = np.random.default_rng(0).normal(0, 1e-5, (40, 3, 32)); labels = np.repeat(["rest", "task"], 20)
    >>> signals[20:, 1, 8:16] += 2e-5
    >>> ShrinkageLDA().fit(signals, labels).score(signals, labels)
    1.0
    """

    def __init__(self, segments: int | tuple[int, ...] | str = "auto"):
        self.segments = segments

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> ShrinkageLDA:
        signals, labels = fitted_signals(self, X), plain_labels(y, "windows")
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"Shrinkage LDA needs at least two classes in its training windows, but all {len(labels)} are {self.classes_[0]!r}.")
        folds = inner_folds(numbers, groups, telling_windows(signals, numbers))
        candidates = self._candidates(signals)[: None if folds else 1]
        self.log_loss_: dict[int, float] = {}
        self.out_of_fold_ = np.full((len(numbers), len(self.classes_)), np.nan)
        self.scales_ = self._judge(signals, numbers, folds, candidates) if folds else dict.fromkeys(candidates, 1.0)
        self.shape_ = signals.shape[1:]
        self.coef_, self.intercept_ = np.zeros((len(self.classes_), signals[0].size)), np.zeros(len(self.classes_))
        for segments, scale in self.scales_.items():
            weights, offsets = fit_discriminant(segment_means(signals, segments), numbers)
            self.coef_ += scale * spread_over_samples(weights, segments, self.shape_[1])
            self.intercept_ += scale * offsets
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Log-probabilities up to a constant a window, (windows, classes); for two classes their difference, (windows,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return softmax(self._logits(X), axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        logits = self._logits(X)
        return self.classes_[logits.argmax(axis=1)]

    def _logits(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        signals = in_microvolts(asked_signals(self, X))
        if signals.shape[1:] != self.shape_:
            raise ValueError(f"Shrinkage LDA was fitted on {self.shape_[0]} electrodes × {self.shape_[1]} samples, but these windows are {signals.shape[1:]}.")
        return signals.reshape(len(signals), -1) @ self.coef_.T + self.intercept_

    def _judge(self, signals: np.ndarray, numbers: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]], candidates: list[int]) -> dict[int, float]:
        """What each candidate counts, by windows that it didn't see."""
        judged = np.concatenate([judge for _, judge in folds])
        log_probabilities = np.stack([inner_logits(segment_means(signals, segments), numbers, folds) for segments in candidates], axis=1)
        weights, temperatures, losses = weigh(log_probabilities, numbers[judged])
        scales = weights / temperatures
        self.log_loss_ = dict(zip(candidates, losses.tolist(), strict=True))
        self.out_of_fold_[judged] = pooled(log_probabilities, scales)
        return dict(zip(candidates, scales.tolist(), strict=True))

    def _candidates(self, signals: np.ndarray) -> list[int]:
        windows, electrodes, samples = signals.shape
        if self.segments == "auto":
            powers = [2**power for power in range(2, 20) if 2**power < samples]
            sizes = {segments: electrodes * segments for segments in (*powers, samples)}
            return [segments for segments, features in sizes.items() if windows * features * min(windows, features) <= MOST_WORK] or [min(4, samples)]
        given = [self.segments] if isinstance(self.segments, int) else [segments for segments in self.segments if isinstance(segments, int)]
        if not given or min(given) < 1 or max(given) > samples:
            raise ValueError(f"segments is {self.segments!r}; give whole numbers from 1 to the {samples} samples of a window, or 'auto'.")
        return sorted(set(given))


def fit_discriminant(features: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (classes, features) and offsets (classes,) of linear discriminant analysis with one shrunken covariance of all classes."""
    shares = np.log(np.bincount(numbers) / len(numbers))
    if alike(features):  # what is left of them beside their mean is rounding
        return np.zeros((len(shares), features.shape[1])), shares
    means = np.array([features[numbers == number].mean(axis=0) for number in range(len(shares))])
    own = means[numbers]
    weights = solve_shrunken(np.subtract(features, own, out=own), means.T).T  # no copy beside the features but one
    return weights, -0.5 * np.sum(weights * means, axis=1) + shares


def spread_over_samples(weights: np.ndarray, segments: int, n_times: int) -> np.ndarray:
    """Weights of segment means as weights of samples: (classes, electrodes · segments) → (classes, electrodes · n_times).

    >>> spread_over_samples(np.array([[4.0, 9.0]]), segments=2, n_times=5).tolist()
    [[2.0, 2.0, 3.0, 3.0, 3.0]]
    """
    lengths = np.diff(np.linspace(0, n_times, segments + 1).astype(int))
    each = weights.reshape(len(weights), -1, segments) / lengths
    return np.repeat(each, lengths, axis=2).reshape(len(weights), -1)


def inner_logits(features: np.ndarray, numbers: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Logits (judged windows, classes) from discriminants that didn't see them, fold after fold."""
    parts = []
    for train, judge in folds:
        weights, offsets = fit_discriminant(features[train], numbers[train])
        parts.append(features[judge] @ weights.T + offsets)
    return np.concatenate(parts)
