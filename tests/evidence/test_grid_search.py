"""A search judges settings by inner folds of whole groups and is the same at once as one by one."""

from enum import Enum
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines, folds, verify
from sigvit.evidence.alignment import Alignment
from sigvit.evidence.fit_job import FitJob
from sigvit.evidence.fit_keys import pretrained_models
from sigvit.evidence.grid_search import GridSearch
from sigvit.evidence.inner_folds import inner_folds
from sigvit.evidence.results_folder import write_results
from sigvit.evidence.scaling import ChannelScaler
from sigvit.evidence.window_steps import alignment_of, uses_test_windows
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


def test_seeds_can_be_searched(windows):
    search = GridSearch(vit(), {"random_state": [3, 5]}).fit(windows)
    assert search.best_params_["random_state"] in (3, 5)
    assert search.best_estimator_.random_state == search.best_params_["random_state"]


def test_jobs_may_come_one_by_one_and_are_named_where_their_rows_are_not_there(windows):
    search = GridSearch(vit(), GRID)
    (found,) = search.fit_many(windows, iter([FitJob(np.arange(40), [], 0)]))
    assert found.best_params_["learning_rate"] in GRID["learning_rate"]
    with pytest.raises(ValueError, match=rf"a job: train holds the row {len(windows)}, but there are"):
        search.fit_many(windows, [FitJob([3, len(windows)], [], 0, name="a job")])


def test_another_score_may_choose(windows):
    search = GridSearch(baselines.tangent_space(), CLASSICAL, scoring="balanced_accuracy")
    assert 0.5 < search.fit(windows.values, windows.labels).best_score_ <= 1


@pytest.mark.parametrize(("scoring", "n_folds"), [("roc_auc", 3), ("neg_log_loss", 5)])
def test_a_rare_class_leaves_a_scorer_the_folds_that_judge_it(scoring, n_folds):
    """Scikit-learn's refuses judges of one class; log-loss counts what they lack."""
    labels, values = np.repeat([0, 1], [40, 3]), np.random.default_rng(0).normal(0, 1e-5, (43, 3, 61))
    search = GridSearch(baselines.shrinkage_lda(), {"segments": [4, 8]}, scoring=scoring).fit(values, labels)
    assert search.n_splits_ == n_folds
    assert np.isfinite(search.best_score_)


def test_where_no_fold_judges_every_class_a_scorer_has_all_folds():
    """The one window of the rare class is trained on in each fold."""
    labels, values = np.repeat([0, 1, 2], [23, 19, 1]), np.random.default_rng(0).normal(0, 1e-5, (43, 3, 61))
    search = GridSearch(baselines.shrinkage_lda(), {"segments": [4]}, scoring="accuracy").fit(values, labels)
    assert search.n_splits_ == len(inner_folds(labels, None)) == 4


class Diverging(ClassifierMixin, BaseEstimator):
    """Predicts NaN where its rate is above 1, else the more wrongly the higher the rate."""

    def __init__(self, rate: float = 0.1) -> None:
        self.rate = rate

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), 2), np.nan) if self.rate > 1 else np.tile([1 - self.rate, self.rate], (len(X), 1))


def test_a_setting_without_a_score_is_the_worst(windows):
    search = GridSearch(Diverging(), {"rate": [10.0, 0.9, 0.5, 7.0]}).fit(windows.values, windows.labels)
    assert search.best_params_ == {"rate": 0.5}
    assert np.isfinite(search.best_score_)
    assert search.cv_results_["rank_test_score"].tolist() == [3, 2, 1, 3]
    with pytest.raises(ValueError, match=r"None of the 2 settings has a score \(neg_log_loss\) on all 5 inner folds"):
        GridSearch(Diverging(), {"rate": [10.0, 7.0]}).fit(windows.values, windows.labels)


