"""A recording of a BIDS root, after its file and the tables beside it were found whole."""

from __future__ import annotations

from typing import Any

from sigvit.data.headers import check_header

# Suffix → columns that a table has to have; mne-bids reads over what it can't read.
_BIDS_TABLES = (("events", ("onset", "duration")), ("channels", ("name", "type", "units")))


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


def read_bids(path: Any) -> Any:
    """As mne-bids reads it (events, bad channels and positions come from the tables beside it), after the file itself was found whole."""
    from mne_bids import read_raw_bids

    wrong = check_header(path.fpath) or next(filter(None, (_table_complaint(path, *table) for table in _BIDS_TABLES)), None)
    if wrong:
        raise ValueError(f"{wrong}.")
    try:
        return read_raw_bids(path, verbose="error")
    except Exception as error:  # readers of damaged files raise almost anything
        raise ValueError(f"{path.fpath} can't be read, it or a table beside it may be damaged: {type(error).__name__}: {error}") from error
