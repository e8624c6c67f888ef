"""Cross-validation that fits everything inside the fold, reads the test rows once, and survives being killed."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from joblib.parallel import LokyBackend, get_active_backend

from sigvit.data.windows import Windows
from sigvit.evidence import statistics
from sigvit.evidence.certificate import Aligned, Certificate, certify
from sigvit.evidence.fit_store import FitStore, fingerprint
from sigvit.evidence.folds import Fold
from sigvit.evidence.index_pairs import as_folds
from sigvit.evidence.judging import TABLE_COLUMNS, Fit, fits_many, has_seed, judge_fits, last_step
from sigvit.evidence.machine import package_versions
from sigvit.evidence.mapped_files import Identity, mapped_files, require_same_files
from sigvit.evidence.pipeline_checks import given_weights, require_runnable
from sigvit.evidence.searched_values import parameters_of
from sigvit.evidence.training_state import TRAINING, remove_finished
from sigvit.evidence.window_steps import NO_ALIGNMENT, joined_modes
from sigvit.workers import Parent, parent_of_workers, work_for

__all__ = ["TABLE_COLUMNS", "Results", "cross_validate"]

# Another version of these may give other numbers; of sigvit every line counts.
COMPUTING = ("torch", "scikit-learn", "numpy", "scipy", "mne", "pyriemann")
# With so many fits a process or more, one that has a fit less hardly matters.
FEW_FITS = 4


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
    identities = dict.fromkeys(pipelines, "") if folder is None else _identities(pipelines, windows, models, certificate.signal_sha256)
    divided = {name: _shares(pipeline, _fits(identities[name], pipeline, folds, seeds), n_jobs) for name, pipeline in pipelines.items()}
    shares = [(name, share) for name, several in divided.items() for share in several]
    calls = [(number, name, share, pipelines[name], windows, folder) for number, (name, share) in enumerate(shares)]
    here = [len(divided[name]) == 1 and _shares_out_itself(pipelines[name], len(share), n_jobs) for name, share in shares]
    records: dict[tuple[str, int, int], list[dict]] = {}
    total = sum(len(share) for _, share in shares)
    with _processes(n_jobs):
        sent = [delayed(_fit_share)(*calls[number], parent=parent_of_workers(), files=files) for number, own in enumerate(here) if not own]
        elsewhere = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(sent)
        for number, found in chain(elsewhere, (_fit_share(*calls[number], effective_n_jobs(n_jobs)) for number, own in enumerate(here) if own)):
            name, share = shares[number]
            for fit, parts in zip(share, found, strict=True):
                _require_own_names(name, parts, pipelines)
                records[name, fit.fold.number, fit.seed] = parts
                if on_fit is not None:
                    on_fit(len(records), total, f"{name}, fold {fit.fold.number}")
    if folder is not None:
        remove_finished(folder, {fit.key for name, share in shares if fits_many(pipelines[name]) for fit in share})
    ordered = ((name, fold.number, seed) for name in pipelines for fold in folds for seed in seeds)
    # The fit of a seedless pipeline stands for every seed.
    found = [_with_seed(part, key[2]) for key in ordered for part in records.get(key) or records[(*key[:2], seeds[0])]]
    return _collect(found, certificate.with_alignment(_aligned(pipelines, records)).with_warnings(given_weights(pipelines)))


def _identities(pipelines: dict[str, Any], windows: Windows, models: list[str], signal_sha256: str) -> dict[str, str]:
    """Of each pipeline's name: everything but rows and seed that decides a fit or stands in its table row."""
    # A model's folder is a parameter by its name alone.
    weights = [hashlib.sha256((Path(model) / "model.safetensors").read_bytes()).hexdigest() for model in models]
    places = [channel["loc"] for channel in windows.info["chs"]]
    channels = (windows.sampling_rate, windows.electrodes, places, sorted(windows.info["bads"]))
    described = (windows.name, signal_sha256, windows.metadata, *channels, windows.page)
    versions = {name: version for name, version in package_versions().items() if name in COMPUTING}
    common = fingerprint((*described, *weights, versions))
    return {name: fingerprint((common, name, pipeline)) for name, pipeline in pipelines.items()}


