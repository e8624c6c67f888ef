"""Temporal and spatial filters as tokens: the same numbers as two convolutions, and what is refused."""

import mne
import numpy as np
import pytest
import torch
from torch.nn import functional

from sigvit.tokenizers import ConvStem


def stem(activation: str = "elu", **changes) -> ConvStem:
    return ConvStem(**{"n_electrodes": 5, "n_filters": 7, "kernel": 11, "pool": 13, "stride": 3, "width": 17, "activation": activation} | changes)


@pytest.mark.parametrize("activation", ["elu", "log_power"])
def test_tokens_are_those_of_two_convolutions_one_after_the_other(activation):
    tokenizer = stem(activation).double()
    torch.nn.init.normal_(tokenizer.offset)
    recording = torch.randn(2, 5, 53, dtype=torch.float64)
    in_time = functional.conv2d(recording[:, None], tokenizer.temporal[:, None, None])
    in_space = functional.conv2d(in_time, tokenizer.spatial[..., None], tokenizer.offset)[:, :, 0]
    means = functional.avg_pool1d(functional.elu(in_space) if activation == "elu" else in_space**2, 13, 3)
    pooled = means if activation == "elu" else means.log()
    expected = functional.linear(pooled.transpose(1, 2), tokenizer.weight, tokenizer.bias)
    # float64 sums of 5 · 7 · 11 products in another order
    torch.testing.assert_close(tokenizer(recording).values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ["elu", "log_power"])
def test_a_hop_keeps_every_so_manieth_answer_of_the_filters(activation):
    torch.manual_seed(0)
    every, third = stem(activation, pool=15, stride=6), stem(activation, pool=15, stride=6, hop=3)
    third.load_state_dict(every.state_dict())
    recording = torch.randn(2, 5, 53)
    answers = functional.conv1d(recording, every.joint_filters(), every.offset)[..., ::3]
    means = functional.avg_pool1d(functional.elu(answers) if activation == "elu" else answers**2, 5, 2).transpose(1, 2)
    expected = means if activation == "elu" else means.log()
    assert third.window == 11 + 15 - 3
    # float32 sums of 55 products in another order, and their logarithm
    torch.testing.assert_close(third.filtered_means(recording[..., : 6 * 4 + third.window]), expected[:, :5], rtol=0, atol=1e-5)
    assert third(recording).values.shape == (2, 6, 17)


@pytest.mark.parametrize("rate", [None, 7.0, 100.0, 250.0, 2003.0])
def test_a_stem_for_windows_of_any_length_loses_no_sample(rate):
    for n_times in (1, 2, 3, 5, 11, 50, 257, 896, 3001):
        tokenizer = ConvStem.for_windows(3, n_times, rate, width=7).double()
        recording = torch.randn(1, 3, n_times, dtype=torch.float64, requires_grad=True)
        tokenizer(recording).values.sum().backward()
        assert recording.grad.ne(0).all()
        assert tokenizer.hop <= tokenizer.kernel


def test_every_sample_reaches_the_tokens_whose_time_it_is_near():
    tokenizer = stem(sampling_rate=10.0).double()
    recording = torch.randn(1, 5, 47, dtype=torch.float64)
    tokens = tokenizer(recording)
    reach = torch.autograd.functional.jacobian(lambda x: tokenizer(x).values.abs().sum((0, 2)), recording)[:, 0].ne(0).any(1)
    for token, (seconds,) in enumerate(tokens.grid.coordinates()):
        seen = [k for k in range(47) if abs(k - seconds * 10.0) <= (tokenizer.window - 1) / 2 + 1e-9]
        assert reach[token].nonzero().flatten().tolist() == seen


def test_mean_power_behind_the_filters_starts_as_that_of_the_electrodes():
    torch.manual_seed(0)
    tokenizer = stem("log_power", n_filters=211)
    slow = torch.randn(31, 5, 1).expand(-1, -1, 53)  # the same all the time: as coloured as can be
    for recording in (torch.randn(31, 5, 53), slow):
        # mean of 211 filters' powers, which spread widely over few windows
        assert 0.7 < tokenizer.filtered_means(recording).exp().mean() / (recording**2).mean() < 1.4


@pytest.mark.parametrize(("leftover", "steps"), [("drop", 4), ("pad", 5)])
def test_leftover_samples_are_dropped_or_filled_up(leftover, steps):
    assert stem(leftover=leftover)(torch.zeros(2, 5, 34)).values.shape == (2, steps, 17)


