"""One fit and its judgement: fitted on the fold's training part, its test rows predicted once."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sigvit.data.windows import Windows
from sigvit.evidence import metrics
from sigvit.evidence.certificate import rows_sha256
from sigvit.evidence.fit_job import FitJob, fit_jobs, named
from sigvit.evidence.folds import Fold
from sigvit.evidence.window_steps import alignment_of, origin_of, routed, signals_for, takes_windows, uses_test_windows
from sigvit.labels import text_of

TABLE_COLUMNS = (
    *("pipeline", "dataset", "protocol", "subject", "session", "fold", "left_out", "seed", "score", "metric"),
    *("accuracy", "balanced_accuracy", "log_loss", "calibration_error", "n_classes", "chance"),
    *("samples", "samples_validation", "samples_test", "channels", "n_sessions", "n_times", "sampling_rate", "parameters", "alignment", "time"),
)


@dataclass(frozen=True, eq=False)
class Fit:
    """One fit that is asked for: a fold and a seed. `key` names what is kept of it on disk."""

    fold: Fold
    seed: int
    key: str = ""


def judge_fits(name: str, pipeline: Any, windows: Windows, fits: Sequence[Fit], folder: Path | None = None, processes: int | None = None) -> Iterator[dict]:
    """Fit a fresh copy on each fold's training part, all at once where the pipeline can, and predict the fold's test rows once with each.

    `folder` : where `fit_many` keeps its state while it trains; `processes` : how many it may use at most; None leaves that to the pipeline.
    Yields plain data: {"parts": [record, …]}, the pipeline's own record first, then those of its parts (see `cross_validate`).
    """
    # scikit-learn's stacking ends in logistic regression where nothing else is named, but says so only once it is fitted.
    stacks = any(value is None and parameter.split("__")[-1] == "final_estimator" for parameter, value in pipeline.get_params(deep=True).items())
    if not (hasattr(pipeline, "predict_proba") or stacks):
        raise ValueError(f"Pipeline {name!r} has no predict_proba; log-loss and calibration need probabilities (wrap it in CalibratedClassifierCV).")
    fitted = _fitted_at_once(name, pipeline, windows, fits, folder, processes) if fits_many(pipeline) else _fitted(name, pipeline, windows, fits)
    for fit, estimator, seconds in fitted:
        fold = fit.fold
        # One that takes validation rows and doesn't say what for is not known to have been fitted on them.
        chose = _takes_validation(pipeline, fold) and getattr(estimator, "selection_", "validation") == "validation"
        rows = fold.train if chose else _fit_rows(fold)
        counts = {"samples": len(rows), "samples_validation": len(fold.validation) if chose else 0, "seed": fit.seed, "time": seconds}
        with named(_title(name, fit)):
            predicted = _predict(estimator, windows, fold)
            parts = [_record(_part_name(name, part), estimator, windows, fold, rows, counts, predicted[part]) for part in predicted]
        parts[0]["history"] = getattr(last_step(estimator), "history_", [])
        yield {"parts": parts}


def _record(name: str, estimator: Any, windows: Windows, fold: Fold, rows: np.ndarray, counts: dict, probabilities: np.ndarray) -> dict:
    chose = counts["samples_validation"] > 0
    return {
        "row": _table_row(name, estimator, windows, fold, counts, probabilities),
        "predictions": probabilities.tolist(),
        "labels": windows.labels[fold.test].tolist(),
        "test_rows": fold.test.tolist(),
        "classes": list(windows.classes),
        "history": [],
        "uses_test_windows": uses_test_windows(estimator),
        "provenance": {
            "pipeline": name,
            "fold": fold.number,
            "seed": counts["seed"],
            "fit_rows_sha256": rows_sha256(rows),
            "n_fit_rows": len(rows),
            "selection": "validation" if chose else "none",
            "test_reads": 1,
        },
    }


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
        same, rows, steps = [fit for fit in fits if fit.fold is fold], _fit_rows(fold), clone(pipeline[:-1])
        start = time.perf_counter()
        with named(f"{name}, fold {fold.number}"):
            changed = routed(steps, steps.fit_transform, windows[rows], windows.labels[rows], origin=origin_of(windows, rows))
        jobs = [_job(name, fit, np.arange(len(rows)), rows[:0], _groups(windows, fold, rows)) for fit in same]
        estimators = fit_jobs(pipeline[-1], changed, jobs, folder, processes)
        seconds = (time.perf_counter() - start) / len(same)
        for fit, estimator in zip(same, estimators, strict=True):
            yield fit, Pipeline([*steps.steps, (pipeline.steps[-1][0], estimator)]), seconds


def _job(name: str, fit: Fit, train: np.ndarray, validation: np.ndarray, groups: np.ndarray) -> FitJob:
    return FitJob(train, validation, fit.seed, {}, groups, _title(name, fit), fit.key)


def _title(name: str, fit: Fit) -> str:
    """What errors call a fit."""
    return f"{name}, fold {fit.fold.number}, seed {fit.seed}"


def _fitted(name: str, pipeline: Any, windows: Windows, fits: Sequence[Fit]) -> Iterator[tuple[Fit, Any, float]]:
    """(fit, fitted estimator, seconds), one after the other."""
    for fit in fits:
        takes_validation = _takes_validation(pipeline, fit.fold)
        rows = fit.fold.train if takes_validation else _fit_rows(fit.fold)
        estimator = with_random_state(clone(pipeline), fit.seed)
        arguments: dict[str, Any] = {"groups": _groups(windows, fit.fold, rows), "calibration": _calibration(windows, fit.fold, rows)}
        arguments["origin"] = origin_of(windows, rows)
        if takes_validation:
            arguments["origin"] = np.concatenate([arguments["origin"], origin_of(windows, fit.fold.validation)])
            arguments["validation"] = (signals_for(estimator, windows, fit.fold.validation), windows.labels[fit.fold.validation])
        start = time.perf_counter()
        with named(_title(name, fit)):
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


def _takes_validation(pipeline: Any, fold: Fold) -> bool:
    return "validation" in inspect.signature(pipeline.fit).parameters and len(fold.validation) > 0


def _fit_rows(fold: Fold) -> np.ndarray:
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


def _predict(estimator: Any, windows: Windows, fold: Fold) -> dict[str, np.ndarray]:
    """Part → (test rows, classes of the whole set), "" being the whole pipeline; the one reading of the test rows.

    A class that training never saw has probability 0.
    """
    places = {label: number for number, label in enumerate(windows.classes)}
    signals = signals_for(estimator, windows, fold.test)
    unlabelled = _unlabelled(signals, next(iter(places))) if isinstance(signals, Windows) else signals
    predicted = _answers(estimator, unlabelled, origin_of(windows, fold.test))
    columns = [places[label] for label in np.asarray(estimator.classes_).tolist()]
    probabilities = {}
    for part, known in predicted.items():
        probabilities[part] = np.zeros((len(fold.test), len(places)))
        probabilities[part][:, columns] = known
    return probabilities


def _unlabelled(windows: Windows, label: Any) -> Windows:
    """The same windows, all under one label, since the others are what is asked, and without what was measured before the cue."""
    labels = np.full(len(windows), label)
    return replace(windows, labels=labels, metadata=windows.metadata.assign(label=labels), control_values=None)


def _answers(estimator: Any, signals: Windows | np.ndarray, origin: np.ndarray) -> dict[str, np.ndarray]:
    """Part → probabilities in the order of the estimator's own classes; a pipeline has the parts of its last step."""
    last = last_step(estimator)
    if not hasattr(last, "predict_parts"):
        return {"": routed(estimator, estimator.predict_proba, signals, origin=origin)}
    changed = signals if last is estimator else routed(estimator, estimator[:-1].transform, signals, origin=origin)
    return routed(last, last.predict_parts, changed, origin=origin)


