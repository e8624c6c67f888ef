"""Bad channels computed from the good ones around them, as mne does; what it can't gets a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mne

from sigvit.data.electrode_info import is_placed, place
from sigvit.data.windows import abridged

# mne leaves channels of other kinds as they are, and takes the mark off them.
_KINDS = ("eeg", "mag", "grad", "ecog", "seeg", "hbo", "hbr", "fnirs_cw_amplitude", "fnirs_fd_ac_amplitude", "fnirs_fd_phase", "fnirs_od")
_INSTEAD = 'leave the bad ones out with electrodes=…, or say bad_electrodes="drop" or "keep"'


def interpolated(raw: mne.io.BaseRaw, bad: Sequence[str], rename: Mapping[str, str], where: str) -> mne.io.BaseRaw:
    """A copy of a recording whose bad channels are interpolated; `bad` are those that are needed. Places are those of the names after `rename`.

    Bad ones that aren't needed and have no place stay as they are.

    Raises
    ------
    ValueError : needed ones are of a kind that isn't interpolated, all of their kind are bad, channels of their kind have no place, or mne fails.
    """
    raw = raw.copy().load_data(verbose="ERROR")
    place(raw.info, rename)
    idle = [channel["ch_name"] for channel in raw.info["chs"] if channel["ch_name"] in {*raw.info["bads"]} - {*bad} and not is_placed(channel)]
    _check(raw.info, bad, idle, rename, where)
    try:
        return raw.interpolate_bads(exclude=idle, verbose="ERROR")
    except Exception as error:  # it raises almost anything where places or neighbours don't suffice
        raise ValueError(f"The bad channels {list(bad)} of {where} can't be interpolated ({error}); {_INSTEAD}.") from error


def _check(info: mne.Info, bad: Sequence[str], idle: Sequence[str], rename: Mapping[str, str], where: str) -> None:
    kinds = dict(zip(info["ch_names"], info.get_channel_types(), strict=True))
    foreign = [name for name in bad if kinds[name] not in _KINDS]
    if foreign:
        raise ValueError(f"The bad channels {foreign} of {where} are of the type {kinds[foreign[0]]}, which isn't interpolated; {_INSTEAD}.")
    for kind in {kinds[name] for name in bad}:
        alike = [channel for channel in info["chs"] if kinds[channel["ch_name"]] == kind]
        if all(channel["ch_name"] in info["bads"] for channel in alike):
            raise ValueError(f"{where} marks all its {len(alike)} {kind} channels as bad, so there is none to interpolate from; {_INSTEAD}.")
        lost = [rename.get(channel["ch_name"]) or channel["ch_name"] for channel in alike if not is_placed(channel) and channel["ch_name"] not in idle]
        if lost:
            mend = "give them one with raw.set_montage, or leave them out with raw.drop_channels"
            raise ValueError(f"To interpolate {list(bad)} of {where}, the {kind} channels need places, and none is known of {abridged(lost)}; {mend}.")
