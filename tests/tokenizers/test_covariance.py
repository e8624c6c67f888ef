"""Covariance tokens: pyriemann's tangent space in batches, bands, what is not there, and what is refused."""

import mne
import numpy as np
import pytest
import torch
from pyriemann.estimation import Covariances
from pyriemann.geometry.mean import mean_riemann
from pyriemann.geometry.tangentspace import tangent_space
from torch.nn import functional

from sigvit.tokenizers import CovarianceTokens

E = 5


def signals(count: int = 7, samples: int = 61, seed: int = 0) -> torch.Tensor:
    """Correlated electrodes of unlike variance."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(E, E, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 2, 3, 4, 5])
    return mixing @ torch.randn(count, E, samples, generator=generator, dtype=torch.float64)


def tokenizer(**changes) -> CovarianceTokens:
    return CovarianceTokens(**{"n_electrodes": E, "window": 61, "stride": 61, "width": 3} | changes).double()


def test_vectors_are_pyriemanns_tangent_space_at_the_identity_and_at_the_mean():
    windows, mapping = signals(), tokenizer()
    covariances = Covariances("oas").transform(windows.numpy())
    # float64, the same formulas; the contract asks for 1e-6
    np.testing.assert_allclose(mapping.vectors(windows)[:, 0, 0], tangent_space(covariances, np.eye(E)), atol=1e-11)
    mapping.set_reference(windows)
    mean = mean_riemann(covariances, tol=1e-11, maxiter=200)
    # both means come to rest within 1e-9
    np.testing.assert_allclose(mapping.vectors(windows)[:, 0, 0], tangent_space(covariances, mean), atol=1e-8)
    assert mapping.vectors(windows).mean(0).abs().max() < 1e-8


def test_tokens_are_the_projected_vectors_band_by_band():
    mapping = tokenizer(window=40, stride=20, bands=((5, 10), (10, 30)), sampling_rate=64.0)
    torch.nn.init.normal_(mapping.bias)
    tokens, vectors = mapping(signals()), mapping.vectors(signals())
    assert tokens.grid.shape == (2, 2)
    expected = torch.stack([functional.linear(vectors[:, band], mapping.weight[band], mapping.bias[band]) for band in range(2)], 1).flatten(1, 2)
    # sums of 15 products in another order
    torch.testing.assert_close(tokens.values, expected, rtol=0, atol=1e-12)


def test_a_band_is_the_covariance_of_the_signal_filtered_in_the_fourier_transform():
    mapping = tokenizer(bands=((4, 11), (11, 25)), shrinkage=0.0, sampling_rate=61.0)
    windows = signals()
    edge = 7
    fading = np.concatenate(
        [np.sin(np.pi / 2 * (np.arange(edge) + 0.5) / edge) ** 2, np.ones(61 - 2 * edge), np.cos(np.pi / 2 * (np.arange(edge) + 0.5) / edge) ** 2]
    )
    spectrum = np.fft.rfft((windows - windows.mean(-1, keepdim=True)).numpy() * fading)
    for band, (low, high) in enumerate(mapping.bands):
        kept = np.arange(31) * 1.0
        filtered = np.fft.irfft(spectrum * ((kept >= low) & (kept < high)), 61) / np.sqrt((fading**2).mean())
        expected = filtered @ filtered.transpose(0, 2, 1) / 61
        # float64, by Parseval's theorem
        np.testing.assert_allclose(mapping.covariances(windows)[:, band, 0], expected, atol=1e-11)


@pytest.mark.parametrize(("rate", "window", "number"), [(250.0, 175, 21), (250.0, 225, 27), (100.0, 130, 39), (300.0, 260, 26)])
def test_a_frequency_on_an_edge_belongs_to_the_band_above_it(rate, window, number):
    beta, gamma = CovarianceTokens(2, window, window, 3, ((13, 30), (30, 45)), sampling_rate=rate).bins
    assert (beta[1], gamma[0]) == (number, number)


@pytest.mark.parametrize("window", [7, 8])
def test_bands_hold_all_frequencies_between_zero_and_half_the_rate(window):
    slow, fast = CovarianceTokens(2, window, window, 3, ((0, 2), (2, window / 2)), sampling_rate=float(window)).bins
    assert (slow, fast) == ((1, 2), (2, 4))  # hertz: neither the mean nor, of eight samples, half the rate


def test_an_oscillation_shows_in_its_band_alone_with_its_power():
    time = torch.arange(250) / 125.0
    wave = torch.stack([torch.sin(2 * torch.pi * 10.3 * time), torch.cos(2 * torch.pi * 10.3 * time)])[None]
    drifting = wave + 5 * torch.linspace(-1, 1, 250)
    mapping = CovarianceTokens(2, 250, 250, 3, ((4, 8), (8, 13), (13, 30)), shrinkage=0.0, sampling_rate=125.0)
    power = mapping.covariances(drifting)[0, :, 0].diagonal(dim1=-2, dim2=-1)
    # amplitude 1 is power 1/2; the faded ends take some from a wave of few periods
    torch.testing.assert_close(power[1], torch.full((2,), 0.5, dtype=torch.float64), rtol=0, atol=0.03)
    assert power[[0, 2]].max() < 0.03


def test_windows_are_cut_where_the_grid_says():
    mapping = tokenizer(window=11, stride=7, sampling_rate=10.0)
    windows = signals(samples=47)
    tokens = mapping(windows)
    assert tokens.grid.names == ("frequency", "time")
    for step, (seconds,) in enumerate(tokens.grid.axis("time").coordinates):
        start = round(seconds * 10.0 - 5)
        alone = tokenizer(window=11, stride=7).covariances(windows[..., start : start + 11])
        # the same operations on other batches
        torch.testing.assert_close(mapping.covariances(windows)[:, :, step], alone[:, :, 0], rtol=0, atol=1e-13)


def test_an_electrode_that_is_not_there_is_as_if_it_had_been_left_out():
    windows, here = signals(), [0, 1, 3, 4]
    mask = torch.ones(7, E, dtype=torch.bool)
    mask[:, 2] = False
    fewer = tokenizer(n_electrodes=4)
    whole, part = tokenizer().covariances(windows, mask)[:, 0, 0], fewer.covariances(windows[:, here])[:, 0, 0]
    # sums over one more zero
    torch.testing.assert_close(whole[:, here][:, :, here], part, rtol=0, atol=1e-12)
    pairs = [k for k, (i, j) in enumerate(zip(*np.triu_indices(E), strict=True)) if 2 in (i, j)]
    vectors = tokenizer().vectors(windows, mask)[:, 0, 0]
    assert (vectors[:, pairs].abs() < 1e-12).all()
    torch.testing.assert_close(vectors[:, [k for k in range(15) if k not in pairs]], fewer.vectors(windows[:, here])[:, 0, 0], rtol=0, atol=1e-10)


def test_a_variance_is_measured_over_the_real_samples():
    windows = signals(samples=61)
    mask = torch.ones_like(windows, dtype=torch.bool)
    mask[:, 1, 20:] = False
    found = tokenizer(shrinkage=0.0).covariances(windows, mask)[:, 0, 0]
    # float64, another order of summation
    torch.testing.assert_close(found[:, 1, 1], windows[:, 1, :20].var(-1, correction=0), rtol=1e-12, atol=0)
    torch.testing.assert_close(found[:, 3, 3], windows[:, 3].var(-1, correction=0), rtol=1e-12, atol=0)
    assert torch.linalg.eigvalsh(found).min() > -1e-12


@pytest.mark.parametrize("real", [slice(0, 7), slice(0, 11), slice(19, 43), slice(50, 61)])
def test_a_bands_power_does_not_depend_on_how_much_of_a_window_is_real(real):
    noise = torch.randn(1009, 2, 61, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.ones_like(noise, dtype=torch.bool)
    mask[:, 1] = False
    mask[:, 1, real] = True
    mapping = tokenizer(n_electrodes=2, bands=((10, 28),), shrinkage=0.0, sampling_rate=61.0)
    found = mapping.covariances(noise, mask).diagonal(dim1=-2, dim2=-1)[:, 0, 0]
    # Of 7 samples under the fade 1009 windows tell the power within a standard error of 2.7 %; three of them, and what the mean takes away.
    torch.testing.assert_close(found[:, 1].mean(), found[:, 0].mean(), rtol=0.1, atol=0)
    # What is whole keeps its bits, whatever its company.
    assert torch.equal(found[:, 0], mapping.covariances(noise, torch.ones_like(mask))[:, 0, 0, 0, 0])


def test_of_two_real_samples_under_the_fade_no_power_is_above_their_squares():
    noise = torch.randn(11, 2, 61, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    mask = (torch.arange(61) < 2).expand(11, 2, -1)
    power = tokenizer(n_electrodes=2, bands=((1, 30),), shrinkage=0.0, sampling_rate=61.0).covariances(noise, mask).diagonal(dim1=-2, dim2=-1)[:, 0, 0]
    assert (power > 0).all()
    assert (power <= noise[..., :2].square().amax(-1)).all()
    assert torch.autograd.grad(power.sum(), noise)[0].isfinite().all()


@pytest.mark.parametrize("leftover", ["drop", "pad"])
def test_a_short_recording_keeps_its_own_tokens_in_longer_company(leftover):
    mapping = tokenizer(window=20, stride=10, leftover=leftover, bands=((4, 12),), sampling_rate=40.0)
    for length in (20, 27, 30, 41):
        alone = signals(1, length)
        tokens = mapping(functional.pad(alone, (0, 53 - length), value=float("nan")), (torch.arange(53) < length).expand(1, E, -1))
        # float64, the same operations on more windows
        torch.testing.assert_close(tokens.values[tokens.mask], mapping(alone).values[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shrinkage", ["oas", 0.1, 0.0])
def test_flat_equal_and_dependent_electrodes_give_finite_numbers_and_gradients(shrinkage):
    mapping = tokenizer(shrinkage=shrinkage, n_filters=3)
    white = torch.eye(E, dtype=torch.float64).repeat(1, 1, 13)[..., :61]
    average = signals(1) - signals(1).mean(1, keepdim=True)
    for recording in (torch.zeros(1, E, 61, dtype=torch.float64), white, average):
        recording = recording.clone().requires_grad_()
        gradients = torch.autograd.grad(mapping(recording).values.square().sum(), (recording, mapping.filters, mapping.weight))
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_spatial_filters_are_learned_by_the_right_gradient():
    mapping, windows = tokenizer(n_filters=2), signals(2)
    mapping.set_reference(signals(seed=1))

    def loss(filters):
        return torch.func.functional_call(mapping, {"filters": filters}, (windows,)).values.sum()

    assert torch.autograd.gradcheck(loss, (mapping.filters.detach().clone().requires_grad_(),))
    assert mapping.vectors(windows).shape == (2, 1, 1, 3)


def test_spatial_filters_start_where_the_power_is():
    mapping, windows = tokenizer(n_filters=2).set_reference(signals()), signals()
    total = mapping.covariances(windows).mean(0)[0, 0]
    kept = mapping.filters[0] @ total @ mapping.filters[0].T
    # orthonormal to float64's precision
    torch.testing.assert_close(mapping.filters[0] @ mapping.filters[0].T, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert kept.trace() > 0.8 * torch.linalg.eigvalsh(total)[-2:].sum()


def test_float32_signals_in_volts_lose_nothing_to_speak_of():
    mapping = tokenizer()
    in_volts = signals() * 1e-5
    exact = mapping.vectors(in_volts)
    # float32 signals carry 7 digits
    torch.testing.assert_close(mapping.vectors(in_volts.float()), exact, rtol=0, atol=1e-4)


def test_from_info_takes_seconds_and_rate():
    found = CovarianceTokens.from_info(mne.create_info(["C3", "Cz", "C4"], 128.0, "eeg"), bands=((8, 12), (12, 30)))
    assert (found.n_electrodes, found.window, found.stride, found.sampling_rate) == (3, 128, 64, 128.0)
    axis = found(torch.zeros(1, 3, 256)).grid.axis("frequency")
    assert (axis.unit, axis.coordinates, axis.labels) == ("Hz", ((10.0,), (21.0,)), ("8-12 Hz", "12-30 Hz"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": ((8, 12),)}, "the rate with it"),
        ({"bands": ((8, 40),), "sampling_rate": 61.0}, "half the rate, 30.5 Hz"),
        ({"bands": ((8.2, 8.9),), "sampling_rate": 61.0}, "multiples of 1 Hz"),
        ({"shrinkage": "ledoit"}, "shrinkage is 'ledoit'"),
        ({"shrinkage": 1.5}, "shrinkage is 1.5"),
        ({"n_filters": 6}, "1 to 5 spatial filters"),
        ({"window": 1, "stride": 1}, "two samples"),
        ({"stride": 62}, "skips samples"),
    ],
)
def test_what_makes_no_covariance_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        tokenizer(**changes)


def test_the_reference_is_measured_from_arrays_in_any_order():
    signals = np.random.default_rng(0).normal(size=(7, E, 61))
    backwards = tokenizer().set_reference(signals[::-1]).reference
    assert torch.equal(backwards, tokenizer().set_reference(signals[::-1].copy()).reference)
    assert torch.equal(tokenizer().set_reference(signals.astype(">f8")).reference, tokenizer().set_reference(signals).reference)


def test_signals_that_do_not_fit_are_said():
    with pytest.raises(ValueError, match="5 electrodes"):
        tokenizer()(torch.zeros(2, 6, 61))
    with pytest.raises(ValueError, match="hold NaN"):
        tokenizer().set_reference(torch.full((2, E, 61), float("nan")))
    with pytest.raises(ValueError, match="The signals are masked in places"):
        tokenizer().set_reference(np.ma.masked_greater(np.random.default_rng(0).normal(size=(7, E, 61)), 2))
