"""Whatever the events: every planned window is kept or named, lies whole inside, and holds the samples that its times say."""

import warnings

import mne
import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from sigvit.data.recordings import windows_from_arrays, windows_from_raw
from sigvit.data.windows import Windows, concatenate

RATE, N_TIMES = 101.0, 1511


def recording(onsets, bad, first_samp):
    """Sample s holds s microvolts; all rates and lengths are primes."""
    info = mne.create_info(["C3", "C4"], RATE, "eeg")
    raw = mne.io.RawArray(np.stack([np.arange(N_TIMES), np.arange(N_TIMES) + 2000.0]) * 1e-6, info, first_samp=first_samp, verbose="ERROR")
    names = ["cue"] * len(onsets) + ["BAD"] * len(bad)
    spans = mne.Annotations([*onsets, *(start for start, _ in bad)], [0.0] * len(onsets) + [length for _, length in bad], names)
    return raw.set_annotations(spans, emit_warning=False)  # one that is bad beyond the end is cut there


@settings(max_examples=60, deadline=None)
@given(
    onsets=st.lists(st.floats(0, 14.9), min_size=1, max_size=9),
    bad=st.lists(st.tuples(st.floats(0, 14), st.floats(0, 1)), max_size=2),
    start_s=st.floats(-2, 2),
    length_s=st.floats(0.02, 3),
    first_samp=st.sampled_from([0, 733]),
)
def test_every_event_is_a_window_or_a_reason(onsets, bad, start_s, length_s, first_samp):
    raw = recording(onsets, bad, first_samp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            windows = windows_from_raw(raw, {"cue": 1}, start_s, start_s + length_s, constant_electrodes="keep")
        except ValueError as error:
            assert "so none is left" in str(error)  # noqa: PT017
            return
    table, dropped = windows.metadata, windows.page["dropped"]
    trials = [*table["trial"], *(row["trial"] for row in dropped["windows"])]
    assert sorted(trials) == list(range(len(onsets)))
    assert (table["start_s"] >= 0).all()
    assert (table["stop_s"] <= N_TIMES / RATE + 1e-9).all()
    # The values are ramps: they tell their own place, to float32's seven digits.
    np.testing.assert_allclose(windows.values[:, 0, 0] * 1e6, table["start_s"] * RATE, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(windows.values[:, 1, -1] * 1e6, table["stop_s"] * RATE - 1 + 2000, rtol=1e-6)
    # No window's centre moves by more than half a sample from where it was asked for.
    asked = np.sort(np.array(onsets))[table["trial"]] + start_s
    assert (np.abs(table["start_s"] - asked) <= 0.5 / RATE + 1e-9).all()
    for start, length in bad:
        overlap = (table["start_s"] < start + length - 1e-9) & (table["stop_s"] > start + 1e-9)
        assert not overlap.any()


@settings(max_examples=40, deadline=None)
@given(n_times=st.integers(1, 40), window=st.integers(1, 13), stride=st.integers(1, 17))
def test_a_whole_recording_holds_as_many_windows_as_fit(n_times, window, stride):
    rate = 97.0
    raw = mne.io.RawArray(np.arange(n_times)[None] * 1e-6, mne.create_info(["C3"], rate, "eeg"), verbose="ERROR")
    expected = [first for first in range(0, n_times, stride) if first + window <= n_times]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            windows = windows_from_raw(raw, label=0, window_s=window / rate, stride_s=stride / rate, constant_electrodes="keep")
        except ValueError as error:
            assert "No span" in str(error)  # noqa: PT017
            assert not expected
            return
    assert (windows.metadata["start_s"] * rate).round().tolist() == expected


@settings(max_examples=30, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_joining_and_taking_rows_undo_each_other(data, sizes):
    n_windows = sum(sizes) + 1
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = generator.normal(0, 1e-5, (n_windows, 2, 7)).astype(np.float32)
    whole = windows_from_arrays(values, generator.integers(0, 3, n_windows), ["C3", "C4"], 50.0, {"age": generator.integers(9, 90, n_windows)})
    cuts = np.cumsum([0, *sizes, n_windows])
    parts = [whole[start:stop] for start, stop in zip(cuts[:-1], np.minimum(cuts[1:], n_windows), strict=True)]
    joined = concatenate(parts)
    np.testing.assert_array_equal(joined.values, whole.values)
    pd.testing.assert_frame_equal(joined.metadata, whole.metadata, check_dtype=False)


@settings(max_examples=20, deadline=None)
@given(
    column=st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.none()), min_size=3, max_size=3),
    numbers=st.lists(st.floats(allow_infinity=False), min_size=3, max_size=3),
    labels=st.sampled_from([["a", "b", "ä ö"], [3, 1, 2], [True, False, True]]),
)
def test_any_table_survives_the_disk(tmp_path_factory, column, numbers, labels):
    values = np.random.default_rng(0).normal(0, 1e-5, (3, 2, 7))
    windows = windows_from_arrays(values, labels, ["C3", "C4"], 51.7, pd.DataFrame({"note": column, "number": numbers}))
    folder = tmp_path_factory.mktemp("disk") / "set"
    windows.save(folder)
    loaded = Windows.load(folder)
    pd.testing.assert_frame_equal(loaded.metadata, windows.metadata)
    np.testing.assert_array_equal(loaded.labels, windows.labels)
    np.testing.assert_array_equal(loaded.values, windows.values)
