"""Windows that somebody cut already: arrays and `mne.Epochs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mne
import numpy as np
import pandas as pd

from sigvit.data.channels import pick_channels
from sigvit.data.electrode_info import info_of, make_info
from sigvit.data.epochs import epoch_labels
from sigvit.data.quality import check_signals
from sigvit.data.windows import METADATA_COLUMNS, Windows
from sigvit.labels import plain_labels, text_of

_IDENTITY = ("subject", "session", "run", "recording")
_ROUNDED_S = 0.01  # what tables of times may have been rounded to


def windows_from_arrays(
    values: np.ndarray,
    labels: Sequence | np.ndarray,
    info_or_names: mne.Info | Sequence[str],
    sampling_rate: float | None = None,
    metadata: pd.DataFrame | Mapping[str, Any] | None = None,
    filter_support_s: float = 0.0,
    *,
    control_values: np.ndarray | None = None,
    constant_electrodes: str = "refuse",
    name: str = "arrays",
    page: dict | None = None,
) -> Windows:
    """Windows from an array that holds them, in volts.

    Parameters
    ----------
    values : (windows, electrodes, samples), volts (MEG: tesla); kept without a copy where it is float32.
    labels : (windows,) class names or integers; members of an `Enum` and scalar tensors are their values.
    info_or_names : an `mne.Info`, or the electrodes' names; names of the 10-05 system get its positions.
    sampling_rate : Hz; needed with names.
    metadata : a row a window, as a table or as columns. What it lacks is filled: subject, session and run "1", a recording of each, trial the row number,
        start_s and stop_s NaN ("not known": then row order isn't taken for time either).
    filter_support_s : how far to each side earlier filters smear a sample, seconds. Nobody else can know it, and folds are cut by it.
    control_values : (windows, electrodes, samples) from before the cue.
    constant_electrodes : "refuse" or "keep" electrodes that never move in a whole recording.

    Raises
    ------
    ValueError : sizes that contradict each other, no windows, a missing or contradictory sampling rate, a window without a label, subject, session or run,
        times that contradict a window's length by more than a sample (and rounding to hundredths of a second or to float32), different labels that are one as
        text (1 and "1"), NaN, dead electrodes, or values that are masked, aren't real numbers or can't be volts.

    >>> generator = np.random.default_rng(0)
    >>> windows = windows_from_arrays(generator.normal(0, 1e-5, (7, 3, 100)), [0, 1, 0, 1, 0, 1, 0], ["C3", "Cz", "C4"], 50.0, {"subject": list("aaabbbb")})
    >>> windows.values.dtype, windows.metadata.recording.unique().tolist()
    (dtype('float32'), ['sub-a_ses-1_run-1', 'sub-b_ses-1_run-1'])
    """
    values, labels = _signals(values, "values", name), plain_labels(labels, f"windows of {name}")
    if not 0 <= filter_support_s < np.inf:
        raise ValueError(f"filter_support_s is {filter_support_s}; it must be a number of seconds, from zero upwards.")
    if labels.shape != (len(values),):
        raise ValueError(f"There are {len(values)} windows in {name}, but labels of shape {labels.shape}.")
    info = _info(info_or_names, sampling_rate, name)
    control = None if control_values is None else _signals(control_values, "control values", name)
    table = complete_metadata(metadata, labels, name)
    _check_lengths(table, values.shape[2], info["sfreq"], name)
    windows = Windows(values, labels, table, info, float(filter_support_s), name, page or {}, control)
    check_signals(windows, constant_electrodes)
    return windows


def windows_from_epochs(
    epochs: mne.BaseEpochs,
    *,
    subject: str | None = None,
    session: str | None = None,
    run: str | None = None,
    recording: str | None = None,
    electrodes: Sequence[str] | None = None,
    bad_electrodes: str = "refuse",
    constant_electrodes: str = "refuse",
    filter_support_s: float | None = None,
    name: str = "epochs",
) -> Windows:
    """Windows from any `mne.Epochs`; labels are the names of `event_id`, columns of `epochs.metadata` carry over.

    Times are those of the events on the recording's clock. Arrays that were numbered 0, 1, 2, … in place of events have none: start_s and stop_s are NaN.

    Parameters
    ----------
    subject, session, run, recording : whose they are; where left out, the epochs' own metadata columns of that name, else "1".
    electrodes, bad_electrodes, constant_electrodes : as in `sigvit.windows_from_raw`; "interpolate" is `epochs.interpolate_bads()` and done before.
    filter_support_s : how far earlier filters smear, seconds. None: half the length of mne's default FIR filter for the info's highpass and lowpass, where
        these say more than nothing and half the sampling rate. An amplifier's own (causal, unknown) filter can't be told from a later one there: then say it.
        How far `epochs.baseline` lies outside of the window (of cropped epochs) is added to either, as `sigvit.windows_from_raw` does.

    Raises
    ------
    ValueError : something else than Epochs, no epochs, no such channel, bad channels, dead electrodes, NaN, or values that can't be volts.

    >>> from sigvit.data.synthetic import synthetic_raw
    >>> raw = synthetic_raw()
    >>> epochs = mne.Epochs(raw, tmin=0.5, tmax=3.5, baseline=None, verbose="ERROR")
    >>> windows = windows_from_epochs(epochs, subject="07")
    >>> windows.values.shape, windows.classes, windows.metadata.start_s[0]
    ((20, 3, 481), ('left', 'right'), np.float64(2.5))
    """
    if not isinstance(epochs, mne.BaseEpochs):
        raise ValueError(
            f"Here is a {type(epochs).__name__} in place of mne.Epochs; sigvit.windows_from_raw and windows_from_arrays take what isn't cut by mne."
        )
    if bad_electrodes == "interpolate":
        raise ValueError('windows_from_epochs interpolates nothing: call epochs.interpolate_bads() before, or say bad_electrodes="drop" or "keep".')
    channels = pick_channels(epochs.info, electrodes, {}, bad_electrodes, name)
    values = epochs.get_data(picks=channels, copy=False, verbose="ERROR").astype(np.float32)
    if len(values) == 0:
        raise ValueError(f"{name} holds no epochs; epochs.drop_log says why they were dropped.")
    given = {"subject": subject, "session": session, "run": run, "recording": recording}
    info = info_of(epochs.info, channels, epochs.info["sfreq"], {})
    support = (support_of_info(epochs.info) if filter_support_s is None else filter_support_s) + baseline_reach_s(epochs)
    table = _epochs_table(epochs, given)
    return windows_from_arrays(values, epoch_labels(epochs), info, None, table, support, constant_electrodes=constant_electrodes, name=name)


def _signals(values: np.ndarray, what: str, name: str) -> np.ndarray:
    """As float32 of three axes, without a copy where they are that."""
    plain = np.asarray(values)
    if plain.ndim != 3:
        raise ValueError(f"Windows are (windows, electrodes, samples), but the {what} of {name} have the shape {plain.shape}.")
    if plain.dtype.kind not in "fiu":
        raise ValueError(f"The {what} of {name} are of the type {plain.dtype}; windows are real numbers, in volts.")
    if np.ma.is_masked(values):
        window = int(np.argwhere(np.ma.getmaskarray(values))[0][0])
        raise ValueError(f"The {what} of {name} are masked in places, the first in window {window}; windows have no gaps: leave such windows out.")
    return np.asarray(plain, dtype=np.float32)


def complete_metadata(metadata: pd.DataFrame | Mapping[str, Any] | None, labels: np.ndarray, name: str) -> pd.DataFrame:
    """A table with all columns of a window set; what isn't known is filled in as `windows_from_arrays` says.

    >>> complete_metadata({"subject": ["a", "b"]}, np.array([1, 0]), "mine").T.to_dict()[1]
    {'subject': 'b', 'session': '1', 'run': '1', 'recording': 'sub-b_ses-1_run-1', 'start_s': nan, 'stop_s': nan, 'trial': 1, 'label': 0}
    """
    if isinstance(metadata, pd.DataFrame):
        given = metadata.reset_index(drop=True)
    elif metadata is not None and not isinstance(metadata, Mapping):
        raise ValueError(f"The metadata of {name} are a {type(metadata).__name__}; give a DataFrame with a row a window, or {{column: one entry a window}}.")
    else:  # columns are in the windows' order, whatever index they bring along
        columns = {column: values.array if isinstance(values, pd.Series) else values for column, values in (metadata or {}).items()}
        given = pd.DataFrame(columns, index=range(len(labels)))
    if len(given) != len(labels):
        raise ValueError(f"The metadata of {name} have {len(given)} rows for {len(labels)} windows.")
    foreign = {column: dtype.newbyteorder("=") for column, dtype in given.dtypes.items() if isinstance(dtype, np.dtype) and not dtype.isnative}
    given = given.astype(foreign)  # pandas takes other machines' numbers, and fails where they are used
    if "label" in given and not np.array_equal(plain_labels(given["label"], f"metadata rows of {name}").astype(str), labels.astype(str)):
        raise ValueError(f"The metadata of {name} have a column 'label' that contradicts the labels; leave it out.")
    _check_named(given, name)
    table = pd.DataFrame({column: _texts(given[column]) if column in given else "1" for column in _IDENTITY[:3]}, index=range(len(labels)))
    clock = "sub-" + table["subject"] + "_ses-" + table["session"] + "_run-" + table["run"]
    table["recording"] = _texts(given["recording"]) if "recording" in given else clock
    for column in ("start_s", "stop_s"):
        table[column] = given[column].astype(float) if column in given else np.nan
    table["trial"] = given["trial"] if "trial" in given else np.arange(len(labels))
    table["label"] = labels
    return pd.concat([table, given.drop(columns=list(METADATA_COLUMNS), errors="ignore")], axis=1)


def _check_named(given: pd.DataFrame, name: str) -> None:
    for column in [column for column in _IDENTITY if column in given]:
        unknown = np.flatnonzero(given[column].isna())
        if len(unknown):
            raise ValueError(f"{len(unknown)} of {len(given)} windows of {name} have no {column}, the first in row {unknown[0]}; name it, or leave them out.")


def _check_lengths(table: pd.DataFrame, n_times: int, rate: float, name: str) -> None:
    told, length_s = (table["stop_s"] - table["start_s"]).to_numpy(), n_times / rate
    clock = table[["start_s", "stop_s"]].to_numpy()
    single = clock.astype(np.float32)
    # The clock of a night in single precision has steps of 4 ms and more, half of which either end may be off.
    step_s = np.nan_to_num(np.spacing(np.abs(single).max(axis=1))) if np.array_equal(single, clock, equal_nan=True) else 0.0
    wrong = np.flatnonzero(np.abs(told - length_s) > 1 / rate + _ROUNDED_S + step_s)
    if len(wrong):
        raise ValueError(
            f"By start_s and stop_s {len(wrong)} of {len(table)} windows of {name} don't have the length of their samples, {length_s:g} s: that in row "
            f"{wrong[0]} lasts {told[wrong[0]]:g} s. Both are seconds on the recording's clock, of the first sample and the one after the last; leave out both "
            "where they aren't known."
        )


def _texts(column: pd.Series) -> pd.Series:
    """Names; whole floats are written as integers: a column of numbers that had a gap is read by pandas as floats."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if column.dtype == object or pd.api.types.is_float_dtype(column):
        column = pd.Series([text_of(value) for value in column.array], column.index)
    return column.astype(str)


def _info(info_or_names: mne.Info | Sequence[str], sampling_rate: float | None, name: str) -> mne.Info:
    if not isinstance(info_or_names, mne.Info):
        if sampling_rate is None:
            raise ValueError(f"{name} has electrode names but no sampling rate; give sampling_rate in Hz.")
        return make_info(info_or_names, sampling_rate)
    if sampling_rate is not None and sampling_rate != info_or_names["sfreq"]:
        raise ValueError(f"sampling_rate is {sampling_rate:g} Hz, but the info of {name} says {info_or_names['sfreq']:g} Hz.")
    return info_or_names


def support_of_info(info: mne.Info) -> float:
    """How far the filters smear of which an Info knows: see `windows_from_epochs`."""
    low = info["highpass"] if info["highpass"] > 0 else None
    high = info["lowpass"] if info["lowpass"] < info["sfreq"] / 2 else None
    if low is None and high is None:
        return 0.0
    return len(mne.filter.create_filter(None, info["sfreq"], low, high, verbose="ERROR")) // 2 / info["sfreq"]


def baseline_reach_s(epochs: mne.BaseEpochs) -> float:
    """How far the baseline of cropped epochs lies outside of them, in whole samples: values depend on the signal there too.

    >>> epochs = mne.EpochsArray(np.zeros((7, 2, 151)), mne.create_info(2, 100.0), tmin=-0.5, baseline=(-0.5, 0), verbose="ERROR")
    >>> baseline_reach_s(epochs), baseline_reach_s(epochs.crop(0.4))
    (0.0, 0.9)
    """
    if epochs.baseline is None:
        return 0.0
    reach_s = max(epochs.tmin - epochs.baseline[0], epochs.baseline[1] - epochs.tmax, 0.0)
    return round(reach_s * epochs.info["sfreq"]) / epochs.info["sfreq"]


def _epochs_table(epochs: mne.BaseEpochs, given: Mapping[str, str | None]) -> pd.DataFrame:
    """What epochs know of themselves: their own metadata, the identity given, times and numbers; ours win where names are the same."""
    own = pd.DataFrame(index=range(len(epochs))) if epochs.metadata is None else epochs.metadata
    clash = [column for column in ("start_s", "stop_s", "trial", "label") if column in own]
    table = own.rename(columns={column: f"{column}_of_epochs" for column in clash})
    for column, value in given.items():
        if value is not None:
            table[column] = value
    table["start_s"] = _epochs_start_s(epochs)
    table["stop_s"] = table["start_s"] + len(epochs.times) / epochs.info["sfreq"]
    table["trial"] = epochs.selection
    return table


def _epochs_start_s(epochs: mne.BaseEpochs) -> np.ndarray:
    samples = epochs.events[:, 0]
    # What mne.EpochsArray makes up where it was given no events: the epochs' numbers, in joined sets each part's behind the one before it.
    numbered = np.array_equal(samples, epochs.selection) or (len(samples) > 1 and np.mean(np.diff(samples) == 1) > 0.5)
    if numbered and not isinstance(epochs, mne.Epochs):  # which are cut from a recording, at its samples
        return np.full(len(samples), np.nan)
    return samples / recorded_hz(epochs) + epochs.tmin


def recorded_hz(epochs: mne.BaseEpochs) -> float:
    """The rate of the recording that epochs were cut from, in whose samples their events are; mne has no public name for it."""
    return float(np.ravel(getattr(epochs, "_raw_sfreq", None) or epochs.info["sfreq"])[0])
