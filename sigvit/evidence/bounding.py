"""Windows with artefacts count for no more than others: a bound on how far an electrode moves in one window, learned in the fold."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from sigvit.evidence.handed_windows import asked_signals, fitted_signals
from sigvit.evidence.scaling import QUARTILES_PER_DEVIATION
from sigvit.evidence.window_blocks import BLOCK_NUMBERS, in_blocks

# An artefact is beyond so many deviations of the logarithm of amplitudes, and more than twice the typical one.
DEVIATIONS = 2.5
LEAST = 2.0
# A level so many bounds away is another offset of the amplifier.
OFFSET = 2.0
# What all but this share of several electrodes exceed is a gain of the recording.
COMMON = 0.25
# From this share of the bound on it gives single electrodes room: at a gain of two, the bound's own edge, some are beyond it and some aren't.
NEAR = 0.75
LARGEST_EXPONENT = 700.0  # of a double


class BoundedElectrodes(TransformerMixin, BaseEstimator):
    """Shrinks an electrode's course in a window to the largest amplitude that is no artefact's: (windows, electrodes, samples), in the signals' unit.

    One loose contact moves an electrode a hundredfold and outweighs a hundred windows in every mean and covariance; taking such windows away would leave
    some unanswered. An amplitude is the root mean square about the electrode's level, the median of its windows' means. The bound is 2.5 deviations above
    the median of the training windows' amplitudes, in logarithms and by quartiles, which artefacts don't move, and at least twice that median: where
    amplitudes differ by nature, as a muscle's at rest and at work do, it is out of reach. Nothing is learned from labels, and windows that stay below are
    passed on as they are.

    Two things aren't artefacts. Where more than three quarters of several electrodes are near their bounds or beyond, the window is of a person or device with
    another gain: what all but a quarter exceed their bounds by is divided out of all, and single electrodes get room for more, up to twice the bound, so that
    the ratios between electrodes last. And where the level alone is off by more than two bounds, the amplifier has another offset in that session: the
    offset is shrunk first, and the course about it is bounded as if it weren't there.

    Attributes
    ----------
    level_, bound_ : (electrodes,), in the signals' unit.

    >>> signals = np.random.default_rng(0).normal(0, 1e-5, (31, 2, 101)); signals[3, 1] *= 100
    >>> bounded = BoundedElectrodes().fit_transform(signals)
    >>> bool(bounded[3, 1].std() < 2.5e-5), np.array_equal(np.delete(bounded, 3, axis=0), np.delete(signals, 3, axis=0))
    (True, True)
    """

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> BoundedElectrodes:
        signals = fitted_signals(self, X)
        self.level_ = np.median(signals.mean(axis=2, dtype=np.float64), axis=0)
        # A flat window has no logarithm; an electrode that is flat throughout has nothing to bound.
        amplitudes = self._amplitudes(signals)
        moving = np.where(amplitudes > 0, amplitudes, np.where((amplitudes > 0).any(axis=0), np.nan, 1.0))
        low, middle, high = np.nanquantile(np.log(moving), [0.25, 0.5, 0.75], axis=0)
        deviations = DEVIATIONS * (high - low) / QUARTILES_PER_DEVIATION
        self.bound_ = np.exp(np.minimum(middle + np.maximum(deviations, np.log(LEAST)), LARGEST_EXPONENT))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        signals = asked_signals(self, X)
        amplitudes = self._amplitudes(signals)
        beyond = np.flatnonzero((amplitudes > self.bound_).any(axis=1))
        if not len(beyond):
            return signals
        bounded = signals.astype(np.result_type(signals, np.float32))
        for rows in np.array_split(beyond, -(-len(beyond) * signals[0].size // BLOCK_NUMBERS)):
            bounded[rows] = self._bounded(signals[rows], amplitudes[rows])
        return bounded

    def _bounded(self, signals: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
        """Windows in which at least one electrode is beyond its bound."""
        means = signals.mean(axis=2, dtype=np.float64)
        offsets = means - self.level_
        courses = _other_leg(amplitudes, np.abs(offsets))
        room = _other_leg(self.bound_, courses)
        of_amplifier = np.abs(offsets) > OFFSET * self.bound_
        kept = np.where(of_amplifier, np.clip(offsets, -room, room), offsets)
        excess = np.hypot(courses, kept) / self.bound_
        shared = np.quantile(excess, COMMON, axis=1, method="lower", keepdims=True) if excess.shape[1] > 1 else NEAR
        gain, allowed = np.maximum(shared, 1.0), np.clip(shared / NEAR, 1.0, LEAST)
        factors = gain * np.maximum(excess / gain / allowed, 1.0)
        shrunk = self.level_[:, None] + (signals - means[..., None] + kept[..., None]) / factors[..., None]
        return np.where(((factors > 1) | of_amplifier)[..., None], shrunk, signals)

    def _amplitudes(self, signals: np.ndarray) -> np.ndarray:
        """(windows, electrodes)."""
        return in_blocks(lambda windows: np.sqrt(((windows - self.level_[:, None]) ** 2).mean(axis=2)), signals)


def _other_leg(longest: np.ndarray, leg: np.ndarray) -> np.ndarray:
    """Of a right triangle; 0 where the leg is longer by rounding. Squares of the largest bounds would be infinite."""
    return np.sqrt(np.maximum(longest - leg, 0.0)) * np.sqrt(longest + leg)
