"""What annotations and stimulus channels say of a recording: events, bad spans and breaks."""

from __future__ import annotations

import difflib
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mne

# How annotations are called where a recording was interrupted or joined: by mne, EEGLAB and BrainVision.
BREAKS = ("edge", "boundary", "new segment", "bad_acq_skip")

# What is said of codes that are reached as bits beside them end: of those that nothing else begins, and of the others.
TAKEN = (
    "only after one that holds their bits and more: {}. Nothing else begins them, so they are taken for events; if they are the end of the others, leave them "
    "out of the events"
)
LEFT_OUT = (
    "again after one that holds their bits and more: {}. That is taken for the end of the others, not for events; if they are events, make annotations of all "
    "that are meant, or cut mne.Epochs by an array of them and call windows_from_epochs"
)


@dataclass(frozen=True)
class Event:
    """Something that happened in a recording: seconds from the recording's first sample."""

    onset_s: float
    duration_s: float
    label: str | int
    trial: int


def find_events(raw: mne.io.BaseRaw, events: Mapping[str | int, str | int], where: str) -> tuple[list[Event], set[str | int]]:
    """The events that have a label, in time order and numbered, and those of the names that occur.

    Names are annotation descriptions; a whole number means the annotation of that text, or else that code on the stimulus channels, where a change that
    only takes bits away (257 → 1) is the end of what they stood for and no event; but a code that is never reached in another way, as on a line that idles
    at 255 or behind a cue 3, is taken whole.

    Raises
    ------
    ValueError : none of the names occurs; the sentence says which do. Or a number and its text are both names, of one annotation.

    Warns
    -----
    UserWarning : such changes led to a code that has a label: how they were taken, and how to have them taken in the other way.
    """
    names = {str(name): name for name in events}
    if len(names) < len(events):
        twice = [name for name in events if names[str(name)] is not name]
        raise ValueError(f"{where} has events {list(events)}: {twice} name the same annotation as another of them does; leave one of each two out.")
    onsets = raw.annotations.onset - raw.first_time
    found = [
        (float(onset), float(duration), names[description])
        for onset, duration, description in zip(onsets, raw.annotations.duration, map(str, raw.annotations.description), strict=True)
        if description in names
    ]
    codes = [int(name) for name in events if isinstance(name, Integral)]
    if codes and not found and "stim" in raw:
        found = [(onset, 0.0, code) for onset, code in _stimulus_codes(raw, codes, where)]
    if not found:
        raise ValueError(f"{where} has none of the events {list(events)}; {_what_there_is(raw, list(names))}")
    found.sort(key=lambda event: event[0])
    return [Event(onset, duration, events[name], number) for number, (onset, duration, name) in enumerate(found)], {name for *_, name in found}


def _stimulus_codes(raw: mne.io.BaseRaw, wanted: Sequence[int], where: str) -> list[tuple[float, int]]:
    import mne

    found = mne.find_events(raw, shortest_event=1, consecutive=True, verbose="ERROR")  # codes may follow each other without a zero between them
    found = found[np.isin(found[:, 2], wanted)]
    begins = (found[:, 2] & ~found[:, 1]) != 0
    never_begin = ~np.isin(found[:, 2], found[begins, 2])
    _warn(found[never_begin, 2], where, TAKEN)
    _warn(found[~begins & ~never_begin, 2], where, LEFT_OUT)
    return [((sample - raw.first_samp) / raw.info["sfreq"], int(code)) for sample, _, code in found[begins | never_begin]]


def _warn(codes: np.ndarray, where: str, words: str) -> None:
    if len(codes):
        counted = ", ".join(f"{code} ({n})" for code, n in sorted(Counter(codes.tolist()).items()))
        warnings.warn(f"In {where} some codes stand {words.format(counted)}.", stacklevel=8)


def _what_there_is(raw: mne.io.BaseRaw, wanted: list[str]) -> str:
    counts = Counter(map(str, raw.annotations.description))
    if not counts:
        return "it has no annotations at all."
    text = ", ".join(f"{name!r} ({n})" for name, n in counts.most_common(12))
    near = [match for name in wanted for match in difflib.get_close_matches(name, list(counts), 1)]
    return f"it has {text}." + (f" Did you mean {near[0]!r}?" if near else "")


def bad_spans(raw: mne.io.BaseRaw, further: Sequence[str] = ()) -> list[tuple[float, float, str]]:
    """(from, to, description) in seconds of the annotations that begin with "bad", are named, or mark a break: there the signal goes on at another time."""
    onsets = raw.annotations.onset - raw.first_time
    rows = zip(onsets, raw.annotations.duration, map(str, raw.annotations.description), strict=True)
    wanted = [row for row in rows if row[2].lower().startswith(("bad", *BREAKS)) or row[2] in further]
    return [(float(onset), float(onset + duration), name) for onset, duration, name in wanted]


def is_point(name: str, duration: float) -> bool:
    """Whether an annotation marks a break between two samples; beside "EDGE boundary" mne writes "BAD boundary", of no duration, where it joins recordings."""
    return name.lower().startswith(BREAKS[:3]) or (duration == 0 and name.lower().startswith("bad boundary"))
