"""Windows with artefacts count for no more than others: a bound on how far an electrode moves in one window, learned in the fold."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from sigvit.evidence.linear_discriminant import checked_signals
from sigvit.evidence.scaling import QUARTILES_PER_DEVIATION

# An artefact is beyond so many deviations of the logarithm of amplitudes, and more than twice the typical one.
DEVIATIONS = 2.5
LEAST = 2.0
LARGEST_EXPONENT = 700.0  # of a double
BLOCK = 256  # windows whose amplitudes are measured at a time


class BoundedElectrodes(TransformerMixin, BaseEstimator):
    """Shrinks an electrode's course in a window to the largest amplitude that is no artefact's: (windows, electrodes, samples), in the signals' unit.

    One loose contact moves an electrode a hundredfold and outweighs a hundred windows in every mean and covariance; taking such windows away would leave
    some unanswered. An amplitude is the root mean square about the electrode's level, the median of its windows' means. The bound is 2.5 deviations above
    the median of the training windows' amplitudes, in logarithms and by quartiles, which artefacts don't move, and at least twice that median: where
    amplitudes differ by nature, as a muscle's at rest and at work do, it is out of reach. Nothing is learned from labels, and windows that stay below are
    passed on as they are.

    Attributes
    ----------
    level_, bound_ : (electrodes,), in the signals' unit.

    >>> signals = np.random.default_rng(0).normal(0, 1e-5, (31, 2, 101)); signals[3, 1] *= 100
    >>> bounded = BoundedElectrodes().fit_transform(signals)
    >>> bool(bounded[3, 1].std() < 2.5e-5), np.array_equal(np.delete(bounded, 3, axis=0), np.delete(signals, 3, axis=0))
    (True, True)
    """

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> BoundedElectrodes:
        signals = checked_signals(X)
        self.level_ = np.median(signals.mean(axis=2, dtype=np.float64), axis=0)
        # A flat window has no logarithm; an electrode that is flat throughout has nothing to bound.
        amplitudes = self._amplitudes(signals)
        moving = np.where(amplitudes > 0, amplitudes, np.where((amplitudes > 0).any(axis=0), np.nan, 1.0))
        low, middle, high = np.nanquantile(np.log(moving), [0.25, 0.5, 0.75], axis=0)
        deviations = DEVIATIONS * (high - low) / QUARTILES_PER_DEVIATION
        self.bound_ = np.exp(np.minimum(middle + np.maximum(deviations, np.log(LEAST)), LARGEST_EXPONENT))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        signals = checked_signals(X)
        amplitudes = self._amplitudes(signals)
        rows, electrodes = np.nonzero(amplitudes > self.bound_)
        if not len(rows):
            return signals
        bounded = signals.astype(np.result_type(signals, np.float32))
        level, share = self.level_[electrodes, None], (self.bound_[electrodes] / amplitudes[rows, electrodes])[:, None]
        bounded[rows, electrodes] = level + share * (signals[rows, electrodes] - level)
        return bounded

    def _amplitudes(self, signals: np.ndarray) -> np.ndarray:
        """(windows, electrodes)."""
        parts = np.array_split(signals, -(-len(signals) // BLOCK) or 1)
        return np.concatenate([np.sqrt(((part - self.level_[:, None]) ** 2).mean(axis=2)) for part in parts])
