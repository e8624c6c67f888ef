"""Covariances of all windows at once are scikit-learn's of one after the other."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyriemann.estimation import XdawnCovariances
from sklearn.covariance import oas

from sigvit.evidence import baselines
from sigvit.evidence.covariances import AugmentedCovariances, FewerElectrodes, XdawnShrunkenCovariances, oas_covariances


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 11), st.integers(2, 67), st.integers(0, 2**31))
def test_they_are_scikit_learns(n_electrodes, n_samples, seed):
    generator = np.random.default_rng(seed)
    signals = generator.normal(3.0, 7.0, (2, 3, n_electrodes, n_samples)) @ np.diag(generator.uniform(0.1, 5.0, n_samples))
    expected = [[oas(window.T)[0] for window in row] for row in signals]
    # sums of at most 67 products in another order
    np.testing.assert_allclose(oas_covariances(signals), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("signals", [np.zeros((2, 3, 17)), np.ones((2, 3, 17)), np.eye(3)[None].repeat(5, axis=2)])
def test_flat_and_equal_electrodes_give_finite_matrices(signals):
    found = oas_covariances(signals)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, [oas(window.T)[0] for window in signals], atol=1e-12)  # sums of 17 products


def test_the_average_reference_leaves_full_rank():
    signals = np.random.default_rng(0).normal(size=(5, 7, 101))
    assert np.linalg.matrix_rank(oas_covariances(signals - signals.mean(axis=1, keepdims=True))).tolist() == [7] * 5


def test_behind_xdawn_filters_they_are_pyriemanns():
    generator = np.random.default_rng(0)
    signals, labels = generator.normal(size=(31, 5, 67)), np.arange(31) % 3
    ours, theirs = XdawnShrunkenCovariances(2, xdawn_estimator="oas"), XdawnCovariances(2, estimator="oas", xdawn_estimator="oas")
    # sums of 67 products in another order
    np.testing.assert_allclose(ours.fit(signals, labels).transform(signals), theirs.fit(signals, labels).transform(signals), rtol=1e-10, atol=1e-12)


def test_augmented_covariances_are_those_of_copies_40_ms_apart():
    signals = np.random.default_rng(0).normal(size=(5, 31, 127))
    augmented = AugmentedCovariances(101.0).fit(signals)
    assert (augmented.lag_, augmented.copies_) == (4, 4)  # 128 rows hold four copies of 31 electrodes
    copies = np.concatenate([signals[:, :, start : start + 115] for start in (0, 4, 8, 12)], axis=1)
    assert np.array_equal(augmented.transform(signals), oas_covariances(copies))


@pytest.mark.parametrize(("n_electrodes", "n_samples", "copies"), [(1, 211, 8), (131, 211, 1), (3, 17, 2), (3, 2, 1)])
def test_as_many_copies_as_electrodes_and_samples_allow(n_electrodes, n_samples, copies):
    assert AugmentedCovariances(101.0).fit(np.zeros((5, n_electrodes, n_samples))).copies_ == copies


def test_components_take_the_place_of_electrodes_only_where_these_are_too_many():
    generator = np.random.default_rng(0)
    signals = generator.normal(size=(13, 7, 101)) * np.array([1, 9, 2, 8, 3, 7, 4.0])[:, None]
    fits = [FewerElectrodes(13 * numbers).fit(signals) for numbers in (28, 27, 6, 5, 0)]
    assert [fit.transform(signals).shape[1] for fit in fits] == [7, 6, 3, 2, 1]  # C (C + 1) / 2 numbers a window
    assert fits[0].transform(signals) is signals
    # Electrodes that have nothing in common are components themselves, the strongest first; what 1313 samples have in common by chance is left.
    np.testing.assert_allclose(np.abs(fits[2].components_), np.eye(7)[[1, 3, 5]], atol=0.2)
    assert np.all(np.diff(fits[2].transform(signals).var(axis=(0, 2))) < 0)


def test_as_many_windows_as_fill_the_memory_are_read_in_fewer_components_of_the_training_windows_alone():
    generator = np.random.default_rng(0)
    signals, labels = generator.normal(0, 1e-5, (60, 11, 101)), np.arange(60) % 2
    signals[labels == 1, 3] *= 4
    pipeline = baselines.filter_bank_tangent_space(100.0).set_params(fewerelectrodes__most_numbers=40 * 15)
    told = pipeline.fit(signals[:40], labels[:40]).predict_proba(signals[40:])
    assert pipeline[-1].n_features_in_ == 9 * 15
    assert pipeline.score(signals[40:], labels[40:]) == 1
    # other test windows change nothing, but a product of 135 features may be summed in another order
    np.testing.assert_allclose(pipeline.predict_proba(signals[40:47]), told[:7], atol=1e-12)


def test_csp_reads_fewer_components_as_well():
    generator = np.random.default_rng(0)
    signals, labels = generator.normal(0, 1e-5, (61, 11, 101)), np.arange(61) % 2
    signals[labels == 1, 3] *= 4
    pipeline = baselines.csp_lda().set_params(fewerelectrodes__most_numbers=41 * 15).fit(signals[:41], labels[:41])
    assert pipeline["csp"].filters_.shape == (5, 5)
    assert pipeline.score(signals[41:], labels[41:]) == 1


def test_delayed_copies_of_a_block_of_windows_are_held_at_once(monkeypatch):
    signals = np.random.default_rng(0).normal(size=(61, 5, 509))
    step = AugmentedCovariances(250.0).fit(signals)
    whole = step._covariances(signals)
    monkeypatch.setattr("sigvit.evidence.window_blocks.BLOCK_NUMBERS", 7 * 8 * signals[0].size)
    tracemalloc.start()
    in_blocks = step._covariances(signals)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(in_blocks, whole)
    assert peak < 8 * signals.nbytes  # eight copies of all windows, without what is computed of them
