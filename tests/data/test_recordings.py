"""From recordings, epochs and arrays to windows: places, filters, references, rejection, and what is refused."""

import errno
import shutil
import subprocess
import sys
import time
import tracemalloc
import warnings
from enum import Enum

import mne
import numpy as np
import pandas as pd
import pytest

from sigvit.data.channels import all_electrodes
from sigvit.data.cuts import plan
from sigvit.data.electrode_info import make_info
from sigvit.data.epochs import epochs_channels
from sigvit.data.events import Event
from sigvit.data.recordings import (
    Cut,
    LabelledRecording,
    windows_from_arrays,
    windows_from_epochs,
    windows_from_raw,
    windows_from_recordings,
)
from sigvit.data.synthetic import synthetic_raw, synthetic_windows
from sigvit.data.windows import concatenate

LEFT_RIGHT = {"left": "left", "right": "right"}
Hand = Enum("Hand", {"left": "left hand", "right": "right hand"})


def ramp_raw(n_times=1009, rate=101.0, names=("C3", "Cz", "C4"), first_samp=0):
    """Sample s of electrode e holds (100 e + s) microvolts, so that a value tells its place."""
    values = (np.arange(n_times)[None] + 100.0 * np.arange(len(names))[:, None]) * 1e-6
    return mne.io.RawArray(values, mne.create_info(list(names), rate, "eeg"), first_samp=first_samp, verbose="ERROR")


def annotate(raw, onsets, names, durations=0.0):
    return raw.set_annotations(mne.Annotations(onsets, np.broadcast_to(durations, len(onsets)), names))


# Where windows lie


@pytest.mark.parametrize("first_samp", [0, 1013])
def test_windows_begin_at_the_rounded_sample_and_leave_the_last_one_out(first_samp):
    raw = annotate(ramp_raw(first_samp=first_samp), [1.0, 2.503, 4.0], ["a", "b", "a"])
    windows = windows_from_raw(raw, {"a": 0, "b": 1}, -0.25, 0.75, subject="3", session="night", run="2")
    first = [round((onset - 0.25) * 101) for onset in (1.0, 2.503, 4.0)]
    assert windows.values.shape == (3, 3, 101)
    # float32 keeps seven digits.
    np.testing.assert_allclose(windows.values[:, 1, 0] * 1e6, [at + 100 for at in first], rtol=1e-6)
    np.testing.assert_allclose(windows.metadata["start_s"], np.array(first) / 101, rtol=1e-12)
    np.testing.assert_allclose(windows.metadata["stop_s"], (np.array(first) + 101) / 101, rtol=1e-12)
    assert windows.labels.tolist() == windows.metadata["label"].tolist() == [0, 1, 0]
    assert windows.metadata["trial"].tolist() == [0, 1, 2]
    assert windows.metadata.loc[0, ["subject", "session", "run", "recording"]].tolist() == ["3", "night", "2", "sub-3_ses-night_run-2"]


def test_windows_are_those_of_mne_epochs():
    raw = synthetic_raw()
    epochs = mne.Epochs(raw, tmin=0.5, tmax=3.5 - 1 / 160, baseline=None, verbose="ERROR")
    windows = windows_from_raw(raw, LEFT_RIGHT, 0.5, 3.5)
    np.testing.assert_array_equal(windows.values, epochs.get_data(copy=False).astype(np.float32))


def test_filtered_windows_are_those_of_mne(recwarn):
    raw = synthetic_raw()
    filtered = raw.copy().notch_filter(50, verbose="ERROR").filter(4, 38, verbose="ERROR")
    epochs = mne.Epochs(filtered, tmin=0.5, tmax=3.5 - 1 / 160, baseline=None, verbose="ERROR")
    windows = windows_from_raw(raw, LEFT_RIGHT, 0.5, 3.5, band_hz=(4, 38), notch_hz=50)
    # One float32 rounding of values up to 1e-4 V.
    np.testing.assert_allclose(windows.values, epochs.get_data(copy=False), atol=1e-11)
    assert not recwarn.list


def test_filters_stop_at_edges_as_in_mne():
    joined = mne.concatenate_raws([synthetic_raw(seed=1, n_trials=3), synthetic_raw(seed=2, n_trials=3)], verbose="ERROR")
    windows = windows_from_raw(joined, LEFT_RIGHT, 0.0, 3.0, band_hz=(4, 38))
    epochs = mne.Epochs(joined.copy().filter(4, 38, verbose="ERROR"), LEFT_RIGHT and None, tmin=0, tmax=3 - 1 / 160, baseline=None, verbose="ERROR")
    np.testing.assert_allclose(windows.values, epochs["left", "right"].get_data(copy=False), atol=1e-11)


@pytest.mark.parametrize(("name", "seconds"), [("BAD_ACQ_SKIP", 3.2), ("boundary", 0.0)])
def test_filters_stop_at_breaks_that_files_name(name, seconds):
    raw = synthetic_raw(n_trials=4)
    raw.annotations.append(10.6, seconds, name)
    filtered, edges = raw.copy(), ("edge", "bad_acq_skip", "boundary")
    filtered.filter(4, 38, skip_by_annotation=edges, verbose="ERROR")
    at = [round(160 * onset) for onset in (2.0, 8.0, 14.0, 20.0)]
    expected = np.stack([filtered.get_data()[:, first : first + 320] for first in at])
    # One float32 rounding of values up to 1e-4 V.
    np.testing.assert_allclose(windows_from_raw(raw, LEFT_RIGHT, 0.0, 2.0, band_hz=(4, 38)).values, expected, atol=1e-11)
    if name == "boundary":  # what EEGLAB cut out there isn't in the recording any more
        raw.annotations.duration[:] = np.where(raw.annotations.description == name, 3.2, raw.annotations.duration)
        np.testing.assert_allclose(windows_from_raw(raw, LEFT_RIGHT, 0.0, 2.0, band_hz=(4, 38)).values, expected, atol=1e-11)


@pytest.mark.parametrize("band_hz", [(8, 32), (1, None), None])
def test_windows_on_either_side_of_a_break_are_read_from_their_own_side(band_hz):
    generator = np.random.default_rng(0)

    def run():  # a cue a second, from the first second to the last
        values, info = generator.normal(0, 1e-5, (3, 31 * 160)), mne.create_info(["C3", "Cz", "C4"], 160.0, "eeg")
        return annotate(mne.io.RawArray(values, info, first_samp=1013, verbose="ERROR"), 0.25 + np.arange(30), ["left", "right"] * 15, 0.9)

    runs = [run(), run(), run()]
    joined = mne.concatenate_raws([raw.copy() for raw in runs], verbose="ERROR")
    windows = windows_from_raw(joined, LEFT_RIGHT, 0.0, 0.7, band_hz=band_hz)
    signal = (joined.copy().filter(*band_hz, verbose="ERROR") if band_hz else joined).get_data()
    first = np.round(windows.metadata["start_s"].to_numpy() * 160).astype(int)
    # One float32 rounding of values up to 1e-4 V.
    np.testing.assert_allclose(windows.values, np.stack([signal[:, at : at + 112] for at in first]), atol=1e-11)
    assert len(windows_from_raw(joined, label="rest", window_s=1.0)) == 93  # also those that begin at a break
    slower, alone = ([windows_from_raw(raw, LEFT_RIGHT, -0.2, 0.7, band_hz=band_hz, resample_hz=64.0).values for raw in raws] for raws in ([joined], runs))
    np.testing.assert_allclose(slower[0], np.concatenate(alone), atol=1e-11)


def test_spans_are_cut_into_windows_of_one_trial():
    raw = annotate(ramp_raw(), [1.0, 5.0], ["a", "b"], [3.5, 2.9])
    windows = windows_from_raw(raw, {"a": 0, "b": 1}, window_s=1.0)
    assert windows.metadata["trial"].tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(windows.metadata["start_s"], np.round(np.array([1, 2, 3, 5, 6]) * 101) / 101)
    halves = windows_from_raw(raw, {"a": 0, "b": 1}, 0.5, 3.0, window_s=1.0, stride_s=0.5)  # b lasts less
    np.testing.assert_allclose(halves.metadata["start_s"], [1.5, 2.0, 2.5, 3.0, 5.5, 6.0, 6.5, 7.0], atol=0.5 / 101)
    # 1 + 2.3 less 1 + 0.3 is a little less than 2 in floating point.
    assert len(windows_from_raw(raw, {"a": 0, "b": 1}, 0.3, 2.3, window_s=2.0)) == 2
    with pytest.raises(ValueError, match="stop_s is inf, the end of a recording that has one label; windows of events need"):
        windows_from_raw(raw, {"a": 0, "b": 1}, stop_s=np.inf, window_s=1.0)


def test_whole_recordings_are_cut_up_with_one_label():
    windows = windows_from_raw(ramp_raw(), label="rest", window_s=2.0, stride_s=1.0, start_s=0.5, stop_s=9.0)
    assert windows.metadata["trial"].tolist() == list(range(7))
    assert set(windows.labels) == {"rest"}
    np.testing.assert_allclose(windows.metadata["start_s"], np.round((0.5 + np.arange(7)) * 101) / 101)
    assert len(windows_from_raw(ramp_raw(), label="rest", window_s=2.0, stop_s=np.inf)) == 4  # up to its end
    with pytest.raises(ValueError, match="give window_s"):
        windows_from_raw(ramp_raw(), label="rest", start_s=0, stop_s=1)


@pytest.mark.parametrize("first_samp", [0, 1013])
def test_stimulus_codes_are_events_too(first_samp):
    raw = ramp_raw(names=("C3", "STI"), first_samp=first_samp)
    raw.set_channel_types({"STI": "stim"}, verbose="ERROR")
    raw._data[1] = 0
    raw._data[1, [200, 500]] = 769, 770
    windows = windows_from_raw(raw, {769: "left", 770: "right"}, 0, 1)
    np.testing.assert_allclose(windows.values[:, 0, 0] * 1e6, [200, 500], rtol=1e-6)
    assert windows.classes == ("left", "right")
    raw._data[1, 200:500] = 769  # held until the next one
    held = windows_from_raw(raw, {np.int64(769): "left", 770: "right"}, 0, 1)
    np.testing.assert_allclose(held.values[:, 0, 0] * 1e6, [200, 500], rtol=1e-6)
    annotated = windows_from_raw(annotate(raw, [1.0, 3.0], ["770", "769"]), {769: "left", 770: "right"}, 0, 1)  # which come before codes
    np.testing.assert_allclose(annotated.values[:, 0, 0] * 1e6, [101, 303], rtol=1e-6)
    assert annotated.labels.tolist() == ["right", "left"]


def test_a_button_that_is_let_go_does_not_begin_the_stimulus_again():
    raw = ramp_raw(names=("C3", "STI"))
    raw.set_channel_types({"STI": "stim"}, verbose="ERROR")
    raw._data[1] = 0
    for begin in (101, 307):
        raw._data[1, begin : begin + 89] = 1
        raw._data[1, begin + 23 : begin + 41] += 256  # a button, held while the stimulus lasts
    with pytest.warns(UserWarning, match=r"In sub-1_ses-1_run-1 some codes stand again after one that holds their bits and more: 1 \(2\)\. .*Epochs"):
        windows = windows_from_raw(raw, {1: "stimulus", 257: "response"}, 0, 0.4)
    np.testing.assert_allclose(windows.values[:, 0, 0] * 1e6, [101, 124, 307, 330], rtol=1e-6)  # rounding of float32
    assert windows.labels.tolist() == ["stimulus", "response"] * 2
    np.testing.assert_allclose(windows_from_raw(raw, {257: "response"}, 0, 0.4).values[:, 0, 0] * 1e6, [124, 330], rtol=1e-6)  # nobody asked for 1: no warning
    raw._data[1] = 0
    raw._data[1, 103:503] = np.repeat([2, 1, 2, 1], 100)  # codes that share no bit, without a zero between them
    np.testing.assert_allclose(windows_from_raw(raw, {1: "a", 2: "b"}, 0, 0.4).values[:, 0, 0] * 1e6, [103, 203, 303, 403], rtol=1e-6)


