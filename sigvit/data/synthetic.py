"""Small recordings and window sets with a planted source, made by a seed: for tests, examples and checks of whole pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sigvit.data.windows import Windows

if TYPE_CHECKING:
    import mne

NOISE_V = 10e-6
SOURCE_V = 6e-6
RHYTHM_HZ = 10.0


def synthetic_windows(
    n_subjects: int = 3,
    n_sessions: int = 1,
    n_runs: int = 2,
    n_trials: int = 10,
    classes: Sequence[str | int] = ("left", "right"),
    electrodes: Sequence[str] = ("C3", "Cz", "C4"),
    sampling_rate: float = 64.0,
    n_times: int = 67,
    effect: float = 1.0,
    gap_s: float = 1.0,
    seed: int = 0,
) -> Windows:
    """Windows of several subjects, sessions and runs, in volts, with the times of a clock per run; no two overlap.

    Class k shows at electrode k (modulo their number): a slow wave in the middle of the window and a stronger 10 Hz rhythm, both grow with `effect`;
    `effect=0` plants nothing. Every run is a function of (seed, subject, session, run): a larger set holds the smaller one.

    Parameters
    ----------
    n_trials : windows a run; classes are as equally many as can be, in random order.
    sampling_rate, gap_s : Hz; seconds between the end of a window and the start of the next.

    >>> windows = synthetic_windows(n_subjects=2, n_trials=4)
    >>> windows.values.shape, windows.classes, windows.metadata.recording.nunique()
    ((16, 3, 67), ('left', 'right'), 4)
    """
    from sigvit.data.electrode_info import make_info

    runs = [(s, t, r) for s in range(n_subjects) for t in range(n_sessions) for r in range(n_runs)]
    values = np.empty((len(runs) * n_trials, len(electrodes), n_times), np.float32)
    labels, tables = [], []
    for number, (subject, session, run) in enumerate(runs):
        generator = np.random.default_rng([seed, subject, session, run])
        order = generator.permutation(np.arange(n_trials) % len(classes))
        for trial, kind in enumerate(order):
            values[number * n_trials + trial] = _window(generator, int(kind), len(electrodes), n_times, sampling_rate, effect)
        labels.append(np.array(classes)[order])
        tables.append(_run_table(subject, session, run, labels[-1], n_times / sampling_rate, gap_s))
    return Windows(values, np.concatenate(labels), pd.concat(tables, ignore_index=True), make_info(electrodes, sampling_rate), name="synthetic")


def synthetic_raw(
    n_trials: int = 20,
    classes: Sequence[str] = ("left", "right"),
    electrodes: Sequence[str] = ("C3", "Cz", "C4"),
    sampling_rate: float = 160.0,
    trial_s: float = 4.0,
    rest_s: float = 2.0,
    effect: float = 1.0,
    seed: int = 0,
) -> mne.io.RawArray:
    """One recording as `mne.io.RawArray`, volts: rest, then trials of `trial_s` seconds with rest after each; an annotation named by its class spans each.

    The source of each trial is that of `synthetic_windows`.

    >>> raw = synthetic_raw(n_trials=4)
    >>> float(raw.duration), sorted(set(map(str, raw.annotations.description)))
    (26.0, ['left', 'right'])
    """
    import mne

    from sigvit.data.electrode_info import make_info

    generator = np.random.default_rng(seed)
    n_trial, n_rest = round(trial_s * sampling_rate), round(rest_s * sampling_rate)
    order = generator.permutation(np.arange(n_trials) % len(classes))
    values = NOISE_V * generator.standard_normal((len(electrodes), n_rest + n_trials * (n_trial + n_rest)))
    starts = n_rest + np.arange(n_trials) * (n_trial + n_rest)
    for start, kind in zip(starts, order, strict=True):
        values[:, start : start + n_trial] = _window(generator, int(kind), len(electrodes), n_trial, sampling_rate, effect)
    raw = mne.io.RawArray(values, make_info(electrodes, sampling_rate), verbose="ERROR")
    raw.set_annotations(mne.Annotations(starts / sampling_rate, n_trial / sampling_rate, [str(classes[kind]) for kind in order]))
    return raw


def _window(generator: np.random.Generator, kind: int, n_electrodes: int, n_times: int, sampling_rate: float, effect: float) -> np.ndarray:
    """(electrodes, times) volts: noise and a rhythm of random phase everywhere, and the class' own source at its electrode."""
    time_s = np.arange(n_times) / sampling_rate
    phase = generator.uniform(0, 2 * np.pi, (n_electrodes, 1))
    rhythm = SOURCE_V * np.sin(2 * np.pi * min(RHYTHM_HZ, sampling_rate / 5) * time_s + phase)
    values = NOISE_V * generator.standard_normal((n_electrodes, n_times)) + rhythm
    at = kind % n_electrodes
    values[at] += effect * (rhythm[at] + SOURCE_V * np.hanning(n_times))
    return values


def _run_table(subject: int, session: int, run: int, labels: np.ndarray, window_s: float, gap_s: float) -> pd.DataFrame:
    starts = np.arange(len(labels)) * (window_s + gap_s)
    names = {"subject": f"{subject + 1:02d}", "session": str(session + 1), "run": str(run + 1)}
    recording = f"sub-{names['subject']}_ses-{names['session']}_run-{names['run']}"
    return pd.DataFrame({**names, "recording": recording, "start_s": starts, "stop_s": starts + window_s, "trial": np.arange(len(labels)), "label": labels})
