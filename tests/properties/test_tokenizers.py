"""Every sample lands in the right token at the right coordinates, and unfolding is inverted exactly."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sigvit.electrodes import electrode_position
from sigvit.tokenizers import ConvStem, CovarianceTokens, ElectrodeTimePatches, ImagePatches, ScalpMapPatches, SpectrogramPatches, TimeStepTokens

NAMES = ["O1", "F4", "O2", "F3", "Fz", "Oz", "C3", "C4", "T7", "Cz", "Pz", "P3"]
FEW = settings(max_examples=40, deadline=None)


@st.composite
def electrode_time(draw):
    """A tokenizer of any kind and a number of samples that it takes."""
    n_electrodes = draw(st.sampled_from([1, 2, 3, 6, 7, 12]))
    electrodes = draw(st.sampled_from([k for k in range(1, n_electrodes + 1) if n_electrodes % k == 0] + ["all"]))
    window = draw(st.integers(1, 11))
    stride = draw(st.integers(1, window))
    leftover, grouping = draw(st.sampled_from(["drop", "pad"])), draw(st.sampled_from(["order", "position"]))
    n_times = draw(st.integers(window if leftover == "drop" else 1, 37))
    return ElectrodeTimePatches(n_electrodes, electrodes, window, stride, 5, leftover, grouping, NAMES[:n_electrodes], sampling_rate=7.0), n_times


@FEW
@given(electrode_time())
def test_every_sample_lands_in_the_right_token_at_the_right_coordinates(case):
    tokenizer, n_times = case
    # each sample carries its own address: the number of its electrode, and of its time (+ 1, so that filling is 0)
    electrode = (torch.arange(tokenizer.n_electrodes) + 1.0)[:, None].expand(-1, n_times)
    time = (torch.arange(n_times) + 1.0).expand(tokenizer.n_electrodes, -1)
    recording = torch.stack([electrode, time])
    patches, grid = tokenizer.unfold(recording).long(), tokenizer(recording).grid
    for token, (x, y, z, seconds) in enumerate(grid.coordinates()):
        electrodes, times = (patches[k, token].view(-1, tokenizer.window) - 1 for k in (0, 1))
        real = times[0] >= 0
        here = electrodes[:, 0].tolist()
        assert all((row == row[0]).all() for row in electrodes[:, real])
        assert all((row[real] == times[0, real]).all() for row in times)
        start = round(float(seconds) * 7.0 - (tokenizer.window - 1) / 2)
        assert times[0, real].tolist() == [k for k in range(start, start + tokenizer.window) if k < n_times]
        assert here == tokenizer.groups[token // grid.shape[1]]
        place = np.mean([electrode_position(NAMES[k]) for k in here], axis=0)
        np.testing.assert_allclose((x, y, z), place, atol=1e-15)  # the same mean, perhaps summed in another order


@FEW
@given(electrode_time(), st.integers(0, 2**31))
def test_unfolding_is_inverted_exactly(case, seed):
    tokenizer, n_times = case
    recording = torch.randn(3, tokenizer.n_electrodes, n_times, generator=torch.Generator().manual_seed(seed))
    back = tokenizer.fold(tokenizer.unfold(recording), n_times)
    held = ~back.isnan()
    steps = tokenizer(recording).grid.shape[1]
    assert torch.equal(back[held], recording[held])
    assert held.sum() == 3 * tokenizer.n_electrodes * min(n_times, (steps - 1) * tokenizer.stride + tokenizer.window)


@FEW
@given(electrode_time())
def test_every_electrode_is_in_exactly_one_group(case):
    tokenizer, _ = case
    assert sorted(electrode for group in tokenizer.groups for electrode in group) == list(range(tokenizer.n_electrodes))


@FEW
@given(electrode_time())
def test_dropping_loses_less_than_a_stride_and_filling_loses_nothing(case):
    tokenizer, n_times = case
    steps = tokenizer(torch.zeros(1, tokenizer.n_electrodes, n_times)).grid.shape[1]
    end = (steps - 1) * tokenizer.stride + tokenizer.window
    if tokenizer.leftover == "drop":
        assert n_times - tokenizer.stride < end <= n_times
    else:
        assert n_times <= end < n_times + max(tokenizer.stride, tokenizer.window - n_times + 1)


@FEW
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
def test_every_pixel_lands_in_the_right_patch_and_unfolding_is_inverted_exactly(patch_rows, patch_columns, n_rows, n_columns, channels):
    tokenizer = ImagePatches((patch_rows, patch_columns), channels, width=5)
    size = (patch_rows * n_rows, patch_columns * n_columns)
    image = torch.arange(channels * size[0] * size[1], dtype=torch.float32).view(1, channels, *size)
    patches = tokenizer.unfold(image)
    assert torch.equal(tokenizer.fold(patches, size), image)
    for token, (row, column) in enumerate(tokenizer(image).grid.coordinates()):
        top, left = round(row - (patch_rows - 1) / 2), round(column - (patch_columns - 1) / 2)
        assert torch.equal(patches[0, token], image[0, :, top : top + patch_rows, left : left + patch_columns].flatten())


@FEW
@given(st.integers(1, 7), st.integers(1, 40), st.sampled_from(["drop", "pad"]))
def test_every_sample_lands_in_the_right_time_step(window, n_times, leftover):
    if leftover == "drop" and n_times < window:
        n_times = window
    tokenizer = TimeStepTokens(3, window, 5, leftover, sampling_rate=7.0)
    recording = torch.arange(n_times, dtype=torch.float64).expand(1, 3, -1)
    averages, axis = tokenizer.averages(recording)[0], tokenizer.double()(recording).grid.axis("time")
    for (seconds,), moment in zip(axis.coordinates, averages, strict=True):
        start = round(seconds * 7.0 - (window - 1) / 2)
        inside = range(start, min(start + window, n_times))
        # the mean of at most seven small whole numbers
        torch.testing.assert_close(moment, torch.full((3,), sum(inside) / len(inside), dtype=torch.float64), rtol=0, atol=1e-12)


@st.composite
def spoiled(draw, make):
    """A tokenizer, a recording of zeros with NaN in one sample, and where that stands: what NaN reaches has read the sample."""
    tokenizer, span = make(draw, draw(st.integers(1, 5)))
    n_times = draw(st.integers(span, span + 29))
    electrode, time = draw(st.integers(0, tokenizer.n_electrodes - 1)), draw(st.integers(0, n_times - 1))
    recording = torch.zeros(1, tokenizer.n_electrodes, n_times)
    recording[0, electrode, time] = float("nan")
    return tokenizer, span, recording, electrode, time


def conv_stem(draw, electrodes):
    kernel, pool = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    activation, leftover = draw(st.sampled_from(["elu", "log_power"])), draw(st.sampled_from(["drop", "pad"]))
    return ConvStem(electrodes, 3, kernel, pool, draw(st.integers(1, pool)), 5, activation, leftover, sampling_rate=7.0), kernel + pool - 1


def covariances(draw, electrodes):
    window = draw(st.integers(8, 17))
    bands, leftover = draw(st.sampled_from([None, ((1, 2), (2, 3.5))])), draw(st.sampled_from(["drop", "pad"]))
    return CovarianceTokens(electrodes, window, draw(st.integers(1, window)), 5, bands, leftover=leftover, sampling_rate=7.0), window


def spectrogram(draw, electrodes):
    window, frames = draw(st.integers(4, 9)), draw(st.integers(1, 3))
    stride, leftover = draw(st.integers(1, window)), draw(st.sampled_from(["drop", "pad"]))
    made = SpectrogramPatches(
        electrodes, 7.0, "stft", window, stride, (1.0, 2.0, 2.5, 3.0), patch=(draw(st.sampled_from([1, 2, 4])), frames), leftover=leftover
    )
    return made, window + (frames - 1) * stride


def scalp_map(draw, electrodes):
    frame, frames = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    return ScalpMapPatches(electrodes, (4, 6), (2, 3), frame, frames, 5, leftover="drop", names=NAMES[:electrodes], sampling_rate=7.0), frame * frames


@FEW
@given(st.one_of(*(spoiled(make) for make in (conv_stem, covariances, spectrogram, scalp_map))))
def test_a_token_reads_the_samples_around_its_time_and_no_others(case):
    tokenizer, span, recording, electrode, time = case
    grid = tokenizer(torch.zeros_like(recording)).grid
    if isinstance(tokenizer, CovarianceTokens):  # its logarithm refuses NaN
        reached = tokenizer.covariances(recording).isnan().flatten(3).any(-1).flatten()
    else:
        reached = tokenizer(recording).values[0].isnan().any(-1)
    centres = grid.coordinates()[:, [axis.name for axis in grid.axes for _ in range(axis.dimension)].index("time")]
    near = torch.as_tensor(np.abs(centres * 7.0 - time) <= (span - 1) / 2 + 1e-6)
    if isinstance(tokenizer, SpectrogramPatches):
        near &= torch.arange(grid.n_tokens) // (grid.n_tokens // tokenizer.n_electrodes) == electrode
    assert torch.equal(reached, near)
