"""The planted source is where it is said to be, and the sets are functions of their seed."""

import numpy as np
import pytest

from sigvit.data.quality import check_signals
from sigvit.data.synthetic import RHYTHM_HZ, synthetic_raw, synthetic_windows


def test_a_larger_set_holds_the_smaller_one():
    small, large = synthetic_windows(n_subjects=1, n_sessions=1, n_runs=1), synthetic_windows(n_subjects=2, n_sessions=3, n_runs=2)
    np.testing.assert_array_equal(large.values[:10], small.values)
    assert large.metadata.iloc[:10].equals(small.metadata)
    assert (large.metadata["recording"].nunique(), len(set(large.row_hashes()))) == (12, 120)
    assert set(large.metadata["subject"]) == {"01", "02"}


def test_seeds_differ_and_repeat():
    np.testing.assert_array_equal(synthetic_windows(seed=5).values, synthetic_windows(seed=5).values)
    assert (synthetic_windows(seed=5).values != synthetic_windows(seed=6).values).any()


def test_windows_are_sound_balanced_and_do_not_overlap():
    windows = synthetic_windows(classes=("a", "b", "c"), n_trials=12, gap_s=0.25)
    check_signals(windows)
    assert windows.metadata.groupby(["recording", "label"]).size().unique().tolist() == [4]
    for _, run in windows.metadata.groupby("recording"):
        assert (run["start_s"].iloc[1:].to_numpy() >= run["stop_s"].iloc[:-1].to_numpy() + 0.25 - 1e-12).all()  # rounding of sums
        assert run["trial"].tolist() == list(range(12))


def mean_power(windows, label):
    """(electrodes,) power at the rhythm."""
    values = windows.values[windows.labels == label].astype(float)
    time_s = np.arange(values.shape[2]) / windows.sampling_rate
    return np.abs((values * np.exp(-2j * np.pi * RHYTHM_HZ * time_s)).mean(axis=2)).mean(axis=0)


@pytest.mark.parametrize(("effect", "more"), [(1.0, 1.4), (3.0, 2.5)])
def test_each_class_shows_at_its_electrode_as_power_and_as_a_wave(effect, more):
    windows = synthetic_windows(n_trials=50, effect=effect)
    left, right = mean_power(windows, "left"), mean_power(windows, "right")
    assert left[0] > more * right[0]
    assert right[1] > more * left[1]
    # The third electrode is no class' own: 300 windows leave a few percent of noise.
    assert abs(left[2] / right[2] - 1) < 0.15
    wave = [windows.values[windows.labels == label][:, :, 25:42].mean(axis=(0, 2)) for label in ("left", "right")]
    assert wave[0].argmax() == 0
    assert wave[1].argmax() == 1


def test_no_effect_plants_nothing():
    windows = synthetic_windows(n_trials=50, effect=0.0)
    np.testing.assert_allclose(mean_power(windows, "left") / mean_power(windows, "right"), 1, atol=0.15)  # noise of 300 windows


def test_recordings_are_annotated_where_the_source_is():
    raw = synthetic_raw(n_trials=6, effect=5.0)
    assert raw.duration == 38
    inside = np.concatenate([raw.get_data(tmin=onset, tmax=onset + 4) for onset in raw.annotations.onset], axis=1)
    outside = np.concatenate([raw.get_data(tmin=onset + 4, tmax=onset + 6) for onset in raw.annotations.onset[:-1]], axis=1)
    assert inside[:2].std() > 1.5 * outside.std()
    assert sorted(raw.annotations.description.tolist()) == ["left"] * 3 + ["right"] * 3
