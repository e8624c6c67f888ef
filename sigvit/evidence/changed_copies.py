"""Changed copies: stretches of samples that stand in two places up to a scale, a sign, an offset of each electrode and another reference.

One recording exported twice, in other units, to another reference or with a baseline subtracted from each window, gives no two equal bytes, but every
electrode still rises and falls, beside the mean of all, at the same samples. The signs of these steps have a rolling hash; where two places have an equal
one, the samples themselves are compared, and only those that agree to the rounding of float32 are a copy. Recordings full of one mains hum agree in signs,
not in the rounding.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from sigvit.evidence.copied_signals import BATCH, MOST_STRETCHES, STRETCH, Copies, joined, rolling_hashes
from sigvit.evidence.groups import Groups

SIGNS = 128  # of a stretch, electrodes × samples: few electrodes have longer ones
FEWEST_TURNS = 8  # of the signs in a stretch; a slow drift has the same ones everywhere
FEWEST_TURNS_OF_FEW_SIGNS = 16  # where windows are too short for so many signs; noise that is rounded to two or three levels often has the same few
ROUNDING = 2.0**-20  # of the largest value; float32 rounds each to 2^-24 of itself
LARGEST_REST = 1e-3  # of the stretch's own deviation, where an offset is far larger than that
MOST_PAIRS = 100_000  # beyond this many equal hashes, those whose centres are nearest stand for all


def find_changed_copies(values: np.ndarray, groups: Groups) -> Copies:
    """Stretches that a scale, an offset of each electrode and another reference turn into each other, other than by overlap on their recording's clock.

    Windows whose signs turn too seldom are looked at in stretches of twice the length, up to the whole window; so are windows of fewer signs than a stretch,
    from 33 samples on.

    Parameters
    ----------
    values : float32 (windows, electrodes, samples). The reference counts of three electrodes or more.
    groups : recordings and clocks of the windows.
    """
    n_windows, n_electrodes, n_times = values.shape
    nothing = np.empty(0, np.int64)
    found, slow, length = Copies(nothing, nothing, 0), np.arange(n_windows), max(STRETCH, min(-(-SIGNS // n_electrodes), n_times - 1))
    while len(slow) and length < n_times:
        copies, slow = _of_length(values, slow, length, groups)
        found = join_copies(found, copies)
        length = n_times if length == n_times - 1 else min(2 * length, n_times - 1)
    return found


def join_copies(one: Copies, other: Copies) -> Copies:
    """Both, with the stretches of the second numbered after those of the first."""
    first = one.stretches.max(initial=-1) + 1
    rows, stretches = np.r_[one.rows, other.rows], np.r_[one.stretches, other.stretches + first]
    return Copies(rows, stretches, one.compared + other.compared, one.compared_changed + other.compared_changed)


def copy_warnings(copies: Copies | None) -> list[str]:
    """A sentence where there are no stretches, or none that could be recognised after a change."""
    if copies is None or copies.compared_changed > 0:
        return []
    if copies.compared == 0:
        return [f"Copied stretches could not be looked for: no window holds {STRETCH} samples of which half change. Byte-identical windows were."]
    return [
        "Copies in another unit, polarity, reference or baseline could not be looked for: in no window do the signals turn often enough to be told apart. "
        "Exact copies were."
    ]


def _of_length(values: np.ndarray, asked: np.ndarray, length: int, groups: Groups) -> tuple[Copies, np.ndarray]:
    """The copies among these rows in stretches of so many steps, and the rows that are too slow for most such stretches."""
    _, n_electrodes, n_times = values.shape
    step, size = -(-len(asked) * (n_times - length) // MOST_STRETCHES), max(1, BATCH // (n_electrodes * n_times))
    parts = [_hashed(np.asarray(values[some], np.float64), some, length, step) for some in np.split(asked, range(size, len(asked), size))]
    *entries, slow = (np.concatenate(column) for column in zip(*parts, strict=True))
    compared = len(entries[0])
    return Copies(*joined(entries, n_times, groups, partial(_compare, values, length + 1)), compared, compared), slow


def _hashed(values: np.ndarray, rows: np.ndarray, length: int, step: int) -> tuple[np.ndarray, ...]:
    """(hash, centre, row, first sample) of the stretches of so many steps whose signs turn often enough, and the rows where most don't."""
    steps = _referenced(np.diff(values, axis=2))
    steps[np.abs(steps) <= ROUNDING * np.abs(values).max(axis=(1, 2), keepdims=True)] = 0
    signs = np.sign(steps).astype(np.int8)
    weights = np.random.default_rng(0).integers(2**63, size=signs.shape[1], dtype=np.int64)
    samples = np.einsum("wet,e->wt", signs.astype(np.int64), weights).view(np.uint64)
    hashes = rolling_hashes(samples, length)
    hashes = np.minimum(hashes, -hashes)  # sums of signs: the other sign has the negative hash
    turns = np.cumsum(np.pad(samples[:, 1:] != samples[:, :-1], ((0, 0), (1, 0))), axis=1)
    fewest = FEWEST_TURNS if length * signs.shape[1] >= SIGNS else FEWEST_TURNS_OF_FEW_SIGNS
    lively = turns[:, length - 1 :] - turns[:, : hashes.shape[1]] >= fewest
    chosen, offsets = np.nonzero(lively & ((hashes >> np.uint64(20)) % np.uint64(step) == 0))
    centres = _centres(np.einsum("wet,e->wt", np.abs(steps), 1 + weights / 2.0**63), length)
    return hashes[chosen, offsets], centres[chosen, offsets], rows[chosen], offsets, rows[lively.mean(axis=1) < 0.5]


def _centres(sizes: np.ndarray, length: int) -> np.ndarray:
    """Where in each stretch the middle of its steps' sizes (windows, steps) is: the same in every unit and polarity, and seldom in two stretches of hum."""
    moments = sizes * np.arange(sizes.shape[1])
    sums = [np.pad(np.cumsum(each, axis=1), ((0, 0), (1, 0))) for each in (sizes, moments)]
    size, moment = (each[:, length:] - each[:, :-length] for each in sums)
    return moment / np.maximum(size, np.finfo(float).tiny) - np.arange(size.shape[1])


def _compare(values: np.ndarray, length: int, centres: np.ndarray, rows: np.ndarray, offsets: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which entries are one stretch of so many samples with the next: boolean (entries - 1,); of the `pairs` that may be, those with near centres are asked."""
    pairs = np.sort(pairs[np.argsort(np.diff(centres)[pairs], kind="stable")[:MOST_PAIRS]])
    linked = np.zeros(len(rows) - 1, bool)
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
