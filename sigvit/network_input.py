"""What network classifiers are handed: arrays, `mne.Epochs`, `Windows` or braindecode's windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from sigvit.data.epochs import epoch_labels, is_epochs, read_epochs, require_rate
from sigvit.data.windows import Windows
from sigvit.electrodes import require_order
from sigvit.labels import plain_labels

# Attributes of a classifier that reading its training input sets.
READ = ("classes_", "signal_shape_", "n_features_in_", "electrodes_", "sampling_rate_")


def read_input(classifier: Any, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, Any, Any]:
    """Signals (windows, electrodes, samples), electrodes (Info or count) and labels of whatever a classifier was handed; `reset` where it is fitted."""
    electrodes: Any = None
    if type(X).__module__.startswith("braindecode."):
        from sigvit.data.braindecode import windows_from_braindecode

        X = windows_from_braindecode(X)
    if isinstance(X, Windows):
        electrodes, y, X = X.info, X.labels if y is None else y, X.values
    elif is_epochs(X):
        (X, electrodes), y = read_epochs(X), epoch_labels(X) if y is None else y
    if np.ma.is_masked(X):
        raise ValueError("X is masked in places, and windows have no gaps; leave the windows out that have some, or fill them (X.filled).")
    y = None if y is None else plain_labels(y, "windows")
    floats = (np.float32, np.float64)
    if reset:
        X, y = validate_data(classifier, X, y, reset=True, allow_nd=True, dtype=floats, ensure_min_samples=2)
    else:
        X = validate_data(classifier, X, reset=False, allow_nd=True, dtype=floats)
    signals = X[:, None, :] if X.ndim == 2 else X
    if signals.ndim != 3:
        raise ValueError(f"X has {X.ndim} axes; it must be (windows, electrodes, samples), or (windows, samples) for one electrode.")
    names, rate = (None, None) if electrodes is None else (tuple(electrodes["ch_names"]), float(electrodes["sfreq"]))
    if reset:
        classifier.signal_shape_, classifier.electrodes_, classifier.sampling_rate_ = signals.shape[1:], names, rate
    else:
        _check_same(classifier, signals.shape[1:], names, rate)
    return signals, signals.shape[1] if electrodes is None else electrodes, y


def _check_same(classifier: Any, shape: tuple[int, ...], names: tuple[str, ...] | None, rate: float | None) -> None:
    """ValueError for other windows than those of training; arrays don't say what their electrodes and rate are."""
    if shape != classifier.signal_shape_:
        raise ValueError(f"X holds windows of {shape} electrodes × samples, but the classifier was fitted on {classifier.signal_shape_}.")
    known, fitted_rate = (getattr(classifier, name, None) for name in ("electrodes_", "sampling_rate_"))  # pickles of before lack them
    require_order(names, known, "the classifier")
    require_rate(rate, fitted_rate, "the classifier was fitted on")
