"""What network classifiers are handed: arrays, `mne.Epochs` or `Windows`."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from sigvit.data.windows import Windows

# Attributes of a classifier that reading its training input sets.
READ = ("classes_", "signal_shape_", "n_features_in_")


def read_input(classifier: Any, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, Any, Any]:
    """Signals (windows, electrodes, samples), electrodes (Info or count) and labels of whatever a classifier was handed; `reset` where it is fitted."""
    electrodes: Any = None
    if isinstance(X, Windows):
        electrodes, y, X = X.info, X.labels if y is None else y, X.values
    elif hasattr(X, "get_data") and hasattr(X, "event_id"):
        electrodes, y, X = X.info, epoch_labels(X) if y is None else y, X.get_data(copy=False)
    floats = (np.float32, np.float64)
    if reset:
        X, y = validate_data(classifier, X, y, reset=True, allow_nd=True, dtype=floats, ensure_min_samples=2)
    else:
        X = validate_data(classifier, X, reset=False, allow_nd=True, dtype=floats)
    signals = X[:, None, :] if X.ndim == 2 else X
    if signals.ndim != 3:
        raise ValueError(f"X has {X.ndim} axes; it must be (windows, electrodes, samples), or (windows, samples) for one electrode.")
    if reset:
        classifier.signal_shape_ = signals.shape[1:]
    elif signals.shape[1:] != classifier.signal_shape_:
        raise ValueError(f"X holds windows of {signals.shape[1:]} electrodes × samples, but the classifier was fitted on {classifier.signal_shape_}.")
    return signals, signals.shape[1] if electrodes is None else electrodes, y


def epoch_labels(epochs: Any) -> np.ndarray:
    """Names of the events of `mne.Epochs`."""
    names = {code: name for name, code in epochs.event_id.items()}
    return np.array([names[code] for code in epochs.events[:, 2]])
