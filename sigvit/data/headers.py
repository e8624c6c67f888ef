"""What the header of a recording's file promises, held against the file: mne opens files that were cut short without a word, or trusts wrong numbers."""

from __future__ import annotations

import configparser
import gzip
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sigvit.data.edf_header import edf_gaps, read_edf_header

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
    complaint: str | None = None  # what else can't be right


def check_header(path: Path) -> str | None:
    """What is wrong with a recording's file, in words; None where it is as its header says, or is of a format that isn't known here.

    Known are EDF, BDF, GDF, BrainVision, KIT, Nicolet, Persyst, Curry and Neuralynx.

    Raises
    ------
    ValueError : a header whose numbers can't be right.
    """
    if path.is_dir():
        return next((wrong for file in sorted(path.glob("*.ncs")) if (wrong := check_header(file))), None)
    reader = _READERS.get(path.suffix.lower())
    promise = None if reader is None else reader(path)
    if promise is None:
        return None
    size = promise.data.stat().st_size
    if size < promise.least:
        missing = f"{(promise.least - size) / promise.record:.1f} records are missing"
        return f"{promise.data} is cut short: its header promises {promise.least} bytes, {size} are there ({missing})"
    if promise.exact and size > promise.least:
        excess = f"{promise.data} is longer than its header says: {size} bytes instead of {promise.least}"
        return f"{excess}; something was appended or its line endings were converted"
    return promise.complaint


