"""Cross-validation that fits everything inside the fold, reads the test rows once, and survives being killed."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from sigvit.data.windows import Windows
from sigvit.evidence import metrics, statistics
from sigvit.evidence.certificate import Certificate, certify, rows_sha256
from sigvit.evidence.fit_job import FitJob
from sigvit.evidence.fit_store import FitStore, fingerprint
from sigvit.evidence.folds import Fold

TABLE_COLUMNS = (
    *("pipeline", "dataset", "protocol", "subject", "session", "fold", "left_out", "seed", "score", "metric"),
    *("accuracy", "balanced_accuracy", "log_loss", "calibration_error", "n_classes", "chance"),
    *("samples", "samples_validation", "samples_test", "channels", "n_sessions", "n_times", "sampling_rate", "parameters", "time"),
)


@dataclass
class Results:
    """What cross-validation measured.

    Attributes
    ----------
    table : one row per pipeline × fold × seed; the columns stand in docs/architecture.md, MOABB's names where they exist.
    predictions : one row per test window of each fit: pipeline, fold, seed, row, label, probability of each class.
    histories : (pipeline, fold, seed) → the training history of estimators that keep one.
    provenance : per fit, which rows it saw, what chose the stopping point and how often the test rows were read.
    certificate : the proof that the folds don't leak.
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    histories: dict[tuple[str, int, int], list[dict]]
    provenance: list[dict]
    certificate: Certificate

    def summary(self) -> pd.DataFrame:
        """One row per pipeline: mean score, interval, and what it was averaged over."""
        return statistics.summarise(self.table, self.predictions)


def cross_validate(
    pipelines: dict[str, Any],
    windows: Windows,
    folds: list[Fold],
    seeds: Iterable[int] = (0,),
    certificate: Certificate | None = None,
    folder: str | Path | None = None,
    on_fold: Callable[[str, Fold], None] | None = None,
) -> Results:
    """Fit every pipeline on every fold with every seed and judge it once on the fold's test rows.

    Parameters
    ----------
    pipelines : name → scikit-learn classifier with `predict_proba`. A class attribute `takes_windows = True` asks for `Windows` instead of an array;
        `fit` is given `validation=(X, y)` and `groups` (subjects) where its signature has them; others are fitted on train and validation rows together.
    windows, folds : the set and its divisions.
    seeds : a parameter called `random_state`, of the pipeline or a step, receives each; a pipeline without one is fitted once and stands for all seeds.
    certificate : of these windows and folds; made here where it is left out.
    folder : where finished fits are kept, so that a killed run goes on with those that are missing.
    on_fold : called with the pipeline's name and the fold when all its seeds are done.

    Raises
    ------
    Leak : the folds leak (see `certify`). ValueError : a certificate of other folds, no pipelines or seeds, a pipeline without `predict_proba`.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence import baselines, folds
    >>> windows = synthetic_windows()
    >>> results = cross_validate({"LDA": baselines.shrinkage_lda()}, windows, folds.cross_subject(windows.metadata))
    >>> len(results.table)
    3
    """
    seeds = [int(seed) for seed in seeds]
    if not pipelines or not seeds:
        raise ValueError(f"Nothing to fit: there are {len(pipelines)} pipelines and {len(seeds)} seeds; give at least one of each.")
    certificate = certificate or certify(windows, folds)
    certificate.require_match(windows, folds)
    store = FitStore(folder)
    identity = fingerprint((windows.row_hashes(), windows.metadata, windows.sampling_rate, windows.electrodes, windows.page))
    records: list[dict] = []
    for name, pipeline in pipelines.items():
        own_seeds = seeds if _has_seed(pipeline) else seeds[:1]
        for fold in folds:
            keys = {seed: fingerprint((identity, fold.train, fold.validation, fold.test, name, pipeline, seed)) for seed in own_seeds}
            stored = {seed: store.load(key) for seed, key in keys.items()}
            missing = [seed for seed in own_seeds if stored[seed] is None]
            for seed, record in zip(missing, fit_and_judge(name, pipeline, windows, fold, missing), strict=False):
                store.save(keys[seed], record)
                stored[seed] = record
            records += [_with_seed(stored[seed if seed in stored else seeds[0]], seed) for seed in seeds]
            if on_fold is not None:
                on_fold(name, fold)
    return _collect(records, certificate)


def fit_and_judge(name: str, pipeline: Any, windows: Windows, fold: Fold, seeds: list[int]) -> Iterator[dict]:
    """Fit fresh copies on the fold's training part, one a seed, and predict its test rows once with each; yields plain data."""
    if not hasattr(pipeline, "predict_proba"):
        raise ValueError(f"Pipeline {name!r} has no predict_proba; log-loss and calibration need probabilities (wrap it in CalibratedClassifierCV).")
    takes_validation = "validation" in inspect.signature(pipeline.fit).parameters and len(fold.validation) > 0
    for seed, estimator, seconds in _fitted(pipeline, windows, fold, seeds, takes_validation):
        probabilities = _predict(estimator, windows, fold)
        rows = fold.train if takes_validation and getattr(estimator, "selection_", "none") == "validation" else _fit_rows(fold)
        yield {
            "row": _table_row(name, estimator, windows, fold, seed, rows, probabilities, seconds),
            "predictions": probabilities.tolist(),
            "labels": windows.labels[fold.test].tolist(),
            "test_rows": fold.test.tolist(),
            "classes": list(windows.classes),
            "history": getattr(estimator, "history_", []),
            "provenance": {
                "pipeline": name,
                "fold": fold.number,
                "seed": seed,
                "fit_rows_sha256": rows_sha256(rows),
                "n_fit_rows": len(rows),
                "selection": getattr(estimator, "selection_", "none"),
                "test_reads": 1,
            },
        }


