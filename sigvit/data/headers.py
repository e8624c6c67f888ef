"""What the header of a recording's file promises, held against the file: mne opens files that were cut short without a word, or trusts wrong numbers."""

from __future__ import annotations

import configparser
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Bytes a sample by GDF's type codes.
_GDF_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 8, 8: 8, 16: 4, 17: 8, 18: 16, 279: 3, 535: 3}
_BRAINVISION_BYTES = {"INT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}


@dataclass(frozen=True)
class Promise:
    """The bytes that a header says its file has: at least `least`, and exactly that many where `exact`; `data` names the file with the samples."""

    data: Path
    least: int
    exact: bool
    record: int  # bytes of a record or of a sample of all channels


def check_header(path: Path) -> str | None:
    """What is wrong with the length of an EDF, BDF, GDF or BrainVision file, in words; None where it is as its header says, or is of another format.

    Raises
    ------
    ValueError : a header whose numbers can't be right.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        return None
    promise = reader(path)
    size = promise.data.stat().st_size
    if size < promise.least:
        missing = f"{(promise.least - size) / promise.record:.1f} records are missing"
        return f"{promise.data} is cut short: its header promises {promise.least} bytes, {size} are there ({missing})"
    if promise.exact and size > promise.least:
        excess = f"{promise.data} is longer than its header says: {size} bytes instead of {promise.least}"
        return f"{excess}; something was appended or its line endings were converted"
    return None


def _edf(path: Path) -> Promise:
    """EDF, EDF+ (2 bytes a sample) and BDF (3): Kemp et al., Electroencephalography and Clinical Neurophysiology 82, 1992."""
    with path.open("rb") as file:
        head = file.read(256)
        width = 3 if head[:1] == b"\xff" else 2
        n_channels = _number(path, head[252:256], "number of signals", 1, 10_000)
        header = _number(path, head[184:192], "header length", 256, 256 * 10_001)
        if header != 256 * (n_channels + 1):
            raise ValueError(f"{path} has {n_channels} signals, so a header of {256 * (n_channels + 1)} bytes, but it says {header}.")
        n_records = _number(path, head[236:244], "number of records", -1, 10**9)
        file.seek(256 + 216 * n_channels)
        counts = file.read(8 * n_channels)
    samples = [_number(path, counts[8 * k : 8 * k + 8], f"number of samples of signal {k + 1}", 0, 10**8) for k in range(n_channels)]
    record = width * sum(samples)
    if n_records < 0:
        raise ValueError(f"{path} doesn't say how many records it has (-1): the recorder didn't close it.")
    if record == 0 or n_records == 0:
        raise ValueError(f"{path} promises {n_records} records of {record} bytes, so it holds no samples.")
    return Promise(path, header + n_records * record, True, record)


def _gdf(path: Path) -> Promise:
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
    return Promise(path, header + n_records * record, False, record)


def _brainvision(path: Path) -> Promise:
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
    except (ValueError, KeyError, configparser.Error) as error:
        raise ValueError(f"{path} isn't a readable BrainVision header: {error!r}.") from error
    if not data.is_file():
        raise ValueError(f"{path} names the data file {data.name}, which isn't beside it.")
    if is_text:
        return Promise(data, 0, False, 1)  # text: every line speaks for itself
    record = n_channels * width
    whole = -(-data.stat().st_size // record) * record if record > 0 else 0
    if not whole or n_channels > 10_000:
        raise ValueError(f"{path} promises {n_channels} channels, and {data.name} has {data.stat().st_size} bytes, so it holds no samples.")
    return Promise(data, whole if n_points is None else n_points * record, True, record)


def _number(path: Path, text: bytes, what: str, least: int, most: int) -> int:
    try:
        value = int(text.decode("ascii").strip("\0 "))
    except ValueError:
        raise ValueError(f"{path} has {text!r} where its {what} should stand; the header is damaged, or the file is no EDF or BDF.") from None
    if not least <= value <= most:
        raise ValueError(f"{path} has {value} as its {what}, which can't be.")
    return value


_READERS: dict[str, Callable[[Path], Promise]] = {
    ".edf": _edf,
    ".bdf": _edf,
    ".rec": _edf,
    ".gdf": _gdf,
    ".vhdr": _brainvision,
    ".ahdr": _brainvision,
}
