"""Windows on disk: a folder of .npy, .json and .fif files that is there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd

from sigvit.data.windows import Windows

FORMAT = "sigvit windows 1"
_MANIFEST = "windows.json"


def save_windows(windows: Windows, folder: Path, overwrite: bool) -> None:
    """Writes beside the folder and renames; see `Windows.save`."""
    import mne

    folder = folder.absolute()
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} is there already; give another folder, or overwrite=True to replace it.")
    if folder.exists() and not (folder / _MANIFEST).is_file():
        raise FileExistsError(f"{folder} holds something else than windows; it isn't overwritten.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(folder)
    beside.mkdir()
    try:
        np.save(beside / "values.npy", windows.values)
        if windows.control_values is not None:
            np.save(beside / "control_values.npy", windows.control_values)
        np.save(beside / "labels.npy", _plain_labels(windows.labels))
        mne.io.write_info(beside / "electrodes-info.fif", windows.info, verbose="ERROR")
        (beside / "metadata.json").write_text(json.dumps(_table_to_dict(windows.metadata), default=_plain))
        sizes = {path.name: path.stat().st_size for path in sorted(beside.iterdir())}
        head = {"format": FORMAT, "name": windows.name, "sampling_rate": windows.sampling_rate, "filter_support_s": windows.filter_support_s}
        (beside / _MANIFEST).write_text(json.dumps({**head, "page": windows.page, "bytes": sizes}, indent=1, default=_plain))
        _replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def load_windows(folder: Path) -> Windows:
    """See `Windows.load`."""
    import mne

    manifest = _read_manifest(folder)
    for file, size in manifest["bytes"].items():
        found = (folder / file).stat().st_size if (folder / file).is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise ValueError(f"{folder / file} {state}: the folder is damaged; save the windows again.")
    control = folder / "control_values.npy"
    info = mne.io.read_info(folder / "electrodes-info.fif", verbose="ERROR")
    with info._unlock():  # .fif keeps the rate in single precision
        info["sfreq"] = manifest["sampling_rate"]
    return Windows(
        _mapped(folder / "values.npy"),
        np.load(folder / "labels.npy"),
        _table_from_dict(json.loads((folder / "metadata.json").read_text())),
        info,
        manifest["filter_support_s"],
        manifest["name"],
        manifest["page"],
        _mapped(control) if "control_values.npy" in manifest["bytes"] else None,
    )


def _read_manifest(folder: Path) -> dict:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no {_MANIFEST}, so Windows.save didn't write it.") from None
    except ValueError as error:
        raise ValueError(f"{folder / _MANIFEST} is damaged ({error}); save the windows again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{folder / _MANIFEST} isn't of the format {FORMAT!r}, so this version of Windows.save didn't write it.")
    return manifest


def _replace(beside: Path, folder: Path) -> None:
    """Renames the finished folder into place; an older one is put aside first."""
    if folder.exists():
        aside = _beside(folder)
        os.replace(folder, aside)
        os.replace(beside, folder)
        shutil.rmtree(aside)
    else:
        os.replace(beside, folder)


def _beside(folder: Path) -> Path:
    """A new name in the same place, hidden."""
    return folder.with_name(f".{folder.name}-{uuid4().hex}")


def _mapped(path: Path) -> np.ndarray:
    """The array in a file, read when used; an empty one can't be mapped."""
    try:
        return np.load(path, mmap_mode="r")
    except ValueError:
        return np.load(path)


def _plain_labels(labels: np.ndarray) -> np.ndarray:
    """Labels without Python objects, which .npy files would have to pickle."""
    labels = np.asarray(labels)
    if labels.dtype != object:
        return labels
    plain = np.array(labels.tolist())
    if plain.dtype == object or plain.tolist() != labels.tolist():
        raise ValueError(f"Labels must be all text or all numbers to be saved, but they are {sorted({type(label).__name__ for label in labels})}.")
    return plain


def _table_to_dict(table: pd.DataFrame) -> dict:
    return {str(column): {"dtype": str(table[column].dtype), "values": table[column].tolist()} for column in table}


def _table_from_dict(columns: dict) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(column["values"], dtype=column["dtype"]) for name, column in columns.items()})


def _plain(value: Any) -> Any:
    """JSON's own types for numpy's; text for everything else (times, paths)."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(value) if isinstance(value, tuple | set) else str(value)
