"""The `mne.Info` of a set of electrodes, with positions of our own table where none were measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mne
import numpy as np

from sigvit.electrodes import FIDUCIALS_M, canonical_name, electrode_position


def make_info(names: Sequence[str], sampling_rate: float, kinds: str | Sequence[str] = "eeg") -> mne.Info:
    """The Info of channels that have only names: those of the 10-05 system get their position in the head frame, the others none.

    Parameters
    ----------
    names : what the channels are called; each once.
    sampling_rate : Hz.
    kinds : mne's channel types ("eeg", "eog", "mag", …): one for all or one each.

    Raises
    ------
    ValueError : a name twice, no name, something else than a list of names, or a rate that isn't finite and above zero.

    >>> info = make_info(["C3", "C4", "my sensor"], 250.0)
    >>> info["sfreq"], [bool(np.isfinite(channel["loc"][:3]).all()) for channel in info["chs"]]
    (250.0, [True, True, False])
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(f"The electrodes' names are {names!r}; give a list with a name for each.")
    names = [str(name) for name in names]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"The channel names {doubled} occur more than once; every electrode needs a name of its own.")
    if not names or not 0 < sampling_rate < np.inf:
        raise ValueError(f"Recordings need at least one channel and a finite sampling rate above zero, but got {len(names)} channels at {sampling_rate} Hz.")
    info = mne.create_info(names, float(sampling_rate), list(kinds) if not isinstance(kinds, str) else kinds, verbose="ERROR")
    place(info, {})
    return info


def info_of(recording_info: mne.Info, names: Sequence[str], sampling_rate: float, rename: Mapping[str, str]) -> mne.Info:
    """The Info of some channels of a recording: their own kind, measured place and bad marks; names and missing places from the 10-05 table;
    nothing personal."""
    called = electrode_names(recording_info, names, rename)
    kinds = recording_info.get_channel_types(picks=list(names))
    info = mne.create_info(called, float(sampling_rate), kinds, verbose="ERROR")
    for new, name in zip(info["chs"], names, strict=True):
        old = recording_info["chs"][recording_info["ch_names"].index(name)]
        new.update({key: old[key] for key in ("coil_type", "coord_frame", "kind", "unit")}, loc=old["loc"].copy())
    with info._unlock():  # mne has no public way to give a new Info the device's place relative to the head
        info["dev_head_t"] = recording_info["dev_head_t"]
    info["bads"] = [new for new, name in zip(called, names, strict=True) if name in recording_info["bads"]]
    place(info, {})
    return info


def electrode_names(recording_info: mne.Info, names: Sequence[str], rename: Mapping[str, str]) -> list[str]:
    """What channels are called in windows: as `rename` says, else EEG channels by their name in the 10-05 system unless two would share it, else as before.

    >>> electrode_names(make_info(["Fc5.", "EEG T3-REF", "ear"], 100.0), ["Fc5.", "EEG T3-REF", "ear"], {"ear": "A1"})
    ['FC5', 'T7', 'A1']
    """
    kinds = recording_info.get_channel_types(picks=list(names))
    called = [rename.get(name) or (canonical_name(name) if kind == "eeg" else None) or name for name, kind in zip(names, kinds, strict=True)]
    called = [new if called.count(new) == 1 or old in rename else old for old, new in zip(names, called, strict=True)]
    twice = sorted({name for name in called if called.count(name) > 1})
    if twice:
        raise ValueError(f"Renaming gives several electrodes the name {twice[0]!r}; electrodes need names of their own.")
    return called


def place(info: mne.Info, rename: Mapping[str, str]) -> None:
    """Gives EEG channels that have no measured place the one that the 10-05 table has for their name, or for that `rename` gives them, in place; channels of
    other kinds stay as they are."""
    eeg = [number for number, kind in enumerate(info.get_channel_types()) if kind == "eeg"]
    known: dict[str, Any] = {}
    for channel in (info["chs"][number] for number in eeg):
        at = channel["loc"][:3] if is_placed(channel) else electrode_position(rename.get(channel["ch_name"]) or channel["ch_name"])
        if at is not None:
            known[channel["ch_name"]] = np.array(at)
    if not known:
        return
    montage = mne.channels.make_dig_montage(known, coord_frame="head", **{name: np.array(at) for name, at in FIDUCIALS_M.items()})
    placed = info if len(eeg) == len(info["chs"]) else mne.pick_info(info, eeg)  # mne wants more of a montage where there is fNIRS
    placed.set_montage(montage, on_missing="ignore", verbose="ERROR")
    if placed is not info:
        for number, channel in zip(eeg, placed["chs"], strict=True):
            info["chs"][number].update(loc=channel["loc"], coord_frame=channel["coord_frame"])
        with info._unlock():
            info["dig"] = placed["dig"]


def is_placed(channel: dict) -> bool:
    """Whether a channel of an Info has a measured place: finite and not the origin, which mne and some files write for "unknown"."""
    at = channel["loc"][:3]
    return bool(np.isfinite(at).all() and np.any(at != 0))
