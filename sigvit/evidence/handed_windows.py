"""What baselines and steps are handed: checked, and refused where it is of other electrodes or another rate than they were fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sigvit.data.epochs import epochs_channels, is_epochs, read_epochs, require_rate
from sigvit.data.windows import Windows
from sigvit.electrodes import require_order

MICROVOLTS_PER_VOLT = 1e6


def fitted_signals(step: Any, X: Any) -> np.ndarray:
    """`checked_signals` of what a step is fitted on; it remembers their electrodes and rate, of an array what it says itself.

    Raises
    ------
    ValueError : as `checked_signals`; another rate than the step's own `sampling_rate`.
    """
    rate, own = rate_of(X), getattr(step, "sampling_rate", None)
    require_rate(rate, own, f"{type(step).__name__} is for")
    step.electrodes_, step.sampling_rate_ = names_of(X), rate if own is None else own
    return checked_signals(X)


def asked_signals(step: Any, X: Any) -> np.ndarray:
    """`checked_signals` of what a fitted step is asked about; ValueError for other electrodes, another order or rate than it was fitted on."""
    check_is_fitted(step, "electrodes_")
    require_order(names_of(X), step.electrodes_, type(step).__name__)
    require_rate(rate_of(X), step.sampling_rate_, f"{type(step).__name__} was fitted on")
    return checked_signals(X)


def names_of(X: Any) -> tuple[str, ...] | None:
    """Of the electrodes; an array doesn't tell."""
    if isinstance(X, Windows):
        return X.electrodes
    return tuple(epochs_channels(X)) if is_epochs(X) else None


def rate_of(X: Any) -> float | None:
    """In Hz; an array doesn't tell."""
    if isinstance(X, Windows):
        return X.sampling_rate
    return float(X.info["sfreq"]) if is_epochs(X) else None


def checked_signals(X: Any) -> np.ndarray:
    """The array of `Windows` or `mne.Epochs`, or the same one, if it is (windows, electrodes, samples) and finite; else a ValueError that says what it is. Of
    `mne.Epochs`, what `SignalViTClassifier` reads: stimulus channels aren't signals."""
    signals = X.values if isinstance(X, Windows) else X
    signals = np.ascontiguousarray(read_epochs(signals)[0]) if is_epochs(signals) else signals  # sums round by the order in memory
    values = np.asarray(signals)
    if values.ndim != 3 or not values.size:
        raise ValueError(f"Signals have shape {values.shape}; baselines and steps take a non-empty array (windows, electrodes, samples) in volts.")
    if np.ma.is_masked(signals):
        raise ValueError("The signals are masked in places, and windows have no gaps; leave the windows out that have some, or fill them (signals.filled).")
    if not np.isfinite(values).all():
        window, electrode = np.argwhere(~np.isfinite(values))[0][:2]
        raise ValueError(f"Window {window} holds NaN or infinity at electrode {electrode}; drop the window or the electrode.")
    return values


def in_microvolts(signals: np.ndarray) -> np.ndarray:
    """Checked volts to microvolts, in double precision."""
    return np.multiply(signals, MICROVOLTS_PER_VOLT, dtype=np.float64)  # no second copy on the way


class Microvolts(TransformerMixin, BaseEstimator):
    """Volts to microvolts in double precision, after a check of shape and values: covariances of volts would be near 1e-10.

    Parameters
    ----------
    sampling_rate : in Hz, of the only windows that the steps behind can read; None where any will do.

    >>> Microvolts().fit_transform(np.full((1, 1, 2), 3e-6)).tolist()
    [[[3.0, 3.0]]]
    """

    def __init__(self, sampling_rate: float | None = None):
        self.sampling_rate = sampling_rate

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> Microvolts:
        fitted_signals(self, X)
        return self

    def fit_transform(self, X: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
        return in_microvolts(fitted_signals(self, X))

    def transform(self, X: np.ndarray) -> np.ndarray:
        return in_microvolts(asked_signals(self, X))
