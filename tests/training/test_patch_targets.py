"""Targets equal what a few lines of numpy compute from the same patches."""

import numpy as np
import pytest
import torch

from sigvit.tokenizers import ConvStem, ElectrodeTimePatches, ImagePatches
from sigvit.training.patch_targets import (
    MOST_PATCHES,
    AsNumbers,
    Cells,
    InLevels,
    Samples,
    Spectrum,
    colour_edges,
    patch_target,
    patches_of,
    quantile_edges,
)

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


def test_mean_colour_is_the_papers_three_bits_a_channel():
    pixels = torch.rand(2, 3, 6, 10, generator=torch.Generator().manual_seed(0))
    images = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    tokenizer = ImagePatches((3, 5), 3, 7)
    target = patch_target(tokenizer, "mean", mean=MEAN, std=STD)
    assert isinstance(target, InLevels)
    assert target.outputs == 512
    found = target.classes(patches_of(tokenizer, images).flatten(0, 1)).view(2, 2, 2)
    for image in range(2):
        for row in range(2):
            for column in range(2):
                patch = pixels[image, :, 3 * row : 3 * row + 3, 5 * column : 5 * column + 5].numpy()
                levels = np.floor(patch.mean((1, 2)) * 8).astype(int)
                assert found[image, row, column] == levels[0] + 8 * levels[1] + 64 * levels[2]


def test_the_whole_patch_is_told_in_cells():
    tokenizer = ImagePatches(8, 1, 7)
    target = patch_target(tokenizer, "patch", mean=(0.0,), std=(1.0,))
    pixels = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    means = pixels[0, 0].view(4, 2, 4, 2).mean((1, 3))
    assert target.classes(patches_of(tokenizer, pixels)[0]).tolist() == [(means * 8).long().flatten().tolist()]


def test_levels_of_recordings_are_equally_frequent_for_each_electrode():
    tokenizer = ElectrodeTimePatches(4, 2, 10, 10, 7)
    windows = torch.randn(80, 4, 40, generator=torch.Generator().manual_seed(2)) * torch.tensor([1.0, 5, 1, 5])[:, None]
    patches = patches_of(tokenizer, windows)
    target = patch_target(tokenizer, "mean", patches)
    classes = target.classes(patches.flatten(0, 1))
    assert classes.shape == (80 * 8, 2)
    for electrode in range(2):
        # 640 patches in 8 levels; a patch that lies on an edge may fall to either side.
        assert (torch.bincount(classes[:, electrode], minlength=8) - 80).abs().max() <= 1


def test_band_power_counts_the_bands_own_power():
    rate, window = 100.0, 100
    seconds = torch.arange(window) / rate
    reading = Spectrum((2, 1, window), rate, ((1, 4), (4, 8), (8, 13), (13, 30)))
    patch = torch.cat([torch.sin(2 * torch.pi * 10 * seconds), torch.sin(2 * torch.pi * 20 * seconds)])[None]
    assert reading(patch).argmax(2).tolist() == [[2, 3]]
    noise = torch.randn(1, 2 * window, generator=torch.Generator().manual_seed(0))
    tapered = noise.view(2, window).numpy() * np.asarray(torch.hann_window(window))
    power = np.abs(np.fft.rfft(tapered, norm="ortho")) ** 2
    expected = [[np.log(each[low:high].sum()) for low, high in ((1, 4), (4, 8), (8, 13), (13, 30))] for each in power]
    # The two transforms differ in float32 and float64.
    np.testing.assert_allclose(reading(noise)[0], expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["band_power", "spectrum"])
def test_spectra_are_the_same_under_autocast_and_of_half_formats(kind):
    tokenizer = ElectrodeTimePatches(3, 1, 101, 101, 7)
    patches = patches_of(tokenizer, torch.randn(41, 3, 404, generator=torch.Generator().manual_seed(3)).bfloat16().float()).flatten(0, 1)
    target = patch_target(tokenizer, kind, patches, sampling_rate=100.0)
    read = target.classes if isinstance(target, InLevels) else target.numbers
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(read(patches), read(patches.bfloat16()))
        found = read(patches)
    assert torch.equal(found, read(patches))


