"""Fills one array of windows from recordings, one after the other, and keeps the record of what was dropped."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd

from sigvit.data.channels import left_out, pick_channels, reference_channels
from sigvit.data.clock_gaps import check_gaps
from sigvit.data.cuts import Cut, Positions, extent, n_samples, plan, recording_starts, rest_starts, span_of, too_short, window_starts
from sigvit.data.electrode_info import info_of
from sigvit.data.events import Event, find_events
from sigvit.data.headers import check_header
from sigvit.data.interpolation import interpolated
from sigvit.data.joining import Joining, NewRows, rows_in_memory
from sigvit.data.quality import check_signals, is_average_referenced, warn_of_references
from sigvit.data.signals import Signals, constant_tail_s, filter_support_s
from sigvit.data.window_rejection import automatic_limit_v, within
from sigvit.data.windows import METADATA_COLUMNS, Windows
from sigvit.labels import is_missing, plain_labels, text_of, value_of

_READ_WHOLE = (".gz", ".set")  # to check these takes as long as to open them, and mne fails where they are cut short
_WORTH_A_WARNING = 0.1  # of the windows dropped


@dataclass(frozen=True)
class LabelledRecording:
    """An open recording, whose it is, and what its events (or all of it) mean.

    Attributes
    ----------
    raw : any `mne.io.Raw`; it isn't changed, and need not be loaded.
    subject, session, run : names; numbers are written as text, 7.0 as "7".
    events : annotation description (or event code) → label; or
    label : the class of the whole recording, which `Cut.window_s` then cuts up.
    recording : the name of its clock; made of subject, session and run where it isn't given.
    rest : with `Cut.window_s`, the label of everything that no event spans (nor is within `Cut.rest_margin_s` of one); each window is a trial of its own.
    truncated : "refuse" a recording whose file is shorter than its header says, however it was opened, or "keep" what is there.
    extra : further columns of the metadata, one value each; none of those that windows have anyway.

    Raises
    ------
    ValueError : something else than a recording, events without labels, a subject, session, run, recording or label that is missing (None, NaN), or
        different labels that are one as text (1 and "1"), or an extra column of a name that windows have anyway.
    """

    raw: mne.io.BaseRaw
    events: Mapping[str | int, str | int] | None = None
    label: str | int | None = None
    subject: str = "1"
    session: str = "1"
    run: str = "1"
    recording: str | None = None
    rest: str | int | None = None
    truncated: str = "refuse"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.raw, mne.io.BaseRaw):
            raise ValueError(
                f"Here is a {type(self.raw).__name__} in place of a recording; sigvit.read_recording opens files, windows_from_epochs takes Epochs."
            )
        if self.events is not None and not isinstance(self.events, Mapping):
            raise ValueError(f"events are a {type(self.events).__name__}; say the label of each, as in {{'T1': 'left', 'T2': 'right'}}.")
        for name in ("subject", "session", "run", "recording"):
            given = getattr(self, name)
            if is_missing(given) and (name, given) != ("recording", None):
                raise ValueError(f"{name} is {given}, which would name a {name} of its own; give the name, or leave {name} out where there is only one.")
            object.__setattr__(self, name, given if given is None else text_of(given))
        if self.events is not None:
            object.__setattr__(self, "events", {event: value_of(label) for event, label in self.events.items()})
        for name in ("label", "rest"):
            object.__setattr__(self, name, value_of(getattr(self, name)))
        taken = [column for column in METADATA_COLUMNS if column in self.extra]
        if taken:
            raise ValueError(f"The extra columns {taken} of {self.name} would take the place of what is known of each window; name them otherwise.")
        whole = [label for label in (self.label, self.rest) if label is not None]
        plain_labels([*(self.events or {}).values(), *whole], f"events and labels of {self.name}")

    @property
    def name(self) -> str:
        return self.recording or f"sub-{self.subject}_ses-{self.session}_run-{self.run}"


class Cutter:
    """Fills one array from recordings, one after the other."""

    def __init__(self, cut: Cut, new_rows: NewRows = rows_in_memory) -> None:
        self.cut = cut
        self.joining = Joining(new_rows)
        self.dropped: list[dict] = []
        self.notes: dict[str, dict] = {}
        self.wanted: set = set()
        self.seen: set = set()

    def add(self, recording: LabelledRecording) -> None:
        """Cuts one recording; what doesn't fit the earlier ones raises."""
        where = recording.name
        if where in self.notes:
            raise ValueError(f"There are two recordings {where}; tell them apart by subject, session, run or recording=….")
        if recording.truncated == "refuse":
            _check_files(recording.raw, where)
        check_gaps(recording.raw, where)
        raw, channels = _prepared(recording.raw, self.cut, where)
        signals = Signals(raw, channels, self.cut, where)
        info = info_of(raw.info, channels, signals.rate, self.cut.rename)
        control_s = self.cut.control_s
        n_control = None if control_s is None else n_samples(control_s[1] - control_s[0], signals.rate)
        order = self.joining.order(where, info, n_samples(self.cut.length_s, signals.rate), n_control)
        signals.channels = [channels[number] for number in order]
        padding_s = constant_tail_s(raw, channels)
        self.notes[where] = {"left_out": left_out(raw.info, channels), "padding_s": padding_s}
        stop_s = raw.n_times / raw.info["sfreq"]
        positions = plan(raw, self._starts(recording, stop_s - padding_s), self.cut, signals.rate, stop_s, padding_s)
        table = _table(recording, positions, self._fill(where, signals, positions))
        self.joining.close(table, table["label"].to_numpy(), where, info["bads"], filter_support_s(self.cut, raw.info["sfreq"]))

    def _starts(self, recording: LabelledRecording, stop_s: float) -> list[tuple[float, Event]]:
        if (recording.events is None) == (recording.label is None):
            raise ValueError(f"{recording.name} needs either events (description → label) or a label for all of it, with window_s.")
        if recording.label is not None:
            return recording_starts(recording.label, self.cut, stop_s, recording.name)
        assert recording.events is not None
        try:
            events, seen = find_events(recording.raw, recording.events, recording.name)
        except ValueError:
            if recording.rest is None:
                raise
            events, seen = [], set()  # a night without a seizure
        self.wanted |= set(recording.events)
        self.seen |= seen
        self.dropped += [{"recording": recording.name, **window} for window in too_short(events, self.cut)]
        starts = window_starts(events, self.cut)
        if recording.rest is not None:
            starts += rest_starts(events, recording.rest, self.cut, stop_s, recording.name)
        return sorted(starts, key=lambda start: start[0])

    def _fill(self, where: str, signals: Signals, positions: Positions) -> np.ndarray:
        """Cuts the windows into the joined set; which of them stay."""
        joining = self.joining
        values = joining.values.extend(len(positions))
        control = None if joining.control is None else joining.control.extend(len(positions))
        _cut_out(signals, positions, values, control)
        limit_v = automatic_limit_v(values, signals) if isinstance(self.cut.reject_v, str) else self.cut.reject_v
        keep = within(values, limit_v, signals, positions)
        first = next((values[row] for row in np.flatnonzero(keep)), None)
        self.notes[where] |= {"average_referenced": None if first is None else is_average_referenced(first), "reject_v": limit_v}
        del first  # a view of rows that may be shortened
        n_rejected = len(positions) - int(keep.sum())
        if n_rejected:
            _close_ranks(values, keep)
            joining.values.shorten(n_rejected)
            if joining.control is not None and control is not None:
                _close_ranks(control, keep)
                joining.control.shorten(n_rejected)
        self.dropped += [{"recording": where, **window} for window in positions.dropped]
        return keep

    def finish(self, name: str, page: dict) -> Windows:
        """The windows of all recordings, checked."""
        if self.joining.first is None:
            raise ValueError("There are no recordings to cut windows from.")
        kept = sum(map(len, self.joining.tables))
        planned = kept + len(self.dropped)
        reasons = dict(Counter(window["reason"] for window in self.dropped).most_common())
        dropped = {"planned": planned, "kept": kept, "reasons": reasons, "windows": self.dropped}
        if planned == 0:
            raise ValueError(f"No span of {name} is as long as a window of {self.cut.length_s:g} s.")
        if kept == 0:
            raise ValueError(f"{_lost(dropped, name)}, so none is left.")
        if self.wanted - self.seen:
            warnings.warn(f"The events {sorted(map(str, self.wanted - self.seen))} occur in no recording of {name}.", stacklevel=4)
        windows = self.joining.finish(name, {**page, "cut": _said(self.cut), "dropped": dropped, "recordings": self.notes})
        windows.metadata["label"] = plain_labels(windows.labels.tolist(), f"windows of {name}")
        windows.labels = windows.metadata["label"].to_numpy()
        check_signals(windows, self.cut.constant_electrodes)
        warn_of_references(self.notes, name)
        return windows


