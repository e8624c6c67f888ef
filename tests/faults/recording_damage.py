"""Sound recordings of many formats, and ways to damage their files: truncated, flipped bytes, headers that lie. Each damage is a function of its number."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mne
import numpy as np
from mne.utils import check_version

from sigvit.data.synthetic import synthetic_raw


@dataclass(frozen=True)
class Sound:
    """A recording that is whole: its files (the first is the one that is opened), reader and options."""

    files: tuple[Path, ...]
    reader: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    folder: bool = False  # whether the folder is what is opened
    optional: tuple[str, ...] = ()  # endings of files that needn't be there: nobody can tell that they are missing


# Format → its files, the one that is opened first.
_REAL: dict[str, tuple[tuple[str, ...], str | None, dict[str, Any]]] = {
    "edf": (("duplicate_channel_labels.edf",), None, {}),
    "edf+": (("../edf/test_utf8_annotations.edf",), None, {}),
    "edf uneven": (("../edf/test_uneven_samp.edf",), None, {}),
    "bdf": (("test_bdf_stim_channel.bdf",), None, {}),
    "gdf": (("test_1ch.gdf",), None, {}),
    "brainvision": (tuple(f"test_old_layout_latin1_software_filter.{ending}" for ending in ("vhdr", "vmrk", "eeg")), None, {}),
    "eeglab": (("test_raw_2021.set",), None, {}),
    "eeglab pair": (tuple(f"../eeglab/test_raw_chanloc_fids.{ending}" for ending in ("set", "fdt")), None, {}),
    "fif": (("neuromag122_test_file-raw.fif",), None, {}),
    "fif.gz": (("../fif/muse_raw.fif.gz",), None, {}),
    "cnt": (("test_CNT_events_mne_JWoess_clipped.cnt",), "cnt", {"data_format": "int32"}),
    "ant_cnt": (("test-user-annotation.cnt", "test-user-annotation.evt"), "ant", {}),
    "egi": (("test_egi.raw",), None, {}),
    "nicolet": (("test_nicolet_raw.data", "test_nicolet_raw.head"), None, {"ch_type": "eeg"}),
    "persyst": (tuple(f"sub-pt1_ses-02_task-monitor_acq-ecog_run-01_clip2.{ending}" for ending in ("lay", "dat")), None, {}),
    "nihon": (tuple(f"MB0400FU.{ending}" for ending in ("EEG", "21E", "PNT", "LOG")), None, {}),
    "curry7": (tuple(f"test_bdf_stim_channel Curry 7.{ending}" for ending in ("dat", "dap", "rs3", "cef")), "curry", {}),
    "curry8": (tuple(f"test_bdf_stim_channel Curry 8.{ending}" for ending in ("cdt", "cdt.dpa", "cdt.cef")), None, {}),
    "kit": (("test_umd-raw.sqd",), None, {}),
    "bti": (("test_pdf_linux", "test_config_linux", "test_hs_linux"), "bti", {"config_fname": "test_config_linux", "head_shape_fname": "test_hs_linux"}),
    "neuralynx": (("LAHC1.ncs", "LAHC2.ncs"), None, {}),
}


_OPTIONAL = {"ant_cnt": (".evt",), "curry7": (".cef", ".rs3"), "curry8": (".cef",), "nihon": (".LOG",), "neuralynx": (".ncs",), "bti": ("hs_linux",)}


def real_recordings(formats: Path) -> dict[str, Sound]:
    """The small real files by format."""
    found = {}
    for name, (files, reader, options) in _REAL.items():
        folder = formats / name.split()[0]
        found[name] = Sound(tuple((folder / file).resolve() for file in files), reader, options, name == "neuralynx", _OPTIONAL.get(name, ()))
    return found


def made_recordings(folder: Path) -> dict[str, Sound]:
    """Small recordings of five formats, written by mne and by hand; without those whose writer isn't installed (the extra "test" has them)."""
    raw = synthetic_raw(n_trials=3, electrodes=("C3", "Cz", "C4", "Pz", "Oz"), sampling_rate=128.0, trial_s=2.0, rest_s=1.0)
    raw.set_meas_date(1.5e9)
    raw.save(folder / "made_raw.fif", verbose="ERROR")
    vhdr = _brainvision(folder, raw)
    made = {"made fif": Sound((folder / "made_raw.fif",)), "made brainvision": Sound((vhdr, folder / "made.vmrk", folder / "made.eeg"))}
    for ending, writer in (("edf", "edfio"), ("bdf", "edfio"), ("set", "eeglabio")):
        if find_spec(writer) is not None and (ending != "bdf" or check_version("mne", "1.11")):  # which writes BDF since then
            mne.export.export_raw(folder / f"made.{ending}", raw, verbose="ERROR", overwrite=True)
            made[f"made {ending}"] = Sound((folder / f"made.{ending}",))
    return made