@pytest.mark.parametrize("change", [lambda w: {"y": w.labels[:50]}, lambda w: {"y": w.labels, "groups": np.zeros(80)}])
def test_labels_and_groups_of_another_length_are_refused(windows, change):
    for X in (windows, windows.values):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            GridSearch(baselines.shrinkage_lda(), {"segments": [4, 8]}).fit(X, **change(windows))


def test_what_can_not_be_searched_is_refused(windows):
    with pytest.raises(ValueError, match=r"no parameters rate; it has .*learning_rate"):
        GridSearch(vit(), {"rate": [1]}).fit(windows)
    with pytest.raises(ValueError, match="No inner folds"):
        GridSearch(vit(), GRID).fit(windows, groups=windows.labels)


def aligned(mode: str = "inductive"):
    return make_pipeline(Alignment(mode=mode, by="subject"), baselines.tangent_space())


@pytest.mark.parametrize("search", [GridSearch, lambda estimator, grid: GridSearchCV(estimator, grid, scoring="neg_log_loss")], ids=["ours", "scikit-learn's"])
@pytest.mark.parametrize("grid", [{"alignment__mode": ["transductive"]}, {"alignment": [Alignment(mode="transductive")]}])
def test_an_alignment_that_a_search_chose_is_stamped_on_table_and_certificate(windows, search, grid):
    results = sigvit.cross_validate({"searched": search(aligned(), grid)}, windows, folds.cross_subject(windows.metadata))
    assert set(results.table["alignment"]) == {"transductive"}
    assert (results.certificate.verdict, results.certificate.tolerated) == ("tolerated", ("alignment",))


class Choosing(GridSearch):
    """Chooses transductive alignment where the subject 01 is among the training windows."""

    def _choose(self, settings, scores):
        super()._choose(settings, scores)
        self.best_params_ = {"alignment__mode": "transductive" if self.first else "inductive"}

    def fit(self, X, y, groups=None, validation=None, origin=None):
        self.first = "01" in groups
        return super().fit(X, y, groups, validation, origin)


def test_folds_that_choose_other_alignments_are_confirmed(windows, tmp_path):
    made = folds.cross_subject(windows.metadata, validation=0.0)
    pipelines = {"searched": Choosing(aligned(), {"alignment__mode": ["inductive", "transductive"]})}
    for _ in range(2):  # fitted, then read from the folder
        results = sigvit.cross_validate(pipelines, windows, made, folder=tmp_path)
        assert results.table["alignment"].tolist() == ["inductive", "transductive", "transductive"]
        assert [(each.mode, each.uses_test_windows) for each in results.certificate.alignment] == [("inductive+transductive", True)]
    write_results(tmp_path, results, windows, made, {})
    assert verify.verify(tmp_path) == []


def test_a_search_that_is_out_of_sight_counts_as_all_that_it_may_choose():
    hidden = CalibratedClassifierCV(GridSearch(aligned(), [{"alignment__metric": ["riemann"]}, {"alignment__mode": ("online", "transductive")}]))
    assert alignment_of(hidden) == "inductive+online+transductive"
    assert uses_test_windows(hidden)
    assert alignment_of(GridSearch(baselines.tangent_space(), CLASSICAL)) == "none"


def test_models_that_a_search_may_start_from_are_found(tmp_path):
    network = sigvit.SignalViTClassifier
    searches = {
        "by name": GridSearch(make_pipeline(ChannelScaler(), network()), [{"signalvitclassifier__pretrained": ["a", tmp_path, None]}]),
        "scikit-learn's": GridSearchCV(network(pretrained="b"), {"pretrained": np.array(["c"])}),
        "whole": make_pipeline(GridSearch(make_pipeline(network()), {"signalvitclassifier": [network(pretrained="d")]})),
    }
    assert pretrained_models(searches) == ["a", str(tmp_path), "b", "c", "d"]


