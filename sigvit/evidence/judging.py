"""The judgement of fits: the test rows of each fold, predicted once, and what a table says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sigvit.data.windows import Windows
from sigvit.evidence import metrics
from sigvit.evidence.certificate import rows_sha256
from sigvit.evidence.fit_job import named
from sigvit.evidence.fitting import Fit, fit_rows, fitted, last_step, takes_validation, title
from sigvit.evidence.folds import Fold
from sigvit.evidence.window_steps import alignment_of, origin_of, routed, signals_for, uses_test_windows
from sigvit.labels import text_of

TABLE_COLUMNS = (
    *("pipeline", "dataset", "protocol", "subject", "session", "fold", "left_out", "seed", "score", "metric"),
    *("accuracy", "balanced_accuracy", "log_loss", "calibration_error", "n_classes", "chance"),
    *("samples", "samples_validation", "samples_test", "channels", "n_sessions", "n_times", "sampling_rate", "parameters", "alignment", "time"),
)


def judge_fits(name: str, pipeline: Any, windows: Windows, fits: Sequence[Fit], folder: Path | None = None, processes: int | None = None) -> Iterator[dict]:
    """Fit a fresh copy on each fold's training part, all at once where the pipeline can, and predict the fold's test rows once with each.

    Yields plain data: {"parts": [record, …]}, the pipeline's own record first, then those of its parts (see `cross_validate`). `folder` and `processes` : as
    for `fitted`.
    """
    # scikit-learn's stacking ends in logistic regression where nothing else is named, but says so only once it is fitted.
    stacks = any(value is None and parameter.split("__")[-1] == "final_estimator" for parameter, value in pipeline.get_params(deep=True).items())
    if not (hasattr(pipeline, "predict_proba") or stacks):
        raise ValueError(f"Pipeline {name!r} has no predict_proba; log-loss and calibration need probabilities (wrap it in CalibratedClassifierCV).")
    for fit, estimator, seconds in fitted(name, pipeline, windows, fits, folder, processes):
        fold = fit.fold
        # One that takes validation rows and doesn't say what for is not known to have been fitted on them.
        chose = takes_validation(pipeline, fold) and getattr(estimator, "selection_", "validation") == "validation"
        rows = fold.train if chose else fit_rows(fold)
        counts = {"samples": len(rows), "samples_validation": len(fold.validation) if chose else 0, "seed": fit.seed, "time": seconds}
        with named(title(name, fit)):
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