@pytest.mark.parametrize("reading", [Cells((3, 1, 101), (1, 5)), Samples((3, 1, 101))])
def test_targets_of_half_formats_are_those_of_their_values(reading):
    patches = torch.randn(41, 303, generator=torch.Generator().manual_seed(3)).bfloat16()
    edges = quantile_edges(reading, patches)
    assert torch.equal(edges, quantile_edges(reading, patches.float()))
    levels, numbers = InLevels(reading, edges), AsNumbers(reading, normalise=True)
    assert torch.equal(levels.classes(patches), levels.classes(patches.float()))
    assert torch.equal(numbers.numbers(patches), numbers.numbers(patches.float()))
    predictions = torch.randn(41, numbers.outputs, generator=torch.Generator().manual_seed(5))
    assert torch.equal(numbers.loss(predictions, patches), numbers.loss(predictions, patches.float()))


def test_levels_are_predicted_in_the_predictions_own_precision():
    target = InLevels(Cells((1, 1, 5)), torch.arange(7.0))
    predictions, patches = torch.randn(11, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4)), torch.zeros(11, 5)
    expected = -predictions.log_softmax(1)[:, 1]  # 0 lies on the first edge, which belongs to the level above
    # 8 exponentials are added: a few units of float64's last digit, of losses of about 3.
    torch.testing.assert_close(target.loss(predictions, patches), expected, rtol=0, atol=1e-14)


def test_losses_are_those_of_torch_on_the_same_answers():
    generator = torch.Generator().manual_seed(3)
    patches, shape = torch.rand(11, 3 * 4, generator=generator), (3, 2, 2)
    levels = InLevels(Cells(shape), colour_edges((0.0,), (1.0,)))
    predictions = torch.randn(11, levels.outputs, generator=generator)
    own = torch.stack([torch.nn.functional.cross_entropy(predictions[:, 8 * c : 8 * c + 8], levels.classes(patches)[:, c], reduction="none") for c in range(3)])
    # Sums in another order, float32.
    torch.testing.assert_close(levels.loss(predictions, patches), own.mean(0), rtol=1e-5, atol=1e-6)
    numbers = AsNumbers(Samples(shape), normalise=True)
    told = numbers.numbers(patches)
    # The variance has 1e-6 added, of about 0.08.
    torch.testing.assert_close(told.mean(1), torch.zeros(11), rtol=0, atol=1e-5)
    torch.testing.assert_close(told.var(1, correction=0), torch.ones(11), rtol=1e-3, atol=0)
    assert (numbers.loss(told, patches) == 0).all()


@pytest.mark.parametrize(
    ("tokenizer", "kind", "sentence"),
    [
        (ImagePatches(4, 3, 7), "spectrum", "of ImagePatches there are 'mean', 'patch', 'regression', 'normalised'"),
        (ElectrodeTimePatches(3, 1, 10, 10, 7), "colour", "'spectrum'"),
        (ElectrodeTimePatches(3, 1, 10, 10, 7), "mean", "give their patches"),
        (ElectrodeTimePatches(3, 1, 10, 10, 7), "band_power", "sampling rate isn't known"),
        (ConvStem(3), "mean", "not cut out of the signal"),
    ],
)
def test_targets_that_do_not_exist_are_refused(tokenizer, kind, sentence):
    with pytest.raises(ValueError, match=sentence):
        patch_target(tokenizer, kind)


def test_a_band_that_a_short_patch_cannot_tell_is_refused():
    with pytest.raises(ValueError, match=r"none lies in 1 – 4 Hz. Cut patches of 0.33 s or longer"):
        patch_target(ElectrodeTimePatches(3, 1, 10, 10, 7), "band_power", torch.zeros(5, 10), sampling_rate=100.0)
    patch_target(ElectrodeTimePatches(3, 1, 33, 33, 7), "band_power", torch.zeros(5, 33), sampling_rate=100.0)


