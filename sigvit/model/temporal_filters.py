"""Filters along time as products of matrices, for one network and for K stacked ones: on a CPU convolutions of one channel are many times slower."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sigvit.products import product

# C = channels, F = filters, L = their length, N = signals, S = samples; … = nothing, or K stacked networks


def mean_of_neighbours(x: Tensor, count: int) -> Tensor:
    """(…, S) → (…, S // count): the mean of every `count` samples; what is left over at the end is dropped.

    >>> mean_of_neighbours(torch.arange(7.0), 3).tolist()
    [1.0, 4.0]
    """
    kept = x[..., : x.shape[-1] // count * count].unflatten(-1, (-1, count))
    return x if count == 1 else kept @ x.new_full((count,), 1 / count)


def filter_in_time(x: Tensor, filters: Tensor, before: int) -> Tensor:
    """Every channel's signals by the channel's own filter, (…, C, N, S) and (…, C, L) → (…, C, N, S), as `conv1d` does it.

    Sample t is the product of the filter with samples t − before … t − before + L − 1; outside of the signal there are zeros. Signals are cut into blocks at
    least as long as the filter, so that an answer asks for two of them: two products with a banded matrix.

    >>> filter_in_time(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[10.0, 1.0]]), before=1).tolist()
    [[[1.0, 12.0, 23.0]]]
    """
    (signals, samples), length = x.shape[-2:], filters.shape[-1]
    count = (samples + length - 1) // length
    size = -(-(samples + length - 1) // count)
    # One silent signal more, so that the last block has a next one too.
    blocks = functional.pad(x, (before, count * size - samples - before, 0, 1)).flatten(-2).unflatten(-1, (-1, size))
    own, following = _banded(filters, size).split(size, -1)
    filtered = product(blocks[..., : signals * count, :], own.mT) + product(blocks[..., 1 : signals * count + 1, :], following.mT)
    return filtered.unflatten(-2, (signals, count)).flatten(-2)[..., :samples]


def _banded(filters: Tensor, size: int) -> Tensor:
    """(…, C, L) → (…, C, size, 2 · size): the filter in every row, one column further to the right than in the row above."""
    period = 2 * size + 1
    rows = functional.pad(filters, (0, period - filters.shape[-1]))[..., None, :].expand(*filters.shape[:-1], size, period)
    # Read on in rows that are one shorter: each begins one later.
    return rows.flatten(-2)[..., : size * (period - 1)].unflatten(-1, (size, period - 1))


def filtered_moments(x: Tensor, filters: Tensor, before: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of what `filter_in_time` makes of all signals (…, N, S) by every filter (…, F, L), without filtering: twice (…, F).

    Both are sums over products of the signals with themselves, shifted by up to L samples, which are the same for every filter.

    >>> x, filters = torch.randn(5, 17, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    >>> mean, variance = filtered_moments(x, filters, before=1)
    >>> filtered = filter_in_time(x.expand(2, 5, 17), filters, before=1)
    >>> torch.allclose(mean, filtered.mean((1, 2))), torch.allclose(variance, filtered.var((1, 2), correction=0))
    (True, True)
    """
    (signals, samples), length = x.shape[-2:], filters.shape[-1]
    with torch.autocast(x.device.type, enabled=False):
        met = functional.pad(x.sum(-2), (before, length - 1 - before)).unfold(-1, length, 1).mean(-2) / signals
        products = products_of_windows(x, length, before) / (signals * samples)
        mean = (filters * met[..., None, :]).sum(-1)
        return mean, ((filters @ products * filters).sum(-1) - mean**2).clamp(min=0)


def products_of_windows(x: Tensor, length: int, before: int) -> Tensor:
    """(…, N, S) → (…, L, L): products of any two of the L samples that a filter meets, summed over all its places in all signals.

    They would depend on the distance of the two alone, were it not for the ends of the signals: there one of them, or both, lies outside.
    """
    samples, after = x.shape[-1], length - 1 - before
    by_distance = _products_by_distance(x, length)
    place = torch.arange(length, device=x.device)
    products = by_distance[..., (place[:, None] - place).abs()]
    # What a filter that looks ahead misses at the beginning, and one that looks back at the end; a negative pad cuts.
    first, last = functional.pad(x, (0, after - samples)), functional.pad(x, (before - samples, 0)).flip(-1)
    missed_first, missed_last = _sums_along_diagonals(first.mT @ first), _sums_along_diagonals(last.mT @ last).flip(-1, -2)
    return products - functional.pad(missed_first, (before + 1, 0, before + 1, 0)) - functional.pad(missed_last, (0, after + 1, 0, after + 1))


def _products_by_distance(x: Tensor, length: int) -> Tensor:
    """(…, N, S) → (…, L): the products of samples at a distance of 0 … L − 1, summed over all signals."""
    # Blocks of L samples, the last of each signal silent: each by itself, and by the next one.
    count = -(-x.shape[-1] // length) + 1
    blocks = functional.pad(x, (0, count * length - x.shape[-1])).flatten(-2).unflatten(-1, (-1, length))
    pairs = torch.cat([product(blocks.mT, blocks), product(blocks[..., :-1, :].mT, blocks[..., 1:, :])], -1)
    # (L, 2 · L), read on in rows that are one longer: what stood on a diagonal stands in a column.
    return functional.pad(pairs.flatten(-2), (0, length)).unflatten(-1, (length, 2 * length + 1))[..., :length].sum(-2)


def _sums_along_diagonals(x: Tensor) -> Tensor:
    """(…, n, n): entry (i, j) becomes the sum of (i, j), (i − 1, j − 1), … up to the edge."""
    n = x.shape[-1]
    columns = functional.pad(functional.pad(x, (n, n)).flatten(-2), (0, n)).unflatten(-1, (n, 3 * n + 1)) if n else x
    return columns.cumsum(-2).flatten(-2)[..., : 3 * n * n].unflatten(-1, (n, 3 * n))[..., n : 2 * n] if n else x
