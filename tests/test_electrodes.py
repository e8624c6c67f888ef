"""The table of electrodes: against measured positions of mne, and its own symmetry and order."""

import numpy as np
import pytest

from sigvit.electrodes import CENTRE_M, FIDUCIALS_M, RADIUS_M, canonical_name, electrode_position, electrode_table, positions


def degrees_between(one, other):
    one, other = (np.asarray(points) / np.linalg.norm(points, axis=-1, keepdims=True) for points in (one, other))
    return np.degrees(np.arccos(np.clip((one * other).sum(-1), -1, 1)))


@pytest.fixture(scope="module")
def measured():
    """mne's positions of the 10-05 system on the Colin27 head, in the head frame."""
    mne = pytest.importorskip("mne")
    if "colin27_1005" not in mne.channels.get_builtin_montages():
        pytest.skip("this mne has no montage of the 10-05 system under its new name")
    montage = mne.channels.make_standard_montage("colin27_1005")
    head = mne.channels.compute_native_head_t(montage)
    return {name: mne.transforms.apply_trans(head, at) for name, at in montage.get_positions()["ch_pos"].items()}


def test_the_table_has_every_electrode_of_the_10_05_system_and_ears_and_mastoids():
    assert len(electrode_table()) == 345 + 4
    assert {"Nz", "Iz", "A1", "A2", "M1", "M2", "TP9", "AF7", "AF8", "TP10", "FTT10h", "N2h"} <= set(electrode_table())


def test_every_name_of_mnes_montage_is_known(measured):
    assert [name for name in measured if electrode_position(name) is None] == []


def test_positions_agree_with_a_measured_head(measured):
    names = [name for name in measured if name in electrode_table()]
    angles = degrees_between(np.array([measured[name] for name in names]) - CENTRE_M, positions(names) - CENTRE_M)
    # Colin's head is no sphere: measured 3.5 degrees in the median and 11 (FTT10h) to 16 (M2) at most; neighbours of the 10-10 system lie 22 degrees apart.
    assert np.median(angles) < 4
    assert angles.max() < 17


def test_left_and_right_mirror_each_other_exactly():
    table = electrode_table()
    for left, right in (("C3", "C4"), ("FTT9h", "FTT10h"), ("O1", "O2"), ("POO7h", "POO8h"), ("A1", "A2"), ("I1h", "I2h"), ("NFp1", "NFp2")):
        assert table[left] == (-table[right][0], *table[right][1:])
    assert all(at[0] == 0 for name, at in table.items() if name.endswith("z"))
    assert len({at for at in table.values()}) == len(table)


def test_all_lie_on_the_sphere_and_the_fiducials_on_their_axes():
    radii = np.linalg.norm(np.array(list(electrode_table().values())) - CENTRE_M, axis=1)
    # Rounding of float64 only.
    np.testing.assert_allclose(radii, RADIUS_M, rtol=1e-12)
    assert FIDUCIALS_M["nasion"][0] == FIDUCIALS_M["nasion"][2] == 0 < FIDUCIALS_M["nasion"][1]
    assert FIDUCIALS_M["lpa"][1:] == FIDUCIALS_M["rpa"][1:] == (0, 0)
    np.testing.assert_allclose(electrode_position("Nz"), FIDUCIALS_M["nasion"], atol=1e-12)


@pytest.mark.parametrize(
    "row",
    [
        "T9 T9h T7 T7h C5 C5h C3 C3h C1 C1h Cz C2h C2 C4h C4 C6h C6 T8h T8 T10h T10",
        "FFT7 FFT7h FFC5 FFC5h FFC3 FFC3h FFC1 FFC1h FFCz FFC2h FFC2 FFC4h FFC4 FFC6h FFC6 FFT8h FFT8",
        "Nz NFpz Fpz AFpz AFz AFFz Fz FFCz FCz FCCz Cz CCPz CPz CPPz Pz PPOz POz POOz Oz OIz Iz",
        "Fpz Fp1h Fp1 AFp7 AF7 AFF7 F7 FFT7 FT7 FTT7 T7 TTP7 TP7 TPP7 P7 PPO7 PO7 POO7 O1 O1h Oz",
    ],
)
def test_neighbours_are_evenly_spaced_and_in_order(row):
    at = positions(row.split()) - CENTRE_M
    steps = degrees_between(at[:-1], at[1:])
    whole = np.cumsum(steps)
    # Steps along a line are equal up to twentieths standing where tenths would (Fp1 to AFp7), so within a factor of two; and no step turns back.
    assert steps.max() / steps.min() < 2.1
    assert (np.diff([degrees_between(at[0], there) for there in at[: np.searchsorted(whole, 175)]]) > 0).all()


@pytest.mark.parametrize(
    ("written", "meant"),
    [pair.split("=") for pair in ("Fc5.=FC5", "EEG Fp1-REF=Fp1", "FP1=Fp1", "Cz..=Cz", "EEG-C3=C3", "EEG:C4=C4", "T3=T7", "t4=T8", "T5=P7", "T6=P8")],
)
def test_spellings_of_one_electrode_mean_it(written, meant):
    assert canonical_name(written) == meant
    assert electrode_position(written) == electrode_table()[meant]


@pytest.mark.parametrize(
    ("written", "meant"),
    [pair.split("=") for pair in ("EEG C3-A2=C3", " oz =Oz", "fpz=Fpz", "AFF5h=AFF5h", "EEG F7-LE=F7", "Pz-AVG=Pz", "EEG FC3=FC3")],
)
def test_references_and_spaces_do_not_matter(written, meant):
    assert canonical_name(written) == meant


@pytest.mark.parametrize("name", ["EOG", "A2-A1", "Fpz-Cz", "EEG Pz-Oz", "", "X", "nd", "CB1", "MEG 0113", "E12", "C33", "Status", "EEG"])
def test_what_is_no_electrode_of_the_system_has_neither_name_nor_place(name):
    assert canonical_name(name) is None
    assert np.isnan(positions([name])).all()


def test_positions_of_no_names_keep_their_shape():
    assert positions([]).shape == (0, 3)