def _fitted(pipeline: Any, windows: Windows, fold: Fold, seeds: list[int], takes_validation: bool) -> Iterator[tuple[int, Any, float]]:
    """(seed, fitted estimator, seconds) for every seed; at once where the pipeline can."""
    groups = _groups(windows, fold)
    if hasattr(pipeline, "fit_many"):
        jobs = [FitJob(fold.train, fold.validation, seed, groups=groups[fold.train]) for seed in seeds]
        start = time.perf_counter()
        estimators = pipeline.fit_many(windows, jobs) if jobs else []
        seconds = (time.perf_counter() - start) / max(1, len(jobs))
        yield from ((seed, estimator, seconds) for seed, estimator in zip(seeds, estimators, strict=True))
        return
    rows = fold.train if takes_validation else _fit_rows(fold)
    for seed in seeds:
        estimator = with_random_state(clone(pipeline), seed)
        extra: dict[str, Any] = {}
        if takes_validation:
            extra["validation"] = (_signals(estimator, windows, fold.validation), windows.labels[fold.validation])
        if "groups" in inspect.signature(estimator.fit).parameters:
            extra["groups"] = groups[rows]
        start = time.perf_counter()
        estimator.fit(_signals(estimator, windows, rows), windows.labels[rows], **extra)
        yield seed, estimator, time.perf_counter() - start


def _fit_rows(fold: Fold) -> np.ndarray:
    return np.sort(np.concatenate([fold.train, fold.validation]))


def _groups(windows: Windows, fold: Fold) -> np.ndarray:
    """What inner folds keep whole: subjects or sessions where the protocol does, else recordings."""
    column = {"cross_subject": "subject", "cross_session": "session"}.get(fold.protocol, "recording")
    return windows.metadata[column].astype(str).to_numpy()


def with_random_state(estimator: Any, seed: int) -> Any:
    """The estimator with every parameter called random_state, its own or a step's, set to the seed."""
    seeded = {name: seed for name in estimator.get_params(deep=True) if name.split("__")[-1] == "random_state"}
    return estimator.set_params(**seeded)


def _has_seed(pipeline: Any) -> bool:
    return any(name.split("__")[-1] == "random_state" for name in pipeline.get_params(deep=True))


def _signals(estimator: Any, windows: Windows, rows: np.ndarray) -> Windows | np.ndarray:
    return windows[rows] if getattr(estimator, "takes_windows", False) else windows.values[rows]


def _predict(estimator: Any, windows: Windows, fold: Fold) -> np.ndarray:
    """(test rows, classes of the whole set): the one reading of the test rows; a class that training never saw has probability 0."""
    predicted = np.asarray(estimator.predict_proba(_signals(estimator, windows, fold.test)), dtype=np.float64)
    probabilities = np.zeros((len(fold.test), len(windows.classes)))
    columns = [windows.classes.index(label) for label in np.asarray(estimator.classes_).tolist()]
    probabilities[:, columns] = predicted
    return probabilities


def _table_row(
    name: str,
    estimator: Any,
    windows: Windows,
    fold: Fold,
    seed: int,
    rows: np.ndarray,
    probabilities: np.ndarray,
    seconds: float,
) -> dict:
    tested = windows.metadata.iloc[fold.test]
    row = {
        "pipeline": name,
        "dataset": windows.name,
        "protocol": fold.protocol,
        "subject": _joined(tested["subject"]),
        "session": _joined(tested["session"]),
        "fold": fold.number,
        "left_out": fold.left_out,
        "seed": seed,
        "n_classes": len(windows.classes),
        "samples": len(rows),
        "samples_validation": len(fold.validation) if rows is fold.train else 0,
        "samples_test": len(fold.test),
        "channels": windows.values.shape[1],
        "n_sessions": int(windows.metadata["session"].nunique()),
        "n_times": windows.values.shape[2],
        "sampling_rate": windows.sampling_rate,
        "parameters": getattr(estimator, "n_parameters_", None),
        "time": seconds,
        **metrics.score_predictions(windows.labels[fold.test], probabilities, windows.classes),
    }
    return {column: row[column] for column in TABLE_COLUMNS}


def _joined(column: pd.Series) -> str:
    return "+".join(sorted(set(column.astype(str))))


def _with_seed(record: dict, seed: int) -> dict:
    """The record of a seedless pipeline stands for every seed."""
    return {**record, "row": {**record["row"], "seed": seed}, "provenance": {**record["provenance"], "seed": seed}}


def _collect(records: list[dict], certificate: Certificate) -> Results:
    table = pd.DataFrame([record["row"] for record in records], columns=list(TABLE_COLUMNS))
    predictions = pd.concat([_prediction_frame(record) for record in records], ignore_index=True)
    histories = {_key(record): record["history"] for record in records if record["history"]}
    return Results(table, predictions, histories, [record["provenance"] for record in records], certificate)


def _key(record: dict) -> tuple[str, int, int]:
    return record["row"]["pipeline"], record["row"]["fold"], record["row"]["seed"]


def _prediction_frame(record: dict) -> pd.DataFrame:
    pipeline, fold, seed = _key(record)
    frame = pd.DataFrame({"pipeline": pipeline, "fold": fold, "seed": seed, "row": record["test_rows"], "label": record["labels"]})
    probabilities = pd.DataFrame(record["predictions"], columns=[f"probability_{label}" for label in record["classes"]])
    return pd.concat([frame, probabilities], axis=1)
