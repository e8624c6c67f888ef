"""Patches of electrodes × time: shapes, coordinates, what is refused."""

import copy
import pickle

import mne
import numpy as np
import pytest
import torch

from sigvit.tokenizers import ElectrodeTimePatches
from sigvit.tokenizers.electrode_sites import sites_of_names


def test_a_token_is_the_weights_times_its_patch():
    tokenizer = ElectrodeTimePatches(n_electrodes=6, electrodes=3, window=5, stride=2, width=7)
    recording = torch.randn(2, 6, 17)
    token = tokenizer(recording).values[1, 7 + 3]  # second group, fourth of seven steps
    expected = tokenizer.weight @ recording[1, 3:6, 6:11].flatten() + tokenizer.bias
    # float32 sums of 15 products in another order
    torch.testing.assert_close(token, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("electrodes", "groups"), [(1, 6), (2, 3), ("all", 1)])
def test_the_grid_is_groups_by_steps(electrodes, groups):
    tokens = ElectrodeTimePatches(6, electrodes, window=5, stride=2, width=7)(torch.randn(2, 6, 17))
    assert tokens.grid.shape == (groups, 7)
    assert tokens.values.shape == (2, groups * 7, 7)
    assert tokens.padding_mask is None


def test_times_are_the_mean_of_the_samples_in_seconds_or_in_samples():
    arguments = {"n_electrodes": 2, "window": 5, "stride": 3, "width": 7}
    seconds = ElectrodeTimePatches(**arguments, sampling_rate=10.0)(torch.zeros(1, 2, 11)).grid.axis("time")
    samples = ElectrodeTimePatches(**arguments)(torch.zeros(1, 2, 11)).grid.axis("time")
    assert (seconds.unit, seconds.coordinates) == ("s", ((0.2,), (0.5,), (0.8,)))
    assert (samples.unit, samples.coordinates) == ("samples", ((2.0,), (5.0,), (8.0,)))


def test_places_are_the_mean_of_the_group_and_labels_its_names():
    names = ["O1", "F4", "O2", "F3", "Fz", "Oz"]
    axis = ElectrodeTimePatches(6, 3, 5, 5, 7, grouping="position", names=names)(torch.zeros(1, 6, 5)).grid.axis("electrode")
    assert (axis.unit, axis.labels) == ("m", ("O1+O2+Oz", "F4+F3+Fz"))
    # means of three numbers near 0.1 in another order of summation
    np.testing.assert_allclose(axis.coordinates[0], np.mean(sites_of_names(["O1", "O2", "Oz"]), axis=0), atol=1e-15)


def test_a_place_that_is_not_known_is_nan():
    axis = ElectrodeTimePatches(2, 1, 5, 5, 7, names=["Cz", "stimulus"])(torch.zeros(1, 2, 5)).grid.axis("electrode")
    assert np.isfinite(axis.coordinates[0]).all()
    assert np.isnan(axis.coordinates[1]).all()


def test_from_info_takes_seconds_names_places_and_rate():
    info = mne.create_info(["C3", "Cz", "C4"], 256.0, "eeg")
    tokenizer = ElectrodeTimePatches.from_info(info, window_s=0.25, stride_s=0.125, electrodes="all", width=13)
    assert (tokenizer.window, tokenizer.stride, tokenizer.sampling_rate) == (64, 32, 256.0)
    assert tokenizer(torch.zeros(1, 3, 256)).grid.shape == (1, 7)
    assert tokenizer(torch.zeros(1, 3, 256)).grid.axis("electrode").labels == ("C3+Cz+C4",)


@pytest.mark.parametrize(("leftover", "steps"), [("drop", 4), ("pad", 5)])
def test_leftover_samples_are_dropped_or_filled_up(leftover, steps):
    tokenizer = ElectrodeTimePatches(2, "all", window=7, stride=3, width=5, leftover=leftover)
    recording = torch.randn(1, 2, 18)
    patches = tokenizer.unfold(recording)
    assert patches.shape == (1, steps, 14)
    if leftover == "pad":
        last = patches[0, -1].view(2, 7)
        assert torch.equal(last[:, :6], recording[0, :, 12:])
        assert (last[:, 6:] == 0).all()


