"""The pool of several classifiers: what its weights are, and what they are chosen on."""

import numpy as np
import pytest
import sklearn
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines
from sigvit.evidence.blend import Blend
from sigvit.evidence.handed_windows import Microvolts
from sigvit.evidence.inner_folds import inner_folds
from sigvit.evidence.linear_discriminant import ShrinkageLDA
from sigvit.evidence.log_linear_pool import PULL, best_temperature, blend_weights, pooled, told_apart
from sigvit.evidence.metrics import window_log_loss


class Remembers(ClassifierMixin, BaseEstimator):
    """Certain of every window that it was fitted on, whatever its last sample, and guesses the rest."""

    def fit(self, X, y):
        self.classes_, self.known_ = np.unique(y), {window[:, :-1].tobytes(): label for window, label in zip(X, y, strict=True)}
        return self

    def predict_proba(self, X):
        told = np.full((len(X), len(self.classes_)), 1 / len(self.classes_))
        for row, window in enumerate(X):
            if window[:, :-1].tobytes() in self.known_:
                told[row] = np.where(self.classes_ == self.known_[window[:, :-1].tobytes()], 0.999, 0.001)
        return told


@pytest.fixture(scope="module")
def windows():
    return synthetic_windows(n_subjects=3, n_trials=22, effect=3.0)


def told(seed, n=211, sources=3, classes=5):
    rng = np.random.default_rng(seed)
    return log_softmax(rng.normal(size=(n, sources, classes)), axis=2), rng.integers(0, classes, n)


def test_no_other_weights_have_a_smaller_loss():
    log_probabilities, numbers = told(0)

    def loss(weights):
        apart = weights - 1 / 3
        return -pooled(log_probabilities, weights)[np.arange(211), numbers].mean() + PULL / 211 * 3 * (apart @ apart)

    weights = blend_weights(log_probabilities, numbers)
    rng = np.random.default_rng(1)
    assert all(loss(np.maximum(weights + rng.normal(0, 0.05, 3), 0)) >= loss(weights) - 1e-7 for _ in range(200))  # L-BFGS ends at 1e-5 of the gradient


def test_the_order_of_sources_and_windows_does_not_matter():
    log_probabilities, numbers = told(2)
    order, rows = np.array([2, 0, 1]), np.random.default_rng(3).permutation(211)
    # the minimiser stops within about 1e-5 of the one answer
    np.testing.assert_allclose(blend_weights(log_probabilities[rows][:, order], numbers[rows]), blend_weights(log_probabilities, numbers)[order], atol=1e-4)


def test_the_stronger_the_pull_the_nearer_equal_weights(monkeypatch):
    log_probabilities, numbers = told(4, n=5)
    monkeypatch.setattr("sigvit.evidence.log_linear_pool.PULL", 1e6)
    np.testing.assert_allclose(blend_weights(log_probabilities, numbers), 1 / 3, atol=1e-4)  # a loss of order 1 against a pull of 1e6


def test_who_only_remembers_is_not_believed(windows):
    blend = Blend({"LDA": baselines.shrinkage_lda(), "memory": Remembers()}).fit(windows.values, windows.labels)
    # unseen windows are all alike to it: nothing but the pull towards one half decides its weight
    assert blend.weights_["memory"] == pytest.approx(0.5, abs=1e-4)  # where the minimiser stops


def test_inner_folds_keep_groups_whole(windows):
    groups = windows.metadata["subject"].to_numpy()
    twins = np.repeat(windows.values[::2], 2, axis=0)
    twins[1::2, :, -1] *= 2
    remembering = Blend({"memory": Remembers()}).fit(twins, np.repeat(windows.labels[::2], 2), groups=np.repeat(groups[::2], 2))
    # each window is there twice, in one group, but for the last sample: nobody has seen its twin
    np.testing.assert_allclose(remembering.out_of_fold_, np.log(0.5), atol=1e-9)


def test_copies_are_judged_once_and_make_no_memory_credible(windows):
    order = np.random.default_rng(0).permutation(2 * len(windows.values)) % len(windows.values)
    remembering = Blend({"memory": Remembers()}).fit(windows.values[order], windows.labels[order])
    judged = np.isfinite(remembering.out_of_fold_).all(axis=1)
    assert sorted(order[judged]) == list(range(len(windows.values)))
    np.testing.assert_allclose(remembering.out_of_fold_[judged], np.log(0.5), atol=1e-9)