@pytest.mark.parametrize(("idle", "cue"), [(255, 255), (0, 3)])
def test_a_code_that_is_only_reached_by_bits_that_end_is_taken_whole(idle, cue):
    raw = ramp_raw(names=("C3", "STI"))
    raw.set_channel_types({"STI": "stim"}, verbose="ERROR")
    raw._data[1] = idle
    for begin, code in ((101, 1), (307, 2), (503, 1)):
        raw._data[1, begin - 43 : begin] = cue
        raw._data[1, begin : begin + 13] = code
    with pytest.warns(UserWarning, match=r"some codes stand only after one that holds their bits and more: 1 \(2\), 2 \(1\)\. .*taken for events") as told:
        windows = windows_from_raw(raw, {1: "left", 2: "right"}, 0, 0.4)
    assert len(told) == 1
    np.testing.assert_allclose(windows.values[:, 0, 0] * 1e6, [101, 307, 503], rtol=1e-6)  # rounding of float32
    assert windows.labels.tolist() == ["left", "right", "left"]


def test_a_code_behind_a_cue_that_holds_its_bits_is_taken_beside_one_that_begins():
    raw = ramp_raw(names=("C3", "STI"))
    raw.set_channel_types({"STI": "stim"}, verbose="ERROR")
    raw._data[1] = 0
    for begin, code in ((101, 1), (307, 8), (503, 1)):
        raw._data[1, begin - 43 : begin] = 7
        raw._data[1, begin : begin + 13] = code
    with pytest.warns(UserWarning, match=r"more: 1 \(2\)\. Nothing else begins them") as told:
        windows = windows_from_raw(raw, {1: "left", 8: "right"}, 0, 0.4)
    assert len(told) == 1  # and none that 1 occurs nowhere
    assert windows.labels.tolist() == ["left", "right", "left"]


def test_baseline_and_control_are_counted_from_the_cue():
    raw = annotate(ramp_raw(), [3.007, 6.0], ["a", "b"])
    windows = windows_from_raw(raw, {"a": 0, "b": 1}, 0.5, 1.5, baseline_s=(-0.56, 0.0), control_s=(-1.0, 0.0))
    cue = np.array([304, 606])  # rounded up from 303.7
    before = np.arange(cue[0] - 57, cue[0]).mean()  # 56.6 samples
    assert windows.control_values.shape == (2, 3, 101)
    np.testing.assert_allclose(windows.control_values[:, 2, 0] * 1e6, cue - 101 + 200, rtol=1e-6)
    np.testing.assert_allclose(windows.values[0, :, 0] * 1e6, round(3.507 * 101) - before, rtol=1e-5)
    # How much further the baseline reaches than the window, back or forth.
    assert windows.filter_support_s == 1.06
    assert windows_from_raw(raw, {"a": 0, "b": 1}, 0.5, 1.5, baseline_s=(1.0, 2.25)).filter_support_s == 0.75
    filtered = windows_from_raw(raw, {"a": 0, "b": 1}, 0.5, 1.5, baseline_s=(-0.5, 0.0), control_s=(-1.0, 0.0), resample_hz=50.5)
    assert filtered.control_values.shape == (2, 3, 50)


# What is dropped


def test_windows_that_run_off_or_touch_bad_spans_are_dropped_and_named():
    raw = annotate(ramp_raw(), [0.2, 2.0, 4.0, 6.0, 9.5, 4.5, 7.5], ["a", "a", "b", "b", "a", "BAD_jump", "1023"], [0, 0, 0, 0, 0, 0.1, 0.2])
    with pytest.warns(UserWarning, match="4 of 5 windows of sub-1_ses-1_run-1 are dropped"):
        windows = windows_from_raw(raw, {"a": 0, "b": 1}, -0.5, 1.6, bad_spans=["1023"])
    dropped = windows.page["dropped"]
    assert (dropped["planned"], dropped["kept"]) == (5, 1)
    assert [(row["trial"], row["label"], row["reason"]) for row in dropped["windows"]] == [
        (0, 0, "begins before the recording"),
        (2, 1, "overlaps BAD_jump"),
        (3, 1, "overlaps 1023"),
        (4, 0, "ends after the recording"),
    ]
    assert [row["start_s"] for row in dropped["windows"]] == [round((onset - 0.5) * 101) / 101 for onset in (0.2, 4.0, 6.0, 9.5)]
    assert dropped["reasons"]["overlaps 1023"] == 1
    assert windows.metadata["trial"].tolist() == [1]


def test_a_bad_mark_without_a_duration_is_one_bad_sample():
    raw = annotate(ramp_raw(), [1.0, 3.0, 5.0, 3.0, 6.0], ["a", "a", "a", "BAD", "BAD"])  # the last one is the sample behind a window
    with pytest.warns(UserWarning, match="1 of 3 windows"):
        windows = windows_from_raw(raw, {"a": 0}, 0, 1)
    assert windows.metadata["trial"].tolist() == [0, 2]


def test_windows_that_swing_too_far_are_rejected_and_the_rest_closes_ranks():
    raw = synthetic_raw(n_trials=11)
    onsets = raw.annotations.onset.copy()
    raw.annotations.append(onsets[1], 1.0, "BAD")
    raw._data[1, round((onsets[4] + 1) * 160)] = 9e-4
    raw._data[2, round((onsets[8] + 1) * 160)] = -7e-4
    request = {"electrodes": ["C4", "C3", "Cz"], "control_s": (-1, 0)}
    with pytest.warns(UserWarning, match="3 of 11"):
        windows = windows_from_raw(raw, LEFT_RIGHT, 0.5, 2, reject_v=3e-4, **request)
    kept = [0, 1, 2, 4, 5, 6, 8, 9]  # of those without the bad one
    whole = windows_from_raw(raw, LEFT_RIGHT, 0.5, 2, **request)
    np.testing.assert_array_equal(windows.values, whole.values[kept])
    np.testing.assert_array_equal(windows.control_values, whole.control_values[kept])
    pd.testing.assert_frame_equal(windows.metadata, whole[kept].metadata)
    assert windows.labels.tolist() == whole.labels[kept].tolist()
    rejected = [row for row in windows.page["dropped"]["windows"] if "electrode" in row]
    assert [(row["electrode"], row["trial"], row["label"], row["start_s"]) for row in rejected] == [
        (electrode, *whole.metadata.loc[number, ["trial", "label", "start_s"]]) for electrode, number in (("Cz", 3), ("C4", 7))
    ]
    assert [row["peak_to_peak_v"] for row in rejected] == [np.ptp(whole.values[number], axis=1).max() for number in (3, 7)]


def test_events_shorter_than_a_window_are_dropped_and_named():
    raw = annotate(ramp_raw(), [0.5, 2.0, 3.1, 5.3], ["a", "a", "b", "a"], [0.9, 1.0, 0.7, 3.0])
    with pytest.warns(UserWarning, match=r"2 of 6 windows of .* are dropped \(is shorter than a window: 2\), and none labelled 1 is left"):
        windows = windows_from_raw(raw, {"a": 0, "b": 1}, window_s=1.0)
    dropped = windows.page["dropped"]
    assert (dropped["planned"], dropped["kept"], windows.metadata["trial"].tolist()) == (6, 4, [1, 3, 3, 3])
    assert [(row["recording"], row["trial"], row["label"], row["start_s"]) for row in dropped["windows"]] == [
        ("sub-1_ses-1_run-1", 0, 0, 0.5),
        ("sub-1_ses-1_run-1", 2, 1, 3.1),
    ]
    with pytest.warns(UserWarning, match="3 of 5 windows"):
        later = windows_from_raw(raw, {"a": 0, "b": 1}, 0.25, window_s=1.0)
    assert [row["start_s"] for row in later.page["dropped"]["windows"]] == [0.75, 2.25, 3.35]
    with pytest.raises(ValueError, match=r"4 of 4 windows of .* are dropped \(is shorter than a window: 4\), so none is left"):
        windows_from_raw(raw, {"a": 0, "b": 1}, window_s=3.5)


def test_a_label_that_is_lost_is_named_however_few_its_windows_are():
    raw = annotate(ramp_raw(), [0.5, 9.1], ["a", "b"], [8.3, 0.1])
    with pytest.warns(UserWarning, match=r"1 of 21 windows .*, and none labelled right is left"):
        windows_from_raw(raw, {"a": "left", "b": "right"}, window_s=0.4)


def test_constant_padding_at_the_end_is_noticed():
    raw, picked = synthetic_raw(n_trials=4, electrodes=("C3", "Cz", "C4", "Pz")), ["C3", "Cz", "C4"]
    raw._data[:3, -720:] = 0  # the one that moves to the end isn't asked for
    with pytest.warns(UserWarning, match="constant padding"):
        windows = windows_from_raw(raw, LEFT_RIGHT, 0, 4.0, electrodes=picked)
    assert len(windows) == 3
    assert windows.page["recordings"]["sub-1_ses-1_run-1"]["padding_s"] == 4.5
    assert windows_from_raw(raw, label=1, window_s=1.0, electrodes=picked).metadata["stop_s"].max() == 21.0


def test_nothing_left_is_an_error():
    raw = annotate(ramp_raw(), [9.5], ["a"])
    with pytest.raises(ValueError, match=r"1 of 1 windows of .* are dropped .*so none is left"):
        windows_from_raw(raw, {"a": 0}, 0, 1)
    with pytest.raises(ValueError, match=r"No span of .* is as long as a window of 20 s"):
        windows_from_raw(raw, label=0, window_s=20.0)


# Which channels


def test_only_eeg_is_among_the_inputs_unless_named():
    raw = annotate(ramp_raw(names=("EEG Fc5.", "EOG-left", "ECG ECG", "EEG T3-REF", "Resp oro-nasal", "veog", "A2")), [2.0], ["a"])
    raw.set_channel_types({"A2": "misc"}, verbose="ERROR")
    windows = windows_from_raw(raw, {"a": 0}, 0, 1)
    assert windows.electrodes == ("FC5", "T7")
    assert windows.page["recordings"]["sub-1_ses-1_run-1"]["left_out"] == ["EOG-left", "ECG ECG", "Resp oro-nasal", "veog"]
    named = windows_from_raw(raw, {"a": 0}, 0, 1, electrodes=["T7", "EOG-left", "T3"][:2])
    np.testing.assert_allclose(named.values[0, :, 0] * 1e6, [502, 302], rtol=1e-6)
    assert np.isfinite([channel["loc"][:3] for channel in windows.info["chs"]]).all()


def test_channels_whose_names_say_something_else_are_no_electrodes():
    electrodes = ["TP7", "PO3", "EEG T3-REF", "E14"]
    eyes_and_muscles = ["hEOG", "VEOG 1", "EOG-left", "EMG chin"]
    body = ["ECG", "EKG2", "GSR", "EDA", "Resp chest", "Temp rectal", "SpO2", "pulse", "PPG", "accX", "acc_z"]
    triggers = ["STI 014", "Stim", "Status", "TRIG", "Trigger", "Marker 1", "Event", "EDF Annotations", "AUX1", "Photic", "PHO", "Photo"]
    assert all_electrodes(mne.create_info([*eyes_and_muscles, *electrodes, *body, *triggers], 101.0, "eeg"), "it") == electrodes