def last_step(estimator: Any) -> Any:
    """The classifier of a pipeline."""
    return last_step(estimator[-1]) if isinstance(estimator, Pipeline) else estimator


def _part_name(name: str, part: str) -> str:
    return f"{name}: {part}" if part else name


def _table_row(name: str, estimator: Any, windows: Windows, fold: Fold, counts: dict, probabilities: np.ndarray) -> dict:
    tested, classes = windows.metadata.iloc[fold.test], windows.classes
    row = {
        "pipeline": name,
        "dataset": windows.name,
        "protocol": fold.protocol,
        "subject": _joined(tested["subject"]),
        "session": _joined(tested["session"]),
        "fold": fold.number,
        "left_out": fold.left_out,
        "n_classes": len(classes),
        "samples_test": len(fold.test),
        "channels": windows.values.shape[1],
        "n_sessions": int(windows.metadata["session"].nunique()),
        "n_times": windows.values.shape[2],
        "sampling_rate": windows.sampling_rate,
        "parameters": getattr(last_step(estimator), "n_parameters_", None),
        "alignment": alignment_of(estimator),
        **counts,
        **metrics.score_predictions(windows.labels[fold.test], probabilities, classes),
    }
    return {column: row[column] for column in TABLE_COLUMNS}


def _joined(column: pd.Series) -> str:
    """Names joined by "+"; one inside a name stands twice."""
    return "+".join(sorted({text_of(value).replace("+", "++") for value in column.unique()}))