def _fits(identity: str, pipeline: Any, folds: list[Fold], seeds: list[int]) -> list[Fit]:
    """Every fold with every seed, or the first alone where there is no seed to set; without an identity nothing is kept under a key."""
    asked = [(fold, seed) for fold in folds for seed in (seeds if has_seed(pipeline) else seeds[:1])]
    return [Fit(fold, seed, identity and fingerprint((identity, *vars(fold).values(), seed))) for fold, seed in asked]


def _require_own_names(name: str, parts: list[dict], pipelines: Iterable[str]) -> None:
    """ValueError: a part has the name of a pipeline, so that their rows could not be told apart."""
    taken = [part["row"]["pipeline"] for part in parts[1:] if part["row"]["pipeline"] in pipelines]
    if taken:
        raise ValueError(f"The pipeline {taken[0]!r} has the name of a part of {name!r}, which gets rows of its own; give it another name.")


def pretrained_models(pipelines: dict[str, Any]) -> list[str]:
    """Folders of the models that pipelines, or steps of them, start from or may start from in a search: their parameters called `pretrained`."""
    found = [value for pipeline in pipelines.values() for name, value in parameters_of(pipeline) if name.split("__")[-1] == "pretrained"]
    return list(dict.fromkeys(str(folder) for folder in found if isinstance(folder, str | Path)))


@contextmanager
def _processes(n_jobs: int) -> Iterator[None]:
    """Several processes with a thread each, those of another backend of joblib that the caller has chosen, or this one as it is."""
    chosen, _ = get_active_backend()
    several = parallel_config("loky", inner_max_num_threads=1) if isinstance(chosen, LokyBackend) else nullcontext()
    with warnings.catch_warnings(), several if n_jobs != 1 else parallel_config("sequential"):
        # Loading torch looks to joblib like a leak of memory: it starts a fresh process after the fit, and says so.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        yield


def _shares(pipeline: Any, fits: list[Fit], n_jobs: int) -> list[list[Fit]]:
    """Which fits go in one go: all that a process gets where the pipeline can, else each alone."""
    if not fits_many(pipeline):
        return [[fit] for fit in fits]
    count = 1 if _shares_out_itself(pipeline, len(fits), n_jobs) else min(effective_n_jobs(n_jobs), len(fits))
    return [fits[len(fits) * part // count : len(fits) * (part + 1) // count] for part in range(count)]


def _shares_out_itself(pipeline: Any, n_fits: int, n_jobs: int) -> bool:
    """Whether all fits go to `fit_many` in this process, which spreads its networks over the processes: for few fits that don't divide evenly."""
    chosen, _ = get_active_backend()
    processes = effective_n_jobs(n_jobs)
    uneven = n_fits % processes > 0 and n_fits < FEW_FITS * processes
    return uneven and isinstance(chosen, LokyBackend) and fits_many(pipeline) and getattr(last_step(pipeline), "ensemble", False)


def _fit_share(
    number: int,
    name: str,
    share: list[Fit],
    pipeline: Any,
    windows: Windows,
    folder: Path | None,
    processes: int | None = None,
    parent: Parent | None = None,
    files: dict[str, Identity] | None = None,
) -> tuple[int, list[list[dict]]]:
    """The share's number, and the records of each of its fits: those in the folder as they are, the others fitted, in so many processes, and kept."""
    work_for(parent)
    require_same_files(files or {})
    if folder is None:
        return number, [record["parts"] for record in judge_fits(name, pipeline, windows, share, processes=processes)]
    store = FitStore(folder)
    stored: dict[str, dict | None] = {fit.key: store.load(fit.key) for fit in share}
    missing = [fit for fit in share if stored[fit.key] is None]
    for fit, record in zip(missing, judge_fits(name, pipeline, windows, missing, folder / TRAINING, processes), strict=True):
        stored[fit.key] = store.save(fit.key, record)
    return number, [kept["parts"] for fit in share if (kept := stored[fit.key]) is not None]


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
