"""A token for each time step."""

import mne
import pytest
import torch

from sigvit.tokenizers import TimeStepTokens


def test_a_token_is_the_weights_times_the_mean_over_its_samples():
    tokenizer = TimeStepTokens(n_electrodes=3, window=5, width=7)
    recording = torch.randn(2, 3, 23)
    tokens = tokenizer(recording)
    expected = tokenizer.weight @ recording[1, :, 10:15].mean(-1) + tokenizer.bias
    assert tokens.values.shape == (2, 4, 7)
    # float32 sums of 15 products in another order
    torch.testing.assert_close(tokens.values[1, 2], expected, rtol=0, atol=1e-6)


def test_a_window_of_one_takes_every_sample_as_it_is():
    recording = torch.randn(2, 3, 11)
    tokenizer = TimeStepTokens(n_electrodes=3, window=1, width=7)
    assert torch.equal(tokenizer.averages(recording), recording.transpose(1, 2))
    assert tokenizer(recording).grid.shape == (11,)


def test_times_are_the_mean_of_the_samples():
    axis = TimeStepTokens(3, window=5, width=7, sampling_rate=10.0)(torch.zeros(1, 3, 15)).grid.axis("time")
    assert (axis.unit, axis.coordinates) == ("s", ((0.2,), (0.7,), (1.2,)))


def test_a_last_step_that_is_only_partly_there_is_the_mean_of_what_is_there():
    recording = torch.randn(2, 3, 13)
    averages = TimeStepTokens(3, window=5, width=7, leftover="pad").averages(recording)
    # float32 means of three numbers, summed in another order
    torch.testing.assert_close(averages[:, -1], recording[:, :, 10:].mean(-1), rtol=0, atol=1e-6)


def test_an_electrode_is_averaged_over_its_real_samples():
    recording, mask = torch.randn(1, 2, 10), torch.ones(1, 2, 10, dtype=torch.bool)
    mask[0, 0, 5:8] = mask[0, 1, 5:] = False
    tokenizer = TimeStepTokens(2, window=5, width=7)
    averages = tokenizer.averages(recording, mask)
    # float32 means of two numbers
    torch.testing.assert_close(averages[0, 1, 0], recording[0, 0, 8:].mean(), rtol=0, atol=1e-6)
    assert averages[0, 1, 1] == 0
    assert tokenizer(recording, mask).mask.all()
    assert tokenizer(recording, mask & (torch.arange(10) < 5)).mask.tolist() == [[True, False]]


def test_from_info_takes_seconds():
    tokenizer = TimeStepTokens.from_info(mne.create_info(["C3", "Cz"], 100.0, "eeg"), window_s=0.05, width=7)
    assert (tokenizer.n_electrodes, tokenizer.window, tokenizer.sampling_rate) == (2, 5, 100.0)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="n_electrodes is 0"):
        TimeStepTokens(0)
    with pytest.raises(ValueError, match="at least 1"):
        TimeStepTokens(3, window=0)
    with pytest.raises(ValueError, match="3 electrodes, samples"):
        TimeStepTokens(3)(torch.zeros(1, 2, 10))
    with pytest.raises(ValueError, match="leave 1 of 11"):
        TimeStepTokens(3, window=5, leftover="error")(torch.zeros(1, 3, 11))
