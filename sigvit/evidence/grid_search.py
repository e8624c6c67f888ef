"""A search over parameters by inner folds of whole groups, all of them fitted at once where the estimator can."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sigvit.data.windows import Windows, concatenate, plain_rows
from sigvit.evidence.fit_job import FitJob, fit_jobs, named
from sigvit.evidence.inner_folds import calibrating_folds, inner_folds, with_validation_group
from sigvit.evidence.metrics import window_log_loss
from sigvit.evidence.searched_values import searched_values
from sigvit.evidence.window_steps import NO_ALIGNMENT, WithOrigin, alignment_of, routed, signals_for, takes_windows
from sigvit.labels import plain_labels

LOG_LOSS = "neg_log_loss"


def _has(name: str) -> Any:
    return available_if(lambda search: hasattr(search.estimator, name))


class GridSearch(ClassifierMixin, BaseEstimator):
    """The setting of an estimator with the best mean score on inner folds, fitted on all training windows.

    Inner folds keep groups whole (subjects, sessions or recordings, as `cross_validate` hands them to `fit`); without several groups they are stratified.
    With an estimator that has `fit_many` all settings × inner folds are fitted at once, and in `cross_validate` those of all outer folds × seeds too: a
    nested search costs one batched training. scikit-learn's own `GridSearchCV` works with the same estimators, one fit after the other, but tells steps that
    align nothing of subjects and sessions.

    Parameters
    ----------
    estimator : a classifier with `predict_proba`. parameters : {name: [values]} or a list of such, as of `sklearn.model_selection.ParameterGrid`.
    scoring : "neg_log_loss", or the name of another scorer of scikit-learn, which judges on inner folds with every class where there are such. Of an estimator
        that answers for `even_classes`, where classes are unequal, "balanced_accuracy" asks what the answer is for.

    Attributes
    ----------
    best_params_, best_score_, best_index_, best_estimator_, cv_results_, n_splits_ : as of scikit-learn's `GridSearchCV`. classes_ : sorted labels.

    Raises
    ------
    ValueError : no settings, a parameter that the estimator lacks, windows that no inner folds can be made of, no setting with a score, a label that is
        missing, or a pipeline whose last step asks for `calibration`.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence import baselines
    >>> windows = synthetic_windows(effect=3.0)
    >>> search = GridSearch(baselines.tangent_space(), {"tangentspace__metric": ["euclid", "riemann"]})
    >>> search.fit(windows.values, windows.labels, groups=windows.metadata["subject"]).n_splits_
    3
    """

    # In a pipeline the search is told what its own steps ask for.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"origin": True}
    __metadata_request__predict_proba: ClassVar[dict[str, bool]] = {"origin": True}
    __metadata_request__predict: ClassVar[dict[str, bool]] = {"origin": True}

    def __init__(self, estimator: Any, parameters: Mapping[str, Sequence] | Sequence[Mapping[str, Sequence]], scoring: str = LOG_LOSS) -> None:
        self.estimator = estimator
        self.parameters: Any = parameters
        self.scoring = scoring

    @property
    def takes_windows(self) -> bool:
        """Whether `fit` is handed `Windows`: the estimator wants them, and every step that the search may put into it."""
        places = dict(self.estimator.steps) if isinstance(self.estimator, Pipeline) else {}
        return takes_windows(self.estimator) and all(takes_windows(step) for name, step in searched_values(self) if name in places and hasattr(step, "fit"))

    def fit(
        self, X: Any, y: Any = None, groups: Any = None, validation: tuple[Any, Any] | None = None, origin: Any = None, calibration: Any = None
    ) -> GridSearch:
        """Search and fit. X : windows, as the estimator takes them; y : labels, by default those of `Windows`; groups : (windows,).

        `validation` is handed to an estimator whose `fit` takes it, in the inner folds too; others are fitted on it as well. It judges nothing here.
        `origin` : (windows, 2) subject and session of each window, those of `validation` behind those of X, for steps that align; then `predict_proba` wants
        it as well. `calibration` : (windows,) which of X are of the tested person or session, handed to an estimator whose `fit` takes it, such as
        `FineTuned` (a boolean column of the metadata is read by its index); then inner folds divide these alone, so that settings are judged as they will be,
        and all others are trained on. With one of a class they judge what the others alone have trained.
        """
        y = plain_labels(X.labels if y is None and isinstance(X, Windows) else y, "windows")
        check_consistent_length(X, y, groups, calibration)
        groups = None if groups is None else np.asarray(groups)
        seed = self.estimator.get_params().get("random_state")
        seed = int(seed) if isinstance(seed, Integral) else None  # numpy's whole numbers are seeds as well
        own = self._calibration(X, calibration)
        if own is None and validation is None and isinstance(X, Windows) and hasattr(self, "fit_many") and seed is not None and np.array_equal(y, X.labels):
            (found,) = self.fit_many(X, [FitJob(np.arange(len(y)), np.array([]), seed, groups=groups)])
            self.__dict__.update({name: value for name, value in vars(found).items() if name.endswith("_")})
            return self
        return self._fit_one_by_one(X, y, groups, validation, origin, own, seed or 0)

    def _fit_one_by_one(
        self, X: Any, y: np.ndarray, groups: Any, validation: tuple[Any, Any] | None, origin: Any, own: np.ndarray | None, seed: int
    ) -> GridSearch:
        extra = {} if validation is None or "validation" not in _arguments(self.estimator.fit) else {"validation": validation}
        if validation is not None and not extra:
            X, y, groups = _with_validation(X, y, groups, *validation)
            own = None if own is None else np.concatenate([own, np.zeros(len(validation[1]), bool)])  # validation windows are the others'
        of_rows = {"groups": groups if "groups" in _arguments(self.estimator.fit) else None, "calibration": own}
        origin = None if origin is None or alignment_of(self) == NO_ALIGNMENT else np.asarray(origin, dtype=object)

        def of(rows: np.ndarray) -> np.ndarray | None:
            return None if origin is None else origin[rows]

        def fitted(setting: dict, rows: np.ndarray) -> Any:
            arguments = extra | {name: values[rows] for name, values in of_rows.items() if values is not None}
            estimator = clone(self.estimator).set_params(**setting)
            return routed(estimator, partial(estimator.fit, **arguments), X[rows], y[rows], origin=of(rows))

        folds, proposals = self._folds(y, groups, own), Proposals(self._proposals(seed))
        while proposals.now:
            proposals.judge([[self._score(fitted(setting, train), X[judge], y[judge], of(judge)) for train, judge in folds] for setting in proposals.now])
        self._choose(proposals.settings, proposals.scores)
        return self._adopt(fitted(self.best_params_, np.arange(len(y))))

    @_has("fit_many")
    def fit_many(self, windows: Windows, jobs: Iterable[FitJob], folder: str | Path | None = None) -> list[GridSearch]:
        """One search a job, each equal to `fit` on the job's rows with its seed: the inner fits of all jobs at once, then the final ones at once."""
        jobs = list(jobs)
        for job in jobs:
            with named(job.name):
                job.require_rows(len(windows))
        searches = [clone(self) for _ in jobs]
        folds = [search._folds(windows.labels[job.train], job.groups) for search, job in zip(searches, jobs, strict=True)]
        proposals = [Proposals(search._proposals(job.seed)) for search, job in zip(searches, jobs, strict=True)]
        searched = list(zip(searches, jobs, folds, proposals, strict=True))
        while any(each.now for each in proposals):
            inner = [each for _, job, parts, found in searched for each in _inner_jobs(job, found.now, parts, len(found.settings))]
            fitted = iter(fit_jobs(self.estimator, windows, inner, folder))
            for search, job, parts, found in searched:
                judged = [job.train[judge] for _, judge in parts]
                found.judge([[search._score(next(fitted), signals_for(search, windows, rows), windows.labels[rows]) for rows in judged] for _ in found.now])
        for search, found in zip(searches, proposals, strict=True):
            search._choose(found.settings, found.scores)
        last = [replace(job, parameters=job.parameters | search.best_params_, key=job.key and f"{job.key}-best") for search, job, _, _ in searched]
        final = fit_jobs(self.estimator, windows, last, folder)
        return [search._adopt(estimator) for search, estimator in zip(searches, final, strict=True)]

    def predict_proba(self, X: Any, origin: Any = None) -> np.ndarray:
        """(windows, classes) of the best setting; `origin` as in `fit`."""
        check_is_fitted(self, "best_estimator_")
        return routed(self.best_estimator_, self.best_estimator_.predict_proba, X, origin=origin)

    def predict(self, X: Any, origin: Any = None) -> np.ndarray:
        check_is_fitted(self, "best_estimator_")
        return routed(self.best_estimator_, self.best_estimator_.predict, X, origin=origin)

    @_has("predict_parts")
    def predict_parts(self, X: Any, origin: Any = None) -> dict[str, np.ndarray]:
        check_is_fitted(self, "best_estimator_")
        return routed(self.best_estimator_, self.best_estimator_.predict_parts, X, origin=origin)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _proposals(self, seed: int) -> Generator[list[dict], list[list[float]]]:
        """Yields settings to be judged, is sent their scores on the inner folds, and yields more or ends; a grid has all of them at once."""
        settings = list(ParameterGrid(self.parameters))
        self._check({name for setting in settings for name in setting})
        yield settings

    def _check(self, names: set[str]) -> None:
        unknown = sorted(names - set(self.estimator.get_params()))
        if unknown:
            known = ", ".join(sorted(self.estimator.get_params()))
            raise ValueError(f"{type(self.estimator).__name__} has no parameters {', '.join(unknown)}; it has {known}.")

    def _calibration(self, X: Any, calibration: Any) -> np.ndarray | None:
        """(windows,) which ones calibrate; None where none do, or nobody asks."""
        calibration = np.zeros(0, bool) if calibration is None else calibration
        own = np.asarray(plain_rows(calibration, X.metadata.index) if isinstance(X, Windows) else calibration, dtype=bool)
        last = self.estimator[-1] if isinstance(self.estimator, Pipeline) else None
        if own.any() and last is not None and "calibration" in _arguments(last.fit):
            raise ValueError(
                f"{type(last).__name__} asks which windows calibrate, which no search tells it behind other steps; search inside of the pipeline: "
                f"make_pipeline(…, {type(self).__name__}({type(last).__name__}(…), …))."
            )
        return own if own.any() and "calibration" in _arguments(self.estimator.fit) else None

    def _folds(self, labels: np.ndarray, groups: Any, calibration: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
        numbers = np.unique(labels, return_inverse=True)[1]
        folds = inner_folds(numbers, groups) if calibration is None else calibrating_folds(numbers, calibration)
        if not folds and calibration is not None:
            raise ValueError(
                f"No inner folds can be made of {calibration.sum()} calibrating windows: every class must be among the other windows, or twice in these."
            )
        if not folds:
            raise ValueError(
                f"No inner folds can be made of {len(labels)} windows: two classes at least must be in two groups, or twice where there is one group, and "
                "every class in what each fold trains on."
            )
        if calibration is None and self.scoring != LOG_LOSS:  # scikit-learn's scorers refuse judges that lack a class
            return [(train, judge) for train, judge in folds if len(np.unique(numbers[judge])) > numbers.max()] or folds
        return folds

    def _score(self, fitted: Any, X: Any, y: np.ndarray, origin: np.ndarray | None = None) -> float:
        """The more the better. Log-loss counts a class that the judged windows lack as well; scikit-learn's scorer would refuse them."""
        fitted = fitted if origin is None else WithOrigin(fitted, origin)
        if self.scoring != LOG_LOSS:
            return float(get_scorer(self.scoring)(fitted, X, y))
        return -float(window_log_loss(np.searchsorted(fitted.classes_, y), fitted.predict_proba(X)).mean())

    def _choose(self, settings: list[dict], scores: list[list[float]]) -> None:
        """What scikit-learn's search reports, and the setting with the best mean score; the first of equal ones. No score (NaN) is the worst."""
        found = np.array(scores)
        mean = found.mean(1)
        if np.isnan(mean).all():
            raise ValueError(
                f"None of the {len(settings)} settings has a score ({self.scoring}) on all {found.shape[1]} inner folds: predictions aren't numbers, or a fold "
                "holds too few classes for that score. Choose other settings, or another scoring."
            )
        ranked = np.where(np.isnan(mean), -np.inf, mean)
        self.cv_results_ = {"params": settings, "mean_test_score": mean, "std_test_score": found.std(1)}
        self.cv_results_ |= {f"split{number}_test_score": column for number, column in enumerate(found.T)}
        self.cv_results_["rank_test_score"] = 1 + np.array([(ranked > own).sum() for own in ranked])
        for name in sorted({name for setting in settings for name in setting}):
            self.cv_results_[f"param_{name}"] = [setting.get(name) for setting in settings]
        self.best_index_, self.n_splits_ = int(np.nanargmax(mean)), found.shape[1]
        self.best_params_, self.best_score_ = settings[self.best_index_], float(mean[self.best_index_])

    def _adopt(self, fitted: Any) -> GridSearch:
        """The final estimator, and what `cross_validate` reads from a fitted one."""
        self.best_estimator_, self.classes_ = fitted, fitted.classes_
        # Of what takes validation windows nobody else knows that it didn't choose by them.
        self.selection_ = getattr(fitted, "selection_", "validation" if "validation" in _arguments(self.estimator.fit) else "none")
        for name in ("history_", "n_parameters_"):
            if hasattr(fitted, name):
                setattr(self, name, getattr(fitted, name))
        return self


class Proposals:
    """What a search asks for: `now`, the settings that wait for their scores (none when it is over), and those that have them."""

    def __init__(self, proposals: Generator[list[dict], list[list[float]]]) -> None:
        self._more = proposals
        self.settings: list[dict] = []
        self.scores: list[list[float]] = []
        self.now = next(proposals)

    def judge(self, scores: list[list[float]]) -> None:
        """The scores of `now`: settings × inner folds. Without settings nothing happens."""
        if not self.now:
            return
        self.settings, self.scores = self.settings + self.now, self.scores + scores
        try:
            self.now = self._more.send(scores)
        except StopIteration:
            self.now = []


def _inner_jobs(job: FitJob, settings: list[dict], folds: list[tuple[np.ndarray, np.ndarray]], first: int) -> Iterator[FitJob]:
    """Of each setting on each inner fold, numbered from `first`; the validation rows stay what chooses the stopping point."""
    for number, setting in enumerate(settings, first):
        for part, (train, _) in enumerate(folds):
            groups = None if job.groups is None else np.asarray(job.groups)[train]
            where = f"setting {number}, inner fold {part}"
            key = job.key and f"{job.key}-{number}-{part}"
            yield FitJob(job.train[train], job.validation, job.seed, job.parameters | setting, groups, f"{job.name}, {where}", key)


def _with_validation(X: Any, y: np.ndarray, groups: Any, more: Any, labels: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Where nothing is chosen by the validation windows they are trained on."""
    both = plain_labels(np.concatenate([np.asarray(part, dtype=object) for part in (y, labels)]), "windows")
    return concatenate([X, more]) if isinstance(X, Windows) else np.concatenate([X, more]), both, with_validation_group(groups, len(labels))


def _arguments(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)
