"""Several classifiers blended into one: a log-linear pool with weights chosen on windows that no part of it was fitted on."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pyriemann.tangentspace import TangentSpace
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import check_is_fitted

from sigvit.data.windows import Windows
from sigvit.evidence.band_features import BandPower, BandTangentSpace
from sigvit.evidence.covariances import AugmentedCovariances, FewerElectrodes, ShrunkenCovariances
from sigvit.evidence.handed_windows import Microvolts
from sigvit.evidence.inner_folds import inner_folds, telling_windows
from sigvit.evidence.log_linear_pool import Weighed, logarithms, pooled, told_apart, weigh
from sigvit.evidence.normalising import NormalisedElectrodes
from sigvit.labels import plain_labels

# n = windows, K = sources, C = classes

# Steps that never look at labels are fitted once on all training windows; inner folds fit what comes behind them.
LABEL_FREE = (
    *(FunctionTransformer, Microvolts, StandardScaler, NormalisedElectrodes, FewerElectrodes),
    *(ShrunkenCovariances, AugmentedCovariances, TangentSpace, BandPower, BandTangentSpace),
)


class Blend(ClassifierMixin, BaseEstimator):
    """Classifiers of one kind of signals, each at its best temperature, pooled with the weights of `blend_weights` on inner folds of the training windows.

    Parameters
    ----------
    candidates : name → classifier with `predict_proba`, such as another `Blend`. What doesn't look at labels in a pipeline is fitted once, on all windows.
    before : a step of windows in front of all candidates that doesn't look at labels either, or None.

    Attributes
    ----------
    classes_ : sorted labels. weights_ : {name: weight}; equal ones where the windows allow no inner folds.
    temperatures_, log_loss_ : {name: what its log-probabilities are divided by, its log-loss in nats on the windows that inner folds judged}; ones, and
        empty, where there are none.
    fitted_ : {name: the classifier fitted on all training windows}. before_ : the fitted step, or None.
    out_of_fold_ : (windows, classes) log-probabilities of the pool for the training windows, by classifiers that didn't see their labels; else NaN.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence import baselines
    >>> windows = synthetic_windows(effect=3.0)
    >>> blend = Blend({"LDA": baselines.shrinkage_lda(), "CSP": baselines.csp_lda()}).fit(windows.values, windows.labels)
    >>> sorted(blend.weights_), blend.predict_proba(windows.values).shape
    (['CSP', 'LDA'], (60, 2))
    """

    def __init__(self, candidates: Mapping[str, Any], before: BaseEstimator | None = None):
        self.candidates = candidates
        self.before = before

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Blend:
        """(windows, electrodes, samples) in volts, as an array or `Windows`, labels (windows,), and what inner folds keep whole (windows,)."""
        self.classes_, numbers = np.unique(plain_labels(y, "windows"), return_inverse=True)
        self.before_ = None if self.before is None else clone(self.before)
        X = X if self.before_ is None else self.before_.fit_transform(X)
        folds = inner_folds(numbers, groups, telling_windows(X.values if isinstance(X, Windows) else X, numbers))
        found = [_fit_with_inner_folds(candidate, X, numbers, groups, folds) for candidate in self.candidates.values()]
        self.fitted_ = {name: fitted for name, (fitted, _) in zip(self.candidates, found, strict=True)}
        log_probabilities = np.stack([said for _, said in found], axis=1)
        judged = np.isfinite(log_probabilities).all(axis=(1, 2))
        equal = Weighed(np.full(len(found), 1 / len(found)), np.ones(len(found)), np.array([]))
        weighed = weigh(log_probabilities[judged], numbers[judged]) if judged.any() else equal
        self.weights_, self.temperatures_ = (dict(zip(self.candidates, each.tolist(), strict=True)) for each in weighed[:2])
        self.log_loss_ = dict(zip(self.candidates, weighed.losses.tolist(), strict=bool(len(weighed.losses))))
        self.out_of_fold_ = pooled(log_probabilities, weighed.weights / weighed.temperatures)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(windows, classes), in the order of `classes_`."""
        return told_apart(self.predict_log_proba(X))

    def predict_log_proba(self, X: np.ndarray) -> np.ndarray:
        """The same in logarithms, with all of their certainty."""
        check_is_fitted(self, "fitted_")
        X = X if self.before_ is None else self.before_.transform(X)
        log_probabilities = np.stack([log_said(fitted, X) for fitted in self.fitted_.values()], axis=1)
        return pooled(log_probabilities, np.array([weight / self.temperatures_[name] for name, weight in self.weights_.items()]))

    def predict(self, X: np.ndarray) -> np.ndarray:
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]


def log_said(fitted: Any, X: np.ndarray) -> np.ndarray:
    """(windows, classes) log-probabilities; a pool's before they are brought into a range that double precision tells from 1."""
    last = fitted[-1] if isinstance(fitted, Pipeline) else fitted
    return fitted.predict_log_proba(X) if isinstance(last, Blend) else logarithms(fitted.predict_proba(X))


def _fit_with_inner_folds(
    candidate: Any, signals: np.ndarray, numbers: np.ndarray, groups: np.ndarray | None, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[Any, np.ndarray]:
    """The classifier fitted on everything, and its log-probabilities (n, C) of every window by a twin that didn't see the window's label."""
    before, behind = _label_free_steps(clone(candidate))
    features = signals if before is None else np.asarray(before.fit_transform(signals))  # a table where scikit-learn is set to give such
    fitted = fit_with_groups(behind, features, numbers, groups)
    log_probabilities = np.full((len(numbers), numbers.max() + 1), np.nan)
    own = getattr(fitted, "out_of_fold_", None)
    if own is not None:  # it has judged its training windows on these very folds
        log_probabilities = own
    else:
        for train, judge in folds:
            log_probabilities[judge] = log_said(clone(behind).fit(features[train], numbers[train]), features[judge])
    return (fitted if before is None else Pipeline([*before.steps, *_steps(fitted)])), log_probabilities


def fit_with_groups(classifier: Any, features: np.ndarray, numbers: np.ndarray, groups: np.ndarray | None) -> Any:
    """The classifier fitted; one that judges itself is told what its inner folds keep whole."""
    if "groups" in inspect.signature(classifier.fit).parameters:
        return classifier.fit(features, numbers, groups=groups)
    return classifier.fit(features, numbers)


def _label_free_steps(candidate: Any) -> tuple[Pipeline | None, Any]:
    """The leading steps that never look at labels, and the rest."""
    if not isinstance(candidate, Pipeline):
        return None, candidate
    steps = [step for _, step in candidate.steps]
    free = next(number for number, step in enumerate(steps) if not isinstance(step, LABEL_FREE))
    behind = steps[-1] if free == len(steps) - 1 else make_pipeline(*steps[free:])
    return (make_pipeline(*steps[:free]) if free else None), behind


def _steps(fitted: Any) -> list[tuple[str, Any]]:
    return fitted.steps if isinstance(fitted, Pipeline) else [("classifier", fitted)]
