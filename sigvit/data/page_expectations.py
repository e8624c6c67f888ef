"""What a page expects of its recordings, held against what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from sigvit.data.page_format import Events, Page, Range, as_names, matches_any
from sigvit.data.windows import Windows

N = TypeVar("N", int, float)


class ExpectationError(ValueError):
    """A recording or a set isn't what its page expects; the message names it, what was found and what was expected."""


def check_recording(page: Page, name: str, raw: Any, events: Events) -> None:
    """An opened recording (`mne.io.Raw`) against the page: rate, channels, duration, events and how long they last.

    Raises
    ------
    ExpectationError : every mismatch in one message.
    """
    expect, rate = page.expect, float(raw.info["sfreq"])
    found = _rate_mismatch(rate, expect.sampling_rate_hz)
    found += _channels_mismatch(tuple(raw.ch_names), expect.channels, "channels")
    # A sample more or less isn't another duration.
    found += _duration_mismatch("a duration of", raw.n_times / rate, expect.duration_s, 1.5 / rate)
    if events.labels:
        found += _events_mismatch(raw, events, expect.event_duration_s)
    _refuse(page, name, found)


def check_trials(page: Page, name: str, windows: Windows, events: Events) -> None:
    """The windows cut from one recording (or file) against the page: electrodes, and trials per class.

    Raises
    ------
    ExpectationError : every mismatch in one message.
    """
    expect = page.expect
    found = _channels_mismatch(windows.electrodes, expect.electrodes, "electrodes")
    possible = {events.label} if events.label else {*events.labels.values(), events.rest}
    found += _trials_mismatch(windows, {label: trials for label, trials in expect.trials_per_run.items() if label in possible})
    _refuse(page, name, found)


def check_arrays(page: Page, name: str, windows: Windows) -> None:
    """Ready-made windows against the page: their sampling rate and their length (`duration_s`).

    Raises
    ------
    ExpectationError : every mismatch in one message.
    """
    expect, rate = page.expect, windows.sampling_rate
    found = _rate_mismatch(rate, expect.sampling_rate_hz)
    _refuse(page, name, found + _duration_mismatch("windows of", windows.values.shape[2] / rate, expect.duration_s, 0.5 / rate))


def check_whole(page: Page, windows: Windows, n_recordings: int) -> None:
    """The whole set against the page: subjects, recordings, trials per class. For sets that the caller didn't narrow.

    Raises
    ------
    ExpectationError : every mismatch in one message.
    """
    expect, found = page.expect, []
    subjects = windows.metadata["subject"].nunique()
    for what, count, wanted in (("subjects", subjects, expect.subjects), ("recordings", n_recordings, expect.recordings)):
        if wanted is not None and not _within(count, _pair(wanted)):
            found.append(f"{count} {what} instead of {_range(_pair(wanted))}")
    _refuse(page, "the set", found + _trials_mismatch(windows, expect.trials))
    _refuse(page, "the set", _unknown_in_split(page, windows))


def _unknown_in_split(page: Page, windows: Windows) -> list[str]:
    """Who is mistyped in the split would be trained on; who is left out by the page may be named."""
    if page.split is None:
        return []
    left_out = [name for exclusion in page.exclude for name in as_names(exclusion.subject) if name != "*"]
    known = [*windows.metadata["subject"].astype(str).unique(), *left_out]
    named = [*as_names(page.split.test), *as_names(page.split.validation)]
    unknown = [name for name in named if not (any(matches_any(subject, name) for subject in known) or matches_any(name, tuple(left_out)))]
    return [f"no subject {name!r}, whom its split names" for name in unknown]


def _refuse(page: Page, name: str, found: list[str]) -> None:
    if found:
        whole, part = f" It needs: {page.needs}.", f" If it is to be left out: exclude=({name!r},), or [[exclude]] with the reason in the page."
        way = whole if name == "the set" else part
        raise ExpectationError(f"{page.name}: {name} has {'; '.join(found)}.{way}")


def _rate_mismatch(rate: float, expected: float | tuple[float, float] | None) -> list[str]:
    if expected is None or _within(rate, _pair(expected), 1e-6 * rate):
        return []
    return [f"a sampling rate of {rate:g} Hz instead of {_range(_pair(expected))} Hz"]


def _duration_mismatch(what: str, seconds: float, expected: tuple[float, float] | None, slack: float) -> list[str]:
    return [] if expected is None or _within(seconds, expected, slack) else [f"{what} {seconds:g} s instead of {_range(expected)} s"]


def _channels_mismatch(found: tuple[str, ...], expected: int | tuple[str, ...] | None, what: str) -> list[str]:
    if expected is None:
        return []
    if isinstance(expected, int):
        return [] if len(found) == expected else [f"{len(found)} {what} ({', '.join(found[:6])}…) instead of {expected}"]
    missing, more = [name for name in expected if name not in found], [name for name in found if name not in expected]
    parts = ([f"no {', '.join(missing)}"] if missing else []) + ([f"unexpected {', '.join(more)}"] if more else [])
    return [f"among its {what} " + " and ".join(parts) + f" (expected: {', '.join(expected)})"] if parts else []


def _events_mismatch(raw: Any, events: Events, expected_s: tuple[float, float] | None) -> list[str]:
    descriptions = raw.annotations.description
    used = np.isin(descriptions, list(events.labels))
    if not used.any() and events.rest is not None:
        return []  # such as a night without a seizure
    if not used.any():
        there = ", ".join(sorted(set(descriptions.tolist()))) or "no annotation at all"
        return [f"none of the events {', '.join(events.labels)} (found: {there})"]
    durations = raw.annotations.duration[used]
    outside = [duration for duration in durations if expected_s and not _within(duration, expected_s, slack=1.0 / raw.info["sfreq"])]
    if expected_s and outside:
        return [f"{len(outside)} of {len(durations)} events lasting {min(outside):g} to {max(outside):g} s instead of {_range(expected_s)} s"]
    return []


def _trials_mismatch(windows: Windows, expected: dict[str, Range]) -> list[str]:
    trials = windows.metadata[["recording", "trial", "label"]].drop_duplicates()
    counts = Counter(trials["label"].tolist())
    wrong = [(label, counts[label], _pair(wanted)) for label, wanted in expected.items() if not _within(counts[label], _pair(wanted))]
    return [f"{count} trials of '{label}' instead of {_range(wanted)}" for label, count, wanted in wrong]


def _pair(wanted: N | tuple[N, N]) -> tuple[N, N]:
    return wanted if isinstance(wanted, tuple) else (wanted, wanted)


def _within(value: float, limits: tuple[float, float], slack: float = 0.0) -> bool:
    return limits[0] - slack <= value <= limits[1] + slack


def _range(limits: Iterable[float]) -> str:
    low, high = limits
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
