"""Steps that are fitted in the fold before a classifier: what they share, and how a pipeline is told where its windows come from.

A step takes arrays (windows, electrodes, samples) or `Windows`, and returns what it was given; of `mne.Epochs`, an array of the
channels that `windows_from_epochs` takes. `cross_validate` hands pipelines of such steps each window's subject and session under the name `origin`, through
scikit-learn's metadata routing; whoever fits a pipeline alone does the same:

>>> import sklearn
>>> from sklearn.pipeline import make_pipeline
>>> from sigvit.data.synthetic import synthetic_windows
>>> from sigvit.evidence import baselines
>>> from sigvit.evidence.alignment import Alignment
>>> windows = synthetic_windows()
>>> pipeline = make_pipeline(Alignment(), baselines.tangent_space())
>>> with sklearn.config_context(enable_metadata_routing=True):
...     fitted = pipeline.fit(windows.values, windows.labels, origin=origin_of(windows))
...     fitted.predict_proba(windows.values, origin=origin_of(windows)).shape
(60, 2)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Self

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.pipeline import Pipeline

from sigvit.data.epochs import is_epochs
from sigvit.data.windows import Windows
from sigvit.evidence.handed_windows import asked_signals, fitted_signals
from sigvit.evidence.searched_values import held_by, searched_values

NO_ALIGNMENT = "none"


class WindowStep(TransformerMixin, BaseEstimator):
    """Base of the steps; a subclass has `_fit(signals, groups)` and `_change(signals, groups)`.

    Signals are float64 (windows, electrodes, samples), groups (windows, levels) text, outermost first, or None.
    """

    takes_windows = True

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit on training windows X, an array (windows, electrodes, samples), `Windows` or `mne.Epochs`.

        Raises
        ------
        ValueError : another shape, NaN or infinity.
        """
        signals = fitted_signals(self, X).astype(np.float64)
        self.n_electrodes_ = signals.shape[1]
        self._fit(signals, None)
        return self

    def transform(self, X: Any) -> Any:
        """The changed windows, as an array or `Windows`, of the number format they came in; those of `mne.Epochs` as an array.

        Raises
        ------
        ValueError : as for `fit`; another number of electrodes, or other names or another rate than fitted on, where both are told.
        """
        return self._transformed(X, None)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _fit(self, signals: np.ndarray, groups: np.ndarray | None) -> None:
        raise NotImplementedError

    def _change(self, signals: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        raise NotImplementedError

    def _transformed(self, X: Any, groups: np.ndarray | None) -> Any:
        signals = asked_signals(self, X).astype(np.float64)
        if signals.shape[1] != self.n_electrodes_:
            raise ValueError(f"X has {signals.shape[1]} electrodes, but {type(self).__name__} was fitted on {self.n_electrodes_}.")
        return self._written(X, self._change(signals, groups))

    def _written(self, X: Any, changed: np.ndarray) -> Any:
        if isinstance(X, Windows):
            return replace(X, values=changed.astype(np.float32))
        if is_epochs(X):
            return changed
        given = np.asarray(X).dtype
        return changed.astype(given if given.kind == "f" else np.float64)


def origin_of(windows: Windows, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """(rows, 2) text: subject and session of each window."""
    return windows.metadata[["subject", "session"]].iloc[rows].astype(str).to_numpy(dtype=object)


def alignment_of(pipeline: Any) -> str:
    """The mode in which a pipeline, or a step or parameter of it, is aligned: "none", "inductive", "transductive", "online"; several joined by "+".

    A fitted search counts as what it chose, one that isn't fitted as everything that it may choose.
    """
    return joined_modes(part.mode for part in _parts(pipeline) if hasattr(part, "uses_test_windows"))


def joined_modes(modes: Iterable[str]) -> str:
    """Several alignments as one.

    >>> joined_modes(["online", "none", "inductive+online"])
    'inductive+online'
    """
    return "+".join(sorted({each for mode in modes for each in mode.split("+")} - {NO_ALIGNMENT})) or NO_ALIGNMENT


def uses_test_windows(pipeline: Any) -> bool:
    """Whether a step of it sees all unlabelled test windows before it gives back the first; of a search as in `alignment_of`."""
    return any(getattr(part, "uses_test_windows", False) for part in _parts(pipeline))


def takes_windows(pipeline: Any) -> bool:
    """Whether it wants `Windows`: its class says so, or that of every step."""
    # scikit-learn's two ways to switch a step off
    steps = [step for _, step in pipeline.steps if step not in (None, "passthrough")] if isinstance(pipeline, Pipeline) else [pipeline]
    return all(getattr(step, "takes_windows", False) if not isinstance(step, Pipeline) else takes_windows(step) for step in steps)


def signals_for(pipeline: Any, windows: Windows, rows: np.ndarray) -> Windows | np.ndarray:
    """These rows as it wants them."""
    return windows[rows] if takes_windows(pipeline) else windows.values[rows]


def routed(pipeline: Any, call: Callable[..., Any], *arguments: Any, origin: np.ndarray | None) -> Any:
    """A method of a pipeline called with these arguments, and with `origin`, where there is one, if it or its steps ask for it."""
    if origin is None:
        return call(*arguments)
    if "origin" in inspect.signature(call).parameters:
        return call(*arguments, origin=origin)
    if not isinstance(pipeline, Pipeline) or alignment_of(pipeline) == NO_ALIGNMENT:
        return call(*arguments)
    with sklearn.config_context(enable_metadata_routing=True):
        return call(*arguments, origin=origin)


class WithOrigin(ClassifierMixin, BaseEstimator):
    """A fitted pipeline with the origin of the windows that it will be asked about: a scorer of scikit-learn can't tell it."""

    def __init__(self, fitted: Any, origin: np.ndarray) -> None:
        self.fitted = fitted
        self.origin = origin
        self.classes_ = fitted.classes_

    def predict_proba(self, X: Any) -> np.ndarray:
        return routed(self.fitted, self.fitted.predict_proba, X, origin=self.origin)

    def predict(self, X: Any) -> np.ndarray:
        return routed(self.fitted, self.fitted.predict, X, origin=self.origin)


def _parts(pipeline: Any) -> list[Any]:
    if hasattr(pipeline, "best_estimator_"):
        return _parts(pipeline.best_estimator_)
    inside = [value for _, value in held_by(pipeline)]
    return [pipeline, *(part for each in [*inside, *_chosen(pipeline)] for part in _parts(each))]


def _chosen(search: Any) -> Iterator[Any]:
    """What a search may put into its estimator: whole steps, and its alignments with other parameters."""
    for name, value in searched_values(search):
        owner, _, parameter = name.rpartition("__")
        step = search.estimator.get_params(deep=True).get(owner) if owner else search.estimator
        yield clone(step).set_params(**{parameter: value}) if hasattr(step, "uses_test_windows") else value
