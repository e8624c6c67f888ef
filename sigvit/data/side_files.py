"""An opened recording held against what its files promise: mne passes over side files that it can't read, and takes any name and rate."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import mne

from sigvit.data.recorder_headers import curry_samples

_LOWEST_HZ, _HIGHEST_HZ = 0.01, 1e6


def check_opened(raw: mne.io.BaseRaw, path: Path) -> str | None:
    """What can't be right of an opened recording, in words, or None: names, rate; samples beside an EEGLAB header; events beside Curry and ANT recordings.

    >>> from sigvit.data.synthetic import synthetic_raw
    >>> check_opened(synthetic_raw(), Path("recording.fif")) is None
    True
    """
    odd = [name for name in raw.ch_names if not name.isprintable() or "\ufffd" in name]
    if odd:
        return f"{path} has channels named {odd[:3]}: something was written over its header"
    rate = float(raw.info["sfreq"])
    if not _LOWEST_HZ < rate < _HIGHEST_HZ:
        return f"{path} says that it was sampled at {rate:g} Hz, which can't be"
    if path.suffix.lower() == ".set":
        return _samples_beside(raw)
    for file, promised in _promised_events(path):
        if promised is None:
            return f"{file} can't be read as a list of events: something was written over it"
        if promised != len(raw.annotations):
            return f"{file} promises {promised} events, {len(raw.annotations)} could be read"
    return None


def _samples_beside(raw: mne.io.BaseRaw) -> str | None:
    """EEGLAB's .fdt holds four bytes a sample and nothing else."""
    data = next((Path(file) for file in raw.filenames if file is not None and str(file).lower().endswith(".fdt")), None)
    wanted = 4 * raw.n_times * len(raw.ch_names)
    if data is None or not data.is_file() or data.stat().st_size == wanted:
        return None
    return f"{data} has {data.stat().st_size} bytes, but its header promises {wanted}"


def _promised_events(path: Path) -> list[tuple[Path, int | None]]:
    """The event files beside a recording, and how many events they say they hold; None where that can't be read."""
    found: list[tuple[Path, int | None]] = []
    samples = curry_samples(path)
    beside = (
        [] if samples is None else [file for ending in (".cef", ".ceo") for file in (samples.with_suffix(ending), samples.with_name(samples.name + ending))]
    )
    for file in beside:
        if file.is_file():
            told = re.search(rb"PointNrLocations\s*=\s*(\d+)", file.read_bytes())
            found.append((file, int(told[1]) if told else None))
    events = path.with_suffix(".evt")
    if path.suffix.lower() == ".cnt" and events.is_file():
        content = events.read_bytes()
        _, _, rest = content.partition(b"class dcEventsLibrary_c")
        if not content or b"\0" in content:  # others that end so are text
            found.append((events, struct.unpack("<xI", rest[:5])[0] if len(rest) >= 5 else None))
    return found
