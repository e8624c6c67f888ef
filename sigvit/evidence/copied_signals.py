"""Copied signals: stretches of samples that stand in two places, whatever the windows around them.

A recording copied under a second name, or a run exported twice, need not give byte-identical windows: cut at other positions, every window differs.
Here every stretch of 32 samples (all electrodes) has a 64-bit rolling hash (Karp and Rabin, IBM J. Res. Dev. 31(2), 1987); equal hashes in two places
are a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sigvit.evidence.groups import Groups

STRETCH = 32  # samples; with at least half of them changing, noise doesn't repeat by chance even at one coarsely quantised electrode
MOST_STRETCHES = 4_000_000  # beyond this many, those with a hash divisible by a step stand for all: the same ones in both copies
BATCH = 4_000_000  # values read at a time, so that a memory-mapped set stays on disk
MULTIPLIER, MIXER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True, eq=False)
class Copies:
    """Stretches that stand in two places: `rows[i]` holds the stretch `stretches[i]`; `compared` is the number of stretches looked at.

    `compared_changed` : how many of these would have been found changed as well.
    """

    rows: np.ndarray
    stretches: np.ndarray
    compared: int
    compared_changed: int = 0


def find_copies(values: np.ndarray, groups: Groups) -> Copies:
    """Every stretch that two rows share, other than by overlapping on their recording's clock.

    Parameters
    ----------
    values : float32 (windows, electrodes, samples). Windows of under 32 samples hold no stretch: nothing is compared.
    groups : recordings and clocks of the windows.
    """
    n_windows, n_electrodes, n_times = values.shape
    n_stretches = n_windows * max(0, n_times - STRETCH + 1)
    nothing = np.empty(0, np.int64)
    if n_stretches == 0:
        return Copies(nothing, nothing, 0)
    step = -(-n_stretches // MOST_STRETCHES)
    size = max(1, BATCH // (n_electrodes * n_times))
    parts = [_stretches(np.asarray(values[first : first + size]), first, step) for first in range(0, n_windows, size)]
    entries = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Copies(*joined(entries, n_times, groups), len(entries[0]))


def joined(entries: list[np.ndarray], n_times: int, groups: Groups, compare: Callable[..., np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rows and numbers of the stretches that stand at two places, of entries (hash, centre, row, first sample).

    `compare(centres, rows, offsets, pairs)` says of the entries in order which are one stretch with the next, boolean (entries - 1,), True in `pairs` at most;
    left out, all of these are.
    """
    found = _repeated(entries[0])
    if not len(found):
        return entries[2][:0], entries[2][:0]
    (hashes, centres, rows, offsets), same_place = _in_places([each[found] for each in entries], n_times, groups)
    same_hash = hashes[1:] == hashes[:-1]
    linked = same_hash & ~same_place
    if compare is not None:
        linked = compare(centres, rows, offsets, np.flatnonzero(linked))
    stretch = np.cumsum(np.r_[False, ~(linked | (same_hash & same_place))])
    copied = (np.bincount(stretch[1:], weights=linked) > 0)[stretch]
    return rows[copied], stretch[copied]


def _repeated(hashes: np.ndarray) -> np.ndarray:
    """Where the hashes stand that aren't the only one of their value."""
    order = np.argsort(hashes, kind="stable")
    equal = np.diff(hashes[order], prepend=~hashes[order][:1], append=~hashes[order][-1:]) == 0
    return order[equal[1:] | equal[:-1]]


def rolling_hashes(samples: np.ndarray, length: int) -> np.ndarray:
    """uint64 (windows, samples) → the hash of every stretch of so many samples, (windows, samples - length + 1); by halves, so that long ones cost little."""
    if length == 1:
        return samples
    half = length // 2
    halves = rolling_hashes(samples, half)
    hashes = halves[:, : halves.shape[1] - half] * MULTIPLIER**half + halves[:, half:]
    return hashes[:, :-1] * MULTIPLIER + samples[:, 2 * half :] if length % 2 else hashes


def _stretches(values: np.ndarray, first_row: int, step: int) -> tuple[np.ndarray, ...]:
    """(hash, 0 for a centre, row, first sample) of the stretches that change at half of their samples or more."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    weights = np.cumprod(np.full(values.shape[1], MULTIPLIER, np.uint64))
    samples = np.einsum("wet,e->wt", bits, weights)
    samples = (samples ^ (samples >> np.uint64(29))) * MIXER
    samples ^= samples >> np.uint64(32)
    hashes = rolling_hashes(samples, STRETCH)
    n_places = hashes.shape[1]
    changes = np.cumsum(np.pad(samples[:, 1:] != samples[:, :-1], ((0, 0), (1, 0))), axis=1)
    lively = changes[:, STRETCH - 1 :] - changes[:, :n_places] >= STRETCH // 2
    rows, offsets = np.nonzero(lively & ((hashes >> np.uint64(32)) % np.uint64(step) == 0))
    return hashes[rows, offsets], np.zeros(len(rows)), rows + first_row, offsets


def _in_places(entries: list[np.ndarray], n_times: int, groups: Groups) -> tuple[list[np.ndarray], np.ndarray]:
    """The entries sorted by hash, centre, place and time, and whether each following one is at the same place.

    Windows that overlap on one clock show a stretch at one place, which the interval check judges.
    """
    hashes, centres, rows, offsets = entries
    timed = ~np.isnan(groups.start_s[rows])
    sample_s = (groups.stop_s[rows] - groups.start_s[rows]) / n_times
    place = np.where(timed, groups.recording[rows], -1 - rows)
    seconds = np.where(timed, groups.start_s[rows] + offsets * sample_s, offsets)
    order = np.lexsort((seconds, place, centres, hashes))
    place, seconds, sample_s = place[order], seconds[order], sample_s[order]
    # clocks that name the event, not the sample, and stops that name the last sample are off by a sample or two
    same_place = (place[1:] == place[:-1]) & ~(np.abs(np.diff(seconds)) > 2.5 * sample_s[1:])
    return [each[order] for each in entries], same_place
