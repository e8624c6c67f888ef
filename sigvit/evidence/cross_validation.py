"""Cross-validation that fits everything inside the fold, reads the test rows once, and survives being killed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sigvit.data.windows import Windows
from sigvit.evidence import statistics
from sigvit.evidence.certificate import Aligned, Certificate, certify
from sigvit.evidence.fit_keys import fits_of, identities, pretrained_models
from sigvit.evidence.fit_store import remove_finished
from sigvit.evidence.fitting import fits_many
from sigvit.evidence.folds import Fold
from sigvit.evidence.index_pairs import as_folds
from sigvit.evidence.judging import TABLE_COLUMNS
from sigvit.evidence.mapped_files import mapped_files
from sigvit.evidence.pipeline_checks import given_weights, require_runnable
from sigvit.evidence.shares import fitted_shares, processes
from sigvit.evidence.window_steps import NO_ALIGNMENT, joined_modes

__all__ = ["TABLE_COLUMNS", "Results", "cross_validate"]


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
    folds: Iterable[Fold | tuple],
    seeds: Iterable[int] = (0,),
    certificate: Certificate | None = None,
    folder: str | Path | None = None,
    on_fit: Callable[[int, int, str], None] | None = None,
    n_jobs: int = 1,
    protocol: str | None = None,
) -> Results:
    """Fit every pipeline on every fold with every seed and judge it once on the fold's test rows.

    Parameters
    ----------
    pipelines : name → scikit-learn classifier with `predict_proba`. A class attribute `takes_windows = True` asks for `Windows` instead of an array; windows
        to be predicted all carry the same label, so that none tells the answer.
        `fit` is given `validation=(X, y)` and `groups` (subjects, sessions or recordings, as the protocol has it) where its signature has them,
        and `calibration`, which rows are of the tested subject or session (see `sigvit.folds.calibrate`); others
        are fitted on train and validation rows together. One with `predict_parts` is judged in several rows, "name" and "name: part". Steps that align
        people or sessions (`sigvit.evidence.alignment`) are told each window's subject and session; their mode is stamped on table and certificate.
    windows, folds : the set and its divisions: `Fold`, or (train, test) of any scikit-learn or MOABB splitter, which promise nothing about groups but what
        `protocol` says, as in `certify`.
    seeds : a parameter called `random_state`, of the pipeline or a step, receives each; a pipeline without one is fitted once and stands for all seeds.
    certificate : of these windows and folds; made here where it is left out.
    folder : where finished fits are kept, in `fits`, and about once a minute the state of those that train, so that a killed run goes on with what is missing;
        the classical halves of those that train are pickled there.
    on_fit : called with (done, total, what was just fitted).
    n_jobs : processes, each with one thread, that share the fits; 1 stays in this process with its threads. A pipeline with `fit_many` gets all fits of a
        process at once, every fold × seed; behind steps that take `Windows`, all seeds of a fold; of an `ensemble` few fits that don't divide evenly are
        shared out network by network. Inside `joblib.parallel_config("dask")` the processes are dask's workers, on other machines too; -1 takes all.

    Raises
    ------
    Leak : the folds leak, or a pipeline's parameter `pretrained` names a model that has seen a test part (see `certify`).
    ValueError : a certificate of other folds or without that model, no pipelines or seeds, a seed twice, a pipeline without `predict_proba`, with the name
        of another's part, with something in it that is fitted already and stays so in a clone, or with an alignment that isn't told whose each window is;
        mapped samples whose file has been replaced, where several processes would read it.
    BlockingIOError : another process trains the same fits into the folder.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence import baselines, folds
    >>> windows = synthetic_windows()
    >>> results = cross_validate({"LDA": baselines.shrinkage_lda()}, windows, folds.cross_subject(windows.metadata))
    >>> len(results.table)
    3
    """
    seeds = require_runnable(pipelines, seeds)
    folds = as_folds(folds, len(windows), protocol, windows.metadata.index)
    folder = None if folder is None else Path(folder).absolute()
    files = {} if n_jobs == 1 else mapped_files(windows)
    models = pretrained_models(pipelines)
    if certificate is None:
        certificate = certify(windows, folds, pretrained=models)
    else:
        certificate.require_match(windows, folds)
        certificate.require_pretrained(models)
    # Before the first fit: what a function of the user's reads may change while it is called.
    known = dict.fromkeys(pipelines, "") if folder is None else identities(pipelines, windows, models, certificate.signal_sha256)
    fits = {name: fits_of(pipeline, known[name], folds, seeds) for name, pipeline in pipelines.items()}
    records: dict[tuple[str, int, int], list[dict]] = {}
    with processes(n_jobs):
        for name, fit, parts in fitted_shares(pipelines, fits, windows, folder, n_jobs, files):
            _require_own_names(name, parts, pipelines)
            records[name, fit.fold.number, fit.seed] = parts
            if on_fit is not None:
                on_fit(len(records), sum(map(len, fits.values())), f"{name}, fold {fit.fold.number}")
    if folder is not None:
        remove_finished(folder, {fit.key for name, own in fits.items() if fits_many(pipelines[name]) for fit in own})
    ordered = ((name, fold.number, seed) for name in pipelines for fold in folds for seed in seeds)
    # The fit of a seedless pipeline stands for every seed.
    found = [_with_seed(part, key[2]) for key in ordered for part in records.get(key) or records[(*key[:2], seeds[0])]]
    return _collect(found, certificate.with_alignment(_aligned(pipelines, records)).with_warnings(given_weights(pipelines)))


def _require_own_names(name: str, parts: list[dict], pipelines: Iterable[str]) -> None:
    """ValueError: a part has the name of a pipeline, so that their rows could not be told apart."""
    taken = [part["row"]["pipeline"] for part in parts[1:] if part["row"]["pipeline"] in pipelines]
    if taken:
        raise ValueError(f"The pipeline {taken[0]!r} has the name of a part of {name!r}, which gets rows of its own; give it another name.")


def _with_seed(record: dict, seed: int) -> dict:
    return {**record, "row": {**record["row"], "seed": seed}, "provenance": {**record["provenance"], "seed": seed}}


def _aligned(pipelines: Iterable[str], records: dict[tuple[str, int, int], list[dict]]) -> list[Aligned]:
    """The pipelines whose fits were aligned, in all modes that a search in them chose."""
    fits = {name: [part for key, parts in records.items() if key[0] == name for part in parts] for name in pipelines}
    found = [
        Aligned(name, joined_modes(part["row"]["alignment"] for part in parts), any(part["uses_test_windows"] for part in parts))
        for name, parts in fits.items()
    ]
    return [each for each in found if each.mode != NO_ALIGNMENT or each.uses_test_windows]


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
