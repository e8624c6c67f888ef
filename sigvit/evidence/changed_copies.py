"""Changed copies: stretches of samples that stand in two places up to a scale, a sign, an offset of each electrode and another reference.

One recording exported twice, in other units, to another reference or with a baseline subtracted from each window, gives no two equal bytes, but every
electrode still rises and falls, beside the mean of all, at the same samples. The signs of these steps have a rolling hash; where two places have an equal
one, the samples themselves are compared, and only those that agree to the rounding of float32 are a copy. Recordings full of one mains hum agree in signs,
not in the rounding.
"""

from __future__ import annotations

import numpy as np

from sigvit.evidence.copied_signals import BATCH, MOST_STRETCHES, STRETCH, Copies, in_places, repeated, rolling_hashes
from sigvit.evidence.groups import Groups

SIGNS = 128  # of a stretch, electrodes × samples: few electrodes have longer ones
FEWEST_TURNS = 8  # of the signs in a stretch; a slow drift has the same ones everywhere
ROUNDING = 2.0**-20  # of the largest value; float32 rounds each to 2^-24 of itself
LARGEST_REST = 1e-3  # of the stretch's own deviation, where an offset is far larger than that
MOST_PAIRS = 100_000  # beyond this many equal hashes, evenly chosen ones stand for all


def find_changed_copies(values: np.ndarray, groups: Groups) -> Copies:
    """Stretches that a scale, an offset of each electrode and another reference turn into each other, other than by overlap on their recording's clock.

    Parameters
    ----------
    values : float32 (windows, electrodes, samples). The reference counts of three electrodes or more.
    groups : recordings and clocks of the windows.
    """
    n_windows, n_electrodes, n_times = values.shape
    length = max(STRETCH, -(-SIGNS // n_electrodes))
    n_stretches, nothing = n_windows * max(0, n_times - length), np.empty(0, np.int64)
    if n_stretches == 0:
        return Copies(nothing, nothing, 0)
    step, size = -(-n_stretches // MOST_STRETCHES), max(1, BATCH // (n_electrodes * n_times))
    parts = [_hashed(np.asarray(values[first : first + size], np.float64), first, length, step) for first in range(0, n_windows, size)]
    hashes, rows, offsets = (np.concatenate(column) for column in zip(*parts, strict=True))
    compared, found = len(hashes), repeated(hashes)
    if not len(found):
        return Copies(nothing, nothing, compared)
    rows, same_hash, same_place, offsets = in_places(hashes[found], rows[found], offsets[found], n_times, groups)
    linked = _compare(values, rows, offsets, np.flatnonzero(same_hash & ~same_place), length + 1)
    stretch = np.cumsum(np.r_[False, ~(linked | (same_hash & same_place))])
    copied = (np.bincount(stretch[1:], weights=linked, minlength=stretch[-1] + 1) > 0)[stretch]
    return Copies(rows[copied], stretch[copied], compared)


def join_copies(one: Copies, other: Copies) -> Copies:
    """Both, with the stretches of the second numbered after those of the first."""
    first = one.stretches.max(initial=-1) + 1
    return Copies(np.r_[one.rows, other.rows], np.r_[one.stretches, other.stretches + first], one.compared + other.compared)


def _hashed(values: np.ndarray, first_row: int, length: int, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hash, row, first sample) of the stretches of so many steps whose signs turn often enough."""
    steps = _referenced(np.diff(values, axis=2))
    steps[np.abs(steps) <= ROUNDING * np.abs(values).max(axis=(1, 2), keepdims=True)] = 0
    signs = np.sign(steps).astype(np.int8)
    weights = np.random.default_rng(0).integers(2**63, size=signs.shape[1], dtype=np.int64)
    samples = np.einsum("wet,e->wt", signs.astype(np.int64), weights).view(np.uint64)
    hashes = rolling_hashes(samples, length)
    hashes = np.minimum(hashes, -hashes)  # sums of signs: the other sign has the negative hash
    turns = np.cumsum(np.pad(samples[:, 1:] != samples[:, :-1], ((0, 0), (1, 0))), axis=1)
    lively = turns[:, length - 1 :] - turns[:, : hashes.shape[1]] >= FEWEST_TURNS
    rows, offsets = np.nonzero(lively & ((hashes >> np.uint64(20)) % np.uint64(step) == 0))
    return hashes[rows, offsets], rows + first_row, offsets


def _compare(values: np.ndarray, rows: np.ndarray, offsets: np.ndarray, pairs: np.ndarray, length: int) -> np.ndarray:
    """Which entries are one stretch with the next: boolean (entries - 1,); `pairs` are those that may be."""
    linked = np.zeros(len(rows) - 1, bool)
    pairs = pairs[:: max(1, -(-len(pairs) // MOST_PAIRS))]
    size = max(1, BATCH // (values.shape[1] * length))
    for some in np.split(pairs, range(size, len(pairs), size)) if len(pairs) else ():
        one, other = (
            np.stack([values[row, :, offset : offset + length] for row, offset in zip(rows[at], offsets[at], strict=True)]).astype(np.float64)
            for at in (some, some + 1)
        )
        linked[some] = _alike(one, other)
    return linked


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether a scale, offsets and a reference turn the one into the other, (pairs, electrodes, samples) each."""
    first, second = (_referenced(each - each.mean(axis=2, keepdims=True)) for each in (one, other))
    scale = (first * second).sum(axis=(1, 2)) / np.maximum((first**2).sum(axis=(1, 2)), np.finfo(float).tiny)
    rest = np.abs(second - scale[:, None, None] * first).max(axis=(1, 2))
    largest = np.abs(other).max(axis=(1, 2)) + np.abs(scale) * np.abs(one).max(axis=(1, 2))
    return (rest <= ROUNDING * largest) & (rest <= LARGEST_REST * second.std(axis=(1, 2)))


def _referenced(signals: np.ndarray) -> np.ndarray:
    """Less the mean of the electrodes, where three or more leave something of it."""
    return signals - signals.mean(axis=1, keepdims=True) if signals.shape[1] > 2 else signals
