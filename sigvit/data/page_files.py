"""A recording of a page from its file, with the events or the classes of cues that lie in files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
from scipy.io import loadmat

from sigvit.data.headers import check_header
from sigvit.data.matlab_structure import matlab_complaint
from sigvit.data.page_format import TrueLabels
from sigvit.data.readers import read_recording


def read_file(path: Path, reader: tuple[str | None, dict], annotations: Path | None, labels: TrueLabels | None, labels_file: Path | None) -> Any:
    raw = read_recording(path, *reader)
    if annotations is not None:
        # A hypnogram goes on after the recording's end; what lies outside is no window.
        raw.set_annotations(_read_annotations(annotations), emit_warning=False)
    if labels is not None:
        _name_cues(raw, labels, labels_file, path)
    return raw


def _read_annotations(path: Path) -> Any:
    wrong = check_header(path)
    if wrong:
        raise ValueError(f"{wrong}.")
    try:
        return mne.read_annotations(path)
    except Exception as error:  # readers of damaged files raise almost anything
        raise ValueError(f"The annotations {path} can't be read, the file may be damaged: {type(error).__name__}: {error}") from error


def _read_numbers(path: Path, name: str) -> Any:
    """An array of a MATLAB file, as one row of numbers."""
    wrong = matlab_complaint(path)
    if wrong:
        raise ValueError(f"{wrong}.")
    try:
        return loadmat(path)[name].ravel()
    except Exception as error:  # readers of damaged files raise almost anything
        raise ValueError(f"{path} has no readable array {name!r}: {type(error).__name__}: {error}") from error


def _name_cues(raw: Any, labels: TrueLabels, labels_file: Path | None, path: Path) -> None:
    """The events whose class isn't in the recording get it from the file beside it."""
    cues = [number for number, description in enumerate(raw.annotations.description) if description == labels.cue]
    if not cues:
        return
    if labels_file is None:
        raise FileNotFoundError(f"{path.name} has {len(cues)} cues {labels.cue!r} of unknown class; the file {labels.pattern!r} that tells them isn't there.")
    numbers = _read_numbers(labels_file, labels.array)
    if len(numbers) != len(cues):
        raise ValueError(f"{labels_file.name} has {len(numbers)} labels, {path.name} has {len(cues)} cues {labels.cue!r}.")
    descriptions = raw.annotations.description.astype(object)
    descriptions[cues] = [labels.events[str(int(number))] for number in numbers]
    raw.annotations.description = descriptions.astype(str)