def test_a_short_recording_keeps_its_own_tokens_in_longer_company():
    for leftover in ("drop", "pad"):
        tokenizer = stem(leftover=leftover).double()
        for length in (23, 30, 34, 35, 36):
            alone = torch.randn(1, 5, length, dtype=torch.float64)
            tokens = tokenizer(
                torch.cat([alone, torch.full((1, 5, 53 - length), float("nan"), dtype=torch.float64)], 2), (torch.arange(53) < length).expand(1, 5, -1)
            )
            # float64 convolutions of other lengths
            torch.testing.assert_close(tokens.values[tokens.mask], tokenizer(alone).values[0], rtol=0, atol=1e-12)


def test_from_info_takes_seconds_and_rate():
    tokenizer = ConvStem.from_info(mne.create_info(["C3", "Cz", "C4"], 250.0, "eeg"), width=8)
    assert (tokenizer.n_electrodes, tokenizer.kernel, tokenizer.pool, tokenizer.stride) == (3, 25, 75, 15)
    assert tokenizer(torch.zeros(1, 3, 250)).grid.axis("time").coordinates[0] == pytest.approx((49 / 250,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "relu"}, "there are 'elu', 'log_power'"),
        ({"n_filters": 0}, "n_filters 0"),
        ({"stride": 14}, "skips samples"),
        ({"leftover": "keep"}, "leftover is 'keep'"),
        ({"hop": 2}, "multiples of it"),
        ({"hop": 13, "stride": 13}, "to the kernel's 11"),
    ],
)
def test_what_makes_no_stem_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        stem(**changes)


def test_whitening_makes_what_the_filters_read_uncorrelated_and_equally_strong():
    torch.manual_seed(0)
    signals = torch.einsum("ef,nfs->nes", torch.randn(5, 5), torch.randn(211, 5, 53)).double()
    tokenizer = stem(whiten=True).double().set_reference(signals)
    whitened = tokenizer.whitening @ signals
    moment = torch.einsum("nes,nfs->ef", whitened, whitened) / (211 * 53)
    power = torch.linalg.eigvalsh(torch.einsum("nes,nfs->ef", signals, signals) / (211 * 53))
    # a tenth is shrunk to the mean power, so that weak directions stay somewhat weaker
    expected = power / (0.9 * power + 0.1 * power.mean())
    torch.testing.assert_close(torch.linalg.eigvalsh(moment), expected.sort().values, rtol=1e-9, atol=0)  # float64 sums of 11 183 products
    plain = stem().double()
    plain.load_state_dict({name: tensor for name, tensor in tokenizer.state_dict().items() if name != "whitening"})
    # float64 sums of 5 · 7 · 11 products in another order
    torch.testing.assert_close(tokenizer(signals[:2]).values, plain(whitened[:2]).values, rtol=0, atol=1e-11)


def test_whitening_is_the_identity_until_it_is_measured_and_nothing_without_being_asked_for():
    torch.manual_seed(0)
    whitening, plain, recording = stem(whiten=True), stem(), torch.randn(2, 5, 53)
    plain.load_state_dict({name: tensor for name, tensor in whitening.state_dict().items() if name != "whitening"})
    assert torch.equal(whitening(recording).values, plain(recording).values)
    before = plain(recording).values
    assert torch.equal(plain.set_reference(7 * recording)(recording).values, before)
    for wrong in (torch.randn(2, 6, 53), torch.full((2, 5, 53), float("nan")), torch.randn(5, 53), torch.empty(0, 5, 53), torch.empty(2, 5, 0)):
        with pytest.raises(ValueError, match="windows, 5, samples"):
            whitening.set_reference(wrong)


def test_whitening_is_measured_from_arrays_in_any_order():
    signals = np.random.default_rng(0).normal(size=(7, 5, 53))
    backwards = stem(whiten=True).set_reference(signals[::-1]).whitening
    assert torch.equal(backwards, stem(whiten=True).set_reference(signals[::-1].copy()).whitening)
    plain = stem(whiten=True).set_reference(signals).whitening
    for other in (signals.astype(">f8"), np.ma.array(signals)):
        assert torch.equal(stem(whiten=True).set_reference(other).whitening, plain)
    assert torch.equal(stem(whiten=True).set_reference(signals[:1][::-1]).whitening, stem(whiten=True).set_reference(signals[:1]).whitening)


def test_whitening_is_not_measured_from_masked_samples():
    with pytest.raises(ValueError, match="The signals are masked in places"):
        stem(whiten=True).set_reference(np.ma.masked_greater(np.random.default_rng(0).normal(size=(7, 5, 53)), 2))


def test_recordings_that_do_not_fit_are_said():
    with pytest.raises(ValueError, match="5 electrodes"):
        stem()(torch.zeros(2, 6, 53))
    with pytest.raises(ValueError, match="22 samples holds no window of 23"):
        stem()(torch.zeros(2, 5, 22))
    with pytest.raises(ValueError, match="leave 1 of 24"):
        stem(leftover="error")(torch.zeros(2, 5, 24))