@pytest.mark.parametrize(
    ("kinds", "picked"),
    [
        (["mag", "eeg", "grad", "emg", "eeg"], [1, 4]),
        (["seeg", "hbo", "dbs", "ecog", "emg"], [0, 2, 3]),
        (["hbr", "emg", "hbo"], [0, 2]),
    ],
)
def test_of_several_kinds_of_channels_the_first_is_taken_whole(kinds, picked):
    info = mne.create_info(len(kinds), 101.0, kinds)
    assert all_electrodes(info, "it") == [info["ch_names"][number] for number in picked]


def test_muscles_are_taken_where_a_file_names_their_type_and_nothing_comes_first():
    raw = annotate(ramp_raw(names=("Biceps", "T3", "Heart")), [2.0], ["a"])
    raw.set_channel_types({"Biceps": "emg", "T3": "emg", "Heart": "ecg"}, verbose="ERROR")
    windows = windows_from_raw(raw, {"a": 0}, 0, 1)
    assert windows.electrodes == ("Biceps", "T3")  # a muscle's name, not the old one of T7
    assert windows.info.get_channel_types() == ["emg", "emg"]
    assert np.isnan([channel["loc"][:3] for channel in windows.info["chs"]]).all()
    epochs = mne.Epochs(raw, tmin=0.0, tmax=0.5, baseline=None, preload=True, verbose="ERROR")
    assert epochs_channels(epochs) == ["Biceps", "T3"]
    raw.set_channel_types({"Biceps": "ecg", "T3": "ecg"}, verbose="ERROR")
    with pytest.raises(ValueError, match=r"no channel of brain or muscle signals, only \['ecg'\]; name .* with electrodes=….*\[electrodes\] pick in a page"):
        windows_from_raw(raw, {"a": 0}, 0, 1)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("Biceps", "EMG deltoid", "Triceps", "EMG flexor"), "EMG deltoid, EMG flexor of sub-1_ses-1_run-1 are left out as muscles beside Biceps, Triceps"),
        (("C3", "EMG chin", "X1"), None),
        (("EEG Fpz-Cz", "EMG submental"), None),
        (("EEG001", "EMG chin"), None),
        (("E1", "E2", "EMG chin"), None),  # EGI's
        (("EMG 1", "EMG 2"), None),  # all of them stay
    ],
)
def test_muscles_that_are_left_out_beside_what_may_be_muscles_too_are_named(names, told, recwarn):
    windows_from_raw(annotate(ramp_raw(names=names), [2.0], ["a"]), {"a": 0}, 0, 1)
    assert [told in str(warning.message) for warning in recwarn.list] == ([] if told is None else [True])


def test_electrodes_are_renamed_ordered_and_keep_measured_places():
    raw = annotate(ramp_raw(names=("X1", "Cz", "X2")), [2.0], ["a"])
    raw.set_montage(mne.channels.make_dig_montage({"Cz": [0.01, 0.02, 0.1]}, coord_frame="head"), on_missing="ignore", verbose="ERROR")
    windows = windows_from_raw(raw, {"a": 0}, 0, 1, electrodes=["C4", "cz", "X1"], rename={"X2": "C4"})
    assert windows.electrodes == ("C4", "Cz", "X1")
    np.testing.assert_allclose(windows.values[0, :, 0] * 1e6, [402, 302, 202], rtol=1e-6)
    np.testing.assert_allclose(windows.info["chs"][1]["loc"][:3], [0.01, 0.02, 0.1])
    assert windows.info["chs"][0]["loc"][0] > 0.05  # C4 lies on the right
    assert np.isnan(windows.info["chs"][2]["loc"][:3]).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"electrodes": ["C33"]}, "has no channel 'C33'; the nearest is 'C3'"),
        ({"electrodes": ["C3", "C3"]}, "more than once"),
        ({"rename": {"Zc": "C1"}}, "no channel 'Zc' to rename"),
        ({"band_hz": (8, 50.5)}, "sampled at 101 Hz, which holds nothing at 50.5 Hz"),
        ({"notch_hz": (50, 60)}, "sampled at 101 Hz, which holds nothing at 60 Hz"),
        ({"band_hz": (8, 4)}, "lower frequency below"),
        ({"band_hz": (None, None)}, "lower frequency below"),
        ({"band_hz": (4, 8, 12)}, r"band_hz is \(4, 8, 12\); it needs a lower frequency below"),
        ({"control_s": (-1,)}, r"control_s is \(-1,\); give both its ends"),
        ({"baseline_s": (-1, -0.5, 0)}, r"baseline_s is \(-1, -0.5, 0\); give both its ends"),
        ({"constant_electrodes": "kept"}, "constant_electrodes is 'kept'; it must be one of refuse, keep"),
        ({"resample_hz": 31.4159265}, "isn't a simple fraction of 101"),
        ({"events": {"aa": 0}}, "none of the events .*it has 'a' \\(1\\). Did you mean 'a'"),
        ({"events": {"a": 0, 1: "left", "1": "right"}}, r"events \['a', 1, '1'\]: \[1\] name the same annotation"),
        ({"events": None}, "needs either events"),
        ({"label": 0}, "needs either events"),
        ({"start_s": 3, "stop_s": 2}, "must end after it begins"),
        ({"stop_s": None}, "needs start_s and stop_s"),
        ({"stop_s": 0.001}, "less than one sample"),
        ({"reject_v": -1}, "above zero"),
        ({"bad_spans": [(2.5, 3.0)]}, r"names of annotations, but are \[\(2.5, 3.0\)\]; mark seconds with raw.annotations.append\(onset, duration, 'bad'\)"),
        ({"window_s": 1.0, "baseline_s": (0, 1)}, "neither baseline_s nor control_s"),
        ({"window_s": 1.0, "stride_s": 0.0}, "stride_s is 0.0; it must be a number above zero"),
        ({"bad_electrodes": "ignore"}, "must be one of refuse, drop, keep, interpolate"),
    ],
)
def test_contradictory_requests_get_a_sentence(arguments, sentence):
    raw = annotate(ramp_raw(), [2.0], ["a"])
    with pytest.raises(ValueError, match=sentence):
        windows_from_raw(raw, **{"events": {"a": 0}, "start_s": 0, "stop_s": 1, **arguments})


def test_an_event_that_never_occurs_is_named():
    with pytest.warns(UserWarning, match=r"\['both'\] occur in no recording"):
        windows_from_raw(synthetic_raw(), {**LEFT_RIGHT, "both": "both"}, 0, 1)
    turns = [annotate(ramp_raw(), [2.0], [name]) for name in LEFT_RIGHT]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(windows_from_recordings([LabelledRecording(raw, LEFT_RIGHT, run=str(run)) for run, raw in enumerate(turns)], Cut(0.0, 1.0))) == 2


def test_bad_electrodes_are_refused_dropped_kept_or_interpolated():
    names = ("Fz", "C3", "Cz", "C4", "Pz", "Oz")
    raw = synthetic_raw(electrodes=names)
    raw.info["bads"] = ["Cz"]
    with pytest.raises(ValueError, match=r"marks the channels \['Cz'\] as bad"):
        windows_from_raw(raw, LEFT_RIGHT, 0, 1)
    assert windows_from_raw(raw, LEFT_RIGHT, 0, 1, bad_electrodes="drop").electrodes == ("Fz", "C3", "C4", "Pz", "Oz")
    assert windows_from_raw(raw, LEFT_RIGHT, 0, 1, electrodes=["C3", "C4"]).electrodes == ("C3", "C4")
    kept = windows_from_raw(raw, LEFT_RIGHT, 0, 1, bad_electrodes="keep")
    filled = windows_from_raw(raw, LEFT_RIGHT, 0, 1, bad_electrodes="interpolate")
    assert kept.electrodes == filled.electrodes == names
    assert (filled.values[:, 2] != kept.values[:, 2]).any()
    np.testing.assert_array_equal(filled.values[:, [0, 1, 3, 4, 5]], kept.values[:, [0, 1, 3, 4, 5]])
    assert raw.info["bads"] == ["Cz"]
    assert (kept.info["bads"], filled.info["bads"]) == (["Cz"], [])
    renamed = windows_from_raw(raw, LEFT_RIGHT, 0, 1, bad_electrodes="keep", rename={"Cz": "mine"}, electrodes=["mine", "C3"])
    assert renamed.info["bads"] == ["mine"]
    epochs = mne.Epochs(raw, tmin=0, tmax=1, baseline=None, preload=True, verbose="ERROR")
    assert windows_from_epochs(epochs, bad_electrodes="keep").info["bads"] == ["Cz"]


def test_of_several_recordings_only_marks_that_all_share_stay():
    raws = [synthetic_raw(seed=run, n_trials=4) for run in range(3)]
    for raw, bads in zip(raws, (["Cz"], ["C3", "Cz"], ["Cz"]), strict=True):
        raw.info["bads"] = bads
    with pytest.warns(UserWarning, match=r"mark electrodes as bad that others don't: C3 \(in sub-1_ses-1_run-1\)"):
        windows = windows_from_recordings(
            (LabelledRecording(raw, LEFT_RIGHT, run=str(run)) for run, raw in enumerate(raws)), Cut(0.0, 2.0, bad_electrodes="keep")
        )
    assert windows.info["bads"] == ["Cz"]
    assert windows.electrodes == ("C3", "Cz", "C4")


def test_a_recording_without_windows_decides_no_marks():
    raws = [synthetic_raw(seed=run, n_trials=4) for run in range(2)]
    raws[0].info["bads"] = ["Cz"]
    raws[1].annotations.append(0.0, 1000.0, "BAD all")
    with pytest.warns(UserWarning, match="4 of 8 windows") as warned:
        windows = windows_from_recordings(
            [LabelledRecording(raw, LEFT_RIGHT, run=str(run)) for run, raw in enumerate(raws)], Cut(0.0, 1.0, bad_electrodes="keep", reject_v=1.0)
        )
    assert (windows.info["bads"], len(warned)) == (["Cz"], 1)


def cut_with_labels(*labels, **given):
    raws = [synthetic_raw(seed=run, n_trials=2) for run in range(len(labels))]
    events = [dict(zip(("left", "right"), each, strict=True)) for each in labels]
    return windows_from_recordings(
        [LabelledRecording(raw, each, run=str(run), **given) for run, (raw, each) in enumerate(zip(raws, events, strict=True))], Cut(0, 1)
    )


def test_labels_of_several_recordings_are_of_one_type_and_none_become_one():
    windows = cut_with_labels((1, 0), ("word", 0))
    assert windows.classes == ("0", "1", "word")
    assert windows.metadata["label"].tolist() == windows.labels.tolist()
    assert cut_with_labels((1, 0), (3, 2)).labels.dtype == np.int64
    with pytest.raises(ValueError, match=r"Of the windows of recordings some have the label (\d), others '\1'; as '\1' they would be one"):
        cut_with_labels((1, 0), ("1", "0"))