def _edf(path: Path) -> Promise:
    """EDF, EDF+ and BDF."""
    header = read_edf_header(path)
    return Promise(path, header.length + header.n_records * header.record, True, header.record, header.complaint or edf_gaps(header)[1])


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
    except (ValueError, KeyError, AttributeError, configparser.Error) as error:  # configparser stumbles over text before a key
        raise ValueError(f"{path} isn't a readable BrainVision header: {error!r}.") from error
    if not data.is_file():
        raise ValueError(f"{path} names the data file {data.name}, which isn't beside it.")
    wrong = _markers_complaint(path, common.get("MarkerFile"))
    if is_text:
        return Promise(data, 0, False, 1, wrong)  # text: every line speaks for itself
    record = n_channels * width
    whole = -(-data.stat().st_size // record) * record if record > 0 else 0
    if not whole or n_channels > 10_000:
        raise ValueError(f"{path} promises {n_channels} channels, and {data.name} has {data.stat().st_size} bytes, so it holds no samples.")
    return Promise(data, whole if n_points is None else n_points * record, True, record, wrong)


def _markers_complaint(path: Path, name: str | None) -> str | None:
    """What is wrong with BrainVision's .vmrk, in words: it numbers its markers from 1, so that a lost one shows."""
    file = path.with_name((name or "").replace("$b", path.stem))
    if not name or not file.is_file():
        return f"{path} names the marker file {name}, which isn't beside it" if name else None
    content = file.read_bytes()
    numbers = [int(number) for number in re.findall(rb"(?m)^Mk(\d+)=[^,\r\n]*,[^,\r\n]*,\d+,\d+,", content)]
    if b"[Marker Infos]" not in content or b"\0" in content or numbers != list(range(1, len(numbers) + 1)):
        return f"{file} isn't a whole marker file: it has {len(numbers)} markers, numbered {numbers[:3]} … {numbers[-1:]}"
    n_lines = len(re.findall(rb"(?m)^Mk", content))
    return f"{file} has {n_lines} markers, of which {len(numbers)} can be read" if n_lines != len(numbers) else None


def _kit(path: Path) -> Promise:
    """KIT and Ricoh: begins with a directory of what lies where; the last section ends where the file may end."""
    with path.open("rb") as file:
        start = file.read(16)
        n_sections = struct.unpack("<12xi", start)[0] if len(start) == 16 else 0
        if not 1 <= n_sections <= 10_000:
            raise ValueError(f"{path} has a directory of {n_sections} sections, which can't be; the file is damaged.")
        directory = start + file.read(16 * (n_sections - 1))
    if len(directory) < 16 * n_sections:
        raise ValueError(f"{path} is cut short within its directory.")
    sections = [struct.unpack("<I3i", directory[16 * k : 16 * k + 16]) for k in range(n_sections)]
    return Promise(path, max(offset + max(size, 0) * max(count, 0) for offset, size, _, count in sections), False, 1)


def _nicolet(path: Path) -> Promise:
    """Nicolet: a .head of lines "key=value" beside the samples of 2 bytes."""
    head = path.with_suffix(".head")
    if not head.is_file():
        raise ValueError(f"{path} needs the file {head.name} beside it, which isn't there.")
    text = head.read_bytes().decode("latin-1")
    told = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    try:
        n_channels, n_samples, names = int(told["num_channels"]), int(told["num_samples"]), told["elec_names"].strip()
    except (KeyError, ValueError) as error:
        raise ValueError(f"{head} isn't a readable Nicolet header: {error!r}.") from error
    if not names.endswith("]") or names.count(",") + 1 != n_channels:
        raise ValueError(f"{head} promises {n_channels} channels, but names {names.count(',') + 1}: {names[-40:]!r}; it is damaged or cut short.")
    return Promise(path, 2 * n_channels * n_samples, True, 2 * n_channels)


def _persyst(path: Path) -> Promise | None:
    """Persyst: a .lay of sections and keys names the data file; its length is a whole number of samples."""
    found = re.findall(r"(?im)^(File|WaveformCount|DataType|HeaderLength)=(.*)$", path.read_bytes().decode("latin-1"))
    told = {key.lower(): value.strip() for key, value in found}
    try:
        n_channels, width = int(told["waveformcount"]), {0: 2, 7: 4}[int(told["datatype"])]
        data, header = path.with_name(Path(told["file"].replace("\\", "/")).name), int(told.get("headerlength") or 0)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} isn't a readable Persyst header: {error!r}.") from error
    if not data.is_file():
        return None  # mne looks for it elsewhere, and says so where it isn't
    record = n_channels * width
    size = data.stat().st_size
    if not 1 <= n_channels <= 10_000 or size - header < record:
        raise ValueError(f"{path} promises {n_channels} channels, and {data.name} has {size} bytes, so it holds no samples.")
    return Promise(data, header - (header - size) // record * record, True, record)


def _curry(path: Path) -> Promise | None:
    """Curry 7 and later: parameters beside the samples, which are 4 bytes wide where they aren't text."""
    beside = [path.with_suffix(".dap"), path.with_suffix(".rs3"), path.with_name(f"{path.name}.dpa"), path.with_name(f"{path.name}.dpo")]
    there = [file for file in beside if file.is_file()]
    text = b"".join(file.read_bytes() for file in there).decode("latin-1")
    told = dict(re.findall(r"(?m)^\s*(NumSamples|NumTrials|NumChannels|DataFormat)\s*=[ \t]*(\S+)", text))
    if not there or "ASCII" in told.get("DataFormat", "") or (path.suffix.lower() == ".dat" and not beside[0].is_file()):
        return None  # of another format, or text: every line speaks for itself
    try:
        n_channels, n_samples = int(told["NumChannels"]), int(told["NumSamples"]) * max(1, int(told.get("NumTrials", 1)))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{there[0]} isn't a readable Curry header: {error!r}.") from error
    if n_channels < 1 or n_samples < 1:
        raise ValueError(f"{there[0]} promises {n_samples} samples of {n_channels} channels, which can't be.")
    return Promise(path, 4 * n_channels * n_samples, True, 4 * n_channels)


def _neuralynx(path: Path) -> Promise:
    """Neuralynx: a header of 16 KiB and records of 1044 bytes; mne passes over files that are shorter."""
    with path.open("rb") as file:
        start = file.read(8)
    size = path.stat().st_size
    if start != b"########" or size < 16_384 + 1044:
        raise ValueError(f"{path} has {size} bytes and begins with {start!r}; a Neuralynx file begins with '########' and has 17428 bytes or more.")
    return Promise(path, 16_384 + -(-(size - 16_384) // 1044) * 1044, True, 1044)


def _gzip(path: Path) -> Promise:
    """Compressed files end with a check sum, which mne doesn't look at."""
    try:
        with gzip.open(path) as file:
            while file.read(2**20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged or cut short: {error}.") from error
    return Promise(path, 1, False, 1)


def _ant(path: Path) -> Promise | None:
    """ANT: nested chunks of RIFF, or of RF64 with sizes of 8 bytes. Each must lie within the one around it: its reader runs on for ever in some that don't."""
    with path.open("rb") as file:
        start = file.read(4)
    if start not in (b"RIFF", b"RF64"):
        return None  # Neuroscan's files have the same ending
    content, width = np.memmap(path, np.uint8, "r"), 4 if start == b"RIFF" else 8
    least = _end_of_chunk(path, content, 0, len(content) if len(content) > 16 else 0, width)
    channels = bytes(content[:65_536]).partition(b"chan")[2]
    size = int.from_bytes(channels[:width], "little")
    numbers = np.frombuffer(channels[width : width + size - size % 2], "<u2")
    if not channels or len(np.unique(numbers)) < len(numbers) or not len(numbers):
        raise ValueError(f"{path} doesn't number its channels; the file is damaged.")
    return Promise(path, least, True, 1)


def _end_of_chunk(path: Path, content: np.ndarray, start: int, stop: int, width: int) -> int:
    """Where the chunk that begins at a byte ends; it and all within it end before `stop`."""
    name, size = bytes(content[start : start + 4]), int.from_bytes(bytes(content[start + 4 : start + 4 + width]), "little")
    end = start + 4 + width + size
    if not re.fullmatch(rb"[0-9A-Za-z ]{4}", name) or end > stop:
        where = f"the part {name!r} at byte {start} ends at byte {end}, beyond byte {stop}"
        raise ValueError(f"{path} is damaged or cut short: {where}.")
    within = start + 4 + width + 4
    while name in (b"RIFF", b"RF64", b"LIST") and within < end:
        within = _end_of_chunk(path, content, within, end, width)
        within += within % 2 if within < end else 0
    return end


_READERS: dict[str, Callable[[Path], Promise | None]] = {
    ".edf": _edf,
    ".bdf": _edf,
    ".rec": _edf,
    ".gdf": _gdf,
    ".vhdr": _brainvision,
    ".ahdr": _brainvision,
    ".sqd": _kit,
    ".con": _kit,
    ".data": _nicolet,
    ".lay": _persyst,
    ".dat": _curry,
    ".cdt": _curry,
    ".ncs": _neuralynx,
    ".cnt": _ant,
    ".gz": _gzip,
}
