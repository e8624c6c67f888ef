"""Windows from braindecode's datasets of windows: those over raw recordings and those over `mne.Epochs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sigvit.data.arrays import baseline_reach_s, recorded_hz, support_of_info, windows_from_arrays
from sigvit.data.channels import pick_channels
from sigvit.data.electrode_info import info_of
from sigvit.data.quality import volts_of
from sigvit.data.windows import METADATA_COLUMNS, Windows, concatenate
from sigvit.labels import is_missing, text_of

_IDENTITY = ("subject", "session", "run")


def windows_from_braindecode(
    dataset: Any,
    *,
    label: str | None = None,
    unit: str = "V",
    electrodes: Sequence[str] | None = None,
    bad_electrodes: str = "refuse",
    constant_electrodes: str = "refuse",
    filter_support_s: float | None = None,
    name: str = "braindecode",
) -> Windows:
    """Windows from what braindecode's windowers return: a `BaseConcatDataset` of `EEGWindowsDataset` or `WindowsDataset`, or one of these.

    Labels are the names in the windower's `mapping`, else the targets. The columns of the descriptions carry over; `subject`, `session` and `run` among
    them tell whose a recording is, and columns of other names that we give ourselves, as `label`, become `label_of_description`. A trial is what the
    windower calls one; windows of fixed length over a whole recording are trials of their own.
    Transforms that a dataset applies when it is indexed aren't applied. Resample and crop before the windower, or have it make `WindowsDataset`
    (`use_mne_epochs=True`): an `EEGWindowsDataset` goes on counting samples of the recording as it was when it was cut, and nothing in it tells.

    Parameters
    ----------
    label : a column of the descriptions that labels each recording, in place of the windows' targets.
    unit : of the stored signals, "V", "mV", "uV" or "nV": braindecode's examples multiply by a million.
    electrodes, bad_electrodes, constant_electrodes : as in `sigvit.windows_from_raw`; nothing is interpolated.
    filter_support_s : as in `sigvit.windows_from_epochs`.

    Raises
    ------
    ValueError : no windows; targets that are signals; no such column; a subject, session or run that is missing (None, NaN); two recordings that can't be
        told apart; windows that lie beyond the recording; and what `windows_from_arrays` refuses.
    """
    volts, parts = volts_of(unit, name), []
    seen: set[str] = set()
    for number, part in enumerate(getattr(dataset, "datasets", [dataset])):
        table, labels = _table(part, number, label, name)
        where = table["recording"].iloc[0] if len(table) else f"part {number}"
        if where in seen:
            raise ValueError(f"Two recordings of {name} are called {where}; tell them apart by subject, session and run in their descriptions.")
        seen.add(where)
        epochs = getattr(part, "windows", None)
        info = part.raw.info if epochs is None else epochs.info
        channels = pick_channels(info, electrodes, {}, bad_electrodes, where)
        values = volts * (_of_recording(part, channels, where) if epochs is None else epochs.get_data(picks=channels, copy=False, verbose="ERROR"))
        support = support_of_info(info) if filter_support_s is None else filter_support_s
        support += 0.0 if epochs is None else baseline_reach_s(epochs)
        kept = info_of(info, channels, info["sfreq"], {})
        parts.append(windows_from_arrays(values, labels, kept, None, table, support, constant_electrodes=constant_electrodes, name=name))
    return concatenate(parts, name=name)


def _of_recording(part: Any, channels: list[str], where: str) -> np.ndarray:
    last = int(part.metadata["i_stop_in_trial"].max())
    if last > part.raw.n_times:
        raise ValueError(
            f"A window of {where} ends at sample {last}, but its recording has {part.raw.n_times}: it was resampled or cropped after it was cut; do so before."
        )
    spans = zip(part.metadata["i_start_in_trial"], part.metadata["i_stop_in_trial"], strict=True)
    return np.stack([part.raw.get_data(picks=channels, start=first, stop=last, verbose="ERROR") for first, last in spans])


def _table(part: Any, number: int, label: str | None, name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The metadata of one recording's windows, and their labels."""
    told = getattr(part, "metadata", None)
    if told is None or "i_start_in_trial" not in told or len(told) == 0:
        raise ValueError(f"Part {number} of {name} has no windows; cut it with braindecode.preprocessing.create_windows_from_events first.")
    described = {} if part.description is None else dict(part.description)
    identity = _identity(described, number, name)
    own = set(METADATA_COLUMNS) - set(_IDENTITY)
    carried = {f"{key}_of_description" if key in own else key: value for key, value in described.items()}
    table = pd.DataFrame({**carried, **identity}, index=range(len(told)))
    table["recording"] = "sub-{subject}_ses-{session}_run-{run}".format(**identity)
    table["trial"] = told["i_trial_in_dataset"].to_numpy() if "i_trial_in_dataset" in told else np.arange(len(told))
    table["start_s"], table["stop_s"] = _times_s(part, told)
    return table, _labels(part, told, described, label, name)


def _identity(described: dict, number: int, name: str) -> dict[str, str]:
    """Subject, session and run of a recording; where its description says none of them, its number is the run."""
    told = {column: described[column] for column in _IDENTITY if column in described}
    missing = next((column for column, value in told.items() if is_missing(value)), None)
    if missing is not None:
        raise ValueError(f"The {missing} of part {number} of {name} is {told[missing]} in its description; name it, or leave the column out of all.")
    return {**dict.fromkeys(_IDENTITY, "1"), **{column: text_of(value) for column, value in (told or {"run": number}).items()}}


def _times_s(part: Any, told: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    first, last = told["i_start_in_trial"].to_numpy(), told["i_stop_in_trial"].to_numpy()
    epochs = getattr(part, "windows", None)
    if epochs is None:
        return first / part.raw.info["sfreq"], last / part.raw.info["sfreq"]
    rate = recorded_hz(epochs)  # the windower's samples are counted in it, whatever became of the epochs since
    n_times = len(epochs.times) * (rate / epochs.info["sfreq"])
    return first / rate + epochs.tmin, (first + n_times) / rate + epochs.tmin


def _labels(part: Any, told: pd.DataFrame, described: dict, label: str | None, name: str) -> np.ndarray:
    if label is not None:
        if label not in described:
            raise ValueError(f"The descriptions of {name} have no column {label!r}; they have {', '.join(map(str, described)) or 'none'}.")
        return np.full(len(told), described[label])
    if getattr(part, "targets_from", "metadata") != "metadata":
        raise ValueError(f"The targets of {name} are signals of channels, not classes.")
    steps = dict(getattr(part, "window_kwargs", None) or ())
    mapping = next((step["mapping"] for step in steps.values() if step.get("mapping")), None)
    targets = told["target"].to_numpy()
    if mapping is None:
        return targets
    names: dict[Any, list[str]] = {}
    for event, target in mapping.items():
        names.setdefault(target, []).append(str(event))
    return np.array(["+".join(names[target]) if target in names else str(target) for target in targets])
