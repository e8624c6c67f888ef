"""What can't be a recording of brain signals gets a sentence that names the place."""

from dataclasses import replace

import mne
import numpy as np
import pytest

from sigvit.data.quality import check_signals, is_average_referenced, volts_of, warn_of_references
from sigvit.data.recordings import windows_from_arrays, windows_from_epochs, windows_from_raw
from sigvit.data.synthetic import synthetic_raw, synthetic_windows


@pytest.fixture
def windows():
    return synthetic_windows(n_subjects=2, n_runs=1, n_trials=5)


def changed(windows, rows, electrodes, value):
    values = windows.values.copy()
    values[rows, electrodes] = value
    return replace(windows, values=values)


def test_sound_windows_pass(windows, recwarn):
    check_signals(windows)
    assert not recwarn.list


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_placed(windows, value):
    values = windows.values.copy()
    values[7, 2, 13] = value
    with pytest.raises(ValueError, match=r"NaN or infinite values in 1 of 10 windows: rows 7 on C4 \(sub-02_ses-1_run-1\)"):
        check_signals(replace(windows, values=values))


@pytest.mark.parametrize("value", [0.0, 3e-5])
def test_an_electrode_that_never_moves_in_a_recording_is_refused_unless_asked(windows, value):
    dead = changed(windows, slice(5, 10), 1, value)
    with pytest.raises(ValueError, match=r"In sub-02_ses-1_run-1 the electrodes Cz never move"):
        check_signals(dead)
    with pytest.warns(UserWarning, match="5 of 10 windows of synthetic hold electrodes that don't move: rows 5, 6, 7, 8, 9 on Cz"):
        check_signals(dead, constant_electrodes="keep")
    with pytest.raises(ValueError, match="must be"):
        check_signals(dead, constant_electrodes="maybe")


def test_single_flat_windows_are_named_but_allowed(windows):
    with pytest.warns(UserWarning, match="1 of 10 windows of synthetic hold electrodes that don't move: rows 3 on C3, C4"):
        check_signals(changed(windows, 3, [0, 2], 0.0))


@pytest.mark.parametrize(("factor", "sentence"), [(1e6, "microvolts: multiply by 1e-06"), (1e3, "millivolts: multiply by 0.001"), (1e-6, "can't be volts")])
def test_values_that_cannot_be_volts_are_refused(windows, factor, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_signals(replace(windows, values=windows.values * np.float32(factor)))


@pytest.mark.parametrize("factor", [1e2, 1e-3])
def test_loud_and_quiet_recordings_may_be_volts(windows, factor):
    check_signals(replace(windows, values=windows.values * np.float32(factor)))


@pytest.mark.parametrize(("unit", "volts"), [("V", 1.0), ("mV", 1e-3), ("uV", 1e-6), ("nV", 1e-9)])
def test_units_are_so_many_volts(unit, volts):
    assert volts_of(unit, "it") == volts


def test_a_large_offset_one_loud_electrode_and_a_loud_beginning_are_no_reason_to_refuse(windows):
    values = windows.values + np.float32(0.03)
    values[:, 1] *= 10_000
    check_signals(replace(windows, values=values))
    values = windows.values.copy()
    values[[0, 5]] *= 10_000  # the first of each recording
    check_signals(replace(windows, values=values))


def test_electrodes_that_stand_still_say_nothing_of_the_unit(windows):
    still = changed(windows, slice(None), slice(1, 3), 0.0)
    with pytest.warns(UserWarning, match="don't move"):
        check_signals(still, constant_electrodes="keep")
    with pytest.warns(UserWarning, match="don't move"), pytest.raises(ValueError, match="looks like microvolts"):
        check_signals(replace(still, values=still.values * np.float32(1e6)), constant_electrodes="keep")


def test_channels_of_another_kind_say_nothing_of_the_unit_of_eeg(windows):
    info = windows.info.copy()
    info.set_channel_types({"C3": "emg", "C4": "emg"}, verbose="ERROR")
    values = windows.values.copy()
    values[:, [0, 2]] *= 10_000
    check_signals(replace(windows, values=values, info=info))
    with pytest.raises(ValueError, match="looks like microvolts"):
        check_signals(replace(windows, values=windows.values * np.float32([[1], [1e6], [1]]), info=info))


def test_the_average_reference_is_known_behind_the_rounding_of_recorders():
    window = 1e-5 * np.random.default_rng(0).normal(size=(19, 997))
    averaged = window - window.mean(axis=0)
    step = 1e-7  # 16 bits of ±3.3 mV
    assert is_average_referenced(np.round(averaged / step) * step) is True
    assert is_average_referenced(window) is False
    assert is_average_referenced(averaged[:4] - averaged[:4].mean(axis=0)) is True
    assert is_average_referenced(averaged[:3] - averaged[:3].mean(axis=0)) is None
    assert is_average_referenced(0 * window) is None


def test_recordings_of_whose_reference_nothing_is_known_count_for_neither(recwarn):
    known = {"one": {"average_referenced": True}, "two": {"average_referenced": None}, "three": {}}
    warn_of_references(known, "set")
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"Of set 1 recordings have the average reference \(such as one\), 1 have another \(such as four\)"):
        warn_of_references(known | {"four": {"average_referenced": False}}, "set")


def test_recordings_are_grouped_once_however_many_there_are(windows, monkeypatch):
    unique, sorted_through = np.unique, []
    monkeypatch.setattr(np, "unique", lambda *arguments, **options: sorted_through.append(1) or unique(*arguments, **options))
    counts = []
    for n_recordings in (2, 10):
        metadata = windows.metadata.assign(recording=[f"recording {row % n_recordings}" for row in range(len(windows))])
        sorted_through.clear()
        check_signals(replace(windows, metadata=metadata))
        counts.append(len(sorted_through))
    assert counts[0] == counts[1]


def test_the_unit_of_other_sensors_is_not_judged():
    import mne

    source = synthetic_windows()
    windows_from_arrays(source.values * 1e5, source.labels, mne.create_info(["a", "b", "c"], 64.0, "emg"))


def test_empty_sets_are_refused(windows):
    with pytest.raises(ValueError, match="synthetic holds no windows"):
        check_signals(windows[:0])
    with pytest.raises(ValueError, match="no samples"):
        check_signals(replace(windows, values=windows.values[:, :, :0]))


def test_what_enters_through_the_doors_is_checked(windows):
    with pytest.raises(ValueError, match="microvolts"):
        windows_from_arrays(windows.values * 1e6, windows.labels, windows.info)
    raw = synthetic_raw()
    raw._data[1] = 1e-5
    with pytest.raises(ValueError, match="electrodes Cz never move"):
        windows_from_raw(raw, {"left": 0, "right": 1}, 0, 1)
    with pytest.warns(UserWarning, match="don't move"):
        windows_from_raw(raw, {"left": 0, "right": 1}, 0, 1, constant_electrodes="keep")
    epochs = mne.Epochs(raw, tmin=0, tmax=1, baseline=None, preload=True, verbose="ERROR")
    with pytest.raises(ValueError, match="electrodes Cz never move"):
        windows_from_epochs(epochs)
    with pytest.warns(UserWarning, match="don't move"):
        windows_from_epochs(epochs, constant_electrodes="keep")
    raw._data[1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        windows_from_raw(raw, {"left": 0, "right": 1}, 0, 1)
