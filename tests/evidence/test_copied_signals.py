"""Copied stretches: found wherever they stand, also when only a sample of them is looked at; overlap on one clock is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sigvit.evidence import copied_signals
from sigvit.evidence.changed_copies import find_changed_copies
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


def changed(kind: str) -> np.ndarray:
    """20 windows of a recording of 5 electrodes, and the same recording cut 13 samples later and changed."""
    starts = np.arange(0, 2000, 101)
    walk = np.cumsum(np.random.default_rng(0).standard_normal((5, 2500)), axis=1)
    original, copy = (np.stack([walk[:, start : start + 101] for start in starts + late]) for late in (0, 13))
    changes = {
        "scale": 1.1 * copy,
        "sign": -copy,
        "reference": copy - copy.mean(axis=1, keepdims=True),
        "baseline": copy - copy[:, :, :17].mean(axis=2, keepdims=True),
        "another recording": np.cumsum(np.random.default_rng(1).standard_normal(copy.shape), axis=2),
    }
    return np.concatenate([original, changes[kind]]).astype(np.float32)


@pytest.mark.parametrize("kind", ["scale", "sign", "reference", "baseline", "another recording"])
def test_changed_copies_are_found(kind: str) -> None:
    values = changed(kind)
    groups = groups_of(len(values), np.full(len(values), np.nan))
    assert len(find_copies(values, groups).rows) == 0
    assert set(find_changed_copies(values, groups).rows) == (set() if kind == "another recording" else set(range(len(values))))


def test_one_electrode_of_long_windows_is_found_changed() -> None:
    walk = np.cumsum(np.random.default_rng(0).standard_normal((7, 1, 503)), axis=2)
    values = np.concatenate([walk, 2.3 * np.roll(walk, -13, axis=2) + 7]).astype(np.float32)
    assert set(find_changed_copies(values, groups_of(14, np.full(14, np.nan))).rows) == set(range(14))


def test_overlap_with_a_baseline_each_on_one_clock_is_no_changed_copy() -> None:
    starts = np.arange(0, 2000, 37)
    values = windows_at(starts)
    values -= values[:, :, :17].mean(axis=2, keepdims=True)
    assert len(find_changed_copies(values, groups_of(len(starts), starts / 100)).rows) == 0


def test_mains_hum_is_no_changed_copy() -> None:
    """Thirty times the signal, at a divisor of the rate: every stretch has the signs of every other, and another remainder."""
    generator = np.random.default_rng(0)
    hum = np.sin(2 * np.pi * np.arange(257) / 5 + 0.3) * np.ones((50, 1, 1))
    values = (hum * 100 + generator.standard_normal((50, 3, 257)) * np.array([[1.0], [2.0], [3.0]])).astype(np.float32)
    for electrodes in (1, 3):
        assert len(find_changed_copies(values[:, :electrodes], groups_of(50, np.full(50, np.nan))).rows) == 0