def _lost(dropped: dict[str, Any], name: str) -> str:
    reasons = ", ".join(f"{reason}: {n}" for reason, n in dropped["reasons"].items())
    return f"{len(dropped['windows'])} of {dropped['planned']} windows of {name} are dropped ({reasons})"


def labels_gone(windows: Windows) -> list[str]:
    """Labels of dropped windows that no window has."""
    return sorted({str(window["label"]) for window in windows.page["dropped"]["windows"]} - set(windows.metadata["label"].astype(str)))


def warn_of_dropped(windows: Windows, name: str, gone: Sequence[str]) -> None:
    """Warns where more than a tenth of the planned windows are dropped, or labels are `gone` with them."""
    dropped = windows.page["dropped"]
    if gone or len(dropped["windows"]) > _WORTH_A_WARNING * dropped["planned"]:
        without = f", and none labelled {', '.join(gone)} is left" if gone else ""
        warnings.warn(f"{_lost(dropped, name)}{without}; page['dropped'] names them.", stacklevel=4)


def _check_files(raw: mne.io.BaseRaw, where: str) -> None:
    """mne opens many files that were cut short without a word; see `read_recording`."""
    for file in {Path(name) for name in raw.filenames if name is not None}:
        beside = file.with_suffix(".vhdr")  # BrainVision's; Nihon Kohden's samples have the same ending
        header = beside if file.suffix.lower() == ".eeg" and beside.is_file() else file
        wrong = check_header(header) if header.is_file() and header.suffix.lower() not in _READ_WHOLE else None
        if wrong:
            raise ValueError(f'{where}: {wrong}. Fetch it again, or say truncated="keep" to use what is there.')


