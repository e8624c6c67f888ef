"""Windows in which every electrode is equally strong: what is left is how electrodes move together, and in which rhythm."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from sigvit.evidence.handed_windows import asked_signals, fitted_signals
from sigvit.evidence.silence import SILENT, typical_power
from sigvit.evidence.window_blocks import in_blocks


class NormalisedElectrodes(TransformerMixin, BaseEstimator):
    """Divides each electrode's course in a window by its own deviation there: (windows, electrodes, samples), without a unit.

    How strong an electrode is depends on its contact, the skull and the day; correlations and spectra's shapes don't. Power, which tells many tasks, is gone:
    so this stands beside pipelines that read power, never in their place (`baselines.classical_blend`). Offsets stay, on the same scale. An electrode that
    is silent in a window is divided by the typical deviation of the training windows and stays silent.

    Attributes
    ----------
    typical_ : median deviation of an electrode in a training window, in the signals' unit.

    >>> signals = np.random.default_rng(0).normal(0, [[1e-5], [3e-5]], (17, 2, 101))
    >>> NormalisedElectrodes().fit_transform(signals).std(axis=2).round(6).max()
    np.float64(1.0)
    """

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> NormalisedElectrodes:
        self.typical_ = typical_power(_deviations(fitted_signals(self, X))) or 1.0
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        signals = asked_signals(self, X)
        deviations = _deviations(signals)
        heard = deviations > SILENT**0.5 * self.typical_
        return signals / np.where(heard, deviations, self.typical_)[..., None]


def _deviations(signals: np.ndarray) -> np.ndarray:
    """(windows, electrodes)."""
    return in_blocks(lambda windows: windows.std(axis=2, dtype=np.float64), signals)