def test_electrodes_are_asked_for_by_the_names_that_renaming_gives():
    raw = synthetic_raw(n_trials=4, electrodes=("C3", "Cz", "C4", "Fp1-REF"))
    values = windows_from_raw(raw, LEFT_RIGHT, 0, 1).values
    for rename, asked, numbers, called in (
        ({"C3": "C4", "C4": "C3"}, ["C3", "Cz"], [2, 1], ("C3", "Cz")),  # the cables were exchanged
        ({"Fp1-REF": "frontal"}, ["Fp1-REF", "Cz"], [3, 1], ("frontal", "Cz")),
        ({"C3": "FC3"}, ["fc3"], [0], ("FC3",)),
    ):
        windows = windows_from_raw(raw, LEFT_RIGHT, 0, 1, electrodes=asked, rename=rename)
        assert windows.electrodes == called
        np.testing.assert_array_equal(windows.values, values[:, numbers])
    with pytest.raises(ValueError, match="has no channel 'FP1'"):
        windows_from_raw(raw, LEFT_RIGHT, 0, 1, electrodes=["FP1"], rename={"Fp1-REF": "frontal"})
    with pytest.raises(ValueError, match="has no channel 'X2'"):  # that the other isn't of the 10-05 system either makes them no one electrode
        windows_from_raw(ramp_raw(names=("C3", "X1")), label=0, window_s=1.0, electrodes=["X2"])
    with pytest.raises(ValueError, match=r"has the channels \['C3', 'Cz'\] for 'C3'"):
        windows_from_raw(raw, LEFT_RIGHT, 0, 1, electrodes=["C3"], rename={"Cz": "C3"})


def test_places_of_other_kinds_stay_as_they_were_measured():
    """mne asks more of a montage where there is fNIRS."""
    names = ["C3", "S1_D1 hbo", "S1_D1 hbr", "deep"]
    raw = mne.io.RawArray(np.random.default_rng(0).normal(0, 1e-5, (4, 509)), mne.create_info(names, 101.0, ["eeg", "hbo", "hbr", "seeg"]), verbose="ERROR")
    for number, channel in enumerate(raw.info["chs"][1:]):
        channel["loc"][:9] = 0.01 * number + np.arange(9) / 100
    windows = windows_from_raw(raw, label="x", window_s=1.0, electrodes=names)
    np.testing.assert_array_equal([channel["loc"] for channel in windows.info["chs"][1:]], [channel["loc"] for channel in raw.info["chs"][1:]])
    np.testing.assert_array_equal(windows.info["chs"][0]["loc"][:3], make_info(["C3"], 101.0)["chs"][0]["loc"][:3])


def bad_raw(names, bads, kinds="eeg", n_times=509):
    values = np.random.default_rng(7).normal(0, 1e-5, (len(names), n_times))
    raw = mne.io.RawArray(values, mne.create_info(list(names), 101.0, kinds), verbose="ERROR")
    raw.info["bads"] = list(bads)
    return raw


def test_a_bad_reference_is_refused_or_interpolated_never_left_out():
    raw = bad_raw(["C3", "Cz", "C4", "Pz", "M1", "M2"], ["M2"])
    whole = {"label": "x", "window_s": 1.0, "electrodes": ["C3", "Cz"]}
    for reference in ("M2", ["M1", "M2"]):
        with pytest.raises(ValueError, match=r"marks the channels \['M2'\] of the reference as bad, and without them it would be another"):
            windows_from_raw(raw, **whole, reference=reference, bad_electrodes="drop")
    values, mended = raw.get_data()[:2, :101], windows_from_raw(raw, label="x", window_s=1.0, bad_electrodes="interpolate").values[0]
    filled = windows_from_raw(raw, **whole, reference="M2", bad_electrodes="interpolate")
    np.testing.assert_allclose(filled.values[0], values - mended[5], atol=2e-11)  # two roundings to float32 of values up to 1e-4 V
    kept = windows_from_raw(raw, **whole, reference="M2", bad_electrodes="keep")
    np.testing.assert_allclose(kept.values[0], values - raw.get_data()[5, :101], atol=2e-11)
    for choice, among in (("refuse", slice(5)), ("drop", slice(5)), ("keep", slice(6))):
        average = windows_from_raw(raw, **whole, reference="average", bad_electrodes=choice)
        np.testing.assert_allclose(average.values[0], values - raw.get_data()[among, :101].mean(axis=0), atol=2e-11)
    raw.info["bads"] = raw.ch_names[2:]
    whole["electrodes"] = ["C3", "M1"]
    raw.set_channel_types({"C3": "misc", "Cz": "misc"}, on_unit_change="ignore", verbose="ERROR")
    with pytest.raises(ValueError, match="marks all electrodes as bad, so there is none to average"):
        windows_from_raw(raw, **whole, reference="average", bad_electrodes="drop")


@pytest.mark.parametrize(
    ("names", "bads", "kinds", "sentence"),
    [
        (("A1", "A2", "A3"), ["A2"], "dbs", r"\['A2'\] of .* are of the type dbs, which isn't interpolated"),
        (("C3", "Cz", "C4"), ["C3", "Cz", "C4"], "eeg", "marks all its 3 eeg channels as bad, so there is none to interpolate from"),
        (("C3", "mine", "C4", "Cz"), ["C3"], "eeg", "the eeg channels need places, and none is known of mine; give them one"),
        (("C3", "mine", "C4", "Cz"), ["mine"], "eeg", "the eeg channels need places, and none is known of mine; give them one"),
        (("S1", "S2", "S3"), ["S2"], "seeg", r"\['S2'\] of .* can't be interpolated \(No.*\); leave the bad ones out"),
    ],
)
def test_bad_channels_that_cannot_be_interpolated_get_a_sentence(names, bads, kinds, sentence):
    raw = bad_raw(names, bads, kinds)
    for number, channel in enumerate(raw.info["chs"] if kinds == "seeg" else ()):
        channel["loc"][:3] = [0.01 * number, 0.02, 0.03]
    with pytest.raises(ValueError, match=sentence):
        windows_from_raw(raw, label="x", window_s=1.0, bad_electrodes="interpolate")


@pytest.mark.parametrize(
    ("bads", "sentence"),
    [
        (["C3", "A1"], r"\['A1'\] of .* are of the type misc, which isn't interpolated"),
        (["C3", "Cz", "C4"], "marks all its 3 eeg channels as bad"),
        (["C3", "S1"], "marks all its 1 seeg channels as bad"),
    ],
)
def test_of_bad_channels_of_several_kinds_each_has_to_be_mended(bads, sentence):
    names = ["C3", "Cz", "C4", "A1", "S1"]
    raw = bad_raw(names, bads, ["eeg", "eeg", "eeg", "misc", "seeg"])
    raw.info["chs"][4]["loc"][:3] = [0.01, 0.02, 0.03]
    with pytest.raises(ValueError, match=sentence):
        windows_from_raw(raw, label="x", window_s=1.0, electrodes=names, bad_electrodes="interpolate")


@pytest.mark.parametrize("bads", [["Pz"], ["C4"]])
def test_bad_electrodes_are_interpolated_at_the_places_of_their_names_after_renaming(bads):
    names = ["Fz", "C3", "Cz", "C4", "Pz", "O1", "O2"]
    asked = {"label": "x", "window_s": 1.0, "bad_electrodes": "interpolate"}
    exchanged = {"C3": "C4", "C4": "C3"}
    called = [exchanged.get(name, name) for name in names]
    mended = windows_from_raw(bad_raw(names, bads), **asked, rename=exchanged)
    right = windows_from_raw(bad_raw(called, [exchanged.get(name, name) for name in bads]), **asked)
    assert mended.electrodes == right.electrodes == tuple(called)
    np.testing.assert_array_equal(mended.values, right.values)
    np.testing.assert_array_equal([channel["loc"] for channel in mended.info["chs"]], [channel["loc"] for channel in right.info["chs"]])
    numbered = [f"E{number}" for number in range(7)]
    translated = windows_from_raw(bad_raw(numbered, [numbered[called.index("C3")]]), **asked, rename=dict(zip(numbered, called, strict=True)))
    np.testing.assert_array_equal(translated.values, windows_from_raw(bad_raw(called, ["C3"]), **asked).values)
    with pytest.raises(ValueError, match="the eeg channels need places, and none is known of mine;"):
        windows_from_raw(bad_raw(names, bads), **asked, rename={"Cz": "mine"})


def test_bad_channels_without_a_place_that_nobody_asks_for_stop_no_interpolation():
    names = ["Fz", "C3", "Cz", "C4", "Pz"]
    asked = {"label": "x", "window_s": 1.0, "bad_electrodes": "interpolate", "electrodes": names}
    beside = windows_from_raw(bad_raw([*names, "Sensor1"], ["Cz", "Sensor1"]), **asked)
    recording = bad_raw([*names, "Sensor1"], ["Cz"]).drop_channels(["Sensor1"])
    np.testing.assert_array_equal(beside.values, windows_from_raw(recording, **asked).values)
    with pytest.raises(ValueError, match="none is known of Sensor1"):
        windows_from_raw(bad_raw([*names, "Sensor1"], ["Cz", "Sensor1"]), **{**asked, "electrodes": [*names, "Sensor1"]})


def test_where_all_electrodes_are_bad_none_is_left_to_drop():
    with pytest.raises(ValueError, match=r"marks all the channels that are asked for as bad \(C3, C4\), so that none is left"):
        windows_from_raw(bad_raw(["C3", "Cz", "C4"], ["C3", "C4"]), label="x", window_s=1.0, electrodes=["C3", "C4"], bad_electrodes="drop")


@pytest.mark.parametrize("band_hz", [None, (4, 38)])
def test_references_are_subtracted(band_hz):
    raw = synthetic_raw(electrodes=("C3", "Cz", "C4", "M1", "M2"), n_trials=4)
    plain = windows_from_raw(raw, LEFT_RIGHT, 0, 1, band_hz=band_hz)
    average = windows_from_raw(raw, LEFT_RIGHT, 0, 1, band_hz=band_hz, reference="average", electrodes=["C3", "C4"])
    # Two roundings to float32 of values up to 1e-4 V.
    np.testing.assert_allclose(average.values, plain.values[:, [0, 2]] - plain.values.mean(axis=1, keepdims=True), atol=2e-11)
    mastoids = windows_from_raw(raw, LEFT_RIGHT, 0, 1, band_hz=band_hz, reference=["M1", "M2"], electrodes=["Cz"])
    np.testing.assert_allclose(mastoids.values[:, 0], plain.values[:, 1] - plain.values[:, 3:].mean(axis=1), atol=2e-11)
    if band_hz is None:  # a window so long that electrodes are read one by one
        raw = bad_raw(raw.ch_names, [], n_times=33_013)
        values = windows_from_raw(raw, label="x", window_s=33_013 / 101, reference="average").values[0]
        np.testing.assert_allclose(values, raw.get_data() - raw.get_data().mean(axis=0), atol=2e-11)


def test_projectors_are_applied_as_mne_epochs_does():
    raw = synthetic_raw(n_trials=4)
    raw.set_eeg_reference(projection=True, verbose="ERROR")
    windows = windows_from_raw(raw, LEFT_RIGHT, 0, 1)
    # The average of float32 values up to 1e-4 V is zero up to their rounding.
    np.testing.assert_allclose(windows.values.mean(axis=1), 0, atol=1e-11)
    assert not raw.info["projs"][0]["active"]
    raw.apply_proj(verbose="ERROR").add_proj(mne.compute_proj_raw(raw, n_eeg=1, verbose="ERROR"))  # one is active, the other isn't
    values = windows_from_raw(raw, LEFT_RIGHT, 0, 1).values
    # One float32 rounding of values up to 1e-4 V.
    np.testing.assert_allclose(values, mne.Epochs(raw, tmin=0, tmax=1 - 1 / 160, baseline=None, verbose="ERROR").get_data(copy=False), atol=1e-11)


# Filters and rates


