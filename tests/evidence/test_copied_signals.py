"""Copied stretches: found wherever they stand, also when only a sample of them is looked at; overlap on one clock is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sigvit.evidence import copied_signals
from sigvit.evidence.copied_signals import STRETCH, find_copies
from sigvit.evidence.groups import Groups, read_groups


def groups_of(n_windows: int, start_s: np.ndarray, recording: np.ndarray | str = "one") -> Groups:
    names = {column: "1" for column in ("subject", "session", "run", "label")}
    table = pd.DataFrame({"trial": np.arange(n_windows), "recording": recording, "start_s": start_s, "stop_s": start_s + 101 / 100, **names})
    return read_groups(table)


def windows_at(starts: np.ndarray, seed: int = 0) -> np.ndarray:
    """Windows of 101 samples at these samples of one noise, 100 Hz, 3 electrodes."""
    noise = np.random.default_rng(seed).standard_normal((3, 2500)).astype(np.float32)
    return np.stack([noise[:, start : start + 101] for start in starts])


def test_overlap_on_one_clock_is_no_copy_also_when_the_clock_names_the_event() -> None:
    starts = np.arange(0, 2000, 37)
    for jitter_s in (0.0, 0.004):
        start_s = starts / 100 + np.random.default_rng(0).uniform(-jitter_s, jitter_s, len(starts))
        assert len(find_copies(windows_at(starts), groups_of(len(starts), start_s)).rows) == 0


def test_the_same_windows_under_another_clock_or_recording_are_copies() -> None:
    starts = np.arange(0, 2000, 37)
    values = np.concatenate([windows_at(starts), windows_at(starts + 13)])
    recording = np.repeat(["one", "two"], len(starts))
    start_s = np.concatenate([starts, starts]) / 100
    assert set(find_copies(values, groups_of(len(values), start_s, recording)).rows) == set(range(len(values)))
    late = np.concatenate([starts / 100, starts / 100 + 500])
    assert set(find_copies(values, groups_of(len(values), late)).rows) == set(range(len(values)))


def test_every_shared_stretch_is_found_and_one_sample_less_is_none() -> None:
    for n_shared, n_found in ((STRETCH - 1, 0), (STRETCH, 2), (STRETCH + 5, 12)):
        values = np.random.default_rng(0).standard_normal((4, 3, 101)).astype(np.float32)
        values[3, :, 7 : 7 + n_shared] = values[0, :, 50 : 50 + n_shared]
        assert len(find_copies(values, groups_of(4, np.arange(4) * 5.0)).rows) == n_found


def test_a_sample_of_stretches_holds_the_same_ones_of_both_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the stretches, read in batches: a copied recording of 11 windows is still found whole."""
    values = np.random.default_rng(0).standard_normal((40, 3, 101)).astype(np.float32)
    values[20:31, :, 9:] = values[:11, :, :-9]
    monkeypatch.setattr(copied_signals, "MOST_STRETCHES", 280)
    monkeypatch.setattr(copied_signals, "BATCH", 3 * 101 * 7)
    found = find_copies(values, groups_of(40, np.arange(40) * 5.0))
    assert found.compared < 600
    assert set(found.rows) == {*range(11), *range(20, 31)}


def test_windows_shorter_than_a_stretch_and_quiet_ones_hold_none() -> None:
    assert find_copies(np.ones((5, 3, STRETCH - 1), np.float32), groups_of(5, np.arange(5) * 5.0)).compared == 0
    assert find_copies(np.ones((5, 3, 101), np.float32), groups_of(5, np.arange(5) * 5.0)).compared == 0


def test_coarse_steps_of_one_electrode_are_no_copies() -> None:
    """One electrode of an 8-bit walk of steps -1, 0, 1: near repeats everywhere, exact ones of 32 samples nowhere."""
    steps = np.random.default_rng(0).integers(-1, 2, (400, 1, 256))
    values = np.clip(np.cumsum(steps, axis=2), -128, 127).astype(np.float32)
    assert len(find_copies(values, groups_of(400, np.arange(400) * 5.0)).rows) == 0
