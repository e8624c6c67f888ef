"""Pictures of the scalp: the right place in the picture, mne's splines, image weights, and what is refused."""

import mne
import numpy as np
import pytest
import torch
from mne.channels.interpolation import _make_interpolation_matrix

import sigvit
from sigvit.electrodes import electrode_position
from sigvit.tokenizers import ImagePatches, ScalpMapPatches
from sigvit.tokenizers.electrode_sites import sites_of_names
from sigvit.tokenizers.scalp_weights import EXTENT_M, directions, flatten, pixel_directions, pixel_places

NAMES = ["Fp1", "Fz", "T7", "Cz", "C4", "P3", "O2"]


def maps(**changes) -> ScalpMapPatches:
    made = {"n_electrodes": 7, "size": (15, 22), "patch_size": (5, 11), "frame": 3, "frames": 2, "width": 13, "names": NAMES, "sampling_rate": 50.0}
    return ScalpMapPatches(**made | changes).double()


def signals(samples: int = 31) -> torch.Tensor:
    return torch.randn(2, 7, samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_scalp_is_flattened_with_the_nose_up_and_arcs_from_cz_kept():
    places = dict(zip(["Cz", "Fz", "Oz", "T7", "T8", "C4"], flatten(sites_of_names(["Cz", "Fz", "Oz", "T7", "T8", "C4"])), strict=True))
    assert np.abs(places["Cz"]).max() < 1e-9
    assert places["Fz"][0] < 0 < places["Oz"][0]
    assert places["T7"][1] < 0 < places["T8"][1]
    # the 10-20 system's arcs: C4 halfway from Cz to T8
    np.testing.assert_allclose(places["C4"] * 2, places["T8"], atol=1e-9)


def test_pixels_and_directions_are_one_map():
    for size in ((15, 22), (7, 7)):
        np.testing.assert_allclose(flatten(pixel_directions(size) * 0.1 + np.array(sigvit.electrodes.CENTRE_M)), pixel_places(size), atol=1e-9)


def test_pixels_come_from_the_nearest_electrodes():
    tokenizer = maps(size=(33, 33), patch_size=(11, 11))
    for electrode, name in enumerate(NAMES):
        recording = torch.zeros(1, 7, 6, dtype=torch.float64)
        recording[0, electrode] = 1.0
        picture = tokenizer.pictures(recording)[0, 0]
        at = pixel_places((33, 33))[int(picture.argmax())]
        # within a pixel of its place
        np.testing.assert_allclose(at, flatten([electrode_position(name)])[0], atol=2 * EXTENT_M / 33)


def test_a_mean_of_equal_numbers_is_that_number_and_a_picture_lies_between_its_electrodes():
    pictures = maps().pictures(signals())
    means = signals()[..., :30].unflatten(-1, (10, 3)).mean(-1)
    assert (pictures.amax((2, 3)) <= means.amax(1)).all()
    assert (pictures.amin((2, 3)) >= means.amin(1)).all()
    for weights in ("inverse_distance", "spline"):
        # sums of weights that sum to one
        torch.testing.assert_close(
            maps(weights=weights).pictures(torch.full((1, 7, 6), 3.0).double()), torch.full((1, 2, 15, 22), 3.0).double(), rtol=0, atol=1e-9
        )


def test_splines_are_those_of_mne():
    found = maps(weights="spline")._raw
    expected = _make_interpolation_matrix(directions(sites_of_names(NAMES)), pixel_directions((15, 22)))
    # the same series, summed in another order, through a pseudo-inverse
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_a_token_is_the_weights_times_its_patch_of_rows_columns_and_frames():
    tokenizer = maps()
    tokens, pictures = tokenizer(signals()), tokenizer.pictures(signals())
    assert tokens.grid.shape == (3, 2, 5)
    for token in range(tokens.grid.n_tokens):
        row, column, step = np.unravel_index(token, tokens.grid.shape)
        cut = pictures[1, 2 * step : 2 * step + 2, 5 * row : 5 * row + 5, 11 * column : 11 * column + 11]
        expected = torch.einsum("dqhw,qhw->d", tokenizer.weight, cut) + tokenizer.bias
        # float64 sums in another order
        torch.testing.assert_close(tokens.values[1, token], expected, rtol=0, atol=1e-12)
        places = pixel_places((15, 22)).reshape(15, 22, 2)[5 * row : 5 * row + 5, 11 * column : 11 * column + 11].mean((0, 1))
        np.testing.assert_allclose(tokens.grid.coordinates()[token], [*places, (6 * step + 2.5) / 50], atol=1e-12)


def test_an_electrode_that_is_not_there_is_as_if_it_had_been_left_out():
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[:, 2] = False
    here = [k for k in range(7) if k != 2]
    fewer = maps(n_electrodes=6, names=[NAMES[k] for k in here])
    # the sum has one more zero
    torch.testing.assert_close(maps().pictures(signals(), mask), fewer.pictures(signals()[:, here]), rtol=0, atol=1e-12)


def test_an_electrode_is_averaged_over_its_real_samples_of_a_frame():
    mask = torch.ones(2, 7, 6, dtype=torch.bool)
    mask[0, 4, :2] = mask[1, 5, 4] = False
    means = torch.where(mask, signals(6), float("nan")).unflatten(2, (2, 3)).nanmean(-1)
    expected = maps(frame=1).pictures(means)
    # float64: divided by the weights' sums before the product or behind it
    torch.testing.assert_close(maps().pictures(signals(6), mask), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("leftover", ["drop", "pad"])
def test_a_short_recording_keeps_its_own_tokens_in_longer_company(leftover):
    tokenizer = maps(leftover=leftover)
    for length in (6, 8, 12, 17):
        filled = torch.nn.functional.pad(signals(length), (0, 31 - length), value=float("nan"))
        tokens = tokenizer(filled, (torch.arange(31) < length).expand(2, 7, -1))
        # float64, the same operations on more frames
        torch.testing.assert_close(tokens.values[tokens.mask], tokenizer(signals(length)).values.flatten(0, 1), rtol=0, atol=1e-12)


def test_what_was_asked_in_inference_mode_has_gradients_afterwards():
    tokenizer, recording = maps(), signals().requires_grad_()
    with torch.inference_mode():
        tokenizer(signals(), torch.ones(2, 7, dtype=torch.bool))
    tokenizer(recording, torch.ones(2, 7, dtype=torch.bool)).values.sum().backward()
    assert recording.grad.any()


def test_an_image_models_weights_apply():
    patches = ImagePatches((5, 11), in_channels=3, width=13).double()
    torch.nn.init.normal_(patches.bias)
    tokenizer = ScalpMapPatches.from_image_patches(patches, 7, size=(15, 22), frame=3, names=NAMES).double()
    pictures = tokenizer.pictures(signals())
    # the same convolution
    torch.testing.assert_close(tokenizer(signals()).values[:, 0::3], patches(pictures[:, :3]).values, rtol=0, atol=1e-12)
    still = signals(1).expand(-1, -1, 30)
    for frames in (1, 2, 5):
        other = ScalpMapPatches.from_image_patches(patches, 7, size=(15, 22), frame=3, frames=frames, names=NAMES).double()
        steps = 10 // frames
        grey = patches(other.pictures(still)[:, :1].expand(-1, 3, -1, -1)).values
        # sums over channels in another order
        torch.testing.assert_close(other(still).values[:, ::steps], grey, rtol=0, atol=1e-12)


def test_an_image_models_weights_are_copied():
    patches = ImagePatches((5, 11), in_channels=3, width=13)
    before = {name: tensor.clone() for name, tensor in patches.state_dict().items()}
    tokenizer = ScalpMapPatches.from_image_patches(patches, 7, size=(15, 22), frame=3, names=NAMES)
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[name], tensor) for name, tensor in patches.state_dict().items())


