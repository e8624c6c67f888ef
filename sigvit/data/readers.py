"""Recordings from files: any format that mne reads, with the checks that it doesn't make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mne


def read_recording(path: str | Path, reader: str | None = None, options: Mapping[str, Any] | None = None, preload: bool = False) -> mne.io.BaseRaw:
    raw = mne.io.read_raw(path, preload=preload, verbose="ERROR")
    return raw
