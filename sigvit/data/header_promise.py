"""What a header says of its file's length."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Promise:
    """The bytes that a header says its file has: at least `least`, and exactly that many where `exact`; `data` names the file with the samples."""

    data: Path
    least: int
    exact: bool
    record: int  # bytes of a record or of a sample of all channels
    complaint: str | None = None  # what else can't be right
