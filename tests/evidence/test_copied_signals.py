"""Copied stretches: found wherever they stand, also when only a sample of them is looked at; overlap on one clock is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sigvit
from sigvit.evidence import changed_copies, copied_signals
from sigvit.evidence.changed_copies import copy_warnings, find_changed_copies, join_copies
from sigvit.evidence.copied_signals import MULTIPLIER, STRETCH, Copies, find_copies, rolling_hashes
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


@pytest.mark.parametrize("later", [0, 13])
def test_the_same_windows_under_another_clock_or_recording_are_copies(later: int) -> None:
    starts = np.arange(0, 2000, 37)
    values = np.concatenate([windows_at(starts), windows_at(starts + later)])
    recording = np.repeat(["one", "two"], len(starts))
    start_s = np.concatenate([starts, starts]) / 100
    assert set(find_copies(values, groups_of(len(values), start_s, recording)).rows) == set(range(len(values)))
    late = np.concatenate([starts / 100, starts / 100 + 500])
    assert set(find_copies(values, groups_of(len(values), late)).rows) == set(range(len(values)))


def test_every_window_that_shows_a_copied_stretch_is_named() -> None:
    """Two that overlap on one clock both hold what stands in the third."""
    values = np.concatenate([windows_at(np.array([0, 37])), windows_at(np.array([0]), seed=1)])
    values[2, :, 20:60] = values[0, :, 40:80]
    found = find_copies(values, groups_of(3, np.array([0.0, 0.37, 0.0]), np.array(["one", "one", "two"])))
    assert all(set(found.rows[found.stretches == stretch]) == {0, 1, 2} for stretch in found.stretches)
    assert len(found.rows) == 3 * (40 - STRETCH + 1)


def test_every_shared_stretch_is_found_and_one_sample_less_is_none() -> None:
    for n_shared, n_found in ((STRETCH - 1, 0), (STRETCH, 2), (STRETCH + 5, 12)):
        values = np.random.default_rng(0).standard_normal((4, 3, 101)).astype(np.float32)
        values[3, :, 7 : 7 + n_shared] = values[0, :, 50 : 50 + n_shared]
        assert len(find_copies(values, groups_of(4, np.arange(4) * 5.0)).rows) == n_found


def test_a_sample_of_stretches_holds_the_same_ones_of_both_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the stretches, read in batches, the last of one window: a copied recording of 11 windows is still found whole."""
    values = np.random.default_rng(0).standard_normal((43, 3, 101)).astype(np.float32)
    values[32:, :, 9:] = values[:11, :, :-9]
    monkeypatch.setattr(copied_signals, "MOST_STRETCHES", 280)
    monkeypatch.setattr(copied_signals, "BATCH", 3 * 101 * 7)
    found = find_copies(values, groups_of(43, np.arange(43) * 5.0))
    assert found.compared < 600
    assert set(found.rows) == {*range(11), *range(32, 43)}


def test_windows_shorter_than_a_stretch_and_quiet_ones_hold_none() -> None:
    short = find_copies(np.ones((5, 3, STRETCH - 1), np.float32), groups_of(5, np.arange(5) * 5.0))
    assert short.compared == 0
    assert copy_warnings(short) == ["Copied stretches could not be looked for: no window holds 32 samples of which half change. Byte-identical windows were."]
    values = np.ones((5, 3, 101), np.float32)
    assert find_copies(values, groups_of(5, np.arange(5) * 5.0)).compared == 0
    values[:, :, 47:] = 2  # a step is as common as a flat line
    assert find_copies(values, groups_of(5, np.arange(5) * 5.0)).compared == 0


def test_a_window_of_one_stretch_and_one_that_holds_every_sample_twice_are_compared() -> None:
    values = np.random.default_rng(0).standard_normal((4, 3, 53)).astype(np.float32)
    values[3, :, 5 : 5 + STRETCH] = values[0, :, :STRETCH]
    held = np.repeat(values, 2, axis=2)
    for each in (np.stack([*values[:3, :, :STRETCH], values[3, :, 5 : 5 + STRETCH]]), held):
        assert set(find_copies(each, groups_of(4, np.arange(4) * 5.0)).rows) == {0, 3}


def test_a_window_that_repeats_itself_is_no_copy() -> None:
    values = windows_at(np.array([0, 300]))
    values[0, :, 50:100] = values[0, :, :50]
    for start_s in (np.array([0.0, 3.0]), np.full(2, np.nan)):
        assert set(find_copies(values, groups_of(2, start_s)).rows) == (set() if np.isnan(start_s).any() else {0})


def test_windows_that_are_alike_at_one_electrode_are_no_copies() -> None:
    values = np.random.default_rng(0).standard_normal((5, 3, 101)).astype(np.float32)
    for electrode in range(3):
        alike = values.copy()
        alike[:, electrode] = values[0, electrode]
        assert len(find_copies(alike, groups_of(5, np.arange(5) * 5.0)).rows) == 0


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


