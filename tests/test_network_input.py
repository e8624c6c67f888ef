"""What a network classifier makes of each kind of input that it may be handed."""

from enum import Enum
from types import SimpleNamespace

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from sigvit.data.epochs import is_epochs, read_epochs, require_rate
from sigvit.data.synthetic import synthetic_raw
from sigvit.network_input import read_input


class Recorded:
    """As much of braindecode's `EEGWindowsDataset` as is read: 5 windows of 101 samples."""

    __module__ = "braindecode.datasets.base"
    description = None
    window_kwargs = (("WindowsCut", {"mapping": {"left": 0, "right": 1}}),)

    def __init__(self):
        self.raw = synthetic_raw()
        first = 113 * np.arange(5)
        self.metadata = pd.DataFrame({"i_start_in_trial": first, "i_stop_in_trial": first + 101, "target": [0, 1, 1, 0, 1]})


def test_windows_of_braindecode_bring_electrodes_rate_and_labels():
    classifier, dataset = BaseEstimator(), Recorded()
    signals, info, labels = read_input(classifier, dataset, None, reset=True)
    np.testing.assert_array_equal(signals[2], dataset.raw.get_data(start=226, stop=327).astype(np.float32))
    assert labels.tolist() == ["left", "right", "right", "left", "right"]
    assert info["ch_names"] == list(classifier.electrodes_) == ["C3", "Cz", "C4"]
    assert (classifier.signal_shape_, classifier.sampling_rate_) == ((3, 101), 160.0)
    assert read_input(classifier, dataset, [7, 7, 5, 5, 5], reset=True)[2].tolist() == [7, 7, 5, 5, 5]
    np.testing.assert_array_equal(read_input(classifier, dataset, None, reset=False)[0], signals)


def test_bad_channels_of_epochs_are_named_with_what_can_be_done_about_them():
    raw = synthetic_raw(n_trials=3)
    raw.info["bads"] = ["Cz"]
    epochs = mne.Epochs(raw, tmin=0.0, tmax=2.0, baseline=None, preload=True, verbose="ERROR")
    wanted = r"X marks the channels \['Cz'\] as bad; .*epochs.drop_channels\(epochs.info\[\"bads\"\]\), epochs.interpolate_bads\(\)"
    with pytest.raises(ValueError, match=wanted):
        read_input(BaseEstimator(), epochs, None, reset=True)
    assert read_input(BaseEstimator(), epochs.drop_channels(epochs.info["bads"]), None, reset=True)[0].shape == (3, 2, 321)


def test_of_epochs_the_electrodes_are_read_and_nothing_else_decides():
    raw = synthetic_raw(n_trials=3)
    eyes = mne.io.RawArray(np.ones((1, raw.n_times)), mne.create_info(["EOG"], raw.info["sfreq"], "eog"), verbose="ERROR")
    raw.add_channels([eyes]).reorder_channels(["EOG", "C3", "Cz", "C4"])
    raw.info["bads"] = ["EOG"]
    epochs = mne.Epochs(raw, tmin=0.0, tmax=2.0, baseline=None, preload=True, verbose="ERROR")
    values, info = read_epochs(epochs)
    np.testing.assert_array_equal(values, epochs.get_data(picks=["C3", "Cz", "C4"]))
    assert (info["ch_names"], info["sfreq"]) == (["C3", "Cz", "C4"], 160.0)
    assert (is_epochs(epochs), is_epochs(raw), is_epochs(SimpleNamespace(event_id={}))) == (True, False, False)


def test_rates_are_compared_where_both_are_known():
    for rate, known in ((None, 160.0), (250.0, None), (250.0, 250.0001)):
        require_rate(rate, known, "it was")
    with pytest.raises(ValueError, match="X is sampled at 250 Hz, but it was 251 Hz: resample it"):
        require_rate(250.0, 251.0, "it was")


def test_labels_that_are_missing_or_would_become_one_are_refused_and_those_of_an_enum_are_their_values():
    signals, hand = np.random.default_rng(0).normal(0, 1e-5, (5, 3, 67)), Enum("Hand", {"left": "left hand", "right": "right hand"})
    for gap in (None, float("nan"), pd.NA):
        with pytest.raises(ValueError, match="1 of 5 windows have no label, the first in row 2"):
            read_input(BaseEstimator(), signals, ["left", "right", gap, "right", "left"], reset=True)
    with pytest.raises(ValueError, match="name them apart"):
        read_input(BaseEstimator(), signals, ["1", 1, "1", 1, 1], reset=True)
    read = read_input(BaseEstimator(), signals, [hand.left, hand.right, hand.left, hand.left, hand.right], reset=True)[2]
    assert read.tolist() == ["left hand", "right hand", "left hand", "left hand", "right hand"]


def test_signals_that_are_masked_in_places_are_refused():
    signals = np.random.default_rng(0).normal(0, 1e-5, (5, 3, 67))
    with pytest.raises(ValueError, match="X is masked in places"):
        read_input(BaseEstimator(), np.ma.masked_greater(signals, 1e-5), [0, 1, 0, 1, 1], reset=True)
