"""A search that learns from its trials finds what is there, is the same at once as one by one, and sees no judged window."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import folds
from sigvit.evidence.fit_job import FitJob
from sigvit.evidence.optuna_search import OptunaSearch
from sigvit.tokenizers import TimeStepTokens

distributions = pytest.importorskip("optuna.distributions", reason="the extra optuna isn't installed")


class Peaked(ClassifierMixin, BaseEstimator):
    """As good as its setting is near .7."""

    def __init__(self, setting: float = 0.0) -> None:
        self.setting = setting

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        sure = 0.9 - (self.setting - 0.7) ** 2
        right = X[:, 0, 0].astype(int)
        return np.where(np.arange(2) == right[:, None], sure, 1 - sure)


def signals() -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(30) % 2
    return np.broadcast_to(labels[:, None, None], (30, 2, 3)).astype(float), labels


def test_it_comes_nearer_than_as_many_settings_at_random():
    search = OptunaSearch(Peaked(), {"setting": distributions.FloatDistribution(-5.0, 5.0)}, trials=40, at_once=4).fit(*signals())
    assert len(search.cv_results_["params"]) == 40
    asked = np.array([setting["setting"] for setting in search.cv_results_["params"]])
    assert abs(search.best_params_["setting"] - 0.7) < 0.2
    assert np.abs(asked[20:] - 0.7).mean() < 0.7 * np.abs(asked[:10] - 0.7).mean()


def test_the_same_seed_asks_for_the_same():
    found = [OptunaSearch(Peaked(), {"setting": distributions.FloatDistribution(-5.0, 5.0)}, 13, 3).fit(*signals()).cv_results_["params"] for _ in range(2)]
    assert found[0] == found[1]


def test_numpys_whole_numbers_are_seeds_as_well():
    class Seeded(Peaked):
        def __init__(self, setting: float = 0.0, random_state=None) -> None:
            super().__init__(setting)
            self.random_state = random_state

    space = {"setting": distributions.FloatDistribution(-5.0, 5.0)}
    asked = [OptunaSearch(Seeded(random_state=seed), space, 5, 3).fit(*signals()).cv_results_["params"] for seed in (3, np.int64(3), 5)]
    assert asked[0] == asked[1] != asked[2]


class Diverging(Peaked):
    """Predicts NaN above .5."""

    def predict_proba(self, X):
        return super().predict_proba(X) * (np.nan if self.setting > 0.5 else 1)


def test_a_setting_without_a_score_is_the_worst_and_is_left_alone():
    search = OptunaSearch(Diverging(), {"setting": distributions.FloatDistribution(0.0, 1.0)}, trials=29, at_once=2).fit(*signals())
    asked = np.array([setting["setting"] for setting in search.cv_results_["params"]])
    assert 0.4 < search.best_params_["setting"] <= 0.5
    assert (asked[:10] > 0.5).any()
    assert (asked[15:] > 0.5).mean() < 0.4


def network(**choices) -> sigvit.SignalViTClassifier:
    tokenizer = sigvit.signal_vit(3, 67, tokenizer=TimeStepTokens(3, 8, width=4), heads=2, depth=1).tokenizer
    return sigvit.SignalViTClassifier(tokenizer, training_steps=5, width=4, depth=1, heads=2, mlp_width=5, ensemble=False, classical=None, **choices)


def test_searches_of_several_folds_at_once_are_those_one_by_one():
    windows = synthetic_windows(effect=3.0)
    space = {"learning_rate": distributions.FloatDistribution(1e-4, 1e-1, log=True)}
    search = OptunaSearch(network(), space, trials=5, at_once=2)
    jobs = [FitJob(np.arange(0, 40), np.array([]), 3), FitJob(np.arange(20, 60), np.array([]), 5)]
    for job, found in zip(jobs, search.fit_many(windows, jobs), strict=True):
        alone = OptunaSearch(search.estimator, space, trials=5, at_once=2)
        alone.estimator.set_params(random_state=job.seed)
        alone.fit(windows.values[job.train], windows.labels[job.train])
        asked = [[setting["learning_rate"] for setting in each.cv_results_["params"]] for each in (found, alone)]
        # The first round is the seed's; later ones are chosen by scores, which stacks round otherwise in float32.
        assert asked[0][:2] == asked[1][:2]
        np.testing.assert_allclose(found.cv_results_["mean_test_score"][:2], alone.cv_results_["mean_test_score"][:2], atol=1e-4)
        assert len(asked[0]) == len(asked[1]) == 5


def test_it_nests_in_cross_validation():
    windows = synthetic_windows(effect=3.0)
    space = {"learning_rate": distributions.FloatDistribution(1e-3, 1e-1, log=True)}
    pipelines = {"searched": OptunaSearch(network(), space, trials=3, at_once=2)}
    results = sigvit.cross_validate(pipelines, windows, folds.cross_subject(windows.metadata))
    assert len(results.table) == 3


@pytest.mark.parametrize(
    ("choices", "message"),
    [({"trials": 0}, "trials 0"), ({"parameters": {"nothing": None}}, "has no parameters nothing"), ({"parameters": {}}, "there are 0")],
)
def test_what_cannot_be_searched_is_said(choices, message):
    told = {"parameters": {"setting": distributions.FloatDistribution(0.0, 1.0)}, "trials": 3} | choices
    with pytest.raises(ValueError, match=message):
        OptunaSearch(Peaked(), **told).fit(*signals())
