"""Windows of a recording that swing too far: which stay, and what limit autoreject would choose."""

from __future__ import annotations

import mne
import numpy as np

from sigvit.data.cuts import Positions
from sigvit.data.signals import Signals

_FEWEST_FOR_A_LIMIT = 10


def within(values: np.ndarray, reject_v: float | None, signals: Signals, positions: Positions) -> np.ndarray:
    """Which windows stay: none of their electrodes has a larger peak-to-peak value; the others are noted."""
    if reject_v is None:
        return np.ones(len(values), bool)
    swing = np.array([np.ptp(window, axis=1) for window in values]).reshape(values.shape[:2])
    keep = np.asarray((swing <= reject_v).all(axis=1))
    for row in np.flatnonzero(~keep):
        worst = signals.channels[int(swing[row].argmax())]
        window = {"trial": int(positions.trial[row]), "label": np.asarray(positions.label[row]).item(), "start_s": positions.first[row] / positions.rate}
        positions.dropped.append({**window, "reason": f"exceeds {reject_v:g} V peak to peak", "electrode": worst, "peak_to_peak_v": float(swing[row].max())})
    return keep


def automatic_limit_v(values: np.ndarray, signals: Signals) -> float:
    """The peak-to-peak limit that autoreject chooses from a recording's own windows, by how well those it leaves agree with all others' median.

    Jas et al., "Autoreject: Automated artifact rejection for MEG and EEG data", NeuroImage 159, 2017. No label is looked at; windows that a fold tests on are.
    """
    try:
        from autoreject import get_rejection_threshold
    except ImportError as error:
        raise ImportError("reject_v=\"autoreject\" needs the package autoreject: pip install 'sigvit[autoreject]', or give a limit in volts.") from error
    if len(values) < _FEWEST_FOR_A_LIMIT:
        raise ValueError(f"{signals.where} has {len(values)} windows; autoreject needs {_FEWEST_FOR_A_LIMIT} to choose a limit: give one in volts.")
    epochs = mne.EpochsArray(values.astype(float), mne.create_info(signals.channels, signals.rate, "eeg"), verbose="ERROR")
    return float(get_rejection_threshold(epochs, random_state=0, ch_types="eeg", verbose=False)["eeg"])
