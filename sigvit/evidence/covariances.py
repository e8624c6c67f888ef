"""Shrunken covariances of all windows at once; scikit-learn transformers."""

from __future__ import annotations

from typing import Self

import numpy as np
from pyriemann.estimation import XdawnCovariances
from pyriemann.spatialfilters import Xdawn
from sklearn.base import BaseEstimator, TransformerMixin

from sigvit.evidence.covariance_cache import contents, met
from sigvit.evidence.silence import CovarianceSilence
from sigvit.evidence.window_blocks import in_blocks
from sigvit.labels import plain_labels

# Of augmented covariances; why these: docs/log.md.
DELAY_S = 0.04
MOST_COPIES = 8
MOST_ROWS = 128
# Of a window's length: what the last copy may be late by.
MOST_DELAYED = 0.25
# Numbers in one covariance of every training window: 5000 windows of 57 electrodes; nine bands of them take 600 MB.
MOST_NUMBERS = 2**23


def oas_covariances(signals: np.ndarray) -> np.ndarray:
    """Oracle approximating shrunken covariance (Chen et al. 2010, arXiv:0907.4698) of each window: (…, electrodes, samples) → (…, electrodes, electrodes).

    The numbers of `sklearn.covariance.oas`, which takes one window at a time and fifteen times as long.

    >>> oas_covariances(np.array([[[1.0, -1.0, 1.0, -1.0], [2.0, 2.0, -2.0, -2.0]]])).round(3).tolist()
    [[[2.5, 0.0], [0.0, 2.5]]]
    """
    n_electrodes, n_samples = signals.shape[-2:]
    centred = signals - signals.mean(axis=-1, keepdims=True)
    covariances = centred @ centred.swapaxes(-1, -2) / n_samples
    mean_variance = np.trace(covariances, axis1=-2, axis2=-1) / n_electrodes
    mean_square = (covariances**2).mean(axis=(-2, -1))
    apart = (n_samples + 1) * (mean_square - mean_variance**2 / n_electrodes)
    together = mean_square + mean_variance**2
    # Where nothing differs from the mean variance there is nothing to keep.
    shrinkage = np.minimum(np.divide(together, apart, out=np.ones_like(apart), where=apart != 0), 1)
    return (1 - shrinkage)[..., None, None] * covariances + (shrinkage * mean_variance)[..., None, None] * np.eye(n_electrodes)


def mean_components(signals: np.ndarray, components: int) -> np.ndarray:
    """Eigenvectors (components, electrodes) of the windows' mean covariance, those of the largest eigenvalues first."""
    total = np.zeros((signals.shape[1], signals.shape[1]))
    for window in signals:
        centred = window - window.mean(axis=-1, keepdims=True)
        total += centred @ centred.T
    return np.linalg.eigh(total)[1][:, ::-1][:, :components].T


