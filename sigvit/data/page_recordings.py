"""Windows from one recording of a page: opened, named, held against what the page expects, and cut."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from sigvit.data.channels import muscle_types, pick_channels
from sigvit.data.cuts import Cut
from sigvit.data.cutter import Cutter, LabelledRecording, warn_of_dropped
from sigvit.data.page_expectations import ExpectationError, check_recording
from sigvit.data.page_format import Events, Page
from sigvit.data.page_sources import Recording, check_sha256
from sigvit.data.windows import Windows


def windows_of_recording(page: Page, recording: Recording) -> Iterator[tuple[Events, Windows]]:
    """The windows of a recording with the events that label them; several sets where the page splits a file into runs.

    Raises
    ------
    ExpectationError : it isn't what the page expects.
    ValueError : it can't be read, or not be cut as the page says.
    """
    check_sha256(recording, page)
    raw = recording.read()
    events = page.events_of(recording.run)
    assert events is not None, "list_recordings lists used runs only"
    check_recording(page, recording.name, raw, events)
    if page.processing.skip_end_s:
        raw.crop(tmax=raw.times[-1] - page.processing.skip_end_s)
    raw.drop_channels([name for name in page.electrodes.drop if name in raw.ch_names])
    if page.electrodes.kind == "emg":
        cut = page_cut(page, raw.ch_names)
        picked = pick_channels(raw.info, cut.electrodes, cut.rename, "keep", recording.name) if cut.electrodes else []
        raw.set_channel_types(muscle_types(raw.info, picked), on_unit_change="ignore", verbose="ERROR")
    for part, piece in _runs(page, recording, raw, events):
        yield events, _windows(page, part, piece, events)


def page_cut(page: Page, channels: Collection[str]) -> Cut:
    """How the page cuts a recording that has these channels."""
    window, processing = page.window, page.processing
    return Cut(
        start_s=window.start_s,
        stop_s=window.stop_s,
        window_s=window.window_s,
        stride_s=window.stride_s,
        baseline_s=window.baseline_s,
        control_s=window.control_s,
        band_hz=processing.band_hz,
        notch_hz=processing.notch_hz,
        resample_hz=processing.resample_hz,
        reference=processing.reference,
        electrodes=page.electrodes.pick or None,
        rename={old: new for old, new in page.electrodes.rename.items() if old in channels},
        reject_v=page.rejection.peak_to_peak_v,
        rest_margin_s=window.rest_margin_s,
        bad_electrodes=page.electrodes.bad,
        constant_electrodes=page.electrodes.constant,
        bad_spans=page.rejection.bad_spans,
    )


def _windows(page: Page, part: Recording, raw: Any, events: Events) -> Windows:
    group = next((name for name, runs in page.run_groups.items() if part.run in runs), part.run)
    there = set(map(str, raw.annotations.description))
    # With a label for the rest, an event may be missing.
    labels: dict[str | int, str | int] = {event: label for event, label in events.labels.items() if event in there or events.rest}
    labelled = LabelledRecording(raw, labels or None, events.label, part.subject, part.session, group, part.name, events.rest)
    cutter = Cutter(page_cut(page, raw.ch_names))
    cutter.add(labelled)
    windows = cutter.finish(part.name, {})
    warn_of_dropped(windows, part.name, [])  # other recordings may have the labels that this one lost
    if page.window.background is None:
        return windows
    return _near_other_labels(windows, page.window.background, page.window.background_s)


def _near_other_labels(windows: Windows, background: str, margin_s: float) -> Windows:
    """Of the windows labelled `background` only those within `margin_s` of another label; the others are counted as dropped."""
    metadata = windows.metadata
    others = metadata["label"] != background
    if not others.any():
        raise ValueError(f"{metadata['recording'].iloc[0]} has only windows of {background!r}, which the page keeps only beside others.")
    first, last = metadata.loc[others, "start_s"].min() - margin_s, metadata.loc[others, "stop_s"].max() + margin_s
    kept = (others | ((metadata["start_s"] >= first) & (metadata["stop_s"] <= last))).to_numpy()
    reason = f"{background} more than {margin_s:g} s from another label"
    rows = metadata.loc[~kept, ["recording", "trial", "label", "start_s"]].to_dict("records")
    dropped = [{key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()} | {"reason": reason} for row in rows]
    windows.page["dropped"]["windows"] += dropped
    return windows[kept]


def _runs(page: Page, recording: Recording, raw: Any, events: Events) -> Iterator[tuple[Recording, Any]]:
    """The file itself, or the runs within it that hold events of the page, numbered from 1."""
    if recording.split_at is None or recording.split_at not in set(raw.annotations.description):
        yield recording, raw
        return
    names, onsets, margin = raw.annotations.description, raw.annotations.onset - raw.first_time, recording.split_margin_s
    is_event, at_cue = np.isin(names, list(events.labels)), page.window.window_s is None
    starts = np.sort(onsets[names == recording.split_at])
    stops = np.append(starts[1:], raw.times[-1] + margin)
    half_sample = 0.5 / raw.info["sfreq"]  # onsets are rounded
    _check_in_runs(page, recording, onsets[is_event], starts, stops, max(0.0, margin - half_sample) if at_cue else 0.0)
    number = 0
    for start, stop in zip(starts, stops, strict=True):
        if not (is_event & (start <= onsets) & (onsets < stop)).any():
            continue
        number += 1
        part, piece = replace(recording, name=f"{recording.name}_run-{number}", run=str(number)), raw.copy()
        if at_cue:  # a crop would have a cue that lasts into this run begin with it
            piece.annotations.delete(np.flatnonzero(is_event & (onsets < start)))
        # A crop keeps the annotations inside; the margin takes the samples without a value with it.
        yield part, piece.crop(start + margin, min(stop - margin, raw.times[-1]))
    if number == 0:
        raise ExpectationError(f"{page.name}: {recording.name} has no event of the page after a {recording.split_at!r}.")


def _check_in_runs(page: Page, recording: Recording, onsets: np.ndarray, starts: np.ndarray, stops: np.ndarray, margin: float) -> None:
    """Events that lie in no run would be lost, or begin where it does."""
    lost = sum(not ((starts + margin <= onset) & (onset <= stops - margin)).any() for onset in onsets)
    if lost:
        where = f"{lost} events of the page before its first {recording.split_at!r}, or within split_margin_s of one, so in no run"
        raise ExpectationError(f"{page.name}: {recording.name} has {where}; mark where that run begins, or take split_at out of the page.")