class Calibrated(ClassifierMixin, BaseEstimator):
    """Keeps which windows it was told to calibrate with, in each fit."""

    takes_windows = True
    told: ClassVar[list] = []

    def __init__(self, sure=0.5):
        self.sure = sure

    def fit(self, X, y, groups=None, calibration=None):
        self.classes_ = np.unique(y)
        self.told.append((len(y), None if calibration is None else X.metadata["subject"].to_numpy()[calibration].tolist()))
        return self

    def predict_proba(self, X):
        self.told.append(sorted(set(X.metadata["subject"])))
        return np.tile([self.sure, 1 - self.sure], (len(X), 1))


@pytest.mark.parametrize("validation", [0.0, 0.3])
def test_a_search_tells_which_windows_calibrate_and_judges_on_these(windows, validation, monkeypatch):
    monkeypatch.setattr(Calibrated, "told", told := [])
    (fold, *_) = folds.calibrate(windows.metadata, 3, validation=validation)
    search = GridSearch(Calibrated(), {"sure": [0.5, 0.7]})
    sigvit.cross_validate({"behind a step": make_pipeline(ChannelScaler(), search)}, windows, [fold])
    whole = len(fold.train) + len(fold.validation)
    # Two settings × three inner folds of three trials a class, then the chosen one on all.
    assert told[:-2] == [(whole - 2, ["01"] * 4), ["01"]] * 6
    assert told[-2:] == [(whole, ["01"] * 6), ["01"]]
    told.clear()
    sigvit.cross_validate({"alone": search}, windows, [fold])
    assert told[:-2] == [(whole - 2, ["01"] * 4), ["01"]] * 6
    assert told[-2:] == [(whole, ["01"] * 6), ["01"]]


def test_a_search_judges_with_one_or_two_calibrating_trials_a_class_and_with_none(windows, monkeypatch):
    monkeypatch.setattr(Calibrated, "told", told := [])
    search = GridSearch(Calibrated(), {"sure": [0.5, 0.7]})

    def fits(n: int) -> list:
        told.clear()
        (fold, *_) = folds.calibrate(windows.metadata, n, reserve=3, validation=0.0)
        sigvit.cross_validate({"search": search}, windows, [fold])
        return told

    # 40 windows of the two others; what calibrates, and in the last place the chosen setting on all.
    assert fits(0) == [(20, None), ["02"], (20, None), ["03"]] * 2 + [(40, None), ["01"]]
    assert fits(1) == [(40, []), ["01"]] * 2 + [(42, ["01"] * 2), ["01"]]
    assert fits(2) == [(42, ["01"] * 2), ["01"]] * 4 + [(44, ["01"] * 4), ["01"]]


def test_a_search_says_how_many_calibrating_windows_were_too_few(windows):
    rows = np.concatenate([np.flatnonzero(windows.labels == "left")[:7], np.flatnonzero(windows.labels == "right")[:1]])
    with pytest.raises(ValueError, match="No inner folds can be made of 3 calibrating windows: every class must be among the other windows"):
        GridSearch(Calibrated(), {"sure": [0.5, 0.7]}).fit(windows[rows], calibration=np.arange(8) >= 5)


def test_a_column_of_a_reordered_table_says_by_its_index_which_windows_calibrate(windows, monkeypatch):
    monkeypatch.setattr(Calibrated, "told", told := [])
    reordered = windows.metadata.sort_values(["trial", "subject"])["subject"] == "01"
    GridSearch(Calibrated(), {"sure": [0.5, 0.7]}).fit(windows, calibration=reordered)
    assert all(set(calibrating) == {"01"} for _, calibrating in told[::2])
    assert all(judged == ["01"] for judged in told[1::2])


def test_a_search_around_a_pipeline_that_asks_which_windows_calibrate_says_where_it_belongs(windows):
    search = GridSearch(make_pipeline(ChannelScaler(), Calibrated()), {"calibrated__sure": [0.5, 0.7]})
    with pytest.raises(ValueError, match="search inside of the pipeline"):
        sigvit.cross_validate({"calibrated": search}, windows, folds.calibrate(windows.metadata, 3)[:1])


