"""A search judges settings by inner folds of whole groups and is the same at once as one by one."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines, folds
from sigvit.evidence.fit_job import FitJob
from sigvit.evidence.grid_search import GridSearch
from sigvit.evidence.inner_folds import inner_folds
from sigvit.tokenizers import ConvStem

# Stacks add up in another order than single models: float32 after a few steps of AdamW.
ROUNDING = 1e-4
CLASSICAL = {"tangentspace__metric": ["euclid", "riemann"]}
GRID = {"learning_rate": [1e-4, 1e-2], "dropout": [0.1]}


def vit(**choices) -> sigvit.SignalViTClassifier:
    # The default stem reads the rate, which arrays don't bring along.
    torch.manual_seed(0)
    tokenizer = ConvStem.for_windows(3, 67, width=4)
    return sigvit.SignalViTClassifier(tokenizer, training_steps=7, width=4, depth=1, heads=2, mlp_width=5, ensemble=False, classical=None, **choices)


class Remembering(ClassifierMixin, BaseEstimator):
    """Knows which windows it was fitted on and which it was asked about: the first sample is the row's number."""

    asked: list[tuple[set, set]] = []  # noqa: RUF012 (shared by all copies, which is what the test reads)

    def __init__(self, setting: int = 0) -> None:
        self.setting = setting

    def fit(self, X, y):
        self.classes_, self.rows_ = np.unique(y), set(X[:, 0, 0].astype(int))
        return self

    def predict_proba(self, X):
        Remembering.asked.append((self.rows_, set(X[:, 0, 0].astype(int))))
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_inner_folds_keep_groups_whole():
    values = np.zeros((30, 2, 3), np.float32)
    values[:, 0, 0] = np.arange(30)
    groups = np.repeat(["a", "b", "c", "d", "e", "f"], 5)
    Remembering.asked.clear()
    GridSearch(Remembering(), {"setting": [1, 2, 3]}).fit(values, np.arange(30) % 2, groups)
    assert len(Remembering.asked) == 3 * 5
    for trained, judged in Remembering.asked:
        assert judged
        assert not {groups[row] for row in trained} & {groups[row] for row in judged}


@pytest.fixture(scope="module")
def windows() -> sigvit.Windows:
    return synthetic_windows(effect=3.0)


def test_searches_at_once_are_those_one_by_one(windows):
    search = GridSearch(vit(), GRID)
    jobs = [FitJob(np.arange(0, 40), np.array([]), 3, groups=windows.metadata["subject"].to_numpy()[:40]), FitJob(np.arange(20, 60), np.array([]), 5)]
    for job, found in zip(jobs, search.fit_many(windows, jobs), strict=True):
        alone = GridSearch(vit(random_state=job.seed), GRID)
        # Arrays are fitted one after the other; they bring no electrode names along, and no setting here reads any.
        alone.fit(windows.values[job.train], windows.labels[job.train], groups=job.groups)
        np.testing.assert_allclose(found.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], atol=ROUNDING)
        assert found.best_params_ == alone.best_params_
        np.testing.assert_allclose(found.predict_proba(windows[job.train]), alone.predict_proba(windows.values[job.train]), atol=ROUNDING)
        assert found.best_estimator_.random_state == job.seed


def test_scikit_learns_own_search_finds_the_same(windows):
    splits = inner_folds(np.unique(windows.labels, return_inverse=True)[1], None)
    theirs = GridSearchCV(vit(), GRID, scoring="neg_log_loss", cv=splits).fit(windows.values, windows.labels)
    ours = GridSearch(vit(), GRID).fit(windows, windows.labels)
    assert ours.best_params_ == theirs.best_params_
    assert ours.best_index_ == theirs.best_index_
    for name in ("mean_test_score", "std_test_score", "split1_test_score", "rank_test_score"):
        np.testing.assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], atol=ROUNDING)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]


@pytest.mark.slow
def test_a_nested_search_is_a_pipeline_like_any_other(windows):
    divided = folds.cross_subject(windows.metadata)
    results = sigvit.cross_validate({"ViT": GridSearch(vit(), GRID), "TS": GridSearch(baselines.tangent_space(), CLASSICAL)}, windows, divided, seeds=(0, 1))
    assert len(results.table) == 2 * 2 * len(divided)
    fold = divided[1]
    alone = GridSearch(vit(random_state=1), GRID)
    held_out = windows[fold.validation], windows.labels[fold.validation]
    alone.fit(windows[fold.train], groups=windows.metadata["subject"].to_numpy()[fold.train], validation=held_out)
    told = results.predictions.query("pipeline == 'ViT' and fold == @fold.number and seed == 1")
    found = told.filter(like="probability_").to_numpy()
    np.testing.assert_allclose(found, alone.predict_proba(windows[fold.test]), atol=ROUNDING)


def test_another_score_may_choose(windows):
    search = GridSearch(baselines.tangent_space(), CLASSICAL, scoring="balanced_accuracy")
    assert 0.5 < search.fit(windows.values, windows.labels).best_score_ <= 1


def test_what_can_not_be_searched_is_refused(windows):
    with pytest.raises(ValueError, match=r"no parameters rate; it has .*learning_rate"):
        GridSearch(vit(), {"rate": [1]}).fit(windows)
    with pytest.raises(ValueError, match="No inner folds"):
        GridSearch(vit(), GRID).fit(windows, groups=windows.labels)