def _brainvision(folder: Path, raw: mne.io.BaseRaw) -> Path:
    lines = ["Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]", "DataFile=made.eeg", "MarkerFile=made.vmrk", "DataFormat=BINARY"]
    lines += ["DataOrientation=MULTIPLEXED", f"NumberOfChannels={len(raw.ch_names)}", f"SamplingInterval={1e6 / raw.info['sfreq']:g}"]
    lines += ["[Binary Infos]", "BinaryFormat=INT_16", "[Channel Infos]", *(f"Ch{k}={name},,0.1,µV" for k, name in enumerate(raw.ch_names, 1))]
    (folder / "made.vhdr").write_text("\n".join(lines) + "\n", "utf-8")
    marks = ["Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]", "DataFile=made.eeg", "[Marker Infos]", "Mk1=New Segment,,1,1,0,0"]
    marks += [f"Mk{k}=Stimulus,S{k:3},{round(onset * raw.info['sfreq']) + 1},1,0" for k, onset in enumerate(raw.annotations.onset, 2)]
    (folder / "made.vmrk").write_text("\n".join(marks) + "\n", "utf-8")
    np.round(raw.get_data().T * 1e7).astype("<i2").tofile(folder / "made.eeg")
    return folder / "made.vhdr"


def copied(sound: Sound, folder: Path) -> dict[str, Any]:
    """The files in a folder of their own; path, reader and options to open them."""
    folder.mkdir(parents=True)
    for file in sound.files:
        (folder / file.name).write_bytes(file.read_bytes())
    options = {key: str(folder / value) if key.endswith("fname") else value for key, value in sound.options.items()}
    return {"path": str(folder if sound.folder else folder / sound.files[0].name), "reader": sound.reader, "options": options}


DAMAGES = ("truncated", "emptied", "flipped anywhere", "flipped in the header", "lying number", "lying field", "zeroed", "appended", "line endings", "missing")


def damage(folder: Path, files: tuple[str, ...], number: int) -> tuple[str, str, str]:
    """Damages one of the files of a recording in place: (kind, file, what was done)."""
    draw = np.random.default_rng([2026, number])
    kind = DAMAGES[(number + number // 26) % len(DAMAGES)]
    path = folder / files[0 if draw.random() < 0.6 else int(draw.integers(len(files)))]
    content = path.read_bytes()
    if kind == "missing":
        path = folder / files[-1]  # a recording of one file: the file itself
        path.unlink()
        return kind, path.name, "it is gone"
    damaged, where = _damaged(kind, content, draw)
    path.write_bytes(damaged)
    return kind, path.name, where


def _damaged(kind: str, content: bytes, draw: np.random.Generator) -> tuple[bytes, str]:
    size, changed = len(content), bytearray(content)
    header = min(size, 2000)
    if kind == "truncated":
        keep = int(size * draw.uniform(0.02, 0.999))
        return content[:keep], f"to {keep} of {size} bytes"
    if kind == "emptied":
        return (b"", "to nothing") if draw.random() < 0.3 else (content[: int(draw.integers(1, 300))], "to some bytes")
    if kind in ("flipped anywhere", "flipped in the header"):
        places = draw.integers(0, size if kind == "flipped anywhere" else header, int(draw.integers(1, 65)))
        for place in places:
            changed[place] ^= int(draw.integers(1, 256))
        return bytes(changed), f"at {sorted(map(int, places))[:3]}…"
    if kind == "lying number":
        return _lying_number(content, draw)
    if kind == "lying field":
        place = int(draw.integers(0, max(1, header - 8))) // 2 * 2
        lie = [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80", b"\xff\xff"][int(draw.integers(5))]
        changed[place : place + len(lie)] = lie
        return bytes(changed), f"{lie!r} at {place}"
    if kind == "zeroed":
        start = int(draw.integers(0, size))
        stop = min(size, start + int(draw.choice([16, 512, 4096])))
        changed[start:stop] = bytes(stop - start)
        return bytes(changed), f"{start} to {stop}"
    if kind == "appended":
        more = int(draw.choice([1, 7, 512, 5000]))
        return content + draw.bytes(more), f"{more} bytes"
    n_lines = content.count(b"\n")
    return content.replace(b"\n", b"\r\n"), f"{n_lines} times"


def _lying_number(content: bytes, draw: np.random.Generator) -> tuple[bytes, str]:
    """A decimal number in the first 6 kB says something else, in the same width where it can."""
    numbers = list(re.finditer(rb"(?<![0-9A-Za-z.])-?[0-9]+(?:\.[0-9]+)?(?![0-9A-Za-z.])", content[:6000]))
    if not numbers:
        return content[: len(content) // 2], "no number: cut in half"
    found = numbers[int(draw.integers(len(numbers)))]
    width = len(found[0])
    lies = [b"0", b"-1", b"9" * width, b"1" + b"0" * (width - 1), b"nan"[:width], b"x" * width, str(int(float(found[0])) * 2 + 1).encode()]
    lie = lies[int(draw.integers(len(lies)))].ljust(width)[: max(width, 1)]
    return content[: found.start()] + lie + content[found.end() :], f"{lie!r} for {found[0]!r} at {found.start()}"
