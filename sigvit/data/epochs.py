"""`mne.Epochs` handed in as they are: which channels of them are read. mne is loaded when there are some."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_epochs(X: Any) -> bool:
    """Whether it is a kind of `mne.Epochs`."""
    return hasattr(X, "get_data") and hasattr(X, "event_id")


def epochs_channels(epochs: Any) -> list[str]:
    """Names of the channels that `windows_from_epochs` takes; ValueError where bad ones are among them."""
    from sigvit.data.channels import pick_channels

    channels = pick_channels(epochs.info, None, {}, "keep", "X")
    bad = [name for name in channels if name in epochs.info["bads"]]
    if bad:
        choices = 'epochs.drop_channels(epochs.info["bads"]), epochs.interpolate_bads(), or sigvit.windows_from_epochs(epochs, bad_electrodes=…)'
        raise ValueError(f"X marks the channels {bad} as bad; hand over what is left or mended by {choices}.")
    return channels


def read_epochs(epochs: Any) -> tuple[np.ndarray, Any]:
    """Values, (epochs, electrodes, samples) in volts, and Info of these channels."""
    from sigvit.data.electrode_info import info_of

    channels = epochs_channels(epochs)
    return epochs.get_data(picks=channels, copy=False, verbose="ERROR"), info_of(epochs.info, channels, epochs.info["sfreq"], {})


def require_rate(rate: float | None, known: float | None, whose: str) -> None:
    """ValueError where windows have another rate (Hz) than the known one; None where one of them isn't known.

    >>> require_rate(250.0, 160.0, "the classifier was fitted on")
    Traceback (most recent call last):
    ValueError: X is sampled at 250 Hz, but the classifier was fitted on 160 Hz: resample it.
    """
    if rate is not None and known is not None and not np.isclose(rate, known, rtol=1e-6):
        raise ValueError(f"X is sampled at {rate:g} Hz, but {whose} {known:g} Hz: resample it.")


def epoch_labels(epochs: Any) -> np.ndarray:
    """Names of their events."""
    names = {code: name for name, code in epochs.event_id.items()}
    return np.array([names[code] for code in epochs.events[:, 2]])
