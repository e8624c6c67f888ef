"""Several classifiers blended into one: a log-linear pool with weights chosen on windows that no part of it was fitted on."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pyriemann.tangentspace import TangentSpace
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import check_is_fitted

from sigvit.evidence.band_features import BandCovariances, BandPower, BandTangentSpace
from sigvit.evidence.covariances import AugmentedCovariances, ShrunkenCovariances
from sigvit.evidence.linear_discriminant import best_temperature, inner_folds

# n = windows, K = sources, C = classes

# Far below any probability that a few hundred windows support: one mistake that a source is certain of must not decide its weight.
SMALLEST_PROBABILITY = 1e-6
# What holds the weights near equal ones, in windows: a few dozen windows overrule it, a handful don't.
PULL = 1.0
# Steps that never look at labels are fitted once on all training windows; inner folds fit what comes behind them.
LABEL_FREE = (FunctionTransformer, StandardScaler, ShrunkenCovariances, AugmentedCovariances, TangentSpace, BandCovariances, BandPower, BandTangentSpace)


def blend_weights(log_probabilities: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Weights (K,), none negative, of the log-linear pool with the smallest log-loss, pulled towards 1 / K each.

    Parameters
    ----------
    log_probabilities : (n, K, C), of windows that the sources weren't fitted on. numbers : (n,) their class numbers.

    The loss is convex, so there is one answer. Genest and Zidek 1986 (Statistical Science 1) for pools; Breiman 1996 ("Stacked regressions") for the choice.

    >>> right, wrong = np.log([[0.8, 0.2], [0.2, 0.8]] * 50), np.log([[0.4, 0.6], [0.6, 0.4]] * 50)
    >>> weights = blend_weights(np.stack([right, wrong], axis=1), np.array([0, 1] * 50))
    >>> bool(weights[0] > 20 * weights[1])
    True
    """
    n, sources, _ = log_probabilities.shape
    rows = np.arange(n)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.einsum("nkc,k->nc", log_probabilities, weights)
        errors = softmax(logits, axis=1)
        errors[rows, numbers] -= 1
        apart = weights - 1 / sources
        mean_loss = -log_softmax(logits, axis=1)[rows, numbers].mean() + PULL / n * sources * (apart @ apart)
        return mean_loss, np.einsum("nc,nkc->k", errors, log_probabilities) / n + 2 * PULL / n * sources * apart

    return minimize(loss, np.full(sources, 1 / sources), jac=True, bounds=[(0, None)] * sources, method="L-BFGS-B").x


def pooled(log_probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The pool's log-probabilities: (n, K, C) and (K,) → (n, C).

    >>> np.exp(pooled(np.log([[[0.8, 0.2], [0.5, 0.5]]]), np.array([1.0, 1.0]))).round(3).tolist()
    [[0.8, 0.2]]
    """
    return log_softmax(np.einsum("nkc,k->nc", log_probabilities, weights), axis=1)


def log_of(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms that a source's certainty can't make infinite."""
    return np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))


class Blend(ClassifierMixin, BaseEstimator):
    """Classifiers of one kind of signals, pooled with the weights of `blend_weights` on inner folds of the training windows.

    Parameters
    ----------
    candidates : name → classifier with `predict_proba`. What doesn't look at labels in a pipeline is fitted once, on all training windows.

    Attributes
    ----------
    classes_ : sorted labels. weights_ : {name: weight}; equal ones where the windows allow no inner folds.
    log_loss_ : {name: log-loss in nats, at its best temperature, of the windows that inner folds judged}; empty where there are none.
    out_of_fold_ : (windows, classes) log-probabilities of the pool for the training windows, by classifiers that didn't see their labels; else NaN.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence import baselines
    >>> windows = synthetic_windows(effect=3.0)
    >>> blend = Blend({"LDA": baselines.shrinkage_lda(), "CSP": baselines.csp_lda()}).fit(windows.values, windows.labels)
    >>> sorted(blend.weights_), blend.predict_proba(windows.values).shape
    (['CSP', 'LDA'], (60, 2))
    """

    def __init__(self, candidates: Mapping[str, Any]):
        self.candidates = candidates

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> Blend:
        """(windows, electrodes, samples) in volts, labels (windows,), and what inner folds keep whole (windows,)."""
        self.classes_, numbers = np.unique(y, return_inverse=True)
        folds = inner_folds(numbers, groups)
        found = [_fit_with_inner_folds(candidate, X, numbers, groups, folds) for candidate in self.candidates.values()]
        self.fitted_ = [fitted for fitted, _ in found]
        told = np.stack([log_probabilities for _, log_probabilities in found], axis=1)
        judged = np.isfinite(told).all(axis=(1, 2))
        weights = blend_weights(told[judged], numbers[judged]) if judged.any() else np.full(len(found), 1 / len(found))
        self.weights_ = dict(zip(self.candidates, weights.tolist(), strict=True))
        losses = [best_temperature(each, numbers[judged])[1] for each in told[judged].swapaxes(0, 1)] if judged.any() else []
        self.log_loss_ = dict(zip(self.candidates, losses, strict=bool(losses)))
        self.out_of_fold_ = pooled(told, weights)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(windows, classes), in the order of `classes_`."""
        check_is_fitted(self, "fitted_")
        told = np.stack([log_of(fitted.predict_proba(X)) for fitted in self.fitted_], axis=1)
        return np.exp(pooled(told, np.array(list(self.weights_.values()))))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def _fit_with_inner_folds(
    candidate: Any, signals: np.ndarray, numbers: np.ndarray, groups: np.ndarray | None, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[Any, np.ndarray]:
    """The classifier fitted on everything, and its log-probabilities (n, C) of every window by a twin that didn't see the window's label."""
    before, behind = _halves(clone(candidate))
    features = signals if before is None else before.fit_transform(signals)
    fitted = _fit(behind, features, numbers, groups)
    told = np.full((len(numbers), numbers.max() + 1), np.nan)
    own = getattr(fitted, "out_of_fold_", None)
    if own is not None:  # it has judged its training windows on these very folds
        told = own
    else:
        for train, judge in folds:
            told[judge] = log_of(clone(behind).fit(features[train], numbers[train]).predict_proba(features[judge]))
    return (fitted if before is None else Pipeline([*before.steps, *_steps(fitted)])), told


def _fit(classifier: Any, features: np.ndarray, numbers: np.ndarray, groups: np.ndarray | None) -> Any:
    if "groups" in inspect.signature(classifier.fit).parameters:
        return classifier.fit(features, numbers, groups=groups)
    return classifier.fit(features, numbers)


def _halves(candidate: Any) -> tuple[Pipeline | None, Any]:
    """The leading steps that never look at labels, and the rest."""
    if not isinstance(candidate, Pipeline):
        return None, candidate
    steps = [step for _, step in candidate.steps]
    free = next(number for number, step in enumerate(steps) if not isinstance(step, LABEL_FREE))
    behind = steps[-1] if free == len(steps) - 1 else make_pipeline(*steps[free:])
    return (make_pipeline(*steps[:free]) if free else None), behind


def _steps(fitted: Any) -> list[tuple[str, Any]]:
    return fitted.steps if isinstance(fitted, Pipeline) else [("classifier", fitted)]
