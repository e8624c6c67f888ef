"""Checks of windows: what can't be a recording of brain signals gets a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from sigvit.data.windows import Windows, abridged

LARGEST_V = 5e-3  # a window's standard deviation on the scalp is some 1e-5 V; above this the values were in another unit
SMALLEST_V = 1e-9
_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}
_ROUNDING = 1e-2  # of the signal: the mean of electrodes after rounding to 16 bits
_WINDOWS_FOR_THE_UNIT = 16  # spread over the set; the median of their spreads tells volts from microvolts


def check_signals(windows: Windows, constant_electrodes: str = "refuse") -> None:
    """Values that are finite, move, and can be volts.

    Parameters
    ----------
    constant_electrodes : "refuse" or "keep" electrodes that are constant in all windows of a recording.

    Raises
    ------
    ValueError : no windows; NaN or infinity; an electrode constant in a whole recording; EEG values that can't be volts.

    Warns
    -----
    UserWarning : windows in which single electrodes are constant; the rows are named.
    """
    if len(windows) == 0:
        raise ValueError(f"{windows.name} holds no windows at all.")
    if windows.values.shape[2] == 0:
        raise ValueError(f"The windows of {windows.name} have no samples.")
    finite, moving = _measure(windows.values)
    _check_finite(windows, finite)
    _check_constant(windows, moving, constant_electrodes)
    _check_unit(windows)


def _measure(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per window and electrode: whether all is finite, whether it moves. One window after the other, so that no copy is needed."""
    finite, moving = np.zeros(values.shape[:2], bool), np.zeros(values.shape[:2], bool)
    for row, window in enumerate(values):
        highest, lowest = window.max(axis=1), window.min(axis=1)  # NaN and infinity show in one of them
        finite[row] = np.isfinite(highest) & np.isfinite(lowest)
        moving[row] = highest != lowest
    return finite, moving


def _check_finite(windows: Windows, finite: np.ndarray) -> None:
    if finite.all():
        return
    rows, columns = np.nonzero(~finite)
    recordings = abridged(windows.metadata["recording"].iloc[rows].unique().tolist(), 3)
    where = f"{abridged(np.unique(rows).tolist())} on {_electrodes(windows, columns)} ({recordings})"
    raise ValueError(f"{windows.name} has NaN or infinite values in {len(np.unique(rows))} of {len(windows)} windows: rows {where}.")


def _check_constant(windows: Windows, moving: np.ndarray, constant_electrodes: str) -> None:
    if constant_electrodes not in ("refuse", "keep"):
        raise ValueError(f'constant_electrodes is {constant_electrodes!r}; it must be "refuse" or "keep".')
    if moving.all():
        return
    for recording, rows in windows.metadata.groupby("recording", sort=False).indices.items() if constant_electrodes == "refuse" else ():
        dead = np.flatnonzero(~moving[rows].any(axis=0))
        if len(dead):
            which = _electrodes(windows, dead)
            raise ValueError(f'In {recording} the electrodes {which} never move; leave them or the recording out, or say constant_electrodes="keep".')
    rows, columns = np.nonzero(~moving)
    where = f"rows {abridged(np.unique(rows).tolist())} on {_electrodes(windows, columns)}"
    warnings.warn(f"{len(np.unique(rows))} of {len(windows)} windows of {windows.name} hold electrodes that don't move: {where}.", stacklevel=4)


def _check_unit(windows: Windows) -> None:
    """Of every recording: one in microvolts among others in volts wouldn't show in all of them together."""
    eeg = np.array([kind == "eeg" for kind in windows.info.get_channel_types()])
    recordings = windows.metadata.groupby("recording", sort=False).indices
    for recording, rows in recordings.items() if eeg.any() else ():
        some = rows[:: max(1, len(rows) // max(2, _WINDOWS_FOR_THE_UNIT // len(recordings)))]
        spread = np.array([windows.values[row][eeg].std(axis=1) for row in some])  # numpy centres first, so the mean doesn't matter
        if (spread > 0).any():
            _check_volts(float(np.median(spread[spread > 0])), windows.name if len(rows) == len(windows) else f"{recording} ({windows.name})")


def volts_of(unit: str, whose: str) -> float:
    """How many volts a unit is; `whose` it is stands in the error.

    >>> volts_of("uV", "the values")
    1e-06
    """
    if unit not in _VOLTS:
        raise ValueError(f"{whose}: unit is {unit!r}; it must be one of {', '.join(_VOLTS)}.")
    return _VOLTS[unit]


def _check_volts(typical: float, where: str) -> None:
    found = f"The EEG of {where} has a typical standard deviation of {typical:.3g}"
    if typical > LARGEST_V:
        raise ValueError(
            f"{found}, which can't be volts; it looks like {'milli' if typical < 1 else 'micro'}volts: multiply by {1e-3 if typical < 1 else 1e-6:g}; "
            'channels of muscles have the type "emg" (in a page: kind in [electrodes]).'
        )
    if typical < SMALLEST_V:
        raise ValueError(f"{found}, which can't be volts: scalp EEG has some 1e-5 V; was it multiplied by 1e-6 twice?")


def is_average_referenced(window: np.ndarray) -> bool | None:
    """Whether the electrodes of a window (electrodes, samples) sum to nothing, up to the rounding of recorders; None of fewer than four, or a flat one.

    >>> window = np.random.default_rng(0).normal(size=(5, 100))
    >>> is_average_referenced(window), is_average_referenced(window - window.mean(axis=0)), is_average_referenced(window[:3])
    (False, True, None)
    """
    spread = float(np.mean([electrode.std() for electrode in window]))  # one after the other: no copy of the window
    return None if len(window) < 4 or spread == 0 else bool(window.mean(axis=0).std() < _ROUNDING * spread)


def warn_of_references(notes: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """Warns where some recordings of a set have the average reference and others have another: what differs between them isn't the brain.

    Parameters
    ----------
    notes : recording → what is known of it; "average_referenced" says whether, or None.
    """
    known = {recording: note["average_referenced"] for recording, note in notes.items() if note.get("average_referenced") is not None}
    average = [recording for recording, is_average in known.items() if is_average]
    others = [recording for recording, is_average in known.items() if not is_average]
    if average and others:
        which = f"{len(average)} recordings have the average reference (such as {average[0]}), {len(others)} have another (such as {others[0]})"
        warnings.warn(f'Of {name} {which}; give reference="average" to bring all to one.', stacklevel=4)


def _electrodes(windows: Windows, columns: np.ndarray) -> str:
    return abridged([windows.electrodes[column] for column in np.unique(columns)])
