"""Fits of a pipeline on the training parts of folds: all at once, behind steps that are fitted once a fold, or one after the other."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sigvit.data.windows import Windows
from sigvit.evidence.fit_job import FitJob, fit_jobs, named
from sigvit.evidence.folds import Fold
from sigvit.evidence.window_steps import origin_of, routed, signals_for, takes_windows


@dataclass(frozen=True, eq=False)
class Fit:
    """One fit that is asked for: a fold and a seed. `key` names what is kept of it on disk."""

    fold: Fold
    seed: int
    key: str = ""


def fitted(name: str, pipeline: Any, windows: Windows, fits: Sequence[Fit], folder: Path | None, processes: int | None) -> Iterator[tuple[Fit, Any, float]]:
    """(fit, fitted estimator, seconds): a fresh copy on each fold's training part, all at once where the pipeline can.

    `folder` : where `fit_many` keeps its state while it trains; `processes` : how many it may use at most; None leaves that to the pipeline.
    """
    return _fitted_at_once(name, pipeline, windows, fits, folder, processes) if fits_many(pipeline) else _fitted(name, pipeline, windows, fits)


def fits_many(pipeline: Any) -> bool:
    """Whether several fits go at once: it can, or the last step of a pipeline can and the steps before it draw nothing and hand on `Windows`."""
    if isinstance(pipeline, Pipeline):
        return hasattr(pipeline[-1], "fit_many") and takes_windows(pipeline) and not has_seed(pipeline[:-1])
    return hasattr(pipeline, "fit_many")


def _fitted_at_once(
    name: str, pipeline: Any, windows: Windows, fits: Sequence[Fit], folder: Path | None, processes: int | None
) -> Iterator[tuple[Fit, Any, float]]:
    """(fit, fitted estimator, seconds); a job holds rows of its fold's training and validation parts alone."""
    if isinstance(pipeline, Pipeline):
        yield from _fitted_behind_steps(name, pipeline, windows, fits, folder, processes)
    elif fits:
        jobs = [_job(name, fit, fit.fold.train, fit.fold.validation, _groups(windows, fit.fold, fit.fold.train)) for fit in fits]
        start = time.perf_counter()
        estimators = fit_jobs(pipeline, windows, jobs, folder, processes)
        seconds = (time.perf_counter() - start) / len(fits)
        yield from ((fit, estimator, seconds) for fit, estimator in zip(fits, estimators, strict=True))


def _fitted_behind_steps(
    name: str, pipeline: Pipeline, windows: Windows, fits: Sequence[Fit], folder: Path | None, processes: int | None
) -> Iterator[tuple[Fit, Any, float]]:
    """The same for a pipeline: its steps once a fold, its last step with all seeds of the fold at once, on train and validation rows together."""
    for fold in dict.fromkeys(fit.fold for fit in fits):
        same, rows, steps = [fit for fit in fits if fit.fold is fold], fit_rows(fold), clone(pipeline[:-1])
        start = time.perf_counter()
        with named(f"{name}, fold {fold.number}"):
            changed = routed(steps, steps.fit_transform, windows[rows], windows.labels[rows], origin=origin_of(windows, rows))
        jobs = [_job(name, fit, np.arange(len(rows)), rows[:0], _groups(windows, fold, rows)) for fit in same]
        estimators = fit_jobs(pipeline[-1], changed, jobs, folder, processes)
        seconds = (time.perf_counter() - start) / len(same)
        for fit, estimator in zip(same, estimators, strict=True):
            yield fit, Pipeline([*steps.steps, (pipeline.steps[-1][0], estimator)]), seconds


def _job(name: str, fit: Fit, train: np.ndarray, validation: np.ndarray, groups: np.ndarray) -> FitJob:
    return FitJob(train, validation, fit.seed, {}, groups, title(name, fit), fit.key)


def title(name: str, fit: Fit) -> str:
    """What errors call a fit."""
    return f"{name}, fold {fit.fold.number}, seed {fit.seed}"


def _fitted(name: str, pipeline: Any, windows: Windows, fits: Sequence[Fit]) -> Iterator[tuple[Fit, Any, float]]:
    """(fit, fitted estimator, seconds), one after the other."""
    for fit in fits:
        validates = takes_validation(pipeline, fit.fold)
        rows = fit.fold.train if validates else fit_rows(fit.fold)
        estimator = with_random_state(clone(pipeline), fit.seed)
        arguments: dict[str, Any] = {"groups": _groups(windows, fit.fold, rows), "calibration": _calibration(windows, fit.fold, rows)}
        arguments["origin"] = origin_of(windows, rows)
        if validates:
            arguments["origin"] = np.concatenate([arguments["origin"], origin_of(windows, fit.fold.validation)])
            arguments["validation"] = (signals_for(estimator, windows, fit.fold.validation), windows.labels[fit.fold.validation])
        start = time.perf_counter()
        with named(title(name, fit)):
            _fit(estimator, signals_for(estimator, windows, rows), windows.labels[rows], origin_of(windows, rows), arguments)
        yield fit, estimator, time.perf_counter() - start


def _fit(estimator: Any, signals: Any, labels: np.ndarray, origin: np.ndarray, arguments: dict[str, Any]) -> None:
    """Fit in place; the last step of a pipeline is told what it asks for, as an estimator alone is."""
    if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        steps = estimator[:-1]  # holds the same steps, not copies
        _fit(estimator[-1], routed(steps, steps.fit_transform, signals, labels, origin=origin), labels, origin, arguments)
        return
    asked = inspect.signature(estimator.fit).parameters
    estimator.fit(signals, labels, **{name: value for name, value in arguments.items() if name in asked})


def takes_validation(pipeline: Any, fold: Fold) -> bool:
    return "validation" in inspect.signature(pipeline.fit).parameters and len(fold.validation) > 0


def fit_rows(fold: Fold) -> np.ndarray:
    return np.sort(np.concatenate([fold.train, fold.validation]))


def _groups(windows: Windows, fold: Fold, rows: np.ndarray) -> np.ndarray:
    """What inner folds keep whole: subjects or sessions where the protocol does, else recordings."""
    column = {"cross_subject": "subject", "calibrated_subject": "subject", "cross_session": "session", "calibrated_session": "session"}
    return windows.metadata[column.get(fold.protocol, "recording")].iloc[rows].astype(str).to_numpy()


def _calibration(windows: Windows, fold: Fold, rows: np.ndarray) -> np.ndarray:
    """Which of these rows are of a subject (or session) that the fold tests; none where the protocol keeps them apart."""
    columns = {"calibrated_subject": ["subject"], "calibrated_session": ["subject", "session"]}.get(fold.protocol)
    if columns is None:
        return np.zeros(len(rows), bool)
    units = windows.metadata[columns].astype(str).agg("\0".join, axis=1).to_numpy()
    return np.isin(units[rows], units[fold.test])


def with_random_state(estimator: Any, seed: int) -> Any:
    """The estimator with every parameter called random_state, its own or a step's, set to the seed."""
    seeded = {name: seed for name in estimator.get_params(deep=True) if name.split("__")[-1] == "random_state"}
    return estimator.set_params(**seeded)


def has_seed(pipeline: Any) -> bool:
    return any(name.split("__")[-1] == "random_state" for name in pipeline.get_params(deep=True))


def last_step(estimator: Any) -> Any:
    """The classifier of a pipeline."""
    return last_step(estimator[-1]) if isinstance(estimator, Pipeline) else estimator