@pytest.mark.parametrize("scoring", ["neg_log_loss", "balanced_accuracy"])
def test_a_search_tells_alignment_whose_each_window_is(windows, scoring):
    louder = windows.values * np.where(windows.metadata["subject"] == "02", 20, 1).astype(np.float32)[:, None, None]
    windows = sigvit.Windows(louder, windows.labels, windows.metadata, windows.info)
    one_setting = GridSearch(aligned(), {"alignment__by": ["subject"]}, scoring)
    pipelines = {"alone": aligned(), "searched": one_setting, "behind a step": make_pipeline(ChannelScaler(), one_setting)}
    pipelines["scaled"] = make_pipeline(ChannelScaler(), aligned())
    table = sigvit.cross_validate(pipelines, windows, folds.cross_subject(windows.metadata)).table
    losses = table.pivot(index="fold", columns="pipeline", values="log_loss")
    # The validation windows stand behind the others in a search: float64 means in another order.
    np.testing.assert_allclose(losses["searched"], losses["alone"], rtol=1e-6)
    np.testing.assert_allclose(losses["behind a step"], losses["scaled"], rtol=1e-6)


class TakingWindows(ClassifierMixin, BaseEstimator):
    """Wants `Windows`, and fits without validation."""

    takes_windows = True

    def __init__(self, segments: int = 4) -> None:
        self.segments = segments

    def fit(self, X, y):
        self.inner_ = baselines.shrinkage_lda(self.segments).fit(X.values, y)
        self.classes_ = self.inner_.classes_
        return self

    def predict_proba(self, X):
        return self.inner_.predict_proba(X.values)


def test_windows_are_searched_with_the_validation_windows_behind_them(windows):
    search = GridSearch(TakingWindows(), {"segments": [4]})
    table = sigvit.cross_validate({"alone": TakingWindows(), "searched": search}, windows, folds.cross_subject(windows.metadata)).table
    losses = table.pivot(index="fold", columns="pipeline", values="log_loss")
    np.testing.assert_allclose(losses["searched"], losses["alone"], rtol=1e-6)  # float64 sums in another order


def test_a_searched_pipeline_is_handed_windows_as_it_is_alone(windows):
    pipeline = make_pipeline(ChannelScaler(), TakingWindows())
    pipelines = {"alone": pipeline, "searched": GridSearch(pipeline, {"takingwindows__segments": [4]})}
    losses = sigvit.cross_validate(pipelines, windows, folds.cross_subject(windows.metadata)).table.pivot(index="fold", columns="pipeline", values="log_loss")
    np.testing.assert_allclose(losses["searched"], losses["alone"], rtol=1e-6)  # the validation windows stand behind the others: sums in another order
    assert not GridSearch(pipeline, {"channelscaler": [ChannelScaler(), FunctionTransformer(np.abs)]}).takes_windows
    assert GridSearch(pipeline, {"channelscaler": [ChannelScaler(), "passthrough"]}).takes_windows


def test_labels_are_read_as_every_classifier_reads_them(windows):
    hand = Enum("hand", {"left": "left hand", "right": "right hand"})
    labels, search = [hand[label] for label in windows.labels], GridSearch(TakingWindows(), {"segments": [4]})
    assert search.fit(windows, labels).classes_.tolist() == ["left hand", "right hand"]
    assert search.fit(windows[:40], labels[:40], validation=(windows[40:], labels[40:])).classes_.tolist() == ["left hand", "right hand"]
    for labels in ([*windows.labels[:-1].tolist(), float("nan")], [*windows.labels[:20].tolist(), None, *windows.labels[:39].tolist()]):
        with pytest.raises(ValueError, match="1 of 60 windows have no label"):
            search.fit(windows, labels)
        with pytest.raises(ValueError, match=r"1 of \d+ windows have no label"):
            search.fit(windows[:40], labels[:40], validation=(windows[40:], labels[40:]))
    with pytest.raises(ValueError, match="name them apart"):
        search.fit(windows, [1, "1", *["2"] * 58])
