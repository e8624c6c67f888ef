"""What must not be judged is refused before the first fit: what was fitted already, and alignments that nobody tells whose the windows are."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence.cross_validation import cross_validate
from sigvit.evidence.folds import cross_subject
from sigvit.evidence.grid_search import GridSearch
from sigvit.evidence.pipeline_checks import require_unfitted


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
