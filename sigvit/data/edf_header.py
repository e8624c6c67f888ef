"""What the header and the time stamps of an EDF or BDF file say, held against each other and against the file.

Kemp et al., "A simple format for exchange of digitized polygraphic recordings", Electroencephalography and Clinical Neurophysiology 82, 1992;
Kemp and Olivan, "European data format 'plus' (EDF+)", Clinical Neurophysiology 114, 2003.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

# Name, bytes: the fields that each signal has, one after the other for all signals.
_FIELDS = (("label", 16), ("transducer", 80), ("unit", 8), ("physical minimum", 8), ("physical maximum", 8), ("digital minimum", 8), ("digital maximum", 8))
_UNPRINTABLE = re.compile(rb"[\x00-\x1f\x7f\xff]")
_STAMP = re.compile(rb"[+-]\d+(?:\.\d*)?(?=\x14)")
_TIMED_TEXTS = re.compile(rb"[+-]\d+(?:\.\d*)?(?:\x15\d+(?:\.\d*)?)?\x14(?:[^\x00\x14\x15]*\x14)*")
_DAMAGED = "something was written over it"


@dataclass(frozen=True)
class EdfHeader:
    """The numbers by which an EDF (2 bytes a sample) or BDF (3 bytes) file is read.

    Attributes
    ----------
    size : bytes of the file.
    state : of the file when it was read: which it is, and when it was last written or changed.
    width : bytes of a sample.
    length : bytes of the header.
    n_records, record_s : how many records, seconds each.
    labels, samples : of each signal: its name and its samples a record.
    plus : whether it is EDF+ or BDF+: its records have time stamps.
    complaint : what else can't be right, in words, or None.
    """

    path: Path
    size: int
    state: tuple[int, ...]
    width: int
    length: int
    n_records: int
    record_s: float
    labels: tuple[bytes, ...]
    samples: tuple[int, ...]
    plus: bool
    complaint: str | None = None

    @property
    def record(self) -> int:
        """Bytes of a record."""
        return self.width * sum(self.samples)


def read_edf_header(path: Path) -> EdfHeader:
    """The header of an EDF or BDF file.

    Raises
    ------
    ValueError : a number that can't be right or can't be read; without it no sample can be found.
    """
    stat = path.stat()
    # Copies keep the time of writing, and a path may be from another folder by now.
    return _read(path, stat.st_size, (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns))


@lru_cache(maxsize=8)  # while a recording is opened and cut it is asked for four times
def _read(path: Path, size: int, state: tuple[int, ...]) -> EdfHeader:
    with path.open("rb") as file:
        head = file.read(256)
        width = 3 if head[:1] == b"\xff" else 2
        n_signals = _number(path, head[252:256], "number of signals", 1, 10_000)
        length = _number(path, head[184:192], "header length", 256, 256 * 10_001)
        if length != 256 * (n_signals + 1):
            raise ValueError(f"{path} has {n_signals} signals, so a header of {256 * (n_signals + 1)} bytes, but it says {length}.")
        n_records = _number(path, head[236:244], "number of records", -1, 10**9)
        signals = file.read(256 * n_signals)
    counts = signals[216 * n_signals : 224 * n_signals]
    samples = tuple(_number(path, counts[8 * k : 8 * k + 8], f"number of samples of signal {k + 1}", 0, 10**8) for k in range(n_signals))
    labels = tuple(signals[16 * k : 16 * k + 16].strip(b" \0") for k in range(n_signals))
    record_s, plus = _duration(path, head[244:252]), head[192:197] in (b"EDF+C", b"EDF+D", b"BDF+C", b"BDF+D")
    header = EdfHeader(path, size, state, width, length, n_records, record_s, labels, samples, plus)
    if n_records < 0:
        raise ValueError(f"{path} doesn't say how many records it has (-1): the recorder didn't close it.")
    if header.record == 0 or n_records == 0:
        raise ValueError(f"{path} promises {n_records} records of {header.record} bytes, so it holds no samples.")
    return replace(header, complaint=_complaint(header, head, signals))


@lru_cache(maxsize=8)  # the stamps lie all over the file
def edf_gaps(header: EdfHeader) -> tuple[list[tuple[float, float]], str | None]:
    """Where the time stamps of EDF+ and BDF+ jump, and what is wrong with them.

    A gap is (seconds of signal before it, seconds that are missing there). mne reads records as if they were neighbours, whatever their stamps.
    """
    columns = [number for number, label in enumerate(header.labels) if label in (b"EDF Annotations", b"BDF Annotations")]
    if not header.plus:
        return [], None
    if not columns:
        return [], f"{header.path} says that it is EDF+ or BDF+, but none of its signals holds annotations: {_DAMAGED}"
    stamps = []
    for number, texts in enumerate(_bytes_of(header, columns)):
        stamp = _STAMP.match(texts[0])
        if stamp is None:
            return [], f"Record {number} of {header.path} has no time stamp: {_DAMAGED}"
        odd = next((text for part in texts for text in part.rstrip(b"\0").split(b"\0") if text and not _TIMED_TEXTS.fullmatch(text)), None)
        if odd is not None:
            return [], f"Record {number} of {header.path} holds {odd[:40]!r} among its annotations: {_DAMAGED}"
        stamps.append(float(stamp[0]))
    return _jumps(header, np.array(stamps))


def _jumps(header: EdfHeader, stamps: np.ndarray) -> tuple[list[tuple[float, float]], str | None]:
    missing = np.diff(stamps) - header.record_s
    # Stamps are written with few digits; a sample and a half is no gap.
    tolerance = max(1.5 * header.record_s / max(header.samples), 2e-3)
    if (missing < -tolerance).any():
        first = int(np.flatnonzero(missing < -tolerance)[0]) + 1
        return [], f"The clock of {header.path} goes back at record {first}: from {stamps[first - 1]:g} to {stamps[first]:g} s"
    return [(float((k + 1) * header.record_s), float(missing[k])) for k in np.flatnonzero(missing > tolerance)], None


def _bytes_of(header: EdfHeader, columns: list[int]) -> list[list[bytes]]:
    """Per record the bytes of some signals; only those are read."""
    n_there = (header.size - header.length) // header.record
    if n_there < 1:
        return []
    records = np.memmap(header.path, np.uint8, "r", header.length, (min(header.n_records, n_there), header.record))
    edges = header.width * np.cumsum([0, *header.samples])
    parts = [np.ascontiguousarray(records[:, edges[column] : edges[column + 1]]) for column in columns]
    return [[part[row].tobytes() for part in parts] for row in range(len(records))]


def _complaint(header: EdfHeader, head: bytes, signals: bytes) -> str | None:
    """The first field that can't be right, in words: mne reads over most of them."""
    path, n_signals, place, numbers = header.path, len(header.labels), 0, {}
    if head[:8] not in (b"0       ", b"\xffBIOSEMI"):
        return f"{path} begins with {head[:8]!r}, as no EDF or BDF file does: {_DAMAGED}"
    for name, size in _FIELDS:
        fields = [signals[place + size * k : place + size * (k + 1)] for k in range(n_signals)]
        place += size * n_signals
        odd = next((k for k, field in enumerate(fields) if _UNPRINTABLE.search(field.rstrip(b" \0"))), None)
        if odd is not None:
            return f"{path} has {fields[odd]!r} as the {name} of signal {odd + 1}: {_DAMAGED}"
        if size == 8 and name != "unit":
            numbers[name] = [_float(field) for field in fields]
    for k in range(n_signals):
        wrong = _range_complaint(header, k, [numbers[name][k] for name, _ in _FIELDS[3:]])
        if wrong:
            return f"{path} says of signal {k + 1} that {wrong}: {_DAMAGED}"
    return None


