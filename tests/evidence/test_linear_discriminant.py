"""Shrinkage LDA against scikit-learn's Ledoit–Wolf and the naive formula."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.covariance import ledoit_wolf_shrinkage

from sigvit.evidence.inner_folds import inner_folds
from sigvit.evidence.linear_discriminant import ShrinkageLDA, fit_discriminant, inner_logits, ledoit_wolf, segment_means, solve_shrunken


@pytest.mark.parametrize(("n", "p"), [(13, 31), (31, 13), (17, 17)])
def test_shrinkage_is_that_of_scikit_learn_for_fewer_and_more_windows_than_features(n, p):
    centred = np.random.default_rng(n).normal(size=(n, p)) * np.linspace(1, 5, p)
    # Double precision, sums in another order.
    assert ledoit_wolf(centred)[0] == pytest.approx(ledoit_wolf_shrinkage(centred, assume_centered=True), rel=1e-9)


@pytest.mark.parametrize(("n", "p"), [(13, 31), (31, 13)])
def test_the_solution_is_that_of_the_written_out_covariance(n, p):
    generator = np.random.default_rng(p)
    centred, right = generator.normal(size=(n, p)), generator.normal(size=(p, 3))
    shrinkage, mean_variance = ledoit_wolf(centred)
    covariance = (1 - shrinkage) * centred.T @ centred / n + shrinkage * mean_variance * np.eye(p)
    # Condition numbers here are below 100.
    np.testing.assert_allclose(solve_shrunken(centred, right), np.linalg.solve(covariance, right), rtol=1e-9, atol=1e-11)


def test_segment_means_are_means_of_parts_that_differ_by_at_most_one_sample():
    signals = np.random.default_rng(0).normal(0, 1e-5, (3, 2, 11))
    means = segment_means(signals, 3).reshape(3, 2, 3)
    parts = [signals[..., :3], signals[..., 3:7], signals[..., 7:]]
    np.testing.assert_allclose(means, 1e6 * np.stack([part.mean(axis=2) for part in parts], axis=2), rtol=1e-10)  # sums in another order
    np.testing.assert_allclose(segment_means(signals, 11).reshape(signals.shape), 1e6 * signals, rtol=1e-12)  # one rounding


def test_many_long_windows_ask_only_for_what_a_fit_can_bear(monkeypatch):
    def asked(*shape):
        return ShrinkageLDA()._candidates(np.broadcast_to(np.float32(0), shape))

    assert asked(2039, 31, 3001) == [4, 8, 16, 32, 64, 128, 256]
    assert asked(4801, 149, 61) == [4, 8, 16]
    assert asked(10**9, 149, 61) == [4]  # one stands alone
    assert asked(2039, 149, 61) == asked(2063, 149, 61) == [4, 8, 16, 32, 61]  # no cliff at 2048 windows
    monkeypatch.setattr("sigvit.evidence.linear_discriminant.MOST_WORK", 23 * 5 * 8 * 23)
    assert asked(23, 5, 31) == [4, 8]
    monkeypatch.setattr("sigvit.evidence.linear_discriminant.MOST_WORK", 23 * 5 * 8 * 23 - 1)
    assert asked(23, 5, 31) == [4]


def test_discriminant_gives_the_exact_log_odds_of_two_gaussians():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(4001, 2)) + np.repeat([[0.0, 0.0], [1.0, 2.0]], [1000, 3001], axis=0)
    weights, offsets = fit_discriminant(features, np.repeat([0, 1], [1000, 3001]))
    # True log-odds of unit Gaussians at (0, 0) and (1, 2): x · (1, 2) - 2.5 + log 3; standard errors of means and variances are near .03.
    np.testing.assert_allclose(weights[1] - weights[0], [1, 2], atol=0.2)
    assert offsets[1] - offsets[0] == pytest.approx(-2.5 + np.log(3), abs=0.3)


def test_the_number_of_segments_that_fits_the_signal_has_the_smallest_loss():
    generator = np.random.default_rng(0)
    signals, labels = generator.normal(0, 1e-5, (120, 3, 64)), np.tile([0, 1], 60)
    signals[labels == 1, 1, 20:24] += 1e-5
    fitted = ShrinkageLDA().fit(signals, labels)
    assert tuple(fitted.scales_) == tuple(fitted.log_loss_) == (4, 8, 16, 32, 64)
    assert min(fitted.log_loss_, key=fitted.log_loss_.get) in (16, 32)


def test_the_pool_is_one_linear_discriminant_of_samples():
    generator = np.random.default_rng(0)
    signals, numbers = generator.normal(0, 1e-5, (61, 3, 37)), np.arange(61) % 3
    signals[numbers == 1, 1, 5:11] += 1e-5
    fitted = ShrinkageLDA((5, 37, 12)).fit(signals, numbers)
    assert min(fitted.scales_.values()) > 0, "all should have counted"
    told = 0
    for segments, scale in fitted.scales_.items():
        features = segment_means(signals, segments)
        weights, offsets = fit_discriminant(features, numbers)
        told += scale * (features @ weights.T + offsets)
    # Sums of about a hundred products in another order; below too.
    np.testing.assert_allclose(fitted.decision_function(signals), told, rtol=1e-7, atol=1e-9)
    for train, judge in inner_folds(numbers, None):
        parts = [scale * inner_logits(segment_means(signals, segments), numbers, [(train, judge)]) for segments, scale in fitted.scales_.items()]
        np.testing.assert_allclose(fitted.out_of_fold_[judge], log_softmax(np.sum(parts, axis=0), axis=1), rtol=1e-7, atol=1e-9)


def test_windows_of_another_shape_are_refused():
    signals = np.random.default_rng(0).normal(0, 1e-5, (14, 3, 11))
    fitted = ShrinkageLDA().fit(signals, np.arange(14) % 2)
    with pytest.raises(ValueError, match=r"3 electrodes × 11 samples, but these windows are \(3, 7\)"):
        fitted.predict(signals[:, :, :7])


def test_signals_that_are_masked_in_places_are_refused():
    signals = np.random.default_rng(0).normal(0, 1e-5, (8, 3, 17))
    with pytest.raises(ValueError, match="The signals are masked in places"):
        ShrinkageLDA().fit(np.ma.masked_greater(signals, 1e-5), np.arange(8) % 2)


def test_probabilities_are_calibrated_where_features_outnumber_windows():
    generator = np.random.default_rng(0)
    signals, labels = generator.normal(0, 1e-5, (160, 5, 128)), np.tile([0, 1], 80)
    signals[labels == 1, 1] += 2e-6
    fitted = ShrinkageLDA(segments=128).fit(signals[:80], labels[:80])
    probabilities = fitted.predict_proba(signals[80:])
    loss = -np.log(probabilities[np.arange(80), labels[80:]]).mean()
    uncalibrated = fitted.decision_function(signals[80:]) / fitted.scales_[128]
    assert loss < 0.8 < np.log1p(np.exp(-uncalibrated * (2 * labels[80:] - 1))).mean()


def test_one_trial_a_class_takes_the_first_candidate():
    signals = np.random.default_rng(0).normal(0, 1e-5, (2, 3, 7))
    fitted = ShrinkageLDA().fit(signals, ["a", "b"])
    assert (fitted.scales_, fitted.log_loss_) == ({4: 1.0}, {})


def test_windows_that_do_not_vary_within_a_class_are_told_apart():
    signals = np.zeros((6, 2, 5))
    signals[3:] = 1e-5
    assert ShrinkageLDA().fit(signals, [0, 0, 0, 1, 1, 1]).score(signals, [0, 0, 0, 1, 1, 1]) == 1


@pytest.mark.parametrize("segments", [0, 12, (), (4, 12), "some"])
def test_impossible_segments_get_a_sentence(segments):
    with pytest.raises(ValueError, match="11 samples"):
        ShrinkageLDA(segments).fit(np.random.default_rng(0).normal(size=(4, 2, 11)), [0, 1, 0, 1])


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least two classes"):
        ShrinkageLDA().fit(np.ones((4, 2, 11)), ["a"] * 4)
