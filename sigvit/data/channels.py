"""Which channels of a recording become electrodes."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Mapping, Sequence

import mne

from sigvit.data.windows import abridged
from sigvit.electrodes import canonical_name

# EDF and GDF have no channel types, so mne calls all of them EEG; these names say otherwise.
_MUSCLE = re.compile(r"(?:^|[^a-z])emg(?:$|[^a-z])", re.IGNORECASE)
_NEITHER = re.compile(
    r"(?:^|[^a-z])(?:[hv]?eogh?|ecg|ekg|gsr|eda|resp|temp|sti|stim|status|trig|trigger|marker|event|annotations|aux|acc[xyz]?|photo|pho|photic|spo2|pulse|ppg)(?:$|[^a-z])",
    re.IGNORECASE,
)
_BRAIN = re.compile(r"eeg|e\d+$", re.IGNORECASE)  # "EEG001", and EGI's "E1"
_FIRST_OF = (("eeg",), ("mag", "grad"), ("seeg", "ecog", "dbs"), ("hbo", "hbr"), ("emg",))


def pick_channels(info: mne.Info, electrodes: Sequence[str] | None, rename: Mapping[str, str], bad_electrodes: str, where: str) -> list[str]:
    """The channel names, as the recording has them, of the electrodes asked for; of all EEG (else MEG, intracranial, fNIRS, EMG) channels for None.

    Raises
    ------
    ValueError : a name that isn't there (with the nearest), a channel twice, no such channel at all, bad channels among them where they are refused, or none
        left where they are dropped.

    Warns
    -----
    UserWarning : for None, channels called EMG are left out, and none of those that stay is called by a place on the scalp.
    """
    if isinstance(electrodes, str):
        raise ValueError(f"electrodes is {electrodes!r}; give a list of names, as in [{electrodes!r}].")
    unknown = [name for name in rename if name not in info["ch_names"]]
    if unknown:
        raise ValueError(f"{where} has no channel {unknown[0]!r} to rename{_nearest(unknown[0], info['ch_names'])}.")
    picked = all_electrodes(info, where) if electrodes is None else [_find(info, name, rename, where) for name in electrodes]
    if electrodes is None:
        _warn_of_muscles([name for name in left_out(info, picked) if _MUSCLE.search(name)], [rename.get(name) or name for name in picked], where)
    if len(set(picked)) < len(picked):
        doubled = sorted({name for name in picked if picked.count(name) > 1})
        raise ValueError(f"electrodes asks more than once for the channels {doubled} of {where}.")
    bad = [name for name in picked if name in info["bads"]]
    if bad and bad_electrodes == "refuse":
        choices = 'leave them out with electrodes=…, or say bad_electrodes="drop", "interpolate" or "keep"'
        raise ValueError(f"{where} marks the channels {bad} as bad; {choices}.")
    good = [name for name in picked if name not in bad]
    if bad and bad_electrodes == "drop" and not good:
        raise ValueError(f"{where} marks all the channels that are asked for as bad ({abridged(bad)}), so that none is left.")
    return good if bad_electrodes == "drop" else picked


def reference_channels(info: mne.Info, reference: str | Sequence[str] | None, rename: Mapping[str, str], bad_electrodes: str, where: str) -> list[str]:
    """The channels whose mean is subtracted, as `Cut.reference` says it.

    Raises
    ------
    ValueError : as `pick_channels`; bad ones among those named where bad ones are dropped: what is left would be another reference; none to average.
    """
    if reference is None:
        return []
    if reference == "average":
        good = [name for name in all_electrodes(info, where) if name not in info["bads"] or bad_electrodes == "keep"]
        if not good:
            raise ValueError(f'{where} marks all electrodes as bad, so there is none to average; name another reference, or say bad_electrodes="keep".')
        return good
    names = [reference] if isinstance(reference, str) else reference
    picked = pick_channels(info, names, rename, "keep" if bad_electrodes == "drop" else bad_electrodes, where)
    bad = [name for name in picked if name in info["bads"]]
    if bad and bad_electrodes == "drop":
        choices = 'name good ones, or say bad_electrodes="interpolate" or "keep"'
        raise ValueError(f"{where} marks the channels {bad} of the reference as bad, and without them it would be another; {choices}.")
    return picked


def all_electrodes(info: mne.Info, where: str) -> list[str]:
    """Every EEG channel, but those whose name says that they are something else (unless all do); where there is none, all MEG, intracranial, fNIRS or EMG
    ones."""
    kinds = dict(zip(info["ch_names"], info.get_channel_types(), strict=True))
    for wanted in _FIRST_OF:
        picked = [name for name, kind in kinds.items() if kind in wanted]
        if picked:
            return [name for name in picked if kinds[name] != "eeg" or not (_MUSCLE.search(name) or _NEITHER.search(name))] or picked
    choices = "name what is meant with electrodes=… where windows are read ([electrodes] pick in a page), or give its array"
    raise ValueError(f"{where} has no channel of brain or muscle signals, only {sorted(set(kinds.values()))}; {choices}.")


def muscle_types(info: mne.Info, picked: Sequence[str]) -> dict[str, str]:
    """In a recording of muscles, the types of the channels that mne calls EEG: "emg", or "misc" where the name says something else and isn't picked.

    >>> muscle_types(mne.create_info(["Biceps", "EMG 2", "Trigger"], 500.0, "eeg"), [])
    {'Biceps': 'emg', 'EMG 2': 'emg', 'Trigger': 'misc'}
    """
    return {name: "misc" if _NEITHER.search(name) and name not in picked else "emg" for name in left_out(info, [])}


def left_out(info: mne.Info, picked: Sequence[str]) -> list[str]:
    """Channels of EEG type that aren't picked; where muscles are, EMG and "misc" as well, which `muscle_types` makes of EEG.

    >>> info = mne.create_info(["Biceps", "EMG 2", "Trigger"], 500.0, ["emg", "emg", "misc"])
    >>> left_out(info, ["Biceps"]), left_out(info, [])
    (['EMG 2', 'Trigger'], [])
    """
    kinds = dict(zip(info["ch_names"], info.get_channel_types(), strict=True))
    muscles = bool(picked) and all(kinds[name] == "emg" for name in picked)
    return [name for name, kind in kinds.items() if kind in (("eeg", "emg", "misc") if muscles else ("eeg",)) and name not in picked]


def _warn_of_muscles(muscles: Sequence[str], others: Sequence[str], where: str) -> None:
    parts = {part for name in others for part in (name, *re.split(r"[\s:_-]+", name))}  # "EEG Fpz-Cz"
    if muscles and not any(canonical_name(part) or _BRAIN.match(part) for part in parts):
        means = 'name all that is meant with electrodes=…; in a page say kind = "emg" or pick in [electrodes]'
        told = f"The channels {abridged(muscles)} of {where} are left out as muscles beside {abridged(others)}"
        warnings.warn(f"{told}, none of which is called by a place on the scalp; {means}.", stacklevel=4)


def _find(info: mne.Info, name: str, rename: Mapping[str, str], where: str) -> str:
    """The channel that an electrode's name means: the one called so after renaming, else before it, else the one of the same 10-05 electrode."""
    now = {channel: rename.get(channel, channel) for channel in info["ch_names"]}
    called = [channel for channel, new in now.items() if new == name] or [channel for channel in now if channel == name]
    same = canonical_name(name)
    called = called or [channel for channel, new in now.items() if same is not None and canonical_name(new) == same]
    if len(called) != 1:
        found = f"has the channels {called} for" if called else "has no channel"
        raise ValueError(f"{where} {found} {name!r}{'' if called else _nearest(name, [*info['ch_names'], *rename.values()])}.")
    return called[0]


def _nearest(name: str, names: Sequence[str]) -> str:
    folded = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), list(folded), 1)
    return f"; the nearest is {folded[near[0]]!r}" if near else f"; it has {', '.join(names[:12])}{', …' if len(names) > 12 else ''}"