def test_the_filter_support_is_as_far_as_an_impulse_spreads():
    rate, at = 160.0, 3200
    values = np.zeros((1, 6401))
    values[0, [at, -1]] = 1e-3  # the last one, so that the end isn't taken for padding
    raw = mne.io.RawArray(values, mne.create_info(["Cz"], rate, "eeg"), verbose="ERROR")
    for request in ({"band_hz": (8, 32)}, {"notch_hz": 50}, {"band_hz": (1, None), "notch_hz": (50, 60)}, {"band_hz": (4, 30), "resample_hz": 64.0}):
        windows = windows_from_raw(raw, label=0, window_s=40.0, **request)
        # Fourier transforms leave rounding everywhere, a 1e-16th of the impulse.
        there = np.flatnonzero(np.abs(windows.values[0, 0, : round(30 * windows.sampling_rate)]) > 1e-17) / windows.sampling_rate - at / rate
        reached = max(-there.min(), there.max())
        # All that leaves the filter lies inside; the outermost taps are small but not nothing.
        assert reached <= windows.filter_support_s + 1e-9, request
        assert reached > 0.7 * windows.filter_support_s, request


def test_earlier_filters_add_to_the_support():
    raw = synthetic_raw(n_trials=2)
    assert windows_from_raw(raw, LEFT_RIGHT, 0, 1).filter_support_s == windows_from_raw(raw, LEFT_RIGHT, 0, 1, resample_hz=160.0).filter_support_s == 0
    assert windows_from_raw(raw, LEFT_RIGHT, 0, 1, band_hz=(8, 32), filter_support_s=2.0).filter_support_s == 2.825


@pytest.mark.parametrize(("old", "new"), [(160.0, 64.0), (1017.25, 256.0), (100.0, 128.0)])
def test_resampling_keeps_a_tone_and_its_phase(old, new):
    time_s = np.arange(round(20 * old)) / old
    raw = mne.io.RawArray(1e-5 * np.sin(2 * np.pi * 7 * time_s)[None], mne.create_info(["Cz"], old, "eeg"), verbose="ERROR")
    windows = windows_from_raw(annotate(raw, [5.0, 11.03], ["a", "a"]), {"a": 0}, 0.25, 2.25, resample_hz=new)
    assert windows.values.shape == (2, 1, round(2 * new))
    assert windows.sampling_rate == new
    clock = windows.metadata["start_s"].to_numpy()[:, None] + np.arange(round(2 * new)) / new
    # The resampling filter ripples by some thousandths within its pass band.
    np.testing.assert_allclose(windows.values[:, 0], 1e-5 * np.sin(2 * np.pi * 7 * clock), atol=5e-8)


# The caller's recording, memory and time


@pytest.mark.parametrize(
    "request_", [{}, {"band_hz": (4, 38), "notch_hz": 50}, {"reference": "average", "resample_hz": 80.0}, {"reject_v": 1e-3, "baseline_s": (-1, 0)}]
)
def test_the_callers_recording_is_not_changed(request_):
    raw = synthetic_raw(n_trials=4)
    before, info, described = raw.get_data().copy(), raw.info.copy(), raw.annotations.copy()
    windows_from_raw(raw, LEFT_RIGHT, 0, 2, **request_)
    np.testing.assert_array_equal(raw.get_data(), before)
    assert mne.utils.object_diff(raw.info, info) == ""
    assert raw.annotations == described


@pytest.mark.parametrize("request_", [{}, {"band_hz": (4, 38), "reference": "average"}, {"electrodes": ["C4", "C3"]}])
def test_a_recording_on_disk_gives_the_same_windows(tmp_path, request_):
    raw = synthetic_raw(n_trials=4)
    raw.save(tmp_path / "a_raw.fif", fmt="double", verbose="ERROR")
    lazy = mne.io.read_raw_fif(tmp_path / "a_raw.fif", verbose="ERROR")
    windows = windows_from_raw(lazy, LEFT_RIGHT, 0, 2, **request_)
    np.testing.assert_array_equal(windows.values, windows_from_raw(raw, LEFT_RIGHT, 0, 2, **request_).values)
    assert not lazy.preload


@pytest.mark.parametrize(
    "request_", [{}, {"band_hz": (8, 32)}, {"band_hz": (8, 32), "reject_v": 1.0, "reference": "average"}, {"band_hz": (8, 32), "resample_hz": 128.0}]
)
def test_memory_beyond_the_open_recording_stays_under_a_tenth_more_than_the_result(request_):
    raw = synthetic_raw(electrodes=[f"E{number}" for number in range(59)], n_trials=40, sampling_rate=250.0)
    windows_from_raw(raw.copy().crop(0, 19), LEFT_RIGHT, 0, 1, **request_)  # what is imported and designed once
    tracemalloc.start()
    windows = windows_from_raw(raw, LEFT_RIGHT, 0, 4, **request_)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * windows.values.nbytes


def test_a_window_set_is_no_slower_to_make_than_mne_epochs():
    raw = synthetic_raw(electrodes=[f"E{number}" for number in range(31)], n_trials=40, sampling_rate=250.0)

    def ours():
        windows_from_raw(raw, LEFT_RIGHT, 0, 4, band_hz=(8, 32))

    def theirs():
        filtered = raw.copy().filter(8, 32, verbose="ERROR")
        mne.Epochs(filtered, tmin=0, tmax=4, baseline=None, preload=True, verbose="ERROR").get_data(copy=False)

    best = [min(_seconds(work) for _ in range(3)) for work in (ours, theirs)]
    # Measured 0.7 of mne's time (benchmarks/windows.py); the rest is room for a busy machine.
    assert best[0] < 1.5 * best[1]


def _seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# Many recordings


def test_many_recordings_fill_one_set():
    recordings = (LabelledRecording(synthetic_raw(seed=run, n_trials=4), LEFT_RIGHT, run=str(run), extra={"age": 30 + run}) for run in range(3))
    windows = windows_from_recordings(recordings, Cut(0.0, 2.0, band_hz=(8, 32)), "three", {"title": "t"})
    alone = windows_from_raw(synthetic_raw(seed=2, n_trials=4), LEFT_RIGHT, 0, 2, band_hz=(8, 32))
    np.testing.assert_array_equal(windows.values[8:], alone.values)
    assert windows.metadata["recording"].nunique() == 3
    assert windows.metadata["age"].tolist() == [30] * 4 + [31] * 4 + [32] * 4
    assert (windows.name, windows.page["title"]) == ("three", "t")
    assert windows.page["cut"] == {"start_s": 0.0, "stop_s": 2.0, "band_hz": [8, 32]}


def test_recordings_that_differ_are_named():
    def of(run, **request):
        return LabelledRecording(synthetic_raw(n_trials=2, **request), LEFT_RIGHT, run=run)

    cut = Cut(0.0, 1.0)
    with pytest.raises(ValueError, match="sampling rates of sub-1_ses-1_run-2 and sub-1_ses-1_run-1 differ: 100 and 160 Hz; resample both"):
        windows_from_recordings([of("1"), of("2", sampling_rate=100.0)], cut)
    assert windows_from_recordings([of("1"), of("2", sampling_rate=100.0)], Cut(0.0, 1.0, resample_hz=80.0)).sampling_rate == 80
    with pytest.raises(ValueError, match=r"electrodes \['C4', 'Pz'\] are only in one of"):
        windows_from_recordings([of("1"), of("2", electrodes=("C3", "Cz", "Pz"))], cut)
    with pytest.raises(ValueError, match="two recordings sub-1_ses-1_run-1"):
        windows_from_recordings([of("1"), of("1")], cut)
    with pytest.raises(ValueError, match="no recordings"):
        windows_from_recordings([], cut)
    turned = of("2", electrodes=("C4", "C3", "Cz"))
    joined = windows_from_recordings([of("1"), turned], cut)
    np.testing.assert_array_equal(joined.values[2:], windows_from_raw(turned.raw, LEFT_RIGHT, 0, 1).values[:, [1, 2, 0]])


def test_magnetometers_are_taken_where_there_is_no_eeg():
    info = mne.create_info(["M1", "G1", "STI"], 100.0, ["mag", "grad", "stim"])
    raw = mne.io.RawArray(1e-13 * np.random.default_rng(0).normal(size=(3, 1000)), info, verbose="ERROR")
    windows = windows_from_raw(raw, label="rest", window_s=1.0, resample_hz=50.0)
    assert windows.electrodes == ("M1", "G1")
    assert windows.info.get_channel_types() == ["mag", "grad"]


# Epochs


def test_epochs_carry_times_metadata_and_support():
    raw = synthetic_raw()
    filtered = raw.copy().filter(8, 32, verbose="ERROR")
    events, codes = mne.events_from_annotations(filtered, verbose="ERROR")
    metadata = pd.DataFrame({"subject": ["09"] * 20, "age": np.arange(20), "trial": np.arange(20) + 100, "label": np.arange(20)})
    epochs = mne.Epochs(filtered, events, codes, tmin=0.5, tmax=3.5, baseline=None, metadata=metadata, preload=True, verbose="ERROR")[3:]
    windows = windows_from_epochs(epochs, session="2")
    np.testing.assert_array_equal(windows.values, epochs.get_data(copy=False).astype(np.float32))
    np.testing.assert_array_equal(windows_from_epochs(epochs, electrodes=["C4", "C3"]).values, windows.values[:, [2, 0]])
    assert windows.metadata["subject"].unique().tolist() == ["09"]
    assert windows_from_epochs(epochs, subject="3").metadata["subject"].unique().tolist() == ["3"]  # what is said goes before what they hold
    assert windows.metadata["session"].unique().tolist() == ["2"]
    assert windows.metadata["trial"].tolist() == list(range(3, 20))
    assert windows.metadata["trial_of_epochs"].tolist() == list(range(103, 120))
    assert windows.metadata["label_of_epochs"].tolist() == windows.metadata["age"].tolist() == list(range(3, 20))
    np.testing.assert_allclose(windows.metadata["start_s"], raw.annotations.onset[3:] + 0.5)
    np.testing.assert_allclose(windows.metadata["stop_s"] - windows.metadata["start_s"], 481 / 160)
    assert windows.filter_support_s == 0.825
    assert windows_from_epochs(epochs, filter_support_s=0.0).filter_support_s == 0
    assert windows_from_epochs(mne.Epochs(raw, verbose="ERROR")).filter_support_s == 0
    smooth = mne.Epochs(raw.copy().filter(None, 20, verbose="ERROR"), verbose="ERROR")
    assert windows_from_epochs(smooth).filter_support_s == windows_from_raw(raw, LEFT_RIGHT, 0, 1, band_hz=(None, 20)).filter_support_s > 0


def test_a_baseline_outside_of_cropped_epochs_counts_as_support():
    raw = synthetic_raw()
    epochs = mne.Epochs(raw, tmin=-0.5, tmax=1, baseline=(-0.5, 0), preload=True, verbose="ERROR")
    assert windows_from_epochs(epochs).filter_support_s == 0
    cropped = windows_from_epochs(epochs.copy().crop(0.4, 0.9, include_tmax=False))
    assert cropped.filter_support_s == windows_from_raw(raw, LEFT_RIGHT, 0.4, 0.9, baseline_s=(-0.5, 0.0)).filter_support_s == 0.9
    assert windows_from_epochs(epochs.copy().crop(None, -0.3), filter_support_s=0.5).filter_support_s == 0.5 + 0.3
    # mne takes the baseline of its nearest samples: one that ends less than a sample (1 / 160 s) early or late is inside.
    assert windows_from_epochs(mne.Epochs(raw, tmin=-0.302, tmax=1, baseline=(-0.302, 0), verbose="ERROR")).filter_support_s == 0


def test_decimated_epochs_keep_the_clock_of_the_recording():
    epochs = mne.Epochs(synthetic_raw().filter(None, 20, verbose="ERROR"), tmin=0, tmax=2, baseline=None, decim=2, preload=True, verbose="ERROR")
    windows = windows_from_epochs(epochs)
    assert windows.sampling_rate == 80
    np.testing.assert_allclose(windows.metadata["start_s"], 2 + 6 * np.arange(20))


