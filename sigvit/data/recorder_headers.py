"""Headers of single makers' formats: KIT, Nicolet, Persyst, Curry, Neuralynx, ANT, EGI, Nihon Kohden; and compressed files."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

_EGI_BYTES = {2: 2, 4: 4, 6: 8}  # a sample, by the version of an unsegmented file
_FEWEST_NEWLINES = 4  # that each of so many samples of the value 10 should follow a 13 by chance: once in four thousand million files


def length_complaint(data: Path, least: int, record: int, exact: bool = True) -> str | None:
    """What is wrong with the length of the file that holds the samples, in words; it has `least` bytes, and no more where `exact`; `record` of them are one."""
    size = data.stat().st_size
    if size < least:
        missing = f"{(least - size) / record:.1f} records are missing"
        return f"{data} is cut short: its header promises {least} bytes, {size} are there ({missing})"
    if exact and size > least:
        excess = f"{data} is longer than its header says: {size} bytes instead of {least}"
        return f"{excess}; something was appended or its line endings were converted"
    return None


def kit_complaint(path: Path) -> str | None:
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
    return length_complaint(path, max(offset + max(size, 0) * max(count, 0) for offset, size, _, count in sections), 1, exact=False)


def nicolet_complaint(path: Path) -> str | None:
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
    return length_complaint(path, 2 * n_channels * n_samples, 2 * n_channels)


def persyst_complaint(path: Path) -> str | None:
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
    return length_complaint(data, header - (header - size) // record * record, record)


def curry_samples(path: Path) -> Path | None:
    """The .cdt or .dat of a Curry recording, whichever of its files mne was asked to open; None where there is none."""
    if path.suffix.lower() in (".cdt", ".dat"):
        return path
    if path.suffix.lower() not in (".dap", ".rs3", ".cef", ".dpa", ".dpo"):
        return None
    beside = (path.with_suffix(""), path.with_suffix(".cdt"), path.with_suffix(".dat"))  # in the order in which mne looks for it
    return next((file for file in beside if file.suffix in (".cdt", ".dat") and file.is_file()), None)


def curry_complaint(path: Path) -> str | None:
    """Curry 7 and later: parameters beside the samples, which are 4 bytes wide where they aren't text."""
    data = curry_samples(path)
    if data is None:
        return None  # mne says so
    beside = [data.with_suffix(".dap"), data.with_suffix(".rs3"), data.with_name(f"{data.name}.dpa"), data.with_name(f"{data.name}.dpo")]
    there = [file for file in beside if file.is_file()]
    text = b"".join(file.read_bytes() for file in there).decode("latin-1")
    told = dict(re.findall(r"(?m)^\s*(NumSamples|NumTrials|NumChannels|DataFormat)\s*=[ \t]*(\S+)", text))
    if not there or "ASCII" in told.get("DataFormat", "") or (data.suffix.lower() == ".dat" and not beside[0].is_file()):
        return None  # of another format, or text: every line speaks for itself
    try:
        n_channels, n_samples = int(told["NumChannels"]), int(told["NumSamples"]) * max(1, int(told.get("NumTrials", 1)))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{there[0]} isn't a readable Curry header: {error!r}.") from error
    if n_channels < 1 or n_samples < 1:
        raise ValueError(f"{there[0]} promises {n_samples} samples of {n_channels} channels, which can't be.")
    return length_complaint(data, 4 * n_channels * n_samples, 4 * n_channels)


def neuralynx_complaint(path: Path) -> str | None:
    """Neuralynx: a header of 16 KiB and records of 1044 bytes; mne passes over files that are shorter."""
    with path.open("rb") as file:
        start = file.read(8)
    size = path.stat().st_size
    if start != b"########" or size < 16_384 + 1044:
        raise ValueError(f"{path} has {size} bytes and begins with {start!r}; a Neuralynx file begins with '########' and has 17428 bytes or more.")
    return length_complaint(path, 16_384 + -(-(size - 16_384) // 1044) * 1044, 1044)


def gzip_complaint(path: Path) -> str | None:
    """Compressed files end with a check sum, which mne doesn't look at."""
    try:
        with gzip.open(path) as file:
            while file.read(2**20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged or cut short: {error}.") from error
    return length_complaint(path, 1, 1, exact=False)


def ant_complaint(path: Path) -> str | None:
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
    return length_complaint(path, least, 1)


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


def egi_complaint(path: Path) -> str | None:
    """EGI's simple binary files: a header, names of 4 bytes for the events, and samples of all channels and events."""
    with path.open("rb") as file:
        head = file.read(36)
    version, n_channels, n_samples, n_events = struct.unpack(">i18xh6xih", head) if len(head) == 36 else (0, 0, 0, 0)
    if version not in _EGI_BYTES:
        return None  # segmented, or of another format: mne reads neither
    if n_channels < 1 or n_samples < 1 or n_events < 0:
        raise ValueError(f"{path} promises {n_samples} samples of {n_channels} channels and {n_events} events, which can't be.")
    record = (n_channels + n_events) * _EGI_BYTES[version]
    return length_complaint(path, 36 + 4 * n_events + n_samples * record, record)


def nihon_complaint(path: Path) -> str | None:
    """Nihon Kohden: the control block says where blocks of samples begin, and each how long it is. More may follow: then only converted line endings show."""
    with path.open("rb") as file:
        start = file.read(2**20)
        if not start.startswith((b"EEG-", b"QI-", b"DAE-")):
            return None  # BrainVision's samples have the same ending
        control = _number(file, 0x92, 4)
        blocks = [_number(file, control + 18 + 20 * block, 4) for block in range(_number(file, control + 17, 1))]
        n_channels = [_number(file, block + 0x26, 1) for block in blocks]
        n_samples = [_number(file, block + 0x1C, 4) * (_number(file, block + 0x1A, 2) & 0x3FFF) // 10 for block in blocks]
    ends = [block + 0x27 + 10 * n + 2 * (n + 1) * length for block, n, length in zip(blocks, n_channels, n_samples, strict=True)]
    short = length_complaint(path, max(ends, default=1), 2 * (max(n_channels, default=0) + 1), exact=False)
    n_newlines = start.count(b"\n")
    if short or n_newlines < _FEWEST_NEWLINES or start.count(b"\r\n") < n_newlines:
        return short
    converted = f"each of its first {n_newlines} bytes of the value 10 follows one of the value 13"
    return f"{path} isn't as it was written, its line endings were converted: {converted}"


def _number(file: BinaryIO, place: int, n_bytes: int) -> int:
    file.seek(place)
    content = file.read(n_bytes)
    if len(content) < n_bytes:
        raise ValueError(f"{file.name} is cut short or damaged within its header: it has no byte {place + n_bytes - 1}.")
    return int.from_bytes(content, "little")
