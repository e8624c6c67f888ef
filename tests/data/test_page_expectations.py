"""How exactly a page's expectations are held: to the sample, for the events of that run, and of no other label."""

from __future__ import annotations

from dataclasses import replace

import mne
import numpy as np
import pytest

from sigvit.data.electrode_info import make_info
from sigvit.data.page_expectations import ExpectationError, check_arrays, check_recording, check_trials
from sigvit.data.page_format import Events, Expect, Page
from sigvit.data.synthetic import synthetic_windows

PAGE = Page("A set", "Tell.", "none", "nobody", "files", (), (), name="example")
CUES = Events({"T1": "left", "T2": "right"})


def raw(n_times: int = 2000, rate: float = 100.0, events: tuple[tuple[float, str], ...] = ((2.0, "T1"), (2.0, "T2"))) -> mne.io.RawArray:
    durations, names = zip(*events, strict=True)
    recording = mne.io.RawArray(np.zeros((3, n_times)), make_info(["C3", "Cz", "C4"], rate), verbose="ERROR")
    return recording.set_annotations(mne.Annotations(3.0 * np.arange(len(names)), durations, names))


def passes(recording: mne.io.RawArray, events: Events = CUES, **expect) -> bool:
    try:
        check_recording(replace(PAGE, expect=Expect(**expect)), "night", recording, events)
    except ExpectationError:
        return False
    return True


def test_a_sample_more_or_less_is_the_same_duration():
    assert [n for n in range(1996, 2005) if passes(raw(n), duration_s=(20.0, 20.0))] == [1999, 2000, 2001]


def test_an_event_may_last_a_sample_more_or_less_and_every_one_of_the_page_counts():
    assert passes(raw(events=((1.995, "T1"), (2.005, "T2"))), event_duration_s=(2.0, 2.0))
    assert not passes(raw(events=((2.0, "T1"), (2.02, "T2"))), event_duration_s=(2.0, 2.0))
    assert not passes(raw(events=((1.98, "T1"), (2.0, "T2"))), event_duration_s=(2.0, 2.0))
    assert passes(raw(events=((2.0, "T1"), (7.0, "BAD_jump"))), event_duration_s=(2.0, 2.0))


def test_a_rate_is_the_same_whose_last_digits_are_rounded_and_as_many_channels_are_no_more():
    assert passes(raw(rate=float(np.float32(160.1))), sampling_rate_hz=160.1)
    assert not passes(raw(rate=160.1), sampling_rate_hz=160.0)
    assert [n for n in (2, 3, 4) if passes(raw(), channels=n)] == [3]


def test_ready_made_windows_are_as_long_as_they_have_samples():
    windows = synthetic_windows(n_times=67, sampling_rate=61.3)
    for n_times, right in ((66, False), (67, True), (68, False)):
        page = replace(PAGE, expect=Expect(duration_s=(n_times / 61.3, n_times / 61.3)))
        if right:
            check_arrays(page, "a file", windows)
        else:
            with pytest.raises(ExpectationError, match=r"a file has windows of 1\.09299 s instead of"):
                check_arrays(page, "a file", windows)


@pytest.mark.parametrize(
    ("events", "asked"),
    [
        (Events({"T1": "left"}), ["left"]),
        (CUES, ["left", "right"]),
        (Events({"T1": "left"}, rest="none"), ["left", "none"]),
        (Events(label="eyes open"), ["eyes open"]),
    ],
)
def test_trials_are_asked_for_of_the_labels_that_a_run_may_have(events, asked):
    page = replace(PAGE, expect=Expect(trials_per_run=dict.fromkeys(("left", "right", "none", "eyes open"), 97)))
    with pytest.raises(ExpectationError) as raised:
        check_trials(page, "night", synthetic_windows(n_subjects=1, n_runs=1, n_trials=10), events)
    assert [label for label in page.expect.trials_per_run if f"trials of '{label}'" in str(raised.value)] == asked