def test_label_free_steps_are_fitted_once_and_the_rest_in_inner_folds(windows):
    blend = Blend({"tangent": baselines.tangent_space()}).fit(windows.values, windows.labels)
    whole = baselines.tangent_space().fit(windows.values, windows.labels)
    alone = clone(whole).fit(windows.values, windows.labels).predict_proba(windows.values)
    factor = blend.weights_["tangent"] / blend.temperatures_["tangent"]
    np.testing.assert_allclose(log_softmax(np.log(alone) * factor, axis=1), blend.predict_log_proba(windows.values), atol=1e-9)
    np.testing.assert_array_equal(blend.predict_proba(windows.values), told_apart(blend.predict_log_proba(windows.values)))
    numbers = np.searchsorted(blend.classes_, windows.labels)
    features = whole[:-1].transform(windows.values)
    train, judge = inner_folds(numbers, None)[0]
    inner = clone(whole[-1]).fit(features[train], numbers[train]).predict_proba(features[judge])
    np.testing.assert_allclose(log_softmax(np.log(inner) * factor, axis=1), blend.out_of_fold_[judge], atol=1e-9)


@pytest.mark.parametrize("classes", [("left", "right"), ("left", "right", "feet")])
def test_the_classical_blend_finds_a_planted_source(classes):
    windows = synthetic_windows(n_trials=24, n_subjects=2, effect=3.0, classes=classes)
    train = (windows.metadata["run"] == "1").to_numpy()
    blend = baselines.classical_blend(*windows.values.shape[1:], windows.sampling_rate).fit(windows.values[train], windows.labels[train])
    assert blend.score(windows.values[~train], windows.labels[~train]) > 0.75
    assert list(blend.weights_) == ["Shrinkage LDA", "xDAWN + tangent space", "Rhythms"]
    assert len(blend.fitted_["Rhythms"].weights_) == 5


def test_a_source_that_knows_more_has_the_smaller_inner_loss(windows):
    blend = Blend({"LDA": baselines.shrinkage_lda(), "memory": Remembers()}).fit(windows.values, windows.labels)
    assert blend.log_loss_["memory"] == pytest.approx(np.log(2), abs=1e-9)  # it guesses what it hasn't seen
    lda = baselines.shrinkage_lda().fit(windows.values, windows.labels)
    own = -lda.out_of_fold_[np.arange(len(windows)), np.searchsorted(lda.classes_, windows.labels)].mean()
    assert blend.log_loss_["LDA"] == pytest.approx(own, abs=1e-6)  # its own temperature is the best already


def test_the_temperature_of_a_source_that_is_always_certain_is_that_of_its_hits():
    certain = np.array([[400.0, 0.0]] * 9 + [[0.0, 400.0]])
    temperature, loss = best_temperature(certain, np.zeros(10, dtype=int))
    # nine of ten right: the smallest loss is the entropy of 9 to 1, where the odds are 9; the search ends within 1e-6
    assert 400 / temperature == pytest.approx(np.log(9), rel=1e-5)
    assert loss == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1), abs=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_temperature_of_a_loss_with_one_valley_is_what_one_search_finds(classes):
    rng = np.random.default_rng(classes)
    for size in (0.3, 3.0, 10.0):
        numbers = rng.integers(0, classes, 101)
        logits = size * (rng.normal(size=(101, classes)) + np.eye(classes)[numbers])

        def loss(log_temperature, logits=logits, numbers=numbers):
            return window_log_loss(numbers, softmax(logits / np.exp(log_temperature), axis=1)).mean()

        found = minimize_scalar(loss, bounds=(-np.log(20), np.log(1000)), method="bounded", options={"xatol": 1e-6})
        # where the search itself ends; accuracy tables rest on it
        assert best_temperature(logits, numbers) == pytest.approx((np.exp(found.x), found.fun), rel=1e-6)


class Boasts(ClassifierMixin, BaseEstimator):
    """A linear discriminant whose probabilities are raised to a power."""

    def __init__(self, power=1.0):
        self.power = power

    def fit(self, X, y):
        self.lda_ = ShrinkageLDA(8).fit(X, y)
        self.classes_ = self.lda_.classes_
        return self

    def predict_proba(self, X):
        certain = self.lda_.predict_proba(X) ** self.power
        return certain / certain.sum(axis=1, keepdims=True)


def test_how_certain_a_source_makes_itself_does_not_matter():
    weak = synthetic_windows(n_subjects=3, n_trials=22, effect=0.7)
    plain, boasting = (Blend({"LDA": Boasts(power), "CSP": baselines.csp_lda()}).fit(weak.values, weak.labels) for power in (1.0, 2.0))
    # Not exactly: what falls below the smallest probability that counts is lifted to it.
    assert boasting.temperatures_["LDA"] == pytest.approx(2 * plain.temperatures_["LDA"], rel=0.02)
    np.testing.assert_allclose(boasting.predict_proba(weak.values), plain.predict_proba(weak.values), atol=0.01)
    assert plain.weights_["LDA"] > 0.3


