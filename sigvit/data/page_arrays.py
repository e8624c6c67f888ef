"""Windows from a page whose source holds finished windows: text files inside an installed package, or named arrays."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from sigvit.data.electrode_info import make_info
from sigvit.data.page_format import Arrays, Package, Page
from sigvit.data.page_sources import FIELDS, files_below, pattern_expression
from sigvit.data.page_tables import PageError
from sigvit.data.quality import volts_of
from sigvit.data.text_series import laid_end_to_end, read_text_series, repeated_row_step
from sigvit.data.windows import Windows
from sigvit.electrodes import comparable_name
from sigvit.labels import text_of


def windows_of_package(page: Page, source: Package, home: Path, notes: list[str]) -> Iterator[Windows]:
    """One set a file: train, then test, as the page orders them."""
    for part, file in source.files.items():
        path = home / file
        if not path.is_file():
            raise FileNotFoundError(f"{home} holds no file {file}: it is another version of {source.package}. {page.name} needs: {page.needs}.")
        values, found = read_text_series(path)
        if source.row_step:
            values = laid_end_to_end(values, source.row_step)[:, : len(source.electrodes) or None]
        elif (step := repeated_row_step(values)) is not None:
            notes.append(f"{path.name}: each row repeats the one before it, shifted by {step} samples; its rows aren't different electrodes.")
        names = source.electrodes or tuple(f"electrode {number + 1}" for number in range(values.shape[1]))
        columns = {"subject": source.subject, "session": source.session, "run": source.run, "recording": path.stem, "trial": np.arange(len(values))}
        yield _windows(page, source.unit, values, found, names, source.sampling_rate_hz, columns, part)


def windows_of_arrays(page: Page, source: Arrays, folder: Path) -> Iterator[Windows]:
    """One set a file, each subject's trials on a clock of its own."""
    below = files_below(folder)
    for part, file in source.files.items():
        expression = pattern_expression("**/" + file)
        paths = [path for name, path in below.items() if expression.fullmatch(name)]
        if len(paths) != 1:
            raise FileNotFoundError(f"{page.name} needs one file {file} in {folder}; found {len(paths)}. It needs: {page.needs}.")
        stored = _NamedArrays(paths[0])
        trials = stored[source.trial]
        identity = [stored.names(key) if (key := getattr(source, field)) else np.full(len(trials), "1") for field in FIELDS]
        # Where a subject has several sessions or runs, their trials may be counted anew in each.
        recording = np.array(list(map("sub-{}_ses-{}_run-{}".format, *identity))) if source.session or source.run else identity[0]
        columns = dict(zip(FIELDS, identity, strict=True)) | {"recording": recording, "trial": trials}
        names = tuple(stored.texts(source.electrodes).tolist())
        rate = float(np.ravel(stored[source.sampling_rate])[0])
        yield _windows(page, source.unit, _decoded(stored, source), stored.texts(source.label), names, rate, columns, part)


def package_folder(package: str) -> Path:
    """Where an installed package lies; it isn't imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"The package {package} isn't installed.")
    return Path(next(iter(spec.submodule_search_locations)))


class _NamedArrays:
    """An .npz file whose missing arrays are named."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file, np.load(file) as stored:
                self.arrays = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, EOFError, AttributeError, TypeError, zlib.error, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} can't be read ({error}): it is no .npz file, or it is cut short.") from error

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise PageError(f"{self.path.name} has no array {name!r}; it has {', '.join(self.arrays)}.")
        return self.arrays[name]

    def texts(self, name: str) -> np.ndarray:
        return self[name].astype(str)

    def names(self, name: str) -> np.ndarray:
        """As texts; whole floats are whole numbers."""
        return np.array([text_of(value) for value in self[name].tolist()]) if self[name].dtype.kind == "f" else self.texts(name)


def _decoded(stored: _NamedArrays, source: Arrays) -> np.ndarray:
    values = stored[source.values]
    if source.step is None:
        if source.offset:
            raise PageError(f"The source names an offset ({source.offset!r}), but no step: values are offset + step · running sum, or as they stand.")
        return values
    offset = stored[source.offset][..., None] if source.offset else 0
    return offset + stored[source.step] * np.cumsum(values, axis=2, dtype=np.result_type(values, np.int64))  # float64 where they aren't whole


def _windows(page: Page, unit: str, values: np.ndarray, found: np.ndarray, names: tuple[str, ...], rate: float, columns: dict, part: str) -> Windows:
    """The rows whose label the page uses, in volts, with the metadata that the source tells."""
    _check_channels(page, names, values)
    labels = page.events[0].labels
    unknown = sorted(set(found.tolist()) - set(labels))
    rows = np.flatnonzero(np.isin(found, list(labels)))
    if not len(rows):
        raise ValueError(f"{page.name} uses the labels {', '.join(labels)}; the {part} part has none of them, but {', '.join(unknown)}.")
    kept = [names.index(name) for name in page.electrodes.pick or names if name not in page.electrodes.drop]
    volts = (values[rows][:, kept] * volts_of(unit, page.name)).astype(np.float32)
    called = [page.electrodes.rename.get(names[number], names[number]) for number in kept]
    classes = np.array([labels[label] for label in found[rows].tolist()])
    shipped = {"shipped": part} if part in ("train", "test") else {}
    # Nobody tells when these windows were recorded.
    columns = {key: value if isinstance(value, str) else value[rows] for key, value in columns.items()} | {"start_s": np.nan, "stop_s": np.nan} | shipped
    metadata = pd.DataFrame(columns | {"label": classes}, index=range(len(rows)))
    kind = page.electrodes.kind
    info = make_info([comparable_name(name) if kind == "eeg" else name for name in called], rate, kind)
    return Windows(volts, classes, metadata, info, name=page.name)


def _check_channels(page: Page, names: tuple[str, ...], values: np.ndarray) -> None:
    if values.ndim != 3 or values.shape[1] != len(names):
        raise ValueError(f"{page.name} names {len(names)} electrodes, but its values have the shape {values.shape}: (trials, electrodes, samples) is needed.")
    missing = sorted({*page.electrodes.drop, *page.electrodes.pick, *page.electrodes.rename} - set(names))
    if missing:
        raise ValueError(f"{page.name} speaks of the electrodes {', '.join(missing)}; there are {', '.join(names)}.")
