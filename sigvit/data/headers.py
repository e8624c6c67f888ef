"""What the header of a recording's file promises, held against the file: mne opens files that were cut short without a word, or trusts wrong numbers."""

from __future__ import annotations

import configparser
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sigvit.data.edf_header import edf_gaps, read_edf_header
from sigvit.data.matlab_structure import matlab_complaint
from sigvit.data.recorder_headers import (
    ant_complaint,
    curry_complaint,
    egi_complaint,
    gzip_complaint,
    kit_complaint,
    length_complaint,
    neuralynx_complaint,
    nicolet_complaint,
    nihon_complaint,
    persyst_complaint,
)

# Bytes a sample by GDF's type codes.
_GDF_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 8, 8: 8, 16: 4, 17: 8, 18: 16, 279: 3, 535: 3}
_BRAINVISION_BYTES = {"INT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}
_MARKER = re.compile(rb"Mk\d+=[^,]*,[^,]*,\d+,\d+,(?:(?!Mk\d+=).)*")
_LIKE_A_MARKER = re.compile(rb"(?m)^(?:Mk|[^;\r\n]*=[^,\r\n]*,[^,\r\n]*,\d+,\d+,)[^\r\n]*")


def check_header(path: Path) -> str | None:
    """What is wrong with a recording's file, in words; None where it is as its header says, or is of a format that isn't known here.

    Known are EDF, BDF, GDF, BrainVision, EEGLAB, ANT, KIT, Nicolet, Persyst, Curry (through each of its files), Neuralynx, EGI's .raw, Nihon Kohden and gzip.

    Raises
    ------
    ValueError : a header whose numbers can't be right.
    """
    if path.is_dir():
        return next((wrong for file in sorted(path.glob("*.ncs")) if (wrong := check_header(file))), None)
    check = _CHECKS.get(path.suffix.lower())
    return None if check is None else check(path)


def require_whole(wrong: str | None) -> None:
    """ValueError for what a check of a header found."""
    if wrong:
        raise ValueError(f"{wrong}.")


@contextmanager
def damage_named(what: str) -> Iterator[None]:
    """Any error within becomes a ValueError that begins with `what`: readers of damaged files raise almost anything."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what}: {type(error).__name__}: {first_line(error)}") from error


def first_line(message: Any) -> str:
    """The first line that is for a reader, with what it lists: some of mne's messages begin with where in its code they come from.

    >>> first_line('File "edf.py", line 909\\nPhysical range is not defined in following channels:\\nC3, C4')
    'Physical range is not defined in following channels: C3, C4'
    """
    lines = [line for line in str(message).strip().splitlines() if line.strip()] or [""]
    first = next((number for number, line in enumerate(lines) if not line.startswith((" ", 'File "'))), 0)
    return " ".join(lines[first : first + 1 + lines[first].endswith(":")]).rstrip(".")


def _edf(path: Path) -> str | None:
    """EDF, EDF+ and BDF."""
    header = read_edf_header(path)
    wrong = length_complaint(path, header.length + header.n_records * header.record, header.record)
    return wrong or header.complaint or edf_gaps(header)[1]


def _gdf(path: Path) -> str | None:
    """GDF 1 and 2 (Schloegl, "GDF - a general dataformat for biosignals", arXiv:cs/0608052); an event table may follow the records."""
    with path.open("rb") as file:
        head = file.read(256)
        try:
            version = float(head[4:8])
        except ValueError:
            raise ValueError(f"{path} doesn't begin as a GDF file does: {head[:8]!r}.") from None
        if len(head) < 256:
            raise ValueError(f"{path} is cut short within its header: it has {len(head)} bytes.")
        header = struct.unpack("<q", head[184:192])[0] if version < 1.9 else 256 * struct.unpack("<H", head[184:186])[0]
        n_records = struct.unpack("<q", head[236:244])[0]
        n_channels = struct.unpack("<I", head[252:256])[0] if version < 1.9 else struct.unpack("<H", head[252:254])[0]
        if not 1 <= n_channels <= 10_000 or header < 256 * (n_channels + 1):
            raise ValueError(f"{path} promises {n_channels} channels in a header of {header} bytes, which can't be.")
        file.seek(256 + 216 * n_channels)
        numbers = file.read(8 * n_channels)
    if len(numbers) < 8 * n_channels:
        raise ValueError(f"{path} is cut short within its header.")
    counts, kinds = struct.unpack(f"<{n_channels}I", numbers[: 4 * n_channels]), struct.unpack(f"<{n_channels}I", numbers[4 * n_channels :])
    unknown = sorted(set(kinds) - set(_GDF_BYTES))
    if unknown:
        raise ValueError(f"{path} has samples of the unknown type {unknown[0]}.")
    record = sum(count * _GDF_BYTES[kind] for count, kind in zip(counts, kinds, strict=True))
    if n_records < 1 or record == 0:
        raise ValueError(f"{path} promises {n_records} records of {record} bytes, so it holds no samples.")
    return length_complaint(path, header + n_records * record, record, exact=False)


def _brainvision(path: Path) -> str | None:
    """BrainVision's .vhdr names a data file of whole samples, all channels each, and may say how many."""
    header = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True, delimiters=("=",), comment_prefixes=(";",))
    text = path.read_bytes().decode("latin-1")
    try:
        header.read_string(text[text.index("[") : text.index("[Comment]") if "[Comment]" in text else None])
        common = header["Common Infos"]
        data = path.with_name(common["DataFile"].replace("$b", path.stem))
        n_channels = int(common["NumberOfChannels"])
        n_points = int(common["DataPoints"]) if common.get("DataPoints") else None
        is_text = common.get("DataFormat", "BINARY") != "BINARY"
        width = 0 if is_text else _BRAINVISION_BYTES[header["Binary Infos"]["BinaryFormat"]]
    except (ValueError, KeyError, AttributeError, configparser.Error) as error:  # configparser stumbles over text before a key
        raise ValueError(f"{path} isn't a readable BrainVision header: {error!r}.") from error
    if not data.is_file():
        raise ValueError(f"{path} names the data file {data.name}, which isn't beside it.")
    wrong = _markers_complaint(path, common.get("MarkerFile"))
    if is_text:
        return wrong  # text: every line speaks for itself
    record = n_channels * width
    whole = -(-data.stat().st_size // record) * record if record > 0 else 0
    if not whole or n_channels > 10_000:
        raise ValueError(f"{path} promises {n_channels} channels, and {data.name} has {data.stat().st_size} bytes, so it holds no samples.")
    return length_complaint(data, whole if n_points is None else n_points * record, record) or wrong


def _markers_complaint(path: Path, name: str | None) -> str | None:
    """What is wrong with BrainVision's .vmrk, in words. Markers that somebody took out leave gaps in the numbers; one that damage hides leaves its line."""
    file = path.with_name((name or "").replace("$b", path.stem))
    if not name or not file.is_file():
        return f"{path} names the marker file {name}, which isn't beside it" if name else None
    content = file.read_bytes()
    lines = _LIKE_A_MARKER.findall(content)
    unreadable = [line for line in lines if not _MARKER.fullmatch(line)]
    if b"[Marker Infos]" not in content or b"\0" in content:
        return f"{file} isn't a whole marker file: it has {len(lines)} markers"
    return f"{file} has {len(lines)} markers, of which {len(unreadable)} can't be read, such as {unreadable[0]!r:.60}" if unreadable else None


_CHECKS: dict[str, Callable[[Path], str | None]] = {
    ".edf": _edf,
    ".bdf": _edf,
    ".gdf": _gdf,
    ".vhdr": _brainvision,
    ".ahdr": _brainvision,
    ".sqd": kit_complaint,
    ".con": kit_complaint,
    ".data": nicolet_complaint,
    ".lay": persyst_complaint,
    ".dat": curry_complaint,
    ".cdt": curry_complaint,
    ".dap": curry_complaint,
    ".rs3": curry_complaint,
    ".cef": curry_complaint,
    ".dpa": curry_complaint,
    ".dpo": curry_complaint,
    ".raw": egi_complaint,
    ".eeg": nihon_complaint,
    ".set": matlab_complaint,
    ".ncs": neuralynx_complaint,
    ".cnt": ant_complaint,
    ".gz": gzip_complaint,
}
