"""The classical halves that fits on the same windows have in common, also with fits that a kill ended."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sigvit.evidence.fingerprint import fingerprint
from sigvit.training_part import TrainingPart
from sigvit.whole_file import write_atomically


class Halves:
    """Fitted classical halves by the part of the windows that they were fitted on.

    Parameters
    ----------
    folder : where they are kept as well, one pickled file each, for who starts again after a kill. Unpickling runs code: nobody else should write there.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._found: dict[int, Any] = {}

    def once(self, part: TrainingPart, fit: Callable[[TrainingPart], Any]) -> Any:
        """The half on this part, fitted by whoever asks first."""
        if id(part) not in self._found:
            self._found[id(part)] = fit(part) if self.folder is None else self._kept(self.folder, part, fit)
        return self._found[id(part)]

    def _kept(self, folder: Path, part: TrainingPart, fit: Callable[[TrainingPart], Any]) -> Any:
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
