"""Cross-validation that fits everything inside the fold, reads the test rows once, and survives being killed."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from sigvit.data.windows import Windows
from sigvit.evidence import metrics, statistics
from sigvit.evidence.certificate import Certificate, certify, rows_sha256
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
    on_fit: Any = None,
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
    on_fit : called with (done, total, name of what was just fitted).

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
    jobs = [(name, fold, seed) for name in pipelines for fold in folds for seed in seeds]
    identity = fingerprint((windows.row_hashes(), windows.metadata, windows.sampling_rate, windows.electrodes, windows.page))
    records = []
    for done, (name, fold, seed) in enumerate(jobs):
        pipeline, shared_seed = pipelines[name], seed if _has_seed(pipelines[name]) else seeds[0]
        key = fingerprint((identity, fold.train, fold.validation, fold.test, name, pipeline, shared_seed))
        record = store.load(key)
        if record is None:
            record = fit_and_judge(name, pipeline, windows, fold, shared_seed)
            store.save(key, record)
        records.append(_with_seed(record, seed))
        if on_fit is not None:
            on_fit(done + 1, len(jobs), f"{name}, fold {fold.number}, seed {seed}")
    return _collect(records, certificate)


def fit_and_judge(name: str, pipeline: Any, windows: Windows, fold: Fold, seed: int) -> dict:
    """Fit a fresh copy on the fold's training part, predict its test rows once; returns plain data."""
    estimator = with_random_state(clone(pipeline), seed)
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(f"Pipeline {name!r} has no predict_proba; log-loss and calibration need probabilities (wrap it in CalibratedClassifierCV).")
    asks = inspect.signature(estimator.fit).parameters
    takes_validation = "validation" in asks and len(fold.validation) > 0
    rows = fold.train if takes_validation else np.sort(np.concatenate([fold.train, fold.validation]))
    extra: dict[str, Any] = {}
    if takes_validation:
        extra["validation"] = (_signals(estimator, windows, fold.validation), windows.labels[fold.validation])
    if "groups" in asks:
        extra["groups"] = windows.metadata["subject"].to_numpy()[rows]
    start = time.perf_counter()
    estimator.fit(_signals(estimator, windows, rows), windows.labels[rows], **extra)
    seconds = time.perf_counter() - start
    probabilities = _predict(estimator, windows, fold)
    return {
        "row": _table_row(name, estimator, windows, fold, seed, rows, takes_validation, probabilities, seconds),
        "predictions": probabilities.tolist(),
        "labels": windows.labels[fold.test].tolist(),
        "test_rows": fold.test.tolist(),
        "classes": list(windows.classes),
        "history": getattr(estimator, "history_", []),
        "provenance": _provenance(name, estimator, fold, seed, rows, takes_validation),
    }


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
    takes_validation: bool,
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
        "samples_validation": len(fold.validation) if takes_validation else 0,
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


def _provenance(name: str, estimator: Any, fold: Fold, seed: int, rows: np.ndarray, takes_validation: bool) -> dict:
    chosen = getattr(estimator, "selection_", "none") if takes_validation else "none"
    return {
        "pipeline": name,
        "fold": fold.number,
        "seed": seed,
        "fit_rows_sha256": rows_sha256(rows),
        "n_fit_rows": len(rows),
        "selection": chosen,
        "test_reads": 1,
    }


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
