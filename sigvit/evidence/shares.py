"""Fits shared out over processes, each with what it trains at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from joblib.parallel import LokyBackend, get_active_backend

from sigvit.data.windows import Windows
from sigvit.evidence.fit_store import TRAINING, FitStore
from sigvit.evidence.fitting import Fit, fits_many, last_step
from sigvit.evidence.judging import judge_fits
from sigvit.evidence.mapped_files import Identity, require_same_files
from sigvit.workers import Parent, no_leak_told, parent_of_workers, work_for

# With so many fits a process or more, one that has a fit less hardly matters.
FEW_FITS = 4


@contextmanager
def processes(n_jobs: int) -> Iterator[None]:
    """Several processes with a thread each, those of another backend of joblib that the caller has chosen, or this one as it is."""
    chosen, _ = get_active_backend()
    several = parallel_config("loky", inner_max_num_threads=1) if isinstance(chosen, LokyBackend) else nullcontext()
    with no_leak_told(), several if n_jobs != 1 else parallel_config("sequential"):
        yield


def fitted_shares(
    pipelines: dict[str, Any], fits: dict[str, list[Fit]], windows: Windows, folder: Path | None, n_jobs: int, files: dict[str, Identity]
) -> Iterator[tuple[str, Fit, list[dict]]]:
    """(name of its pipeline, fit, its records) of all fits, as they end; ask inside of `processes`. `files` are those that processes open by name."""
    divided = {name: _shares(pipelines[name], own, n_jobs) for name, own in fits.items()}
    shares = [(name, share) for name, several in divided.items() for share in several]
    calls = [(number, name, share, pipelines[name], windows, folder) for number, (name, share) in enumerate(shares)]
    here = [len(divided[name]) == 1 and shares_out_itself(pipelines[name], len(share), n_jobs) for name, share in shares]
    sent = [delayed(fit_share)(*calls[number], parent=parent_of_workers(), files=files) for number, own in enumerate(here) if not own]
    elsewhere = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(sent)
    for number, found in chain(elsewhere, (fit_share(*calls[number], effective_n_jobs(n_jobs)) for number, own in enumerate(here) if own)):
        name, share = shares[number]
        yield from ((name, fit, parts) for fit, parts in zip(share, found, strict=True))


def _shares(pipeline: Any, fits: list[Fit], n_jobs: int) -> list[list[Fit]]:
    """Which fits go in one go: all that a process gets where the pipeline can, else each alone."""
    if not fits_many(pipeline):
        return [[fit] for fit in fits]
    count = 1 if shares_out_itself(pipeline, len(fits), n_jobs) else min(effective_n_jobs(n_jobs), len(fits))
    return [fits[len(fits) * part // count : len(fits) * (part + 1) // count] for part in range(count)]


def shares_out_itself(pipeline: Any, n_fits: int, n_jobs: int) -> bool:
    """Whether all fits go to `fit_many` in this process, which spreads its networks over the processes: for few fits that don't divide evenly."""
    chosen, _ = get_active_backend()
    processes = effective_n_jobs(n_jobs)
    uneven = n_fits % processes > 0 and n_fits < FEW_FITS * processes
    return uneven and isinstance(chosen, LokyBackend) and fits_many(pipeline) and getattr(last_step(pipeline), "ensemble", False)


def fit_share(
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