@pytest.mark.parametrize("n_electrodes", [3, 5])
@pytest.mark.parametrize("kind", ["scale", "sign", "reference", "baseline", "another recording"])
def test_changed_copies_are_found(kind: str, n_electrodes: int) -> None:
    values = changed(kind)[:, :n_electrodes]
    groups = groups_of(len(values), np.full(len(values), np.nan))
    assert len(find_copies(values, groups).rows) == 0
    assert set(find_changed_copies(values, groups).rows) == (set() if kind == "another recording" else set(range(len(values))))


def test_an_electrode_that_is_the_mean_of_the_others_hides_no_changed_copy() -> None:
    """Such as one that was interpolated: beside the mean of all it is rounding."""
    values = changed("scale")
    values[:, 2] = np.delete(values, 2, axis=1).mean(axis=1)
    assert set(find_changed_copies(values, groups_of(40, np.full(40, np.nan))).rows) == set(range(40))


@pytest.mark.parametrize("kind", ["scale", "baseline"])
def test_a_sample_of_changed_stretches_is_read_and_compared_in_batches(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Two windows and pairs at a time, and a fifth of the stretches: the same ones of both copies."""
    values = changed(kind)[1:]  # 39, the last batch of one is that of a copy
    groups = groups_of(len(values), np.full(len(values), np.nan))
    whole = find_changed_copies(values, groups)
    assert {0, 38} <= set(whole.rows)
    monkeypatch.setattr(changed_copies, "BATCH", 2 * 5 * 101)
    np.testing.assert_array_equal(find_changed_copies(values, groups).rows, whole.rows)
    monkeypatch.setattr(changed_copies, "MOST_STRETCHES", len(values) * 69 // 5)
    found = find_changed_copies(values, groups)
    assert found.compared < 0.3 * whole.compared
    assert set(found.rows) == set(whole.rows)


def test_one_electrode_of_long_windows_is_found_changed() -> None:
    walk = np.cumsum(np.random.default_rng(0).standard_normal((7, 1, 503)), axis=2)
    values = np.concatenate([walk, 2.3 * np.roll(walk, -13, axis=2) + 7]).astype(np.float32)
    assert set(find_changed_copies(values, groups_of(14, np.full(14, np.nan))).rows) == set(range(14))


@pytest.mark.parametrize(("n_electrodes", "n_times"), [(1, 33), (1, 128), (2, 64), (3, 43)])
def test_short_windows_of_few_electrodes_are_found_changed_whole(n_electrodes: int, n_times: int) -> None:
    noise = np.random.default_rng(0).standard_normal((13, n_electrodes, n_times))
    values = np.concatenate([noise, -2.3 * noise[:7] + 5]).astype(np.float32)
    assert set(find_changed_copies(values, groups_of(20, np.full(20, np.nan))).rows) == {*range(7), *range(13, 20)}


@pytest.mark.parametrize("n_times", [33, 47, 127])
def test_short_windows_of_unrelated_noise_are_no_changed_copies(n_times: int) -> None:
    """White and walking noise of one electrode, as it is and rounded to few levels, where equal signs soon are equal samples: 4000 windows of each."""
    generator = np.random.default_rng(n_times)
    for level in (0.3, 0.5, 1.0, 1000.0):
        white = level * generator.standard_normal((4000, 1, n_times))
        for signals in (white, np.round(white), np.cumsum(np.round(white), axis=2), np.round(np.cumsum(white, axis=2))):
            assert len(find_changed_copies(signals.astype(np.float32), groups_of(4000, np.full(4000, np.nan))).rows) == 0


def slow(n_electrodes: int, seed: int) -> np.ndarray:
    """Seven windows of 503 samples in which each electrode turns about six times."""
    times, generator = np.arange(7 * 503) / 503, np.random.default_rng(seed)
    waves = [np.sin(2 * np.pi * np.outer(generator.uniform(1, 4, n_electrodes), times) + generator.uniform(0, 6, (n_electrodes, 1))) for _ in range(5)]
    return np.sum(waves, axis=0).reshape(n_electrodes, 7, 503).swapaxes(0, 1)


@pytest.mark.parametrize("n_electrodes", [2, 3])
def test_slow_signals_are_found_changed_by_longer_stretches(n_electrodes: int) -> None:
    first, second = slow(n_electrodes, 0), slow(n_electrodes, 1)
    values = np.concatenate([first, second, -1.7 * first]).astype(np.float32)
    groups = groups_of(21, np.full(21, np.nan))
    found = find_changed_copies(values, groups)
    assert set(found.rows) == {*range(7), *range(14, 21)}
    assert copy_warnings(join_copies(find_copies(values, groups), found)) == []


def test_slow_signals_are_found_changed_where_their_windows_lie_elsewhere() -> None:
    first, second = slow(3, 0), slow(3, 1)
    values = np.concatenate([first, second, -1.7 * np.roll(first, -53, axis=2)]).astype(np.float32)
    assert set(find_changed_copies(values, groups_of(21, np.full(21, np.nan))).rows) == {*range(7), *range(14, 21)}


def test_copies_among_lively_windows_are_found_beside_slow_ones() -> None:
    noise = np.random.default_rng(0).standard_normal((7, 3, 503))
    values = np.concatenate([noise, slow(3, 0), 2.3 * noise]).astype(np.float32)
    assert set(find_changed_copies(values, groups_of(21, np.full(21, np.nan))).rows) == {*range(7), *range(14, 21)}


def test_joined_copies_keep_their_stretches_apart_and_are_counted() -> None:
    both, none = np.array([0, 1]), np.arange(0)
    joined = join_copies(join_copies(Copies(none, none, 3, 2), Copies(both, 0 * both, 7)), Copies(both + 2, 0 * both, 11, 5))
    assert (joined.rows.tolist(), joined.stretches.tolist()) == ([0, 1, 2, 3], [0, 0, 1, 1])
    assert (joined.compared, joined.compared_changed) == (21, 7)


def test_what_turns_too_seldom_for_any_stretch_is_said() -> None:
    """A drift each: exact copies can be told, changed ones can't."""
    values = np.cumsum(np.random.default_rng(0).uniform(1, 2, (5, 1, 101)), axis=2).astype(np.float32)
    groups = groups_of(5, np.full(5, np.nan))
    copies = join_copies(find_copies(values, groups), find_changed_copies(values, groups))
    assert (copies.compared > 0, copies.compared_changed) == (True, 0)
    assert copy_warnings(copies)[0].startswith("Copies in another unit, polarity, reference or baseline could not be looked for")
    assert copy_warnings(None) == []
    windows = sigvit.windows_from_arrays(values * 1e-5, list("ababa"), ["Cz"], sampling_rate=100.0, metadata={"subject": list("11223")})
    warned = sigvit.certify(windows, [sigvit.Fold([0, 1, 2, 3], [], [4])]).warnings
    assert copy_warnings(copies)[0] in warned


@pytest.mark.parametrize(("later", "most_pairs"), [(0, 100_000), (13, 100_000), (13, 5000)])
def test_changed_copies_in_hum_are_found(monkeypatch: pytest.MonkeyPatch, later: int, most_pairs: int) -> None:
    """Of the two recordings, 300 times weaker than a hum at a fifth of the rate, one stands twice: all stretches have the same signs, of which only those
    are compared whose sizes have their middle at the same place."""
    monkeypatch.setattr(changed_copies, "MOST_PAIRS", most_pairs)
    generator, hum = np.random.default_rng(0), np.sin(2 * np.pi * np.arange(503) / 5 + 0.3)
    first, second = (300 * hum + generator.standard_normal((13, 1, 503)) for _ in range(2))
    values = np.concatenate([first, second, 2.3 * np.roll(first, -later, axis=2)]).astype(np.float32)
    assert set(find_changed_copies(values, groups_of(39, np.full(39, np.nan))).rows) == {*range(13), *range(26, 39)}


def test_hashes_of_halves_are_those_of_one_sample_after_the_other() -> None:
    samples = np.random.default_rng(0).integers(2**63, size=(3, 211)).astype(np.uint64)
    for length in (1, 2, 7, 32, 43, 128, 211):
        expected = np.zeros((3, 211 - length + 1), np.uint64)
        for offset in range(length):
            expected = expected * MULTIPLIER + samples[:, offset : offset + expected.shape[1]]
        np.testing.assert_array_equal(rolling_hashes(samples, length), expected)


def test_overlap_with_a_baseline_each_on_one_clock_is_no_changed_copy() -> None:
    starts = np.arange(0, 2000, 37)
    values = windows_at(starts)
    values -= values[:, :, :17].mean(axis=2, keepdims=True)
    assert len(find_changed_copies(values, groups_of(len(starts), starts / 100)).rows) == 0


@pytest.mark.parametrize("times", [100, 30_000])
def test_mains_hum_is_no_changed_copy(times: int) -> None:
    """Far above the signal, at a divisor of the rate: every stretch has the signs of every other, and another remainder."""
    generator = np.random.default_rng(0)
    hum = np.sin(2 * np.pi * np.arange(257) / 5 + 0.3) * np.ones((50, 1, 1))
    values = (hum * times + generator.standard_normal((50, 3, 257)) * np.array([[1.0], [2.0], [3.0]])).astype(np.float32)
    for electrodes in (1, 3):
        assert len(find_changed_copies(values[:, :electrodes], groups_of(50, np.full(50, np.nan))).rows) == 0
