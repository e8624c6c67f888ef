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
_MOVED = "Annotations are on the clock of the samples."  # in the recording's description: what is cropped to behind a gap has no edge any more


def clock_gaps(path: Path) -> list[tuple[float, float]]:
    """(seconds of signal before it, seconds missing) of each gap; none in files of other formats."""
    return edf_gaps(read_edf_header(path))[0] if path.suffix.lower() in (".edf", ".bdf") else []


def mark_gaps(raw: mne.io.BaseRaw, path: Path, gaps: list[tuple[float, float]], encoding: str) -> None:
    """mne joins records whatever their time stamps: annotations move onto the clock of the samples, and each gap becomes an edge that is named.

    What lasts over a gap, or begins in one and lasts longer, keeps what there is of it; what lies within one is left out.
    """
    told = _annotations(path, encoding)  # those of the recording lack what lies beyond its joined samples
    (onsets, missed), (stops, _) = (_on_samples(clock_s, gaps) for clock_s in (told.onset, told.onset + told.duration))
    stay = ~missed | (stops > onsets)
    edges = mne.Annotations([at for at, _ in gaps], 0.0, [f"{_EDGE} of {missing:g} s" for _, missing in gaps])
    moved = mne.Annotations(onsets[stay], (stops - onsets)[stay], told.description[stay])
    raw.set_annotations(moved + edges, emit_warning=False, verbose="ERROR")
    raw.info["description"] = " ".join(filter(None, [raw.info["description"], _MOVED]))
    first = f"the first after {gaps[0][0]:g} s of signal, {gaps[0][1]:g} s long"
    lost = "" if stay.all() else f" {(~stay).sum()} annotations lie within gaps, where there is no signal, and are left out."
    warnings.warn(f"The clock of {path.name} has {len(gaps)} gaps ({first}); no window and no filter runs across one.{lost}", stacklevel=3)


def _on_samples(clock_s: np.ndarray, gaps: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of signal before these times, and which of them lie within a gap: before all of the signal behind it."""
    at_s, missing_s = np.transpose(gaps)
    lost_s = np.cumsum([0.0, *missing_s])
    passed = np.searchsorted(at_s + lost_s[1:], clock_s + 1e-6, side="right")
    next_s, signal_s = np.append(at_s, np.inf)[passed], clock_s - lost_s[passed]
    return np.minimum(signal_s, next_s), signal_s > next_s + 1e-6


def check_gaps(raw: mne.io.BaseRaw, where: str) -> None:
    """ValueError for a recording with gaps that nobody marked: behind them every event would be cut at the wrong samples."""
    files = [Path(name) for name in raw.filenames if name is not None and Path(name).is_file()]
    gaps = [gap for file in files for gap in clock_gaps(file)]
    if len(files) == 1:  # it may have been cropped to before a gap, or, once its annotations are moved, to behind it
        first_s = raw.first_time if _MOVED in (raw.info["description"] or "") else -1.0
        gaps = [(at, missing) for at, missing in gaps if first_s < at < raw.first_time + raw.n_times / raw.info["sfreq"]]
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