@pytest.mark.parametrize("sample", [0, 503])
def test_a_single_epoch_has_a_clock_wherever_it_lies(sample):
    epochs = mne.Epochs(ramp_raw(), np.array([[sample, 0, 1]]), tmin=0, tmax=1, baseline=None, preload=True, verbose="ERROR")
    assert windows_from_epochs(epochs).metadata["start_s"].tolist() == [sample / 101]
    array = mne.EpochsArray(epochs.get_data(), epochs.info, events=np.array([[503, 0, 1]]), verbose="ERROR")
    assert windows_from_epochs(array).metadata["start_s"].tolist() == [503 / 101]


def test_arrays_of_epochs_have_no_times():
    epochs = mne.EpochsArray(1e-5 * np.random.default_rng(0).normal(size=(7, 2, 50)), mne.create_info(["C3", "EOG"], 50.0, ["eeg", "eog"]), verbose="ERROR")
    windows = windows_from_epochs(epochs)
    assert windows.electrodes == ("C3",)
    assert windows.metadata["start_s"].isna().all()
    assert windows.classes == ("1",)


def test_epochs_that_cannot_be_windows_get_a_sentence():
    epochs = mne.Epochs(synthetic_raw(), verbose="ERROR", preload=True)
    with pytest.raises(ValueError, match=r"epochs\.interpolate_bads"):
        windows_from_epochs(epochs, bad_electrodes="interpolate")
    epochs.info["bads"] = ["Cz"]
    with pytest.raises(ValueError, match="as bad"):
        windows_from_epochs(epochs)
    assert windows_from_epochs(epochs, bad_electrodes="drop").electrodes == ("C3", "C4")
    with pytest.raises(ValueError, match="holds no epochs"):
        windows_from_epochs(epochs[:0], electrodes=["C3"])


# Arrays


def test_arrays_become_windows_with_what_is_known():
    source = synthetic_windows()
    windows = windows_from_arrays(source.values, source.labels, ["C3", "Cz", "C4"], 64.0, source.metadata, 0.3, name="mine", page={"title": "x"})
    pd.testing.assert_frame_equal(windows.metadata, source.metadata)
    assert (windows.filter_support_s, windows.name, windows.page) == (0.3, "mine", {"title": "x"})
    assert np.shares_memory(windows.values, source.values)
    bare = windows_from_arrays(source.values.astype(float), source.labels.tolist(), source.info)
    assert bare.metadata["trial"].tolist() == list(range(60))
    assert bare.metadata["start_s"].isna().all()
    assert bare.metadata["recording"].unique().tolist() == ["sub-1_ses-1_run-1"]
    assert (bare.values.dtype, bare.filter_support_s) == (np.float32, 0.0)
    controlled = windows_from_arrays(source.values, source.labels, source.info, metadata={"recording": list("abc") * 20}, control_values=source.values[..., :7])
    np.testing.assert_array_equal(controlled.control_values, source.values[..., :7])
    assert controlled.metadata["recording"].tolist() == list("abc") * 20  # clocks that have names of their own


def test_metadata_with_an_index_of_its_own_stays_in_row_order():
    source = synthetic_windows(n_subjects=1, n_runs=1, n_trials=4)
    windows = windows_from_arrays(source.values, source.labels, source.info, metadata=pd.DataFrame({"subject": list("abcd")}, index=[7, 3, 9, 1]))
    assert windows.metadata["subject"].tolist() == list("abcd")


def test_numbers_that_pandas_read_as_floats_are_whole_names():
    source = synthetic_windows(n_subjects=1, n_runs=1, n_trials=4)
    windows = windows_from_arrays(source.values, source.labels, source.info, metadata={"subject": [1.0, 1.0, 2.0, 2.0], "run": [1.5, 1.0, 1.0, 1.0]})
    assert windows.metadata["subject"].tolist() == ["1", "1", "2", "2"]
    assert windows.metadata["recording"].tolist() == ["sub-1_ses-1_run-1.5", "sub-1_ses-1_run-1", *["sub-2_ses-1_run-1"] * 2]


@pytest.mark.parametrize("column", [[Hand.right, Hand.left, Hand.right, Hand.left], ["a", "b", "a", "b"]])
def test_the_tables_own_labels_may_be_handed_in_beside_it(column):
    source, table = synthetic_windows(n_subjects=1, n_runs=1, n_trials=4), pd.DataFrame({"label": pd.Series(column, dtype=object)})
    windows = windows_from_arrays(source.values, table["label"], source.info, metadata=table)
    assert windows.metadata["label"].tolist() == windows.labels.tolist()
    with pytest.raises(ValueError, match="contradicts the labels"):
        windows_from_arrays(source.values, table["label"][::-1], source.info, metadata=table)


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ([7.0, 7.5, 8.0, 7.0], ["7", "7.5", "8", "7"]),
        (pd.Categorical([7.0, 8.0, 8.0, 7.0]), ["7", "8", "8", "7"]),
        (pd.Categorical(["7", 8.0, 0.5, 7]), ["7", "8", "0.5", "7"]),
        (pd.Categorical(["7.0", "b", "b", "7.0"]), ["7.0", "b", "b", "7.0"]),
        (pd.Categorical([7, 8, 8, 7]), ["7", "8", "8", "7"]),
        (pd.array([7.0, 0.5, 8.0, 7.0], dtype="Float64"), ["7", "0.5", "8", "7"]),
        (pd.array([7, 8, 8, 7], dtype="Int64"), ["7", "8", "8", "7"]),
        (np.array([0.1, 7, 8, 7], np.float32), ["0.1", "7", "8", "7"]),
        ([1e20, 7.0, -0.0, 7.0], ["100000000000000000000", "7", "0", "7"]),
    ],
)
def test_one_person_has_one_name_whatever_column_it_stands_in(column, names):
    source = synthetic_windows(n_subjects=1, n_runs=1, n_trials=4)
    metadata = windows_from_arrays(source.values, source.labels, source.info, metadata={"subject": column}).metadata
    assert metadata["subject"].tolist() == names
    assert metadata["recording"].tolist() == [f"sub-{name}_ses-1_run-1" for name in names]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"values": np.zeros((4, 67))}, "has? the shape|have the shape"),
        ({"labels": [0, 1]}, "4 windows in arrays, but labels of shape"),
        ({"info_or_names": ["C3", "C4"]}, r"names 2 electrodes, but the values of arrays are \(4, 3, 67\)"),
        ({"info_or_names": 3}, "names are 3; give a list"),
        ({"info_or_names": "C3C"}, "names are 'C3C'; give a list"),
        ({"info_or_names": ["C3", "C3", "C4"]}, "more than once"),
        ({"sampling_rate": None}, "no sampling rate"),
        ({"sampling_rate": 0.0}, "above zero"),
        ({"sampling_rate": float("inf")}, "a finite sampling rate above zero, but got 3 channels at inf Hz"),
        ({"metadata": [{"subject": "a"}] * 4}, "The metadata of arrays are a list; give a DataFrame"),
        ({"metadata": {"subject": ["a"] * 3}}, "4 windows|3 rows|length"),
        ({"metadata": {"label": ["x"] * 4}}, "contradicts the labels"),
        ({"values": np.zeros((4, 3, 67), complex)}, "complex128; windows are real"),
        (
            {"values": np.ma.masked_greater(np.ones((4, 3, 67)) * np.arange(4)[:, None, None], 1)},
            "The values of arrays are masked in places, the first in window 2",
        ),
        ({"control_values": np.zeros((4, 67))}, "the control values of arrays have the shape"),
        ({"control_values": np.zeros((4, 3, 67), complex)}, "The control values of arrays are of the type complex128"),
        ({"control_values": np.zeros((4, 3, 67), bool)}, "The control values of arrays are of the type bool"),
        ({"control_values": np.full((4, 3, 67), "1")}, "The control values of arrays are of the type <U1"),
        ({"labels": ["a", "b", None, "b"]}, "1 of 4 windows of arrays have no label, the first in row 2"),
        ({"labels": [0.0, np.nan, 1.0, np.nan]}, "2 of 4 windows of arrays have no label, the first in row 1"),
        ({"metadata": {"subject": ["a", "a", None, "b"]}}, "1 of 4 windows of arrays have no subject, the first in row 2"),
        ({"metadata": {"session": [1, 1, 1, np.nan]}}, "no session, the first in row 3"),
        ({"metadata": {"recording": ["a", "a", None, "b"]}}, "no recording, the first in row 2"),
        ({"metadata": pd.DataFrame({"subject": list("aabbc")})}, "metadata of arrays have 5 rows for 4 windows"),
        ({"labels": [[0, 1]] * 4}, r"labels of shape \(4, 2\)"),
        ({"metadata": {"start_s": [0.0, 2, 4, 6], "stop_s": [1.05, 3.05, 4.5, 7.05]}}, "By start_s and stop_s 1 of 4 .* row 2 lasts 0.5 s"),
        ({"metadata": {"start_s": [0.0, 2, 4, 6], "stop_s": [1.05] * 4}}, "3 of 4 windows of arrays .* of their samples, 1.04688 s: .* row 1 lasts -0.95 s"),
    ],
)
def test_arrays_that_contradict_themselves_get_a_sentence(change, sentence):
    source = synthetic_windows(n_subjects=1, n_runs=1, n_trials=4)
    given = {"values": source.values, "labels": source.labels, "info_or_names": ["C3", "Cz", "C4"], "sampling_rate": 64.0, **change}
    with pytest.raises(ValueError, match=sentence):
        windows_from_arrays(**given)


def test_times_may_be_rounded_count_the_last_sample_or_be_unknown():
    source = synthetic_windows(n_subjects=1, n_runs=1, n_trials=4)
    times = {"start_s": [0.0, 2.0, 4.0, np.nan], "stop_s": [67 / 64, 2 + 66 / 64, 5.06, np.nan]}  # 1.05 s, rounded up at both ends
    windows = windows_from_arrays(source.values, source.labels, source.info, metadata=times)
    np.testing.assert_array_equal(windows.metadata["stop_s"], times["stop_s"])


def test_a_long_clock_in_single_precision_is_as_coarse_as_its_numbers():
    values, start_s = np.random.default_rng(0).normal(0, 1e-5, (5, 3, 90)), 150_000.1 + 0.36 * np.arange(5)  # 42 h, where its steps are 16 ms
    right = {"start_s": start_s.astype(np.float32), "stop_s": (start_s + 0.36).astype(np.float32)}
    windows = windows_from_arrays(values, [0, 1, 0, 1, 0], ["C3", "Cz", "C4"], 250.0, right)
    np.testing.assert_array_equal(windows.metadata["stop_s"], right["stop_s"])
    for wrong_s in (0.3, np.inf):
        with pytest.raises(ValueError, match=r"don't have the length of their samples, 0.36 s"):
            windows_from_arrays(values, [0, 1, 0, 1, 0], ["C3", "Cz", "C4"], 250.0, {**right, "stop_s": (start_s + wrong_s).astype(np.float32)})


def test_numbers_of_other_machines_are_read():
    source = synthetic_windows(n_subjects=1, n_runs=1, n_trials=4)
    columns = {
        "subject": np.arange(4).astype(">i2"),
        "start_s": source.metadata["start_s"].to_numpy(">f8"),
        "stop_s": source.metadata["stop_s"].to_numpy(">f8"),
    }
    windows = windows_from_arrays(
        source.values.astype(">f4"), np.array([3, 1, 3, 1], ">i4"), source.info, metadata=pd.DataFrame(columns | {"age": columns["subject"]})
    )
    part = windows[windows.metadata["age"] > 1]
    assert part.labels.tolist() == part.metadata["label"].tolist() == [3, 1]
    np.testing.assert_array_equal(part.values, source.values[2:])
    assert len(concatenate([part, windows])) == 6