@pytest.mark.parametrize(
    ("window", "kind", "sentence"),
    [
        (1, "normalised", "Samples of a patch is one number here, which is always 0 when normalised"),
        (1, "spectrum", "A patch of 1 sample has no frequency above 0"),
        (2, "spectrum", "Spectrum of a patch is one number here"),
        (3, "spectrum", "Spectrum of a patch is one number here"),
    ],
)
def test_targets_that_are_the_same_for_every_patch_are_refused(window, kind, sentence):
    with pytest.raises(ValueError, match=sentence):
        patch_target(ElectrodeTimePatches(5, 1, window, window, 7), kind)
    # Two electrodes of a patch differ.
    assert patch_target(ElectrodeTimePatches(6, 2, 3, 3, 7), kind).outputs > 1


def test_a_patch_has_no_more_cells_than_numbers():
    patches = torch.randn(5, 2 * 3, generator=torch.Generator().manual_seed(0))
    reading = Cells((2, 1, 3), (4, 4))
    assert reading.size == (2, 3)
    assert torch.equal(reading(patches), patches.view(5, 2, 3))


def test_a_silent_patch_has_a_spectrum():
    """As one of padding; its power has no logarithm."""
    numbers = AsNumbers(Spectrum((3, 1, 11)), normalise=True).numbers(torch.zeros(2, 33))
    assert numbers.isfinite().all()


def test_a_patch_of_a_recording_is_told_in_sixteen_cells_and_many_channels_each_alone():
    tokenizer = ElectrodeTimePatches(2, 2, 37, 37, 7)
    assert patch_target(tokenizer, "patch", torch.randn(11, 74, generator=torch.Generator().manual_seed(0))).outputs == 2 * 16 * 8
    assert patch_target(ImagePatches(2, 5, 7), "mean").outputs == 5 * 8  # together 32 768


def test_of_regression_the_numbers_themselves_are_predicted():
    patches = torch.randn(5, 22, generator=torch.Generator().manual_seed(0))
    assert torch.equal(patch_target(ElectrodeTimePatches(2, 2, 11, 11, 7), "regression").numbers(patches), patches)


@pytest.mark.parametrize("edges", [torch.arange(6.0), torch.arange(8.0), torch.tensor([0.0, 1, 2, 4, 3, 5, 6])])
def test_edges_that_are_not_seven_in_order_are_refused(edges):
    with pytest.raises(ValueError, match="The edges between 8 levels are 7 ascending numbers"):
        InLevels(Cells((1, 1, 5)), edges)


def test_quantiles_are_those_of_numpy():
    patches = torch.randn(501, 6, generator=torch.Generator().manual_seed(4))
    edges = quantile_edges(Samples((2, 1, 3)), patches)
    expected = np.quantile(patches.numpy().astype(np.float64), np.arange(1, 8) / 8, axis=0).T.reshape(2, 3, 7)
    np.testing.assert_allclose(edges, expected, atol=1e-5)  # float32 against float64


def test_levels_of_many_windows_are_of_all_their_seconds():
    """More patches than quantiles are taken from, and 4 of them a window: every n-th one would be of the same second."""
    growing = torch.randn(MOST_PATCHES // 2, 4, 1, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 4.0, 8.0])[:, None]
    growing *= torch.linspace(1, 3, len(growing))[:, None, None]  # nor only of the first windows
    edges = quantile_edges(Samples((1, 1, 1)), growing)
    shares = torch.bucketize(growing.flatten(), edges.flatten()).bincount(minlength=8) / growing.numel()
    # A level's share of 100 000 drawn is off by .001 (one standard deviation); by seconds drawn alike it is off by .08 and more.
    torch.testing.assert_close(shares, torch.full((8,), 1 / 8), atol=0.006, rtol=0)
