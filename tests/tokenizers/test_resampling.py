"""A signal at another rate: constants stay, band-limited signals are met, and what isn't real has no influence."""

import numpy as np
import pytest
import torch

from sigvit.tokenizers.resampling import BLOCK, _weights, resample, resampled_length

RATES = [(200.0, 100.0), (100.0, 200.0), (160.0, 250.0), (250.0, 128.0), (999.41, 250.0)]


def real(values: torch.Tensor) -> torch.Tensor:
    return torch.ones(values.shape, dtype=torch.bool)


@pytest.mark.parametrize(("old", "new"), RATES)
def test_a_constant_stays_constant_up_to_the_ends(old, new):
    found, mask = resample(torch.full((3, 211), 7.0, dtype=torch.float64), real(torch.empty(3, 211)), old, new)
    assert mask.all()
    # weights of a row sum to one, in float64
    torch.testing.assert_close(found, torch.full_like(found, 7.0), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("old", "new"), RATES)
def test_waves_below_both_nyquist_frequencies_are_met(old, new):
    times = [torch.arange(resampled_length(int(2 * old), old, rate) if rate == new else int(2 * old), dtype=torch.float64) / rate for rate in (old, new)]
    hertz = 0.4 * min(old, new)
    before, after = (torch.sin(2 * np.pi * hertz * time) for time in times)
    found, _ = resample(before, real(before), old, new)
    inner = slice(len(after) // 4, -len(after) // 4)
    torch.testing.assert_close(found[inner], after[inner], rtol=0, atol=2e-3)  # 80 % of the way to the edge of the pass band


def test_waves_above_the_new_nyquist_frequency_are_gone():
    time = torch.arange(400, dtype=torch.float64) / 200
    found, _ = resample(torch.sin(2 * np.pi * 70 * time), real(time), 200.0, 100.0)
    assert found[50:-50].abs().max() < 1e-3  # 0.12 of the amplitude would be there without a filter, as 30 Hz


def test_autocast_changes_neither_type_nor_numbers():
    values = torch.randn(3, 211, generator=torch.Generator().manual_seed(0))
    plain, _ = resample(values, real(values), 160.0, 100.0)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = resample(values, real(values), 160.0, 100.0)
    assert found.dtype == torch.float32
    assert torch.equal(found, plain)


def test_what_is_not_real_has_exactly_no_influence_and_is_bridged():
    ramp, mask = torch.arange(120, dtype=torch.float64)[None], torch.ones(1, 120, dtype=torch.bool)
    mask[0, 50:60] = mask[0, 100:] = False
    found, there = resample(ramp.where(mask, float("nan")), mask, 100.0, 50.0)
    other, _ = resample(ramp.where(mask, -9e9), mask, 100.0, 50.0)
    assert torch.equal(found, other)
    assert there[0].tolist() == mask[0, ::2].tolist()
    torch.testing.assert_close(found[0, 20:35], torch.arange(40, 70, 2, dtype=torch.float64), rtol=0, atol=2e-3)  # as held at the end: 15 samples away
    jacobian = torch.autograd.functional.jacobian(lambda x: resample(x, mask, 100.0, 50.0)[0], ramp)
    assert (jacobian[..., ~mask[0]] == 0).all()


def test_an_electrode_without_a_real_sample_stays_finite():
    found, there = resample(torch.full((2, 40), float("nan")), torch.zeros(2, 40, dtype=torch.bool), 100.0, 50.0)
    assert found.isfinite().all()
    assert not there.any()


def test_a_single_sample_is_resampled_too():
    found, there = resample(torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool), 100.0, 300.0)
    torch.testing.assert_close(found, torch.ones(1, 3), rtol=0, atol=1e-6)  # float32
    assert there.all()


def test_usual_rates_need_one_matrix_each():
    _weights.cache_clear()
    rates = [100.0, 128.0, 160.0, 200.0, 250.0, 500.0, 512.0, 1000.0]
    for rate in rates:
        recording = torch.ones(1, int(7 * rate))
        assert resample(recording, real(recording), rate, 256.0)[0].shape[1] > 13 * BLOCK
    assert _weights.cache_info().misses == len(rates)


@pytest.mark.parametrize(("old", "new"), [(2048.0, 250.0), (2048.0, 100.0), (1000 / 3, 250.0), (160.0, 250.0), (512.0, 200.0)])
def test_rates_whose_samples_meet_again_need_one_matrix(old, new):
    _weights.cache_clear()
    recording = torch.ones(1, int(11 * old))
    assert resample(recording, real(recording), old, new)[0].shape[1] > 7 * BLOCK
    assert _weights.cache_info().misses == 1


@pytest.mark.parametrize(("old", "new"), [*RATES, (2048.0, 250.0), (1000 / 3, 250.0)])
def test_every_block_has_the_weights_of_its_own_places(old, new):
    """A sample of the answer is the sum of the old samples around it, weighed by a windowed sinc of their distance in time."""
    signal = torch.randn(1, 4003, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, _ = resample(signal, real(signal), old, new)
    cutoff = 0.96 * min(1.0, new / old)
    for at in (found.shape[1] // 2, found.shape[1] // 2 + BLOCK, found.shape[1] // 2 + BLOCK + 1):
        distance, reach = np.arange(4003) - at * old / new, np.ceil(16 / cutoff)
        weights = np.sinc(cutoff * distance) * np.i0(8.0 * np.sqrt(np.clip(1 - (distance / reach) ** 2, 0, None))) * (np.abs(distance) < reach)
        # float64: the same sum in another order, from places that are rounded otherwise
        np.testing.assert_allclose(found[0, at].item(), (weights / weights.sum()) @ signal[0].numpy(), rtol=0, atol=1e-10)