def _prepared(raw: mne.io.BaseRaw, cut: Cut, where: str) -> tuple[mne.io.BaseRaw, list[str]]:
    """The recording with its projectors applied and, if asked, bad ones among electrodes and reference interpolated (in a copy), and the picked channels."""
    if any(not projector["active"] for projector in raw.info["projs"]):
        raw = raw.copy().load_data(verbose="ERROR").apply_proj(verbose="ERROR")  # as mne.Epochs does
    channels = pick_channels(raw.info, cut.electrodes, cut.rename, cut.bad_electrodes, where)
    needed = {*channels, *reference_channels(raw.info, cut.reference, cut.rename, cut.bad_electrodes, where)}
    bad = [name for name in raw.info["bads"] if name in needed]
    return interpolated(raw, bad, cut.rename, where) if bad and cut.bad_electrodes == "interpolate" else raw, channels


def _cut_out(signals: Signals, positions: Positions, values: np.ndarray, control: np.ndarray | None) -> None:
    """Writes the windows of one recording to `values` and, where there is one, the stretches before the cue to `control`."""
    cut, n_times = signals.cut, positions.n_times
    starts = list(zip(positions.first.tolist(), positions.cue.tolist(), strict=True))
    extents = [extent(first, cue, n_times, cut, positions.rate) for first, cue in starts]
    budget = values.nbytes // 16
    for low, high, rows in signals.stretches(extents, budget):
        for which, stretch in signals.read(low, high, budget):
            for row in rows:
                first, cue = starts[row]
                window = stretch[:, first - low : first - low + n_times]
                if cut.baseline_s is not None:
                    window = window - stretch[:, span_of(cue - low, cut.baseline_s, positions.rate)].mean(axis=1, keepdims=True)
                values[row, which] = window
                if control is not None and cut.control_s is not None:
                    control[row, which] = stretch[:, span_of(cue - low, cut.control_s, positions.rate)]
            del stretch, window  # the memory is free before the next is read


def _close_ranks(rows: np.ndarray, keep: np.ndarray) -> None:
    """Moves the rows that stay to the front, in place."""
    for new, old in enumerate(np.flatnonzero(keep)):
        if new != old:
            rows[new] = rows[old]


def _table(recording: LabelledRecording, positions: Positions, keep: np.ndarray) -> pd.DataFrame:
    first = positions.first[keep]
    return pd.DataFrame(
        {
            "subject": recording.subject,
            "session": recording.session,
            "run": recording.run,
            "recording": recording.name,
            "start_s": first / positions.rate,
            "stop_s": (first + positions.n_times) / positions.rate,
            "trial": positions.trial[keep],
            "label": positions.label[keep],
            **recording.extra,
        },
        index=range(len(first)),
    )


def _said(cut: Cut) -> dict[str, Any]:
    """What a cut says beyond its defaults, as plain data."""
    default = Cut(0.0, 1.0)
    said = {entry.name: getattr(cut, entry.name) for entry in fields(cut)}
    plain = {name: dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value for name, value in said.items()}
    return {name: value for name, value in plain.items() if name in ("start_s", "stop_s") or said[name] != getattr(default, name)}
