"""Spectrogram patches: the power of torch, scipy and mne, cut where the grid says."""

import mne
import numpy as np
import pytest
import scipy.signal
import torch

from sigvit.tokenizers import SpectrogramPatches

RATE = 64.0
KINDS = {
    "stft": {"kind": "stft", "window": 16, "patch": (4, 3)},
    "filter_bank": {"kind": "filter_bank", "window": 17, "bands": ((4, 8), (8, 13), (13, 20), (20, 30)), "patch": (2, 3)},
    "morlet": {"kind": "morlet", "window": None, "frequencies": (8, 12, 17, 23), "cycles": (1.5, 2, 3, 3), "patch": (2, 3)},
}


def patches(like: str = "stft", **changes) -> SpectrogramPatches:
    return SpectrogramPatches(**{"n_electrodes": 3, "sampling_rate": RATE, "stride": 5, "width": 7} | KINDS[like] | changes).double()


def signals(samples: int = 97) -> torch.Tensor:
    return torch.randn(2, 3, samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_stft_is_that_of_torch():
    found, window = patches().power(signals()), torch.hann_window(16, dtype=torch.float64)
    reference = torch.stft(signals().flatten(0, 1), 16, 5, window=window, center=False, return_complex=True).abs() ** 2 / (window**2).sum()
    # frames that fill no patch are dropped; float64 sums in another order
    torch.testing.assert_close(found, reference.unflatten(0, (2, 3)).mT[:, :, : found.shape[2], 1:], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("rate", "window"), [(173.61, 198), (249.9, 26), (999.9, 72)])
def test_the_default_frequencies_end_at_half_of_any_rate(rate, window):
    tokenizer = SpectrogramPatches(3, rate, window=window, stride=5, patch=(1, 3))
    assert (len(tokenizer._centres), tokenizer._centres[-1]) == (window // 2, rate / 2)


def test_the_filter_bank_is_that_of_scipy():
    found = patches("filter_bank").power(signals()).numpy()
    for band, (low, high) in enumerate(KINDS["filter_bank"]["bands"]):
        taps = scipy.signal.firwin(17, (high - low) / 2, fs=RATE, window="hamming").astype(complex)
        taps *= np.exp(2j * np.pi * (low + high) / 2 * (np.arange(17) - 8) / RATE)
        envelope = np.abs(scipy.signal.oaconvolve(signals().numpy(), taps[None, None] / np.linalg.norm(taps), mode="valid", axes=-1))
        # by Fourier transform there
        np.testing.assert_allclose(found[..., band], envelope[..., ::5][..., : found.shape[2]] ** 2, atol=1e-12)


def test_morlet_power_is_that_of_mne():
    tokenizer = patches("morlet")
    found, samples = tokenizer.power(signals()), len(tokenizer._filters[0])
    frequencies, cycles = (np.array(KINDS["morlet"][name]) for name in ("frequencies", "cycles"))
    power = mne.time_frequency.tfr_array_morlet(signals().numpy(), RATE, frequencies, cycles, zero_mean=True, output="power")
    inside = power[..., samples // 2 : power.shape[-1] - samples // 2 : 5][..., : found.shape[2]]
    # mne's wavelets have energy 2 and are applied by Fourier transform
    np.testing.assert_allclose(found, inside.transpose(0, 1, 3, 2) / 2, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_white_noise_has_power_one_at_every_frequency(kind):
    noise = torch.randn(1, 3, 20_011, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    # means of thousands of overlapping frames
    assert (patches(kind, stride=4).power(noise).mean((0, 1, 2)) - 1).abs().max() < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_the_weights_times_the_logarithms_of_its_patch_in_frequency_and_time(kind):
    tokenizer = patches(kind)
    tokens, logarithms = tokenizer(signals()), tokenizer.power(signals()).log()
    assert tokens.grid.names == ("electrode", "frequency", "time")
    many, steps = tokens.grid.shape[1:]
    of_frequency, of_time = tokenizer.patch
    for token in range(tokens.grid.n_tokens):
        electrode, g, s = np.unravel_index(token, (3, many, steps))
        cut = logarithms[1, electrode, s * of_time : (s + 1) * of_time, g * of_frequency : (g + 1) * of_frequency]
        # float64 sums in another order
        torch.testing.assert_close(tokens.values[1, token], tokenizer.weight @ cut.T.flatten() + tokenizer.bias, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_burst_is_brightest_in_the_patch_at_its_frequency_and_time(kind):
    tokenizer = patches(kind, patch=(1, 1), stride=4)
    axes = tokenizer(signals(257)).grid.axes
    frequency, middle = axes[1].coordinates[2][0], axes[2].coordinates[axes[2].size // 2][0]
    seconds = torch.arange(257, dtype=torch.float64) / RATE
    burst = torch.zeros(1, 3, 257, dtype=torch.float64)
    burst[0, 1] = torch.cos(2 * torch.pi * frequency * seconds) * torch.exp(-((seconds - middle) ** 2) / 0.02)
    power = tokenizer.power(burst)[0]
    assert np.unravel_index(int(power.argmax()), power.shape) == (1, axes[2].size // 2, 2)


@pytest.mark.parametrize("leftover", ["drop", "pad"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_short_recording_keeps_its_own_tokens_in_longer_company(kind, leftover):
    tokenizer = patches(kind, leftover=leftover)
    for length in (tokenizer._span, tokenizer._span + 3, tokenizer._span + 15, 81):
        alone = signals(length)
        filled = torch.nn.functional.pad(alone, (0, 97 - length), value=float("nan"))
        tokens = tokenizer(filled, (torch.arange(97) < length).expand(2, 3, -1))
        # float64 sums in another order
        own = tokenizer(alone, torch.ones(2, 3, dtype=torch.bool))
        torch.testing.assert_close(tokens.values[tokens.mask], own.values[own.mask], rtol=0, atol=1e-10)
        torch.testing.assert_close(own.values, tokenizer(alone).values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_a_frame_counts_as_power_one_where_it_has_no_real_sample_also_behind_the_end(masked):
    tokenizer = patches(patch=(8, 5), leftover="pad")  # 36 samples each, every 25
    recording, mask = signals(37), torch.ones(2, 3, 37, dtype=torch.bool)
    if masked:
        mask[0, 1, :21] = mask[0, 2, :36] = False
    tokens = tokenizer(recording, mask if masked else None)
    padded, real = (torch.nn.functional.pad(each, (0, 24)) for each in (recording.where(mask, 0), mask))
    seen = real.unfold(2, 16, 5).any(-1)
    logarithms = tokenizer.power(padded).log().where(seen[..., None], 0.0).unflatten(2, (2, 5)).mT.flatten(3)
    expected = (logarithms @ tokenizer.weight.T + tokenizer.bias).flatten(1, 2)
    torch.testing.assert_close(tokens.values, expected, rtol=0, atol=1e-10)  # float64 sums in another order
    assert tokens.mask.tolist() == [[True, True, True, True, not masked, True], [True] * 6]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_asked_in_inference_mode_has_gradients_afterwards(kind):
    tokenizer, recording = patches(kind), signals().requires_grad_()
    with torch.inference_mode():
        tokenizer(signals())
    tokenizer(recording).values.sum().backward()
    assert recording.grad.any()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_silent_electrode_has_the_floor_in_half_precision_too(dtype, masked):
    tokenizer, recording, mask = patches(), signals(), torch.ones(2, 3, dtype=torch.bool) if masked else None
    recording[:, 1] = 0
    expected = tokenizer(recording, mask).values
    found = tokenizer.to(dtype)(recording.to(dtype), mask).values
    assert found.dtype == dtype
    # weights and sums of twelve logarithms around -20 keep 8 or 11 bits
    torch.testing.assert_close(found.double().unflatten(1, (3, -1))[:, 1], expected.unflatten(1, (3, -1))[:, 1], rtol=0.02, atol=1.0)


def test_an_electrode_that_is_not_there_has_no_token():
    mask = torch.tensor([[True, False, True]] * 2)
    tokens = patches()(signals(), mask)
    assert tokens.mask.unflatten(1, tokens.grid.shape).flatten(2).all(-1).tolist() == [[True, False, True]] * 2
    assert not tokens.mask.unflatten(1, tokens.grid.shape)[:, 1].any()


def test_cycles_may_be_one_whole_number_also_of_numpy():
    found = [patches("morlet", cycles=cycles) for cycles in (3.0, 3, np.int64(3), np.float32(3))]
    assert all(torch.equal(each.power(signals()), found[0].power(signals())) for each in found[1:])


def test_from_info_takes_seconds_names_places_and_rate():
    tokenizer = SpectrogramPatches.from_info(mne.create_info(["C3", "Cz", "C4"], 128.0, "eeg"))
    assert (tokenizer.window, tokenizer.stride, tokenizer.sampling_rate) == (64, 16, 128.0)
    grid = tokenizer(torch.zeros(1, 3, 256)).grid
    assert grid.axis("electrode").labels == ("C3", "Cz", "C4")
    assert np.isfinite(grid.coordinates()).all()
    assert grid.axis("frequency").coordinates[0] == (5.0,)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("stft", {"kind": "wavelet"}, "there are 'stft'"),
        ("stft", {"bands": ((4, 8),)}, "frequencies, and no bands"),
        ("filter_bank", {"bands": None}, "reads bands"),
        ("filter_bank", {"bands": ((4, 33), (5, 6))}, "half the rate, 32 Hz"),
        ("morlet", {"window": 16}, "window=None"),
        ("morlet", {"cycles": (2, 3)}, "one for each of 4"),
        ("morlet", {"frequencies": (8, 12, 12, 23)}, "they ascend"),
        ("stft", {"patch": (3, 3)}, r"that fit are \[1, 2, 4, 8\]"),
        ("stft", {"window": 2}, "at least 3 samples"),
        ("stft", {"sampling_rate": 0.0}, "above 0 Hz"),
        ("stft", {"stride": 17}, "skips samples"),
    ],
)
def test_what_makes_no_spectrogram_is_said(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        patches(kind, **changes)
