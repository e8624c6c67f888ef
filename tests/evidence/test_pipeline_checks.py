"""What must not be judged is refused before the first fit: what was fitted already, and alignments that nobody tells whose the windows are."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines
from sigvit.evidence.alignment import Alignment
from sigvit.evidence.cross_validation import cross_validate
from sigvit.evidence.folds import cross_subject
from sigvit.evidence.grid_search import GridSearch
from sigvit.evidence.pipeline_checks import given_weights, require_told, require_unfitted
from sigvit.evidence.scaling import ChannelScaler
from sigvit.tokenizers import TimeStepTokens


@pytest.fixture(scope="module")
def windows():
    return synthetic_windows(n_subjects=3, n_trials=7)


class Constant(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


class Kept(Constant):
    """Stays what it is in a clone."""

    def __sklearn_clone__(self):
        return self


class Counter(Constant):
    """Its constructor makes an attribute with a fitted one's ending, as skorch's do."""

    def __init__(self, start=0):
        self.start = start
        self.count_ = start


def fitted(estimator):
    return estimator.fit(np.array([[2.0], [3.0], [5.0]]), np.array(["left", "right", "left"]))


@pytest.mark.parametrize(
    ("pipeline", "named"),
    [
        (lambda: FrozenEstimator(fitted(LogisticRegression())), "FrozenEstimator"),
        (lambda: make_pipeline(FunctionTransformer(), FrozenEstimator(fitted(LogisticRegression()))), "FrozenEstimator"),
        (lambda: CalibratedClassifierCV(FrozenEstimator(fitted(LogisticRegression()))), "FrozenEstimator"),
        (lambda: GridSearch(make_pipeline(LogisticRegression()), {"logisticregression": [FrozenEstimator(fitted(LogisticRegression()))]}), "FrozenEstimator"),
        (lambda: make_pipeline(FunctionTransformer(), fitted(Kept())), "Kept"),
        (lambda: make_pipeline(FunctionTransformer(fitted(LogisticRegression()).predict_proba), LogisticRegression()), "LogisticRegression"),
    ],
    ids=["alone", "in a pipeline", "calibrated", "in a grid", "own clone", "by a method"],
)
def test_what_is_fitted_before_any_fold_is_refused_by_name(windows, pipeline, named):
    with pytest.raises(ValueError, match=f"Pipeline 'before' holds {named}, which keeps in every fold what it was fitted on"):
        cross_validate({"before": pipeline()}, windows, cross_subject(windows.metadata))


def aligned():
    return make_pipeline(Alignment(by="subject"), baselines.tangent_space())


class Members(Constant):
    """Fits what stands in a list."""

    def __init__(self, members=None):
        self.members = members


class TakingWindows(Members):
    takes_windows = True


@pytest.mark.parametrize(
    ("pipeline", "named"),
    [
        (lambda: VotingClassifier([("aligned", aligned())], voting="soft"), "VotingClassifier"),
        (lambda: CalibratedClassifierCV(aligned(), cv=2), "CalibratedClassifierCV"),
        (lambda: make_pipeline(ChannelScaler(), VotingClassifier([("aligned", aligned())], voting="soft")), "VotingClassifier"),
        (lambda: GridSearch(CalibratedClassifierCV(aligned()), {"cv": [2, 3]}), "CalibratedClassifierCV"),
        (lambda: make_pipeline(FunctionTransformer(Alignment().fit_transform), baselines.tangent_space()), "FunctionTransformer"),
        (lambda: Members([Alignment(), baselines.tangent_space()]), "Members"),
    ],
    ids=["voting", "calibrated", "behind a step", "searched", "by a method", "in a list"],
)
def test_an_alignment_that_is_not_told_whose_each_window_is_is_refused(windows, pipeline, named):
    with pytest.raises(ValueError, match=f"Pipeline 'aligned': an alignment stands in {named}, which can't say whose windows these are"):
        cross_validate({"aligned": pipeline()}, windows, cross_subject(windows.metadata))


@pytest.mark.parametrize(
    "pipeline",
    [
        aligned,
        lambda: make_pipeline(ChannelScaler(), aligned()),
        lambda: make_pipeline(FeatureUnion([("aligned", aligned()[:-1])]), LogisticRegression()),
        lambda: GridSearch(aligned(), {"alignment__metric": ["riemann"]}),
        lambda: GridSearchCV(aligned(), {"alignment__metric": ["riemann"]}),
        lambda: TakingWindows([Alignment(), baselines.tangent_space()]),
        lambda: VotingClassifier([("aligned", make_pipeline(Alignment(mode="none"), baselines.tangent_space()))]),
    ],
    ids=["pipeline", "nested", "union", "search", "scikit-learn's search", "windows", "no alignment"],
)
def test_an_alignment_that_is_told_is_judged(pipeline):
    require_told("aligned", pipeline())


@pytest.mark.parametrize(
    "pipeline",
    [
        lambda: fitted(make_pipeline(FunctionTransformer(), LogisticRegression())),
        lambda: GridSearch(fitted(LogisticRegression()), {"C": [0.1, 1.0]}),
        lambda: Counter(3),
        lambda: sigvit.SignalViTClassifier(pretrained="folder"),
    ],
    ids=["emptied by a clone", "searched", "constructor", "pretrained"],
)
def test_what_a_clone_leaves_unfitted_is_judged(pipeline):
    require_unfitted("honest", pipeline())


def test_weights_of_a_given_tokenizer_are_warned_of_once(windows):
    network = sigvit.SignalViTClassifier(TimeStepTokens(3, 8, width=4), training_steps=2, width=4, heads=2, depth=1, ensemble=False, classical=None)
    warnings = cross_validate({"given": network}, windows, cross_subject(windows.metadata)[:1]).certificate.warnings
    assert sum("'given' starts from the weights of the TimeStepTokens that it was given" in sentence for sentence in warnings) == 1
    assert len(given_weights({"searched": GridSearch(make_pipeline(network), {"signalvitclassifier__tokenizer": [TimeStepTokens(3, 8, width=4)]})})) == 1
    assert given_weights({"default": sigvit.SignalViTClassifier(), "class": Members(TimeStepTokens), "classical": aligned()}) == []