def test_leftover_samples_are_an_error_where_that_is_chosen():
    tokenizer = ElectrodeTimePatches(2, "all", window=7, stride=3, width=5, leftover="error")
    assert tokenizer(torch.zeros(1, 2, 19)).values.shape[1] == 5
    with pytest.raises(ValueError, match="leave 2 of 18 samples over"):
        tokenizer(torch.zeros(1, 2, 18))


def test_a_recording_shorter_than_the_window_is_refused_or_filled_up():
    with pytest.raises(ValueError, match="5 samples holds no window of 7"):
        ElectrodeTimePatches(2, window=7, stride=3)(torch.zeros(1, 2, 5))
    assert ElectrodeTimePatches(2, window=7, stride=3, leftover="pad")(torch.zeros(1, 2, 5)).grid.shape == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"n_electrodes": 0}, "n_electrodes is 0"),
        ({"electrodes": 4}, r"sizes that fit are \[1, 2, 3, 6\]"),
        ({"electrodes": "some"}, "a number of electrodes or 'all'"),
        ({"window": 3, "stride": 5}, "skips samples"),
        ({"stride": 0}, "at least 1"),
        ({"window": 64.0}, "window is 64.0; it must be a whole number, such as 64"),
        ({"leftover": "keep"}, "'drop', 'pad', 'error'"),
        ({"grouping": "name"}, "'order' .* and 'position'"),
        ({"electrodes": 2, "grouping": "position"}, "have none"),
        ({"names": ["Cz"]}, "6 electrodes but 1 names"),
        ({"positions": [(0.0, 0.0)] * 6}, r"\(x, y, z\)"),
        ({"sampling_rate": 0.0}, "above 0 Hz"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ElectrodeTimePatches(**{"n_electrodes": 6, **arguments})


@pytest.mark.parametrize("shape", [(6, 100), (2, 5, 100)])
def test_recordings_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="6 electrodes, samples"):
        ElectrodeTimePatches(6)(torch.zeros(shape))


@pytest.mark.parametrize("mask", [torch.ones(2, 3), torch.ones(2, 2, dtype=torch.bool)])
def test_masks_of_another_kind_are_refused(mask):
    with pytest.raises(ValueError, match="mask must be bool"):
        ElectrodeTimePatches(3, window=5, stride=5)(torch.zeros(2, 3, 10), mask)


def test_a_copy_and_a_pickle_give_the_same_tokens():
    tokenizer = ElectrodeTimePatches(6, 3, 5, 2, 7, grouping="position", names=["O1", "F4", "O2", "F3", "Fz", "Oz"])
    recording = torch.randn(2, 6, 17)
    for other in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer)), ElectrodeTimePatches(**tokenizer.arguments())):
        other.load_state_dict(tokenizer.state_dict())
        assert torch.equal(other(recording).values, tokenizer(recording).values)
        assert other(recording).grid == tokenizer(recording).grid


def test_a_real_montage_falls_into_groups_of_neighbours(shared_data):
    file = shared_data / "eegmmidb" / "S001" / "S001R04.edf"
    raw = mne.io.read_raw_edf(file, verbose="error")
    mne.datasets.eegbci.standardize(raw)
    tokenizer = ElectrodeTimePatches.from_info(raw.info, window_s=0.5, stride_s=0.25, electrodes=4, width=11, grouping="position")
    sites = np.array(tokenizer.positions)
    spread = np.mean([np.linalg.norm(sites[group] - sites[group].mean(0), axis=1).mean() for group in tokenizer.groups])
    by_order = np.mean([np.linalg.norm(sites[group] - sites[group].mean(0), axis=1).mean() for group in np.arange(64).reshape(16, 4)])
    assert sorted(electrode for group in tokenizer.groups for electrode in group) == list(range(64))
    assert spread < 0.6 * by_order  # mean distance to the group: 24 mm against 49 mm by order
    recording = torch.tensor(raw.get_data(stop=480), dtype=torch.float32)[None]
    assert tokenizer(recording).grid.shape == (16, 11)


@pytest.mark.parametrize("electrodes", [1, 2, "all"])
def test_an_empty_batch_has_no_patches(electrodes):
    tokenizer = ElectrodeTimePatches(4, electrodes, window=7, stride=5, width=11)
    recording = torch.empty(0, 4, 37)
    assert tokenizer(recording).values.shape == (0, tokenizer(torch.zeros(1, 4, 37)).values.shape[1], 11)
    assert tokenizer.fold(tokenizer.unfold(recording), 37).shape == recording.shape
