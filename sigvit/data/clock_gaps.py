"""Gaps in the clock of EDF+ and BDF+, which mne reads over: found, named, and the annotations behind them put where they belong."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path

import mne
import numpy as np

from sigvit.data.edf_header import edf_gaps, read_edf_header

_EDGE = "EDGE gap"


def clock_gaps(path: Path) -> list[tuple[float, float]]:
    """(seconds of signal before it, seconds missing) of each gap; none in files of other formats."""
    return edf_gaps(read_edf_header(path))[0] if path.suffix.lower() in (".edf", ".bdf") else []


def mark_gaps(raw: mne.io.BaseRaw, path: Path, gaps: list[tuple[float, float]], encoding: str) -> None:
    """mne joins records whatever their time stamps: annotations move onto the clock of the samples, and each gap becomes an edge that is named."""
    told = _annotations(path, encoding)  # those of the recording lack what lies beyond its joined samples
    lost_s = np.cumsum([0.0, *(missing for _, missing in gaps)])
    resumed_s = [at + lost for (at, _), lost in zip(gaps, lost_s[1:], strict=True)]
    moved = told.onset - lost_s[np.searchsorted(resumed_s, told.onset + 1e-6, side="right")]
    edges = mne.Annotations([at for at, _ in gaps], 0.0, [f"{_EDGE} of {missing:g} s" for _, missing in gaps])
    raw.set_annotations(mne.Annotations(moved, told.duration, told.description) + edges, emit_warning=False, verbose="ERROR")
    first = f"the first after {gaps[0][0]:g} s of signal, {gaps[0][1]:g} s long"
    warnings.warn(f"The clock of {path.name} has {len(gaps)} gaps ({first}); no window and no filter runs across one.", stacklevel=3)


def check_gaps(raw: mne.io.BaseRaw, where: str) -> None:
    """ValueError for a recording with gaps that nobody marked: behind them every event would be cut at the wrong samples."""
    files = [Path(name) for name in raw.filenames if name is not None and Path(name).is_file()]
    gaps = [gap for file in files for gap in clock_gaps(file)]
    if len(files) == 1:  # it may have been cropped to where there is none
        gaps = [(at, missing) for at, missing in gaps if raw.first_time < at < raw.first_time + raw.n_times / raw.info["sfreq"]]
    if len(gaps) > sum(str(name).startswith(_EDGE) for name in raw.annotations.description):
        at, missing = gaps[0]
        raise ValueError(
            f"The clock of {where} has {len(gaps)} gaps (the first after {at:g} s of signal, {missing:g} s long), which mne reads over: "
            "open the file with sigvit.data.recordings.read_recording, which marks them and moves the events behind them."
        )


def _annotations(path: Path, encoding: str) -> mne.Annotations:
    if path.suffix.islower():
        return mne.read_annotations(path, encoding=encoding)
    with tempfile.TemporaryDirectory() as folder:  # mne knows no upper-case endings here
        lower = shutil.copyfile(path, Path(folder) / f"recording{path.suffix.lower()}")
        return mne.read_annotations(lower, encoding=encoding)
