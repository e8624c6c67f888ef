"""What is known of electrodes, and which of them share a token."""

import mne
import numpy as np
import pytest

from sigvit.electrodes import electrode_position
from sigvit.tokenizers.electrode_sites import group_electrodes, read_electrodes, sites_of_info, sites_of_names


def info_at(names: list[str], positions: dict[str, tuple[float, float, float]]) -> mne.Info:
    info = mne.create_info(names, 256.0, "eeg")
    for channel in info["chs"]:
        channel["loc"][:3] = positions.get(channel["ch_name"], (np.nan, np.nan, np.nan))
    return info


def test_a_digitised_place_comes_before_the_name_and_the_name_before_nothing():
    info = info_at(["Cz", "C3", "C4", "stimulus"], {"Cz": (0.01, 0.02, 0.03), "C4": (0.0, 0.0, 0.0)})
    found = sites_of_info(info)
    assert found[:3] == [(0.01, 0.02, 0.03), electrode_position("C3"), electrode_position("C4")]
    assert np.isnan(found[3]).all()


def test_an_info_says_count_names_places_and_rate():
    count, names, places, rate = read_electrodes(info_at(["Cz", "C3"], {}), None)
    assert (count, names, rate) == (2, ["Cz", "C3"], 256.0)
    assert places == sites_of_names(["Cz", "C3"])


@pytest.mark.parametrize("electrodes", ["Cz", 2.5, True, [1, 2], None])
def test_electrodes_of_no_known_kind_are_refused(electrodes):
    with pytest.raises(ValueError, match=r"an mne\.Info, a list of names or a count"):
        read_electrodes(electrodes, None)


def test_a_rate_that_contradicts_the_info_is_refused():
    with pytest.raises(ValueError, match=r"250.0 Hz, but the info says 256.0 Hz"):
        read_electrodes(info_at(["Cz"], {}), 250.0)


def test_groups_by_order_are_neighbours_in_the_montage():
    assert group_electrodes(6, 2, None) == [[0, 1], [2, 3], [4, 5]]


def test_groups_by_position_are_neighbours_on_the_scalp():
    names = ["O1", "F4", "O2", "F3", "Fz", "Oz"]
    assert group_electrodes(6, 3, sites_of_names(names)) == [[0, 2, 5], [1, 3, 4]]


def test_groups_by_position_do_not_depend_on_the_order_of_the_montage():
    names = ["O1", "F4", "O2", "F3", "Fz", "Oz", "C3", "C4", "T7"]
    turned = names[::-1]
    one, other = ({frozenset(order[k] for k in group) for group in group_electrodes(9, 3, sites_of_names(order))} for order in (names, turned))
    assert one == other


def test_a_group_size_that_does_not_divide_the_electrodes_names_those_that_do():
    with pytest.raises(ValueError, match=r"\[1, 2, 11, 22\]"):
        group_electrodes(22, 3, None)


def test_grouping_by_unknown_positions_is_refused():
    with pytest.raises(ValueError, match=r"electrodes \[1\] have none"):
        group_electrodes(2, 2, sites_of_names(["Cz", "stimulus"]))
