"""Filters along time as products: what `conv1d` gives, and its statistics without it."""

import pytest
import torch
from torch.nn import functional

from sigvit.model.temporal_filters import filter_in_time, products_of_windows

# Filters of one sample, shorter and longer than the signals, of odd and even lengths.
LENGTHS = [1, 2, 7, 16, 31, 47]
S = 31


@pytest.mark.parametrize("length", LENGTHS)
def test_filtering_is_a_convolution_of_every_channel(length):
    before = (length - 1) // 2
    signals, filters = torch.randn(2, 3, 5, S, dtype=torch.float64), torch.randn(2, 3, length, dtype=torch.float64)
    padded = functional.pad(signals, (before, length - 1 - before)).transpose(1, 2).reshape(10, 3, -1)
    expected = torch.cat([functional.conv1d(part, own[:, None], groups=3) for part, own in zip(padded.split(5), filters, strict=True)])
    filtered = filter_in_time(signals, filters, before).transpose(1, 2).reshape(10, 3, S)
    torch.testing.assert_close(filtered, expected, rtol=0, atol=1e-12)  # sums of at most 47 products in another order


@pytest.mark.parametrize("length", LENGTHS)
def test_products_are_those_of_all_windows(length):
    before = (length - 1) // 2
    signals = torch.randn(2, 5, S, dtype=torch.float64)
    windows = functional.pad(signals, (before, length - 1 - before)).unfold(-1, length, 1).flatten(1, 2)
    torch.testing.assert_close(products_of_windows(signals, length, before), windows.mT @ windows, rtol=0, atol=1e-12)  # sums of 155 products in another order