def _range_complaint(header: EdfHeader, signal: int, values: list[float]) -> str | None:
    physical_min, physical_max, digital_min, digital_max = values
    limit = 2 ** (8 * header.width - 1)
    # Recorders give an unused input no range, and one value throughout.
    if not (math.isfinite(physical_min) and math.isfinite(physical_max)) or (physical_min == physical_max and _moves(header, signal)):
        return f"its values go from {physical_min:g} to {physical_max:g}"
    # Some recorders write one more than the largest number.
    if not -limit <= digital_min < digital_max <= limit:
        return f"its numbers go from {digital_min:g} to {digital_max:g}, of {8 * header.width} bits"
    return None


def _moves(header: EdfHeader, signal: int) -> bool:
    samples = [np.frombuffer(part, np.uint8).reshape(-1, header.width) for (part,) in _bytes_of(header, [signal])]
    return any((part != samples[0][0]).any() for part in samples if len(part))


def _float(field: bytes) -> float:
    try:
        return float(field.decode("ascii").strip("\0 ").replace(",", "."))
    except ValueError:
        return math.nan


def _duration(path: Path, field: bytes) -> float:
    seconds = _float(field)
    if not 0 <= seconds < 1e8:
        raise ValueError(f"{path} has {field!r} where the duration of its records should stand; the header is damaged.")
    return seconds


def _number(path: Path, text: bytes, what: str, least: int, most: int) -> int:
    try:
        value = int(text.decode("ascii").strip("\0 "))
    except ValueError:
        raise ValueError(f"{path} has {text!r} where its {what} should stand; the header is damaged, or the file is no EDF or BDF.") from None
    if not least <= value <= most:
        raise ValueError(f"{path} has {value} as its {what}, which can't be.")
    return value