@pytest.mark.filterwarnings("ignore:When `set_output`:UserWarning", "ignore:X has feature names:UserWarning")
def test_scikit_learn_may_be_set_to_give_tables(windows):
    candidates = {"tangent space": baselines.tangent_space(), "band power": baselines.band_power(64.0)}
    plain = Blend(candidates).fit(windows.values, windows.labels).predict_proba(windows.values)
    with sklearn.config_context(transform_output="pandas"):
        found = Blend(candidates).fit(windows.values, windows.labels).predict_proba(windows.values)
    np.testing.assert_array_equal(found, plain)


def test_a_blend_in_a_blend_is_judged_on_windows_that_it_did_not_see(windows):
    inner = Blend({"CSP": baselines.csp_lda(), "tangent": baselines.tangent_space()})
    outer = Blend({"LDA": baselines.shrinkage_lda(), "rhythms": inner}).fit(windows.values, windows.labels)
    alone = clone(inner).fit(windows.values, np.searchsorted(outer.classes_, windows.labels))
    np.testing.assert_allclose(outer.fitted_["rhythms"].out_of_fold_, alone.out_of_fold_, atol=1e-9)  # the same arithmetic, in threads of BLAS
    remembering = Blend({"LDA": baselines.shrinkage_lda(), "rhythms": Blend({"memory": Remembers()})}).fit(windows.values, windows.labels)
    assert remembering.log_loss_["rhythms"] == pytest.approx(np.log(2), abs=1e-9)


def test_windows_are_blended_as_their_array(windows):
    candidates = {"LDA": baselines.shrinkage_lda(), "tangent": baselines.tangent_space()}
    of_windows, of_array = (Blend(candidates).fit(signals, windows.labels) for signals in (windows, windows.values))
    np.testing.assert_array_equal(of_windows.predict_proba(windows), of_array.predict_proba(windows.values))


def test_a_missing_label_is_no_class(windows):
    numbers = np.where(np.arange(len(windows)) == 7, np.nan, windows.labels == "left")
    with pytest.raises(ValueError, match="windows have no label, the first in row 7"):
        Blend({"LDA": baselines.shrinkage_lda()}).fit(windows.values, numbers)


def test_too_few_windows_for_inner_folds_give_equal_weights(windows):
    few = np.concatenate([np.flatnonzero(windows.labels == label)[:1] for label in windows.classes])
    candidates = {"one": make_pipeline(Microvolts(), Remembers()), "two": Remembers()}
    assert list(Blend(candidates).fit(windows.values[few], windows.labels[few]).weights_.values()) == [0.5, 0.5]


def test_certainty_keeps_the_order_of_windows():
    rare = 10.0 ** -np.arange(1.0, 90.0, 7.0)
    told = np.r_[np.c_[1 - rare, rare], np.c_[rare, 1 - rare][::-1]]
    certain = told_apart(np.log(told))[:, 1]
    assert (np.diff(certain[: len(rare)]) < 0).all()
    assert (np.diff(certain[len(rare) :]) < 0).all()
    assert certain.max() < 1


@pytest.mark.parametrize("gain", [1 / 6, 6.0])
def test_a_person_recorded_with_another_gain_is_still_ranked(gain):
    """All of their windows lie far on one side of the boundary, beyond any probability that the training windows support."""
    generator, who, y = np.random.default_rng(0), np.repeat(np.arange(4), 40), np.tile([0, 1], 80)
    X = generator.normal(0, 1e-5, (160, 8, 128))
    X[y == 1, 0] *= 1.25  # one electrode's amplitude tells the class
    X[who == 3] *= gain
    half = baselines.classical_blend(8, 128, 128.0).fit(X[who < 3], y[who < 3], groups=who[who < 3])
    told = half.predict_proba(X[who == 3])[:, 1]
    assert abs(told - 0.5).min() > 0.5 - 1e-6
    assert roc_auc_score(y[who == 3], told) > 0.8  # .97 and .84; .35 and .50 where logarithms ended at 1e-6 and probabilities at 1


def test_a_source_that_is_always_sure_is_tempered_by_what_it_says():
    """Its temperature and weight were once chosen for logarithms that ended at 1e-6, and multiplied others."""

    class Sure(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict_proba(self, X):
            odds = 40.0 * X[:, 0, 0]
            return np.stack([1 / (1 + np.exp(odds)), 1 / (1 + np.exp(-odds))], axis=1)

    generator = np.random.default_rng(0)
    y, X = generator.integers(0, 2, 401), generator.normal(size=(401, 1, 1))
    X += 2.0 * y[:, None, None] - 1.0
    blend = Blend({"sure": Sure(), "surer": Sure()}).fit(X[:200], y[:200])
    told = blend.predict_proba(X[200:])
    assert -np.log(told[np.arange(201), y[200:]]).mean() < 0.4  # .35 as by the true odds; .54 where they multiplied others