def test_a_rate_that_contradicts_the_info_is_refused():
    source = synthetic_windows()
    with pytest.raises(ValueError, match="sampling_rate is 65 Hz, but the info of arrays says 64 Hz"):
        windows_from_arrays(source.values, source.labels, source.info, 65.0)


def test_real_recordings_are_cut_as_their_page_says(shared_data):
    from sigvit.data.readers import read_recording

    raw = read_recording(shared_data / "eegmmidb" / "S001" / "S001R04.edf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        windows = windows_from_raw(raw, {"T1": "left", "T2": "right"}, 0.5, 3.5, band_hz=(8, 32))
    assert windows.values.shape == (15, 64, 480)
    assert windows.electrodes[:3] == ("FC5", "FC3", "FC1")
    assert windows.page["recordings"]["sub-1_ses-1_run-1"]["padding_s"] >= 0.4
    assert np.isfinite([channel["loc"][:3] for channel in windows.info["chs"]]).all()


# Guards: units, references, breaks, files


def test_one_recording_in_another_unit_is_named_among_many():
    recordings = [LabelledRecording(synthetic_raw(seed=run, n_trials=4), LEFT_RIGHT, run=str(run)) for run in range(5)]
    recordings[3].raw._data *= 1e6
    with pytest.raises(ValueError, match=r"The EEG of sub-1_ses-1_run-3 \(recordings\) .* looks like microvolts"):
        windows_from_recordings(recordings, Cut(0.0, 2.0))


def test_recordings_of_different_references_are_named():
    names = ("Fz", "C3", "Cz", "C4", "Pz")
    raws = [synthetic_raw(seed=run, n_trials=4, electrodes=names) for run in range(3)]
    raws[1].set_eeg_reference("average", verbose="ERROR")

    def windows(**cut):
        recordings = (LabelledRecording(raw, LEFT_RIGHT, run=str(run)) for run, raw in enumerate(raws))
        return windows_from_recordings(recordings, Cut(0.0, 2.0, **cut))

    with pytest.warns(UserWarning, match=r"1 recordings have the average reference \(such as sub-1_ses-1_run-1\), 2 have another \(such as sub-1_ses-1_run-0"):
        windows()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        joint = windows(reference="average")
    assert [note["average_referenced"] for note in joint.page["recordings"].values()] == [True, True, True]


@pytest.mark.parametrize("name", ["boundary", "New Segment/", "EDGE boundary"])
def test_no_window_runs_across_a_break_and_one_may_begin_there(name):
    raw = annotate(ramp_raw(), [1.0, 3.0, 5.0, 3.5], ["a", "a", "a", name], [0, 0, 0, 0.7])
    windows = windows_from_raw(raw, {"a": 0}, 0.0, 0.5)
    assert windows.metadata["start_s"].tolist() == [1.0, 3.0, 5.0]
    with pytest.warns(UserWarning, match=f"overlaps {name}: 1"):
        assert windows_from_raw(raw, {"a": 0}, 0.0, 1.0).metadata["start_s"].tolist() == [1.0, 5.0]
    assert windows_from_raw(annotate(ramp_raw(), [round(3.5 * 101) / 101] * 2, ["a", name]), {"a": 0}, 0.0, 1.0).values.shape[0] == 1


def test_windows_may_begin_where_mne_joins_recordings():
    """It marks the first sample of the second one as "BAD boundary" and as "EDGE boundary"."""
    raws = [annotate(ramp_raw(), [0.0, 4.0], ["a", "a"]) for _ in range(3)]
    joined = mne.concatenate_raws(raws, verbose="ERROR")
    assert "BAD boundary" in joined.annotations.description
    windows = windows_from_raw(joined, {"a": 0}, 0.0, 0.5)
    np.testing.assert_allclose(windows.metadata["start_s"], np.add.outer([0, 1009, 2018], [0, 404]).ravel() / 101)
    with pytest.warns(UserWarning, match=r"overlaps (BAD|EDGE) boundary: 2"):
        assert len(windows_from_raw(joined, {"a": 0}, -0.1, 0.4)) == 3


@pytest.mark.parametrize("name", ["BAD boundary", "BAD boundary artefact", "BAD_ACQ_SKIP"])
def test_a_bad_boundary_that_lasts_is_a_bad_span(name):
    raw = annotate(ramp_raw(), [2.0, 2.3, 5.0, 3.5], ["a", "a", "a", name], [0, 0, 0, 0.7])
    with pytest.warns(UserWarning, match=f"overlaps {name}: 2"):
        assert windows_from_raw(raw, {"a": 0}, 1.3, 1.8).metadata["start_s"].tolist() == [round(6.3 * 101) / 101]


def test_a_file_that_was_cut_short_is_named_however_it_was_opened(tmp_path):
    pytest.importorskip("edfio", reason="edfio isn't installed, which writes EDF")
    raw = synthetic_raw(n_trials=4, sampling_rate=128.0)
    mne.export.export_raw(tmp_path / "a.edf", raw, verbose="ERROR")
    whole = (tmp_path / "a.edf").read_bytes()
    (tmp_path / "a.edf").write_bytes(whole[: len(whole) * 2 // 3])
    opened = mne.io.read_raw_edf(tmp_path / "a.edf", verbose="ERROR")
    with pytest.raises(ValueError, match=r"sub-1_ses-1_run-1: .*a\.edf is cut short"):
        windows_from_raw(opened, label="all", window_s=1.0)
    with pytest.raises(ValueError, match="is cut short"):
        windows_from_recordings([LabelledRecording(opened, label="all")], Cut(window_s=1.0))
    assert len(windows_from_raw(opened, label="all", window_s=1.0, truncated="keep")) > 5


def test_nihon_kohdens_file_that_was_cut_short_is_named_however_it_was_opened(shared_data, tmp_path):
    shutil.copytree(shared_data / "formats" / "nihon", tmp_path / "nihon", copy_function=shutil.copyfile)
    (tmp_path / "nihon").chmod(0o755)
    path = tmp_path / "nihon" / "MB0400FU.EEG"
    path.write_bytes(path.read_bytes()[:-4000])
    opened = mne.io.read_raw_nihon(path, verbose="ERROR")
    with pytest.raises(ValueError, match=r"sub-1_ses-1_run-1: .*MB0400FU\.EEG is cut short"):
        windows_from_raw(opened, label="all", window_s=0.5)


# Continuous recordings: overlapping windows with labels from annotations, and what no annotation spans


def night(n_seizures=2, seed=0, seconds=120):
    raw = synthetic_raw(seed=seed, n_trials=seconds // 6, sampling_rate=100.0)
    onsets = [20.0 + 40 * number for number in range(n_seizures)]
    return raw.set_annotations(mne.Annotations(onsets, [10.0] * n_seizures, ["seizure"] * n_seizures))


def test_what_no_event_spans_has_the_label_of_the_rest():
    windows = windows_from_raw(night(), {"seizure": "seizure"}, window_s=4.0, stride_s=2.0, rest="none", rest_margin_s=3.0)
    seizures = windows.metadata[windows.labels == "seizure"]
    assert seizures["start_s"].tolist() == [20, 22, 24, 26, 60, 62, 64, 66]
    assert seizures["trial"].tolist() == [0] * 4 + [1] * 4
    rest = windows.metadata[windows.labels == "none"]
    for onset in (20, 60):
        assert ((rest["stop_s"] <= onset - 3) | (rest["start_s"] >= onset + 13)).all()
    assert rest["trial"].is_unique
    assert windows.metadata["start_s"].is_monotonic_increasing
    assert rest["start_s"].iloc[0] == 0
    assert (rest["start_s"] == 33).any()
    within = night().set_annotations(mne.Annotations([20.0, 23.0], [30.0, 5.0], ["seizure", "spike"]))  # the second lies in the first
    windows = windows_from_raw(within, {"seizure": 1, "spike": 2}, window_s=4.0, rest=0)
    assert windows.metadata["start_s"][windows.labels == 0].tolist() == [*range(0, 20, 4), *range(50, 119, 4)]


def test_a_night_without_the_event_is_all_rest():
    with pytest.warns(UserWarning, match=r"\['seizure'\] occur in no recording"):
        windows = windows_from_raw(night(0), {"seizure": "seizure"}, window_s=4.0, rest="none")
    assert windows.classes == ("none",)
    with pytest.raises(ValueError, match="a label for what no event spans; give window_s"):
        windows_from_raw(night(), {"seizure": "seizure"}, 0, 4, rest="none")


def test_folds_respect_windows_that_overlap_and_shuffling_them_is_a_leak():
    from sigvit import Leak, certify, folds
    from sigvit.evidence.folds import Fold

    windows = windows_from_raw(night(8, seconds=360), {"seizure": "seizure"}, window_s=4.0, stride_s=1.0, rest="none", band_hz=(1, 40))
    found = folds.within_session(windows.metadata, k=3, filter_support_s=windows.filter_support_s)
    assert certify(windows, found).verdict in ("proved", "tolerated")
    spans = windows.metadata[["start_s", "stop_s"]].to_numpy()
    for fold in found:
        for start, stop in spans[fold.test]:
            assert not ((spans[fold.train, 0] < stop) & (spans[fold.train, 1] > start)).any()
    order = np.random.default_rng(0).permutation(len(windows))
    shuffled = Fold(np.sort(order[40:]), np.array([], int), np.sort(order[:40]), 0, "shuffled", "")
    with pytest.raises(Leak, match=r"overlap|trial"):
        certify(windows, [shuffled])


# Larger than memory


def test_windows_that_grow_on_disk_are_those_in_memory(tmp_path):
    def recordings():
        for run in range(3):
            raw = synthetic_raw(seed=run, n_trials=5)
            raw._data[0, 500] = 9e-4  # the first trial of each is rejected
            yield LabelledRecording(raw, LEFT_RIGHT, run=str(run))

    cut = Cut(0.0, 2.0, band_hz=(8, 32), reject_v=3e-4, control_s=(-1.0, 0.0))
    with pytest.warns(UserWarning, match="dropped"):
        kept = windows_from_recordings(recordings(), cut)
    with pytest.warns(UserWarning, match="dropped"):
        grown = windows_from_recordings(recordings(), cut, into=tmp_path / "set")
    assert isinstance(grown.values, np.memmap)
    np.testing.assert_array_equal(grown.values, kept.values)
    np.testing.assert_array_equal(grown.control_values, kept.control_values)
    pd.testing.assert_frame_equal(grown.metadata, kept.metadata)
    assert grown.page["dropped"] == kept.page["dropped"]
    with pytest.raises(FileExistsError, match="is there already"):
        windows_from_recordings(recordings(), cut, into=tmp_path / "set")


def test_a_set_on_disk_takes_no_memory_of_its_size_and_leaves_nothing_where_it_fails(tmp_path):
    names = [f"E{number}" for number in range(31)]

    def recordings(n_runs, last=None):
        for run in range(n_runs):
            yield LabelledRecording(synthetic_raw(seed=run, n_trials=10, electrodes=names), LEFT_RIGHT, run=str(last if last and run == n_runs - 1 else run))

    peaks = []
    for n_runs in (2, 3, 9):  # in the first something is imported
        tracemalloc.start()
        windows_from_recordings(recordings(n_runs), Cut(0.0, 4.0), into=tmp_path / str(n_runs))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Metadata grow by some bytes a window; six recordings' windows in memory would be twice the peak.
    assert peaks[2] < 1.1 * peaks[1]
    with pytest.raises(ValueError, match="two recordings"):
        windows_from_recordings(recordings(3, last="0"), Cut(0.0, 4.0), into=tmp_path / "broken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "9"]


def test_autoreject_chooses_a_limit_for_each_recording():
    pytest.importorskip("autoreject", reason="autoreject isn't installed: pip install 'sigvit[autoreject]'")
    raw = synthetic_raw(n_trials=40, trial_s=2.0, rest_s=1.0)
    for trial in (3, 17, 29):
        raw._data[1, round((raw.annotations.onset[trial] + 1) * 160)] += 2e-3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        windows = windows_from_raw(raw, LEFT_RIGHT, 0, 2, reject_v="autoreject")
    dropped = [row["trial"] for row in windows.page["dropped"]["windows"]]
    assert {3, 17, 29} <= set(dropped)
    assert len(windows) > 20
    assert 3e-5 < windows.page["recordings"]["sub-1_ses-1_run-1"]["reject_v"] < 2e-3
    with pytest.raises(ValueError, match=r"has 4 windows; autoreject needs 10"):
        windows_from_raw(synthetic_raw(n_trials=4), LEFT_RIGHT, 0, 2, reject_v="autoreject")


def test_columns_are_in_the_order_of_the_windows_whatever_index_they_bring():
    table = pd.DataFrame({"subject": np.repeat(list("abc"), 7), "start_s": np.arange(21.0)}).sample(frac=1, random_state=0)
    values = np.random.default_rng(0).normal(0, 1e-5, (21, 3, 61))
    for given in ({"subject": table["subject"], "start_s": table["start_s"]}, table):
        windows = windows_from_arrays(values, [0, 1, 0] * 7, ["C3", "Cz", "C4"], 61.0, given)
        assert windows.metadata["subject"].tolist() == table["subject"].tolist()
        assert windows.metadata["start_s"].tolist() == table["start_s"].tolist()


@pytest.mark.parametrize("labels", [["l", np.nan, "r"], pd.Series(["l", None, "r"]), pd.array(["l", pd.NA, "r"], dtype="string"), [0.0, np.nan, 1.0]])
def test_a_missing_label_is_no_class(labels):
    with pytest.raises(ValueError, match="1 of 3 windows of arrays have no label, the first in row 1"):
        windows_from_arrays(np.random.default_rng(0).normal(0, 1e-5, (3, 2, 61)), labels, ["C3", "C4"], 61.0)


@pytest.mark.parametrize("name", ["subject", "session", "run"])
def test_numbers_name_the_same_whatever_type_they_have(name):
    # A table of participants with a gap in it is read by pandas as floats.
    for seven in (7, 7.0, np.float64(7), np.int16(7), "7"):
        assert getattr(LabelledRecording(synthetic_raw(n_trials=2), LEFT_RIGHT, **{name: seven}), name) == "7"
    assert windows_from_raw(synthetic_raw(n_trials=2), LEFT_RIGHT, 0.5, 3.5, **{name: 7.0}).metadata[name].tolist() == ["7"] * 2
    for gap in (None, float("nan"), pd.NA):
        with pytest.raises(ValueError, match=f"{name} is .*, which would name a {name} of its own"):
            windows_from_raw(synthetic_raw(n_trials=2), LEFT_RIGHT, 0.5, 3.5, **{name: gap})
    metadata = {name: pd.Series([7, "8", 7.0], dtype=object)}
    assert windows_from_arrays(np.random.default_rng(0).normal(0, 1e-5, (3, 2, 61)), [0, 1, 0], ["C3", "C4"], 61.0, metadata).metadata[name].tolist() == list(
        "787"
    )


def test_labels_of_events_are_refused_where_they_are_missing_or_would_become_one():
    for gap in (None, float("nan"), pd.NA):
        with pytest.raises(ValueError, match="1 of 2 events and labels of sub-1_ses-1_run-1 have no label, the first in row 0"):
            windows_from_raw(synthetic_raw(n_trials=2), {"left": gap, "right": "right"}, 0.5, 3.5)
    with pytest.raises(ValueError, match="name them apart"):
        windows_from_raw(synthetic_raw(n_trials=2), {"left": 1, "right": "1"}, 0.5, 3.5)
    assert windows_from_raw(synthetic_raw(n_trials=4), {"left": Hand.left, "right": Hand.right}, 0.5, 3.5).classes == ("left hand", "right hand")
    with pytest.warns(UserWarning, match="1 of 4 windows"):
        dropped = windows_from_raw(synthetic_raw(n_trials=4), {"left": Hand.left, "right": Hand.right}, 0.5, 7.5).page["dropped"]["windows"]
    assert [window["label"] for window in dropped] in (["left hand"], ["right hand"])


@pytest.mark.parametrize("name", ["filter_support_s", "rest_margin_s"])
@pytest.mark.parametrize("value", [-5.0, float("nan"), float("inf")])
def test_seconds_that_would_take_away_from_a_support_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be a number of seconds, from zero upwards"):
        Cut(0.0, 1.0, **{name: value})


def test_arrays_will_do_where_numbers_and_names_are_asked_for():
    raw = synthetic_raw(n_trials=4)
    plain = windows_from_raw(raw, LEFT_RIGHT, 0.0, 4.0, band_hz=(4, 38), notch_hz=[50.0, 60.0], electrodes=["C4", "C3"])
    arrays = {"band_hz": np.array([4, 38]), "notch_hz": np.array([50, 60]), "electrodes": np.array(["C4", "C3"])}
    np.testing.assert_array_equal(windows_from_raw(raw, LEFT_RIGHT, 0.0, 4.0, **arrays).values, plain.values)
    assert Cut(window_s=np.int64(2)).length_s == 2
    with pytest.raises(ValueError, match=r"baseline_s is \(None, 0\); give both its ends"):
        Cut(0.0, 1.0, baseline_s=(None, 0))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"raw": "x.edf"}, r"Here is a str in place of a recording; sigvit\.read_recording opens files"),
        ({"raw": None}, "Here is a NoneType in place of a recording"),
        ({"events": ["left", "right"]}, "events are a list; say the label of each"),
        ({"electrodes": "C3"}, r"electrodes is 'C3'; give a list of names, as in \['C3'\]"),
        ({"stop_s": float("inf")}, "stop_s is inf; it must be a number of seconds from the event"),
        ({"start_s": ".5"}, "start_s is .5; it must be a number of seconds from the event"),
        ({"extra": {"age": 7, "trial": 0, "label": "x"}}, r"extra columns \['trial', 'label'\] of sub-1_ses-1_run-1 would take the place"),
    ],
)
def test_what_is_no_recording_or_no_cut_gets_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        windows_from_raw(**({"raw": synthetic_raw(n_trials=2), "events": LEFT_RIGHT, "start_s": 0.5, "stop_s": 3.5} | change))


def test_a_recording_in_place_of_epochs_gets_a_sentence():
    with pytest.raises(ValueError, match=r"Here is a RawArray in place of mne\.Epochs"):
        windows_from_epochs(synthetic_raw(n_trials=2))


def test_electrodes_may_be_a_column():
    windows = windows_from_raw(synthetic_raw(n_trials=2), LEFT_RIGHT, 0.5, 3.5, electrodes=pd.Series(["C4", "C3"]))
    assert windows.electrodes == ("C4", "C3")


def test_a_name_that_renaming_gives_twice_is_refused():
    with pytest.raises(ValueError, match="Renaming gives several electrodes the name 'C4'"):
        windows_from_raw(synthetic_raw(), LEFT_RIGHT, 0.0, 4.0, rename={"C3": "C4"})


def test_a_full_disk_is_an_error_and_leaves_no_half_folder(tmp_path):
    script = """
import sys
import sigvit
from sigvit.data.synthetic import synthetic_raw
try:
    sigvit.windows_from_raw(synthetic_raw(60, electrodes=[f"E{k}" for k in range(8)]), {"left": 0, "right": 1}, 0.0, 4.0, into=sys.argv[1] + "/set")
except OSError as error:
    print(error.errno)
"""
    small = 'mount -t tmpfs -o size=512k tmpfs "$1" && shift && "$@" && ls -A "$4"'
    mounted = ["unshare", "--map-root-user", "--mount", "sh", "-c", small, "sh", str(tmp_path)]
    if subprocess.run([*mounted, "true", "", "", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("this machine doesn't let a test mount a small file system")
    said = subprocess.run([*mounted, sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert said == f"{errno.ENOSPC}\n"


def test_epochs_that_were_numbered_have_no_clock_whichever_are_left():
    def numbered():
        events = np.stack([np.arange(20), np.zeros(20, int), np.tile([1, 2], 10)], axis=1)
        values = np.random.default_rng(0).normal(0, 1e-5, (20, 3, 50))
        return mne.EpochsArray(values, mne.create_info(["C3", "Cz", "C4"], 50.0, "eeg"), events, event_id={"x": 1, "y": 2}, verbose="ERROR")

    dropped = numbered().drop([3], verbose="ERROR")
    joined = mne.concatenate_epochs([numbered(), numbered()], verbose="ERROR")
    for epochs in (numbered(), dropped, numbered()["y"], numbered()[:1], joined):
        assert windows_from_epochs(epochs).metadata["start_s"].isna().all()


@pytest.mark.parametrize("support", [-1.0, float("nan"), float("inf")])
def test_a_support_of_arrays_that_can_not_be_is_refused(support):
    values = np.random.default_rng(0).normal(0, 1e-5, (3, 2, 61))
    with pytest.raises(ValueError, match=f"filter_support_s is {support}; it must be"):
        windows_from_arrays(values, [0, 1, 0], ["C3", "C4"], 61.0, filter_support_s=support)


@pytest.mark.parametrize("seed", range(5))
def test_of_many_bad_spans_the_first_that_a_window_touches_is_named_and_none_is_read_twice(seed, monkeypatch):
    """Against the plain definition, window by window and span by span."""
    generator, read = np.random.default_rng(seed), []

    class Counted(float):
        def __mul__(self, rate):
            read.append(self)
            return float(self) * rate

    names = [str(name) for name in generator.choice(["bad", "boundary", "BAD_jump"], 97)]
    onsets = np.sort(generator.uniform(0, 390, 97).round(1))
    lengths = np.where(np.array(names) == "boundary", 0.0, generator.exponential(2.0, 97))
    spans = [(Counted(onset), Counted(onset + length), name) for onset, length, name in zip(onsets, lengths, names, strict=True)]
    monkeypatch.setattr("sigvit.data.cuts.bad_spans", lambda raw, further: list(spans))
    cut, rate = Cut(start_s=0.0, stop_s=1.3), 9.7
    starts = [(onset, Event(onset, 0.0, "a", trial)) for trial, onset in enumerate(np.arange(0.0, 410.0, 0.7))]
    positions = plan(None, starts, cut, rate, stop_s=405.0, padding_s=6.1)
    assert len(read) <= 4 * len(spans)

    expected = {}
    for start, event in starts:
        low = round(start * rate)
        high = low + positions.n_times
        for onset, stop, name in [*spans, (405.0 - 6.1, 405.0, "constant padding")]:
            met = name == "boundary" and round(onset * rate) <= low
            if onset * rate < high and max(stop * rate, onset * rate + 1) > low and not met:
                expected.setdefault(event.trial, f"overlaps {name}")
        if high > round(405.0 * rate):
            expected[event.trial] = "ends after the recording"
    assert {dropped["trial"]: dropped["reason"] for dropped in positions.dropped} == expected
    assert {"overlaps boundary", "overlaps bad", "overlaps constant padding"} <= set(expected.values())
