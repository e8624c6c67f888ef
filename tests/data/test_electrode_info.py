"""What is known of a set of electrodes: its own of each, whatever their order."""

import mne
import numpy as np
import pytest
from mne.io.constants import FIFF

from sigvit.data.electrode_info import electrode_names, info_of, make_info, place


@pytest.fixture
def measured() -> mne.Info:
    info = make_info(["C3", "Cz", "C4", "heart", "M1"], 101.0, ["eeg", "eeg", "eeg", "ecg", "mag"])
    for number, channel in enumerate(info["chs"]):
        channel["loc"][:] = (number + 1) / 100 + np.arange(12) / 1000
    info["chs"][4]["coil_type"] = FIFF.FIFFV_COIL_VV_MAG_T1
    info["chs"][3]["coord_frame"] = FIFF.FIFFV_COORD_HEAD
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", mne.transforms.translation(z=0.05))
    info["bads"] = ["C4"]
    return info


def test_each_electrode_keeps_its_own_place_kind_and_mark_in_any_order(measured):
    names = ["M1", "C4", "C3", "heart"]
    kept = info_of(measured, names, 97.0, {"C4": "mine"})
    assert (kept["ch_names"], kept["bads"], kept["sfreq"]) == (["M1", "mine", "C3", "heart"], ["mine"], 97.0)
    assert kept.get_channel_types() == ["mag", "eeg", "eeg", "ecg"]
    for new, name in zip(kept["chs"], names, strict=True):
        old = measured["chs"][measured["ch_names"].index(name)]
        np.testing.assert_array_equal(new["loc"][:3], old["loc"][:3])
        assert (new["coil_type"], new["coord_frame"], new["kind"]) == (old["coil_type"], old["coord_frame"], old["kind"])
    np.testing.assert_array_equal(kept["chs"][0]["loc"], measured["chs"][4]["loc"])
    assert kept["dev_head_t"] == measured["dev_head_t"]


def test_what_is_changed_in_the_new_one_stays_out_of_the_recordings(measured):
    before = [channel["loc"].copy() for channel in measured["chs"]]
    for channel in info_of(measured, ["M1", "heart"], 101.0, {})["chs"]:
        channel["loc"][:] = 7.0
    np.testing.assert_array_equal([channel["loc"] for channel in measured["chs"]], before)


def test_names_alone_have_the_kinds_that_are_given_and_places_where_they_are_eeg():
    info = make_info(["C3", "C4", "Cz"], 101.0, ["emg", "eeg", "eog"])
    assert info.get_channel_types() == ["emg", "eeg", "eog"]
    assert [bool(np.isfinite(channel["loc"][:3]).all()) for channel in info["chs"]] == [False, True, False]


def test_electrodes_that_would_share_a_name_keep_their_own():
    names = ["T3", "EEG T7-REF", "EEG C4"]
    assert electrode_names(make_info(names, 101.0), names, {}) == ["T3", "EEG T7-REF", "C4"]
    assert electrode_names(make_info(names, 101.0), names, {"T3": "left ear", "EEG C4": "C6"}) == ["left ear", "T7", "C6"]


def test_a_place_at_the_origin_is_none_and_one_on_an_axis_is_measured():
    info, table = mne.create_info(["C3", "Cz", "C4"], 101.0, "eeg"), make_info(["C3", "Cz", "C4"], 101.0)
    for channel, at in zip(info["chs"], ([0.0, 0.0, 0.0], [0.0, 0.0, 0.09], [np.nan, 0.01, 0.02]), strict=True):
        channel["loc"][:3] = at
    place(info, {})
    np.testing.assert_allclose(info["chs"][1]["loc"][:3], [0.0, 0.0, 0.09])
    for number in (0, 2):
        np.testing.assert_array_equal(info["chs"][number]["loc"][:3], table["chs"][number]["loc"][:3])


@pytest.mark.parametrize(("names", "rate"), [([], 101.0), (["C3"], 0.0), (["C3"], -1.0), (["C3"], np.inf), (["C3"], np.nan)])
def test_no_names_and_rates_that_can_not_be_are_refused(names, rate):
    with pytest.raises(ValueError, match="need at least one channel and a finite sampling rate above zero, but got"):
        make_info(names, rate)
