"""Windows that are dropped by what their values are: flat, too large, or byte-identical to an earlier one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sigvit.data.page_format import Arrays, Package, Page
from sigvit.data.windows import Windows


@dataclass
class Rejected:
    """The limits of a page, and what they dropped so far."""

    peak_to_peak_v: float | None = None
    flat_v: float | None = None
    repeats: bool = False
    dropped: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)  # SHA-256 → where that window was first

    @classmethod
    def of(cls, page: Page, repeats: str | None) -> Rejected:
        """The page's limits; `repeats` is "keep", "drop" or None for what the page says."""
        if repeats not in (None, "keep", "drop"):
            raise ValueError(f"repeats is {repeats!r}; it must be 'keep', 'drop' or None (what the page says).")
        limits = page.rejection
        of_arrays = isinstance(page.source[0], Package | Arrays)  # where recordings are cut, those above the limit are gone already
        limit = limits.peak_to_peak_v if of_arrays and isinstance(limits.peak_to_peak_v, float) else None
        return cls(limit, limits.flat_v, limits.repeats if repeats is None else repeats == "drop")


def without_rejected(windows: Windows, rejected: Rejected) -> Windows:
    """The windows that stay; the others are added to `rejected.dropped` by recording, trial, label and reason."""
    reasons = _reasons(windows, rejected)
    if not any(reasons):
        return windows
    rows = zip(windows.metadata[["recording", "trial", "label"]].to_dict("records"), reasons, strict=True)
    rejected.dropped += [_plain(row) | {"reason": reason} for row, reason in rows if reason]
    return windows[np.array([not reason for reason in reasons])]


def _reasons(windows: Windows, rejected: Rejected) -> list[str]:
    reasons = [""] * len(windows)
    for row, values in enumerate(windows.values):
        if rejected.peak_to_peak_v is not None and (np.ptp(values, axis=1) > rejected.peak_to_peak_v).any():
            reasons[row] = f"too large: more than {rejected.peak_to_peak_v:g} V from peak to peak"
        # float64: the standard deviation of a small signal on a large offset
        if rejected.flat_v is not None and len(flat := np.flatnonzero(values.std(axis=1, dtype=np.float64) < rejected.flat_v)):
            reasons[row] = f"flat: {', '.join(windows.electrodes[number] for number in flat)} (below {rejected.flat_v:g} V)"
    if rejected.repeats:
        for row, digest in enumerate(windows.row_hashes()):
            recording, trial = windows.metadata["recording"].iloc[row], windows.metadata["trial"].iloc[row]
            first = rejected.seen.setdefault(digest, place := f"{recording} trial {trial}{_part(windows, row)}")
            if first != place:
                reasons[row] = f"repeat: the same bytes as {first}"
    return reasons


def _part(windows: Windows, row: int) -> str:
    return f" ({windows.metadata['shipped'].iloc[row]})" if "shipped" in windows.metadata else ""


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): value.item() if isinstance(value, np.generic) else value for key, value in row.items()}