class ShrunkenCovariances(TransformerMixin, BaseEstimator):
    """`oas_covariances` as a step of a pipeline: (windows, electrodes, samples) → (windows, electrodes, electrodes), in the signals' unit squared.

    In place of a silent window's stands the training windows' mean.

    >>> ShrunkenCovariances().fit_transform(np.random.default_rng(0).normal(size=(5, 3, 200))).shape
    (5, 3, 3)
    """

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> Self:
        self.fit_transform(X)
        return self

    def fit_transform(self, X: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
        covariances = self._covariances(X)
        self.silence_ = CovarianceSilence.of(covariances)
        return self.silence_.fill(covariances)

    def transform(self, X: np.ndarray) -> np.ndarray:
        return self.silence_.fill(self._covariances(X))

    def _covariances(self, signals: np.ndarray) -> np.ndarray:
        return in_blocks(oas_covariances, signals)


class FewerElectrodes(TransformerMixin, BaseEstimator):
    """Principal components in place of electrodes, where covariances of so many of both fill the memory: (windows, E, samples) → (windows, C, samples).

    The first ones of the training windows' mean covariance, as many as leave at most ``most_numbers`` numbers in all their covariances. Where all
    electrodes fit, they are passed on as they are.

    >>> signals = np.random.default_rng(0).normal(size=(11, 7, 50))
    >>> FewerElectrodes(most_numbers=11 * 6).fit_transform(signals).shape, FewerElectrodes().fit_transform(signals) is signals
    ((11, 3, 50), True)
    """

    def __init__(self, most_numbers: int = MOST_NUMBERS):
        self.most_numbers = most_numbers

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> FewerElectrodes:
        # The largest C with C (C + 1) / 2 numbers a window.
        components = max(1, int((8 * self.most_numbers / len(X) + 1) ** 0.5 - 1) // 2)
        self.components_ = None if components >= X.shape[1] else mean_components(X, components)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return X if self.components_ is None else self.components_ @ X


class AugmentedCovariances(ShrunkenCovariances):
    """Shrunken covariance of the electrodes and their delayed copies: (windows, electrodes, samples) → (windows, rows, rows), in the signals' unit squared.

    What a spatial covariance has of one moment, this has of several: rhythms and slow potentials, whatever their phase (Carrara & Papadopoulo 2024,
    "Classification of BCI-EEG based on the augmented covariance matrix", IEEE TBME 71). Copies are 40 ms apart, at most eight, and as many as keep the
    matrix at 128 rows and leave each three quarters of the window; theirs chooses both on inner folds.

    >>> AugmentedCovariances(100.0).fit_transform(np.random.default_rng(0).normal(size=(5, 3, 200))).shape
    (5, 24, 24)
    """

    def __init__(self, sampling_rate: float):
        self.sampling_rate = sampling_rate

    def fit_transform(self, X: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
        _, n_electrodes, n_samples = X.shape
        self.lag_ = max(1, round(DELAY_S * self.sampling_rate))
        longest = int(MOST_DELAYED * n_samples / self.lag_) + 1
        self.copies_ = max(1, min(MOST_COPIES, MOST_ROWS // n_electrodes, longest))
        return super().fit_transform(X)

    def _covariances(self, signals: np.ndarray) -> np.ndarray:
        return met.get(signals, contents(signals), ("augmented", self.lag_, self.copies_), self._in_blocks)

    def _in_blocks(self, signals: np.ndarray) -> np.ndarray:
        return in_blocks(lambda windows: oas_covariances(self._delayed(windows)), signals, self.copies_)

    def _delayed(self, signals: np.ndarray) -> np.ndarray:
        kept = signals.shape[2] - self.lag_ * (self.copies_ - 1)
        return np.concatenate([signals[..., self.lag_ * copy :][..., :kept] for copy in range(self.copies_)], axis=1)


class XdawnShrunkenCovariances(XdawnCovariances):
    """pyriemann's `XdawnCovariances` with the joint covariances of all windows at once; filters and class averages are its own.

    Of more than 16 classes fewer filters each, as many as keep the matrix at 128 rows: it has 2 · filters · classes, and time and memory grow with its square.
    Of more than 64 classes the 64 commonest have one each; their filters and averages tell the others as well.

    >>> generator = np.random.default_rng(0)
    >>> XdawnShrunkenCovariances(nfilter=2).fit_transform(generator.normal(size=(10, 3, 50)), np.arange(10) % 2).shape
    (10, 8, 8)
    """

    def fit(self, X: np.ndarray, y: np.ndarray) -> XdawnShrunkenCovariances:
        y = plain_labels(y, "windows")
        found, counts = np.unique(y, return_counts=True)
        few = max(1, min(self.nfilter, MOST_ROWS // (2 * len(found))))
        commonest = np.sort(found[np.argsort(-counts, kind="stable")[: MOST_ROWS // 2]])
        self.Xd_ = Xdawn(few, commonest if self.classes is None else self.classes, self.xdawn_estimator, self.baseline_cov).fit(X, y)
        self.P_ = self.Xd_.evokeds_
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return in_blocks(self._joint, X, copies=-(-2 * len(self.P_) // X.shape[1]))

    def _joint(self, signals: np.ndarray) -> np.ndarray:
        averages = np.broadcast_to(self.P_, (len(signals), *self.P_.shape))
        return oas_covariances(np.concatenate([averages, self.Xd_.transform(signals)], axis=1))
