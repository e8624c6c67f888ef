"""From recordings to windows: volts, times on each recording's clock, and how far filters smear."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mne

from sigvit.data.arrays import windows_from_arrays, windows_from_epochs
from sigvit.data.cuts import Cut
from sigvit.data.cutter import Cutter, LabelledRecording, labels_gone, warn_of_dropped
from sigvit.data.readers import read_recording
from sigvit.data.storage import WindowsFolder
from sigvit.data.windows import Windows

__all__ = ["Cut", "LabelledRecording", "read_recording", "windows_from_arrays", "windows_from_epochs", "windows_from_raw", "windows_from_recordings"]


def windows_from_raw(
    raw: mne.io.BaseRaw,
    events: Mapping[str | int, str | int] | None = None,
    start_s: float | None = None,
    stop_s: float | None = None,
    band_hz: tuple[float | None, float | None] | None = None,
    resample_hz: float | None = None,
    electrodes: Sequence[str] | None = None,
    *,
    subject: str = "1",
    session: str = "1",
    run: str = "1",
    recording: str | None = None,
    label: str | int | None = None,
    window_s: float | None = None,
    stride_s: float | None = None,
    reference: str | Sequence[str] | None = None,
    notch_hz: float | Sequence[float] | None = None,
    reject_v: float | str | None = None,
    baseline_s: tuple[float, float] | None = None,
    control_s: tuple[float, float] | None = None,
    rename: Mapping[str, str] | None = None,
    bad_electrodes: str = "refuse",
    constant_electrodes: str = "refuse",
    bad_spans: Sequence[str] = (),
    filter_support_s: float = 0.0,
    rest: str | int | None = None,
    rest_margin_s: float = 0.0,
    truncated: str = "refuse",
    extra: Mapping[str, Any] | None = None,
    name: str | None = None,
    into: str | Path | None = None,
) -> Windows:
    """Windows of one recording, in volts.

    Three forms: `events` with `start_s` and `stop_s` cuts one window an event; `events` with `window_s` cuts what each annotation spans into windows
    of one trial (with `rest`, a label for all that no event spans, those too); `label` with `window_s` cuts the whole recording. `Cut` explains every
    argument about how, `LabelledRecording` those about whose.

    `into` names a new folder in which the windows grow on disk, for those larger than memory: the result is that of `Windows.load` there.

    Raises
    ------
    ValueError : what `Cut` refuses; a file that is shorter than its header says; no such event or channel; bad, constant or non-finite electrodes;
        values that can't be volts; no window left.

    Warns
    -----
    UserWarning : an event name that doesn't occur, a code that is reached when bits beside it end, or more than a tenth of the windows
        dropped, or all of a label. `page["dropped"]` names all that were, and each event that is shorter than `window_s`.

    >>> from sigvit.data.synthetic import synthetic_raw
    >>> windows = windows_from_raw(synthetic_raw(), {"left": 0, "right": 1}, 0.5, 3.5, band_hz=(8, 32), subject="07")
    >>> windows.values.shape, windows.metadata.subject[0], windows.filter_support_s
    ((20, 3, 480), '07', 0.825)
    """
    cut = Cut(
        start_s=start_s,
        stop_s=stop_s,
        window_s=window_s,
        stride_s=stride_s,
        band_hz=band_hz,
        notch_hz=notch_hz,
        resample_hz=resample_hz,
        reference=reference,
        electrodes=electrodes,
        bad_electrodes=bad_electrodes,
        constant_electrodes=constant_electrodes,
        bad_spans=bad_spans,
        rename=rename or {},
        reject_v=reject_v,
        baseline_s=baseline_s,
        control_s=control_s,
        rest_margin_s=rest_margin_s,
        filter_support_s=filter_support_s,
    )
    labelled = LabelledRecording(raw, events, label, subject, session, run, recording, rest, truncated, extra or {})
    return windows_from_recordings([labelled], cut, name or labelled.name, into=into)


def windows_from_recordings(
    recordings: Iterable[LabelledRecording], cut: Cut, name: str = "recordings", page: dict | None = None, into: str | Path | None = None
) -> Windows:
    """Windows of many recordings, cut the same way. A generator may open them one by one: beside the result only the open one is in memory.

    With `into`, a new folder, the windows grow on disk and no more than the open recording is in memory; the result is that of `Windows.load` there.
    `page["dropped"]` of the result says what isn't in it: {"planned", "kept", "reasons": {reason: count}, "windows": [one dictionary each]};
    `page["recordings"]` says per recording which channels of EEG type were left out and how many seconds at its end are constant padding.

    Raises
    ------
    ValueError : as `windows_from_raw`; also recordings that differ in electrodes or sampling rate, both named, a recording given twice, and labels of
        recordings that would become one, as 1 and "1".

    >>> from sigvit.data.synthetic import synthetic_raw
    >>> runs = (LabelledRecording(synthetic_raw(seed=run), {"left": "left"}, run=str(run)) for run in range(3))
    >>> len(windows_from_recordings(runs, Cut(0.0, 4.0)))
    30
    """
    if into is None:
        return _cut(Cutter(cut), recordings, name, page)
    with WindowsFolder(into) as folder:
        folder.finish(_cut(Cutter(cut, folder.rows), recordings, name, page))
    return Windows.load(into)


def _cut(cutter: Cutter, recordings: Iterable[LabelledRecording], name: str, page: dict | None) -> Windows:
    for recording in recordings:
        cutter.add(recording)
    windows = cutter.finish(name, page or {})
    warn_of_dropped(windows, name, labels_gone(windows))
    return windows
