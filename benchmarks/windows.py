"""What it costs to cut windows: time and peak memory of `windows_from_raw`, of `mne.Epochs`, and of braindecode's windower where that is installed.

    python benchmarks/windows.py

All start from the same open recording and end with every window in one float32 array. Prints the table and writes results/benchmarks/windows.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import mne
import numpy as np
from braindecode_networks import load_braindecode
from page import keep, where

from sigvit.data.recordings import Cut, LabelledRecording, windows_from_raw, windows_from_recordings
from sigvit.data.synthetic import synthetic_raw
from sigvit.timing import step_times

DATA = Path(os.environ.get("SIGVIT_DATA") or Path(__file__).parents[2] / "shared" / "data")
ROUNDS = 15
LABELS = {"left": "left", "right": "right"}
Band = tuple[float, float] | None


def ours(raw: mne.io.BaseRaw, events: dict, start_s: float, stop_s: float, band_hz: Band) -> np.ndarray:
    return windows_from_raw(raw, events, start_s, stop_s, band_hz).values


def mnes(raw: mne.io.BaseRaw, events: dict, start_s: float, stop_s: float, band_hz: Band) -> np.ndarray:
    signal = raw if band_hz is None else raw.copy().load_data().filter(*band_hz)
    cues, codes = mne.events_from_annotations(signal, {name: number + 1 for number, name in enumerate(events)})
    last = stop_s - 1 / raw.info["sfreq"]
    return mne.Epochs(signal, cues, codes, start_s, last, baseline=None, preload=True).get_data(copy=False).astype(np.float32)


def braindecodes(raw: mne.io.BaseRaw, events: dict, start_s: float, stop_s: float, band_hz: Band) -> np.ndarray:
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_windows_from_events

    signal = raw if band_hz is None else raw.copy().load_data().filter(*band_hz)
    rate = raw.info["sfreq"]
    # Its windows are counted in samples from the annotation's onset and from its end.
    length, durations = round((stop_s - start_s) * rate), {round(duration * rate) for duration in signal.annotations.duration}
    if len(durations) > 1:
        signal = signal.copy() if band_hz is None else signal
        signal.annotations.duration[:] = min(durations) / rate
    mapping = {name: number for number, name in enumerate(events)}
    shift = (round(start_s * rate), round(stop_s * rate) - min(durations))
    dataset = create_windows_from_events(
        BaseConcatDataset([RawDataset(signal)]), *shift, length, length, True, mapping=mapping, preload=True, on_missing="ignore", drop_bad_windows=False
    )
    return np.stack([window[0] for window in dataset]).astype(np.float32)


def recordings() -> dict[str, tuple[Callable[[], mne.io.BaseRaw], dict, float, float, Band]]:
    """Name → how to open it, events, window and band."""

    def trials() -> mne.io.BaseRaw:
        return synthetic_raw(100, electrodes=[f"E{number}" for number in range(64)], sampling_rate=160.0)

    def stimuli() -> mne.io.BaseRaw:
        return synthetic_raw(600, electrodes=[f"E{number}" for number in range(32)], sampling_rate=256.0, trial_s=0.5, rest_s=0.125)

    real = DATA / "eegmmidb" / "S001" / "S001R04.edf"
    cases: dict = {
        "100 trials of 4 s, 64 electrodes, 160 Hz": (trials, LABELS, 0.0, 4.0, None),
        "the same, 8-32 Hz": (trials, LABELS, 0.0, 4.0, (8.0, 32.0)),
        "600 stimuli, windows of .69 s every .625 s, 32 electrodes, 256 Hz, 1-24 Hz": (stimuli, LABELS, -0.125, 0.5625, (1.0, 24.0)),
    }
    if real.is_file():
        cues = {"T0": "rest", "T1": "left", "T2": "right"}
        cases["EEGMMIDB S001R04, 30 trials of 3 s, in memory, 8-32 Hz"] = (lambda: mne.io.read_raw_edf(real, preload=True), cues, 0.5, 3.5, (8.0, 32.0))
        cases["the same, read from the file"] = (lambda: mne.io.read_raw_edf(real), cues, 0.5, 3.5, (8.0, 32.0))
    return cases


def measure(ways: dict[str, Callable[..., np.ndarray]], case: tuple) -> dict[str, tuple[list[float], float]]:
    """Way → seconds of each round, and peak memory beyond the open recording as a multiple of the result's."""
    opened, *request = case
    raw = opened()
    results = {name: way(raw, *request) for name, way in ways.items()}
    shapes = {result.shape for result in results.values()}
    assert len(shapes) == 1, f"they cut differently: {shapes}"
    worst = max(np.abs(result - results["sigvit"]).max() for result in results.values())
    assert worst < 1e-3 * results["sigvit"].std(), f"they differ by {worst} V"
    size = results["sigvit"].nbytes
    del results
    seconds = step_times({name: partial(way, raw, *request) for name, way in ways.items()}, rounds=ROUNDS)
    return {name: (seconds[name], _peak(way, raw, request) / size) for name, way in ways.items()}


def _peak(way: Callable[..., np.ndarray], raw: mne.io.BaseRaw, request: list) -> int:
    tracemalloc.start()
    way(raw, *request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def many_recordings(n_recordings: int = 20, into: Path | None = None) -> float:
    """Peak memory of a set from recordings that are opened one by one, beyond one of them, as a multiple of the result's; `into` grows it on disk."""

    def opened(run: int) -> mne.io.BaseRaw:
        return synthetic_raw(20, electrodes=[f"E{number}" for number in range(32)], seed=run)

    one = opened(0).get_data().nbytes
    tracemalloc.start()
    labelled = (LabelledRecording(opened(run), LABELS, run=str(run)) for run in range(n_recordings))
    windows = windows_from_recordings(labelled, Cut(0.0, 4.0, band_hz=(8, 32)), into=into)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # While a recording is made the one before is still held: two are open.
    return (peak - 2 * one) / windows.values.nbytes


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    mne.set_log_level("ERROR")
    warnings.simplefilter("ignore")
    ways: dict[str, Callable[..., np.ndarray]] = {"sigvit": ours, "mne.Epochs": mnes}
    if find_spec("braindecode"):
        load_braindecode()
        ways["braindecode"] = braindecodes
    lines = ["| recording | | ms, median (lowest - highest) | peak memory / result |", "|---|---|---|---|"]
    for name, case in recordings().items():
        for way, (seconds, memory) in measure(ways, case).items():
            spread = f"{statistics.median(seconds) * 1e3:.0f} ({min(seconds) * 1e3:.0f} - {max(seconds) * 1e3:.0f})"
            lines.append(f"| {name} | {way} | {spread} | {memory:.2f} |")
    lines.append(f"| 20 recordings opened one by one, 8-32 Hz, one array | sigvit | | {many_recordings():.2f} |")
    with tempfile.TemporaryDirectory() as folder:
        grown = many_recordings(into=Path(folder) / "set")
    lines.append(f"| the same, grown on disk (`into=`; what is mapped isn't counted) | sigvit | | {grown:.2f} |")
    machine = where("mne", "numpy", "scipy", *(["braindecode"] if "braindecode" in ways else []))
    memory_note = "Memory is what Python allocates beyond the open recording at its peak (tracemalloc), against the float32 array of all windows."
    note = f"{memory_note} The time of sigvit includes its checks of the values."
    report = "\n".join(["# Cutting windows", "", f"`python benchmarks/windows.py`, {ROUNDS} rounds, the ways in turn; {machine}.", note, "", *lines, ""])
    print(report)
    keep("windows", report)


if __name__ == "__main__":
    main()
