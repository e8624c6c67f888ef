"""A recording of a page from its file, with what lies in files beside it: events, classes of cues, the tables of a BIDS root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
from scipy.io import loadmat

from sigvit.data.headers import check_header, damage_named, require_whole
from sigvit.data.matlab_structure import matlab_complaint
from sigvit.data.page_format import TrueLabels
from sigvit.data.readers import read_recording

# Suffix → columns that a table has to have; mne-bids reads over what it can't read.
_BIDS_TABLES = (("events", ("onset", "duration")), ("channels", ("name", "type", "units")))


def read_file(path: Path, reader: tuple[str | None, dict], annotations: Path | None, labels: TrueLabels | None, labels_file: Path | None) -> Any:
    raw = read_recording(path, *reader)
    if annotations is not None:
        # A hypnogram goes on after the recording's end; what lies outside is no window.
        raw.set_annotations(_read_annotations(annotations), emit_warning=False)
    if labels is not None:
        _name_cues(raw, labels, labels_file, path)
    return raw


def _read_annotations(path: Path) -> Any:
    require_whole(check_header(path))
    with damage_named(f"The annotations {path} can't be read, the file may be damaged"):
        return mne.read_annotations(path)


def _read_numbers(path: Path, name: str) -> Any:
    """An array of a MATLAB file, as one row of numbers."""
    require_whole(matlab_complaint(path))
    with damage_named(f"{path} has no readable array {name!r}"):
        return loadmat(path)[name].ravel()


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


def read_bids(path: Any) -> Any:
    """As mne-bids reads it (events, bad channels and positions come from the tables beside it), after the file itself was found whole."""
    from mne_bids import read_raw_bids

    require_whole(check_header(path.fpath) or next(filter(None, (_table_complaint(path, *table) for table in _BIDS_TABLES)), None))
    with damage_named(f"{path.fpath} can't be read, it or a table beside it may be damaged"):
        return read_raw_bids(path, verbose="error")


def _table_complaint(path: Any, suffix: str, needed: tuple[str, ...]) -> str | None:
    """What is wrong with a table beside a BIDS recording, in words; None where it is sound or isn't there."""
    found = path.copy().update(suffix=suffix, extension=".tsv", check=False).fpath
    if not found.is_file():
        return None
    try:
        rows = [line.split("\t") for line in found.read_text("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        return f"{found} is damaged: it is no text ({error.reason} at byte {error.start})"
    missing = [column for column in needed if not rows or column not in rows[0]]
    if missing:
        return f"{found} is damaged: it lacks the columns {', '.join(missing)}"
    short = next((number for number, row in enumerate(rows) if len(row) != len(rows[0])), None)
    return None if short is None else f"{found} is damaged or cut short: row {short} has {len(rows[short])} cells instead of {len(rows[0])}"
