"""The classical halves that fits on the same windows have in common, also with fits that a kill ended."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from sigvit.evidence.fingerprint import fingerprint
from sigvit.evidence.fit_job import named
from sigvit.training_part import TrainingPart
from sigvit.whole_file import write_atomically
from sigvit.workers import Parent, no_leak_told, parent_of_workers, possible_processes, work_for

# How a half is fitted on a part of the windows.
Fitting = Callable[[TrainingPart], Any]


class Halves:
    """Fitted classical halves by the part of the windows that they were fitted on.

    Parameters
    ----------
    folder : where they are kept as well, one pickled file each, for who starts again after a kill. Unpickling runs code: nobody else should write there.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._found: dict[int, Any] = {}

    def once(self, part: TrainingPart, fit: Fitting) -> Any:
        """The half on this part, fitted by whoever asks first."""
        if id(part) not in self._found:
            self._found[id(part)] = _kept(self.folder, part, fit)
        return self._found[id(part)]

    def ahead(self, wanted: Sequence[tuple[str, TrainingPart, Fitting]], processes: int) -> None:
        """Fit those that will be asked for, (whose, part, fit), side by side in so many processes, where joblib's backend has several."""
        missing: dict[int, tuple[str, TrainingPart, Fitting]] = {}
        for each in wanted:
            if id(each[1]) not in self._found:
                missing.setdefault(id(each[1]), each)
        count = possible_processes(min(processes, len(missing)))
        if count > 1:
            parent = parent_of_workers()
            with no_leak_told():
                halves = Parallel(n_jobs=count)(delayed(_fit_elsewhere)(self.folder, *each, parent) for each in missing.values())
            self._found |= dict(zip(missing, halves, strict=True))


def _fit_elsewhere(folder: Path | None, name: str, part: TrainingPart, fit: Fitting, parent: Parent | None) -> Any:
    work_for(parent)
    with named(name):
        return _kept(folder, part, fit)


def _kept(folder: Path | None, part: TrainingPart, fit: Fitting) -> Any:
    if folder is None:
        return fit(part)
    path = folder / f"{fingerprint((part.signals, part.targets, part.groups, part.sampling_rate))}.pickle"
    half = _read(path)
    if half is None:
        half = fit(part)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, pickle.dumps(half))
    return half


def _read(path: Path) -> Any:
    """None where there is nothing, or nothing that can be read as it was written: it is fitted again then."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # scikit-learn warns of another version's
            return pickle.loads(path.read_bytes())
    except Exception:  # damaged pickles raise whatever they like
        return None
