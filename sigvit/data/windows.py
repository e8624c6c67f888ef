"""Windows: equally long cuts of recordings, with what is known of each; numpy and pandas only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

METADATA_COLUMNS = ("subject", "session", "run", "recording", "start_s", "stop_s", "trial", "label")


@dataclass
class Windows:
    """A labelled set of windows.

    Attributes
    ----------
    values : float32 (windows, electrodes, samples), volts. May be memory-mapped.
    labels : (windows,) class names or integers, as they were given.
    metadata : one row a window: subject, session, run, recording, start_s, stop_s, trial, label, and any further columns.
        `recording` names one unbroken clock; `start_s` and `stop_s` are seconds on it, NaN where the source doesn't tell (then row order isn't time either).
        `trial` numbers what was cut, within its recording: two windows of one trial share it.
        `shipped`, where there is one, is "train" or "test" as the source splits it.
    info : the `mne.Info` of the electrodes.
    filter_support_s : how far to each side earlier filters smear a sample, in seconds.
    name : the dataset's name.
    page : plain data: what the dataset's page says (title, task, licence, citation, steps).
    control_values : float32 (windows, electrodes, samples) before the cue, or None: a score from them shows what isn't the task.
    """

    values: np.ndarray
    labels: np.ndarray
    metadata: pd.DataFrame
    info: Any
    filter_support_s: float = 0.0
    name: str = "arrays"
    page: dict = field(default_factory=dict)
    control_values: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def classes(self) -> tuple:
        """The different labels, sorted."""
        return tuple(np.unique(self.labels).tolist())

    @property
    def sampling_rate(self) -> float:
        """Hz."""
        return float(self.info["sfreq"])

    @property
    def electrodes(self) -> tuple[str, ...]:
        return tuple(self.info["ch_names"])

    def __getitem__(self, rows: np.ndarray) -> Windows:
        """The windows of these rows (numbers, a slice or a boolean array)."""
        control = None if self.control_values is None else self.control_values[rows]
        metadata = self.metadata.iloc[rows].reset_index(drop=True)
        return Windows(self.values[rows], self.labels[rows], metadata, self.info, self.filter_support_s, self.name, self.page, control)

    def row_hashes(self) -> list[str]:
        """SHA-256 of every window's bytes: equal signals under two names have equal hashes."""
        return [hashlib.sha256(np.ascontiguousarray(window).tobytes()).hexdigest() for window in self.values]
