"""Covariances that were met before are not computed again, and are the same bits."""

import numpy as np
import pytest
from sklearn.base import clone

from sigvit.evidence import baselines, covariance_cache
from sigvit.evidence.blend import Blend
from sigvit.evidence.covariance_cache import CovarianceCache, contents

N, E, S, RATE = 23, 3, 101, 64.0
PIPELINES = {"Filter bank tangent space": baselines.filter_bank_tangent_space(RATE), "Augmented tangent space": baselines.augmented_tangent_space(RATE)}


@pytest.fixture(autouse=True)
def computed(monkeypatch):
    """How many windows' covariances were computed in each call, from an empty cache on."""
    calls = []
    original = covariance_cache.CovarianceCache.get

    def get(self, signals, told, what, compute):
        return original(self, signals, told, what, lambda missing: calls.append(len(missing)) or compute(missing))

    monkeypatch.setattr(CovarianceCache, "get", get)
    monkeypatch.setattr(covariance_cache.met, "_kept", type(covariance_cache.met._kept)())
    monkeypatch.setattr(covariance_cache.met, "_bytes", 0)
    return calls


def signals(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1e-5, (N, E, S))


@pytest.mark.parametrize("name", PIPELINES)
def test_overlapping_folds_and_a_twin_in_a_blend_compute_each_window_once(name, computed):
    values, labels = signals(), np.arange(N) % 2
    steps = 6 if name.startswith("Filter") else 1  # bands of 4 Hz from 4 to 28, below half of the rate
    for train, test in ((slice(0, 17), slice(17, N)), (slice(6, N), slice(0, 6))):
        for pipeline in (clone(PIPELINES[name]), Blend({"its twin": clone(PIPELINES[name])})):
            pipeline.fit(values[train], labels[train]).predict_proba(values[test])
    assert sum(computed) == steps * N


@pytest.mark.parametrize("name", PIPELINES)
def test_with_and_without_the_cache_answers_are_the_same_bits(name, monkeypatch):
    values, labels = signals(), np.arange(N) % 2

    def answers() -> np.ndarray:
        return np.concatenate([clone(PIPELINES[name]).fit(values[fold], labels[fold]).predict_proba(values) for fold in (slice(0, 17), slice(6, N))])

    kept = answers()
    monkeypatch.setattr(covariance_cache.met, "most_bytes", 0)
    covariance_cache.met.get(signals(1), contents(signals(1)), "drives all others out", lambda windows: windows)
    assert covariance_cache.met._bytes == 0
    np.testing.assert_array_equal(answers(), kept)


def test_one_changed_sample_another_unit_and_another_setting_are_computed_anew(computed):
    values, cache = signals(), CovarianceCache()
    changed = values.copy()
    changed[5, 1, 7] += 1e-9
    for windows, what in ((values, "a"), (values, "a"), (changed, "a"), (values, "b"), (values.astype(np.float32), "a"), (values.swapaxes(1, 2), "a")):
        cache.get(windows, contents(windows), what, np.square)
    assert computed == [N, 1, N, N, N]


def test_what_was_asked_for_longest_ago_goes_first_and_the_bound_holds(computed):
    windows = np.arange(5.0)[:, None]
    cache = CovarianceCache(most_bytes=3 * windows[0].nbytes)
    for row in (0, 1, 2, 0, 3, 0, 1):
        cache.get(windows[[row]], contents(windows[[row]]), "", np.negative)
        assert cache._bytes == sum(kept.nbytes for kept in cache._kept.values()) <= cache.most_bytes
    assert len(computed) == 5  # 0, 1, 2, then 3 in place of 1, and 1 anew
    np.testing.assert_array_equal(cache.get(windows, contents(windows), "", np.negative), -windows)  # more than it can hold


def test_what_is_handed_out_can_be_written_to():
    values, cache = signals(), CovarianceCache()
    cache.get(values, contents(values), "", np.square)[:] = np.nan
    np.testing.assert_array_equal(cache.get(values, contents(values), "", np.square), values**2)


def test_no_windows_have_no_covariances():
    assert PIPELINES["Augmented tangent space"]["augmentedcovariances"].fit(signals()).transform(signals()[:0]).shape == (0, 24, 24)
