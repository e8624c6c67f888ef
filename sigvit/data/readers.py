"""Recordings from files: any format that mne reads, with the checks that it doesn't make."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mne

from sigvit.data.clock_gaps import clock_gaps, mark_gaps
from sigvit.data.headers import check_header, damage_named, first_line
from sigvit.data.reading_apart import check_apart
from sigvit.data.side_files import check_opened

# What mne merely warns of when samples are missing, by the reader of the format.
_SIGNS_OF_TRUNCATION = {
    ".vhdr": re.compile("outside data range"),
    ".lay": re.compile("outside data range|outside the data range"),
    ".cnt": re.compile("larger than file size"),
}
# Of signals with several rates in one file mne interpolates each stretch anew, unless all is in memory.
_WANTS_ALL_AT_ONCE = re.compile("mixed sampling frequencies")
# Of annotations behind a gap mne believes that they lie behind the end.
_BEYOND_THE_END = re.compile("outside data range|expanding outside the data")
# Of a Neuroscan file whose samples' size isn't to be seen mne before 1.12 supposes one; since then it is an error.
_SUPPOSES_A_SIZE = re.compile("number of bytes automatically")
# Formats that mne reads but doesn't tell by the file's ending.
_READER_OF = {".raw": "egi"}


def read_recording(
    path: str | Path, reader: str | None = None, options: Mapping[str, Any] | None = None, truncated: str = "refuse", preload: bool = False
) -> mne.io.BaseRaw:
    """Opens a recording of any format that mne reads, and makes sure that all of it is there.

    Headers are held against the length of the file before mne sees them (`check_header` says of which formats); of every format the last sample is read.
    Gaps in the clock of EDF+ and BDF+, which mne reads over, become annotations "EDGE gap of … s", and a warning names them.

    Parameters
    ----------
    path : a file, or the folder of formats that are folders.
    reader : the end of mne's name for it, such as "cnt" for `mne.io.read_raw_cnt`; None chooses by the file's ending.
    options : further arguments of that reader, such as {"data_format": "int32"}.
    truncated : "refuse" files of a wrong length, or "keep" what is there of them with a warning.
    preload : whether to read all samples at once.

    Raises
    ------
    FileNotFoundError : nothing there.
    ValueError : a file cut short, damaged, or of no format that mne reads; the sentence names it.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no recording at {path}.")
    if truncated not in ("refuse", "keep"):
        raise ValueError(f'truncated is {truncated!r}; it must be "refuse" or "keep".')
    _complain(check_header(path), truncated)
    if reader is None and path.suffix.lower() == ".cnt":
        reader = "ant" if _begins_with(path) in (b"RIFF", b"RF64") else "cnt"  # mne tries one after the other, and ANT's ends the process at what isn't its own
    check_apart(path, reader)
    with warnings.catch_warnings(record=True) as caught, damage_named(f"{path} can't be read, it may be damaged or cut short"):
        warnings.simplefilter("always")
        raw = _open(path, reader, options or {}, preload)
        raw.get_data(start=raw.n_times - 1)  # of all channels: files that are cut short fail here
    if any(_SUPPOSES_A_SIZE.search(str(warning.message)) for warning in caught):
        raise ValueError(f"{path} doesn't say how many bytes a sample has; name its format, such as options={{'data_format': 'int32'}}.")
    if any(_WANTS_ALL_AT_ONCE.search(str(warning.message)) for warning in caught):
        raw.load_data(verbose="ERROR")
    _complain(check_opened(raw, path), truncated)
    gaps = clock_gaps(path)
    if gaps:
        mark_gaps(raw, path, gaps, (options or {}).get("encoding", "utf8"))
    sign = _SIGNS_OF_TRUNCATION.get(path.suffix.lower())
    for warning in caught:
        if sign is not None and sign.search(str(warning.message)):
            _complain(f"{path} is cut short: {first_line(warning.message)}", truncated)
        elif not (_WANTS_ALL_AT_ONCE.search(str(warning.message)) or (gaps and _BEYOND_THE_END.search(str(warning.message)))):
            warnings.warn(f"{path.name}: {first_line(warning.message)}", warning.category, stacklevel=2)
    return raw


def _begins_with(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _open(path: Path, reader: str | None, options: Mapping[str, Any], preload: bool) -> mne.io.BaseRaw:
    reader = reader or _READER_OF.get(path.suffix.lower()) or ("neuralynx" if path.is_dir() and any(path.glob("*.ncs")) else None)
    if reader is None:
        return mne.io.read_raw(path, preload=preload, verbose="WARNING", **options)
    function = getattr(mne.io, f"read_raw_{reader}", None)
    if function is None:
        known = ", ".join(sorted(name.removeprefix("read_raw_") for name in dir(mne.io) if name.startswith("read_raw_")))
        raise ValueError(f"mne has no reader {reader!r}; it has {known}.")
    return function(path, preload=preload, verbose="WARNING", **options)


def _complain(what: str | None, truncated: str) -> None:
    if what is None:
        return
    if truncated == "refuse":
        raise ValueError(f'{what}. Fetch it again, or say truncated="keep" to use what is there.')
    warnings.warn(f"{what}; what is there is used.", stacklevel=3)