def test_a_whole_image_model_starts_one_for_recordings():
    image = sigvit.vit("Ti", (16, 16), 10, patch_size=8, width=12, depth=2, heads=2)
    tokenizer = ScalpMapPatches.from_image_patches(image.tokenizer, 7, size=(16, 16), frame=5, names=NAMES)
    model = sigvit.signal_vit(NAMES, 60, 100.0, num_classes=2, tokenizer=tokenizer, depth=2, heads=2, mlp_width=48)
    model.encoder.load_state_dict(image.encoder.state_dict())
    assert model(torch.zeros(2, 7, 60)).shape == (2, 2)


def test_from_info_takes_seconds_names_places_and_rate():
    info = mne.create_info(NAMES, 200.0, "eeg")
    tokenizer = ScalpMapPatches.from_info(info)
    assert (tokenizer.frame, tokenizer.sampling_rate, tokenizer.names) == (5, 200.0, tuple(NAMES))
    assert tokenizer(torch.zeros(1, 7, 100)).grid.shape == (2, 2, 5)
    assert ScalpMapPatches.from_info(mne.create_info(NAMES, 11.0, "eeg")).frame == 1, "a sample is the shortest that is averaged"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": (4, 11)}, "15 rows can't be cut into patches of 4"),
        ({"weights": "nearest"}, "there are 'inverse_distance', 'spline'"),
        ({"names": [*NAMES[:6], "EOG"]}, r"electrodes \['EOG'\] have none"),
        ({"names": None}, "needs every position"),
        ({"frame": 0}, "at least 1"),
    ],
)
def test_what_makes_no_picture_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        maps(**changes)


def test_a_spline_fills_its_last_patch_by_the_means_of_what_is_there():
    tokenizer = maps(weights="spline", leftover="pad")
    pictures, whole = tokenizer.pictures(signals(31)), tokenizer.pictures(signals(31)[..., :30])
    assert pictures.shape[1] == 12
    # float64: divided by sums of weights that sum to one, before the product or behind it
    torch.testing.assert_close(pictures[:, :10], whole, rtol=0, atol=1e-9)
    last = maps(weights="spline", frame=1, frames=1).pictures(signals(31)[..., 30:])
    torch.testing.assert_close(pictures[:, 10], last[:, 0], rtol=0, atol=1e-9)
    assert not pictures[:, 11].any()
    assert tokenizer(signals(31)).padding_mask is None


def test_a_spline_refuses_a_mask():
    with pytest.raises(ValueError, match="can't leave one out"):
        maps(weights="spline")(signals(), torch.ones(2, 7, dtype=torch.bool))
