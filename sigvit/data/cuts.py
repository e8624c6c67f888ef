"""Where windows are cut from a recording: events or spans → sample numbers, and what is dropped on the way."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sigvit.data.events import Event, bad_spans, is_point

if TYPE_CHECKING:
    import mne

BAD_ELECTRODES = ("refuse", "drop", "keep", "interpolate")
CONSTANT_ELECTRODES = ("refuse", "keep")


@dataclass(frozen=True)
class Cut:
    """How windows are cut from recordings; all times in seconds, frequencies in hertz.

    Attributes
    ----------
    start_s, stop_s : a window's first sample and the one after its last, from the event's onset. With `window_s` they bound the span that is cut.
    window_s, stride_s : cuts each event's duration (or the whole recording) into windows of this length, one every `stride_s` (default: side by side).
    band_hz : pass band; None at one end for a high- or low-pass. mne's zero-phase FIR filter with its default transitions, over the whole recording.
    notch_hz : line frequencies to take out.
    resample_hz : the windows' sampling rate, by polyphase filtering after the others.
    reference : "average" (of all EEG electrodes that aren't bad, under "keep" of all; under "interpolate" all count where one that is picked is bad, and
        without a picked bad one the bad ones don't) or electrode names whose mean is subtracted; a bad one among them is never left out: "drop" refuses it.
    electrodes : which, in this order; None: all of EEG type whose names don't say otherwise, or where there are none all MEG, intracranial, fNIRS or
        EMG channels.
    bad_electrodes : what to do with picked electrodes that the recording marks bad: "refuse", "drop", "keep" (with the mark in the windows' info: whatever
        masks bad electrodes then masks these, as `sigvit.collate_windows` does), "interpolate".
    bad_spans : further annotations that mark bad spans, besides those that begin with "bad".
    rename : channel name → electrode name.
    constant_electrodes : "refuse" or "keep" electrodes that never move in a whole recording.
    rest_margin_s : how far from every event the windows labelled `LabelledRecording.rest` stay.
    reject_v : drops windows with a larger peak-to-peak value on any electrode, after filters and baseline; "autoreject" lets that package choose the limit
        from each recording's own windows.
    baseline_s : (from, to) of the event; its mean is subtracted from each electrode of the window.
    control_s : (from, to) of the event, kept as control values (without baseline): a score from them shows what isn't the task.
    filter_support_s : how far filters smeared that were applied before.

    Raises
    ------
    ValueError : times or bands that contradict themselves, bad spans that aren't names.
    """

    start_s: float | None = None
    stop_s: float | None = None
    window_s: float | None = None
    stride_s: float | None = None
    band_hz: tuple[float | None, float | None] | None = None
    notch_hz: float | Sequence[float] | None = None
    resample_hz: float | None = None
    reference: str | Sequence[str] | None = None
    electrodes: Sequence[str] | None = None
    bad_electrodes: str = "refuse"
    constant_electrodes: str = "refuse"
    bad_spans: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    reject_v: float | str | None = None
    baseline_s: tuple[float, float] | None = None
    control_s: tuple[float, float] | None = None
    rest_margin_s: float = 0.0
    filter_support_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("band_hz", "notch_hz", "baseline_s", "control_s", "electrodes", "reference", "bad_spans"):
            if hasattr(getattr(self, name), "tolist") and not isinstance(getattr(self, name), np.generic):  # arrays and columns
                object.__setattr__(self, name, np.atleast_1d(getattr(self, name)).tolist())
        self._check_spans()
        self._check_numbers()
        for name, known in (("bad_electrodes", BAD_ELECTRODES), ("constant_electrodes", CONSTANT_ELECTRODES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}.")
        if not all(isinstance(name, str) for name in self.bad_spans):
            raise ValueError(
                f"bad_spans are names of annotations, but are {self.bad_spans!r:.60}; mark seconds with raw.annotations.append(onset, duration, 'bad')."
            )

    def _check_spans(self) -> None:
        if self.window_s is None and (self.start_s is None or self.stop_s is None or self.stride_s is not None):
            raise ValueError("A cut needs start_s and stop_s (seconds from the event), or window_s and perhaps stride_s (windows along a span).")
        if self.window_s is not None and (self.baseline_s or self.control_s):
            raise ValueError("Windows along a span (window_s) have no cue, so neither baseline_s nor control_s.")
        for name in ("start_s", "stop_s"):
            value = getattr(self, name)
            # With window_s and one label for all of a recording an infinite stop_s is its end.
            if value is not None and not (_is_number(value) and (np.isfinite(value) or (name == "stop_s" and self.window_s is not None))):
                raise ValueError(f"{name} is {value}; it must be a number of seconds from the event.")
        for name, ends in (("baseline_s", self.baseline_s), ("control_s", self.control_s)):
            if ends is not None and (np.shape(ends) != (2,) or None in ends):
                raise ValueError(f"{name} is {ends}; give both its ends, in seconds from the event.")
        for name, span in (("start_s, stop_s", (self.start_s, self.stop_s)), ("baseline_s", self.baseline_s), ("control_s", self.control_s)):
            if span is not None and None not in span and not span[0] < span[1]:  # type: ignore[operator]
                raise ValueError(f"{name} goes from {span[0]} to {span[1]} s; it must end after it begins.")

    def _check_numbers(self) -> None:
        for name in ("window_s", "stride_s", "resample_hz", "reject_v"):
            value = getattr(self, name)
            if value is not None and (name, value) != ("reject_v", "autoreject") and not (_is_number(value) and 0 < value < np.inf):
                raise ValueError(f"{name} is {value}; it must be a number above zero.")
        for name in ("rest_margin_s", "filter_support_s"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 <= value < np.inf):
                raise ValueError(f"{name} is {value}; it must be a number of seconds, from zero upwards.")
        if self.band_hz is not None and not _is_band(self.band_hz):
            raise ValueError(f"band_hz is {self.band_hz}; it needs a lower frequency below the upper one, or None at one end.")

    @property
    def length_s(self) -> float:
        """Of a window, seconds."""
        if self.window_s is not None:
            return self.window_s
        assert self.start_s is not None  # __post_init__ saw to both
        assert self.stop_s is not None
        return self.stop_s - self.start_s

    @property
    def step_s(self) -> float:
        """From one window of a span to the next, seconds."""
        return self.stride_s or self.length_s

    @property
    def baseline_reach_s(self) -> float:
        """How far the baseline lies outside the window: values depend on the signal there too."""
        if self.baseline_s is None or self.start_s is None or self.stop_s is None:
            return 0.0
        return max(self.start_s - self.baseline_s[0], self.baseline_s[1] - self.stop_s, 0.0)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)


def _is_band(edges: Any) -> bool:
    if np.shape(edges) != (2,) or edges[0] == edges[1]:
        return False
    return None in edges or bool(edges[0] < edges[1])


@dataclass
class Positions:
    """Where a recording's windows lie: sample numbers of the resampled recording, with what each is; and what was dropped.

    `first` holds each window's first sample; `n_times` is a window's length. `cue` is the sample of the event, from which baseline and control are counted.
    """

    first: np.ndarray
    cue: np.ndarray
    trial: np.ndarray
    label: np.ndarray
    n_times: int
    rate: float
    dropped: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.first)


def n_samples(length_s: float, rate: float) -> int:
    """How many samples a stretch of so many seconds has: ``round(length_s * rate)``; the one at its end isn't in it."""
    count = round(length_s * rate)
    if count < 1:
        raise ValueError(f"A window of {length_s:g} s is less than one sample at {rate:g} Hz.")
    return count


def plan(raw: mne.io.BaseRaw, starts: Sequence[tuple[float, Event]], cut: Cut, rate: float, stop_s: float, padding_s: float = 0.0) -> Positions:
    """Those of the windows that lie whole within the recording (0 to `stop_s`), outside the padding at its end, and touch no bad span.

    `starts` holds where they begin (seconds) and of which event they are; `rate` is that of the windows, Hz. The first sample is ``round(start * rate)``.
    """
    positions = Positions(np.array([], int), np.array([], int), np.array([], int), np.array([]), n_samples(cut.length_s, rate), rate, [])
    padding = [(stop_s - padding_s, stop_s, "constant padding")] if padding_s else []
    bad = [_BadSpans.of(spans, rate) for spans in (bad_spans(raw, cut.bad_spans), padding)]  # what the recording says is named first
    kept = []
    for start_s, event in starts:
        first, cue = round(start_s * rate), round(event.onset_s * rate)
        reason = _reason(extent(first, cue, positions.n_times, cut, rate), bad, rate, stop_s)
        if reason:
            positions.dropped.append({"trial": event.trial, "label": event.label, "start_s": first / rate, "reason": reason})
        else:
            kept.append((first, cue, event.trial, event.label))
    if kept:
        *numbers, labels = zip(*kept, strict=True)
        positions.first, positions.cue, positions.trial = map(np.array, numbers)
        positions.label = np.array(labels, dtype=object)  # numbers beside words become text only in the joined set, as in all recordings
    return positions


def window_starts(events: Sequence[Event], cut: Cut) -> list[tuple[float, Event]]:
    """Where the windows of events begin, seconds: one an event, or with `window_s` as many as its span holds."""
    return [(event.onset_s + (cut.start_s or 0.0) + k * cut.step_s, event) for event in events for k in range(_windows_of(event, cut))]


def too_short(events: Sequence[Event], cut: Cut) -> list[dict[str, Any]]:
    """What is dropped of events whose span is shorter than a window: one entry each."""
    short = [event for event in events if not _windows_of(event, cut)]
    reason = "is shorter than a window"
    return [{"trial": event.trial, "label": event.label, "start_s": event.onset_s + (cut.start_s or 0.0), "reason": reason} for event in short]


def _windows_of(event: Event, cut: Cut) -> int:
    if cut.window_s is None:
        return 1
    if cut.stop_s == np.inf:
        raise ValueError("stop_s is inf, the end of a recording that has one label; windows of events need seconds from the event, or none for its duration.")
    first = event.onset_s + (cut.start_s or 0.0)
    last = event.onset_s + (event.duration_s if cut.stop_s is None else cut.stop_s)
    return _count(last - first, cut.window_s, cut.step_s)


def recording_starts(label: str | int, cut: Cut, stop_s: float, where: str) -> list[tuple[float, Event]]:
    """Where the windows of a whole recording begin, seconds; each is a trial of its own."""
    if cut.window_s is None:
        raise ValueError(f"{where} has one label for all of it; give window_s, the length in seconds of its windows.")
    first = cut.start_s or 0.0
    last = stop_s if cut.stop_s is None else min(stop_s, cut.stop_s)
    starts = [first + k * cut.step_s for k in range(_count(last - first, cut.window_s, cut.step_s))]
    return [(start, Event(start, cut.window_s, label, k)) for k, start in enumerate(starts)]


def rest_starts(events: Sequence[Event], label: str | int, cut: Cut, stop_s: float, where: str) -> list[tuple[float, Event]]:
    """Where the windows lie that no event spans, seconds; each is a trial of its own, numbered after the events."""
    if cut.window_s is None:
        raise ValueError(f"{where} has a label for what no event spans; give window_s, the length in seconds of its windows.")
    taken = [(event.onset_s - cut.rest_margin_s, event.onset_s + event.duration_s + cut.rest_margin_s) for event in events]  # in time order
    free, first = [], 0.0
    for low, high in [*taken, (stop_s, stop_s)]:
        free.append((first, low))
        first = max(first, high)
    starts = [low + k * cut.step_s for low, high in free for k in range(_count(high - low, cut.window_s, cut.step_s))]
    return [(start, Event(start, cut.window_s, label, len(events) + number)) for number, start in enumerate(starts)]


def _count(span_s: float, window_s: float, stride_s: float) -> int:
    """How many windows fit into a span; a microsecond more or less is rounding."""
    return int(np.floor((span_s - window_s) / stride_s + 1e-6)) + 1 if span_s + 1e-6 >= window_s else 0


def extent(first: int, cue: int, n_times: int, cut: Cut, rate: float) -> tuple[int, int]:
    """Samples from the first to the one after the last that a window, its baseline and its control need."""
    spans = [slice(first, first + n_times), *(span_of(cue, span_s, rate) for span_s in (cut.baseline_s, cut.control_s) if span_s is not None)]
    return min(span.start for span in spans), max(span.stop for span in spans)


def span_of(cue: int, span_s: tuple[float, float], rate: float) -> slice:
    """The samples of a span that is given in seconds from the cue's sample."""
    start = cue + round(span_s[0] * rate)
    return slice(start, start + n_samples(span_s[1] - span_s[0], rate))


class _BadSpans(NamedTuple):
    """Bad spans in the order of their beginnings, in samples of the windows' rate, so that one search tells which of thousands a window touches first.

    `latest` holds the latest end of a span and all before it.
    """

    starts: list[float]
    latest: list[float]
    names: list[str]

    @classmethod
    def of(cls, spans: list[tuple[float, float, str]], rate: float) -> _BadSpans:
        # Sums of seconds are off by rounding: a break a little before its sample would touch the window that ends there.
        samples = [(round(start_s * rate, 6), round(stop_s * rate, 6), name) for start_s, stop_s, name in spans]
        ordered = sorted(samples, key=lambda span: span[0])
        ends = (_end(*span) for span in ordered)
        return cls([start for start, *_ in ordered], list(accumulate(ends, max)), [name for *_, name in ordered])

    def touched(self, low: int, high: int) -> str | None:
        first = bisect_right(self.latest, low)
        return self.names[first] if first < bisect_left(self.starts, high) else None


def _end(start: float, stop: float, name: str) -> float:
    """A span has at least one sample; a window may begin where a break ends."""
    # What EEGLAB cut out at a boundary has a duration, but isn't in the recording any more.
    return round(start) if is_point(name, stop - start) else max(stop, start + 1)


def _reason(needed: tuple[int, int], bad: Sequence[_BadSpans], rate: float, stop_s: float) -> str | None:
    low, high = needed
    if low < 0:
        return "begins before the recording"
    if high > round(stop_s * rate):
        return "ends after the recording"
    hit = next((name for spans in bad if (name := spans.touched(low, high)) is not None), None)
    return None if hit is None else f"overlaps {hit}"
