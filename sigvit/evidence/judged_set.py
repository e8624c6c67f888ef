"""The set that a certificate judges: windows, or a bare metadata table, of which less is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sigvit.data.windows import Windows


@dataclass(frozen=True, eq=False)
class JudgedSet:
    """What is known of the set; the defaults are those of a bare table.

    Attributes
    ----------
    hashes : of every row's signal. source : whose recordings these are, see `source_of`. filter_support_s : what the windows say of themselves.
    """

    metadata: pd.DataFrame
    hashes: list[str] | None = None
    values: np.ndarray | None = None
    control_values: np.ndarray | None = None
    name: str = "table"
    source: str = "table"
    page: dict[str, Any] = field(default_factory=dict)
    filter_support_s: float = 0.0


def read_set(windows: Windows | pd.DataFrame) -> JudgedSet:
    """Windows, hashed, or a metadata table.

    Raises
    ------
    ValueError : neither of these; labels or rows of metadata that aren't those of the windows.
    """
    if isinstance(windows, pd.DataFrame):
        return JudgedSet(windows)
    if not hasattr(windows, "metadata") or not hasattr(windows, "row_hashes"):
        raise ValueError(f"certify judges Windows or a metadata table (DataFrame), not {type(windows).__name__}.")
    stated, given = (np.array([str(label) for label in np.asarray(labels).tolist()]) for labels in (windows.metadata["label"], windows.labels))
    if not len(stated) == len(given) == len(windows.values):
        raise ValueError(f"There are {len(windows.values)} windows, but {len(given)} labels and {len(stated)} rows of metadata.")
    if (stated != given).any():
        row = int(np.argmax(stated != given))
        raise ValueError(f"windows.labels and windows.metadata['label'] differ, first in row {row}; they must say the same.")
    signals = (windows.row_hashes(), windows.values, windows.control_values)
    return JudgedSet(windows.metadata, *signals, windows.name, source_of(windows), windows.page, windows.filter_support_s)


def source_of(windows: Windows) -> str:
    """Whose recordings these are: pages of one citation cut the same ones, and number the same people. A set without one has its own name."""
    return str(windows.page.get("citation") or windows.name)
