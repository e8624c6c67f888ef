"""Where a page's recordings come from: files in a folder, a BIDS root, a fetcher of MNE, a dataset of MOABB."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import mne
import numpy as np

from sigvit.data.events import BREAKS
from sigvit.data.folders import linked_folders
from sigvit.data.page_files import read_bids, read_file
from sigvit.data.page_format import Bids, Fetched, Files, Moabb, Page, Source
from sigvit.data.page_tables import PageError

FIELDS = ("subject", "session", "run")
# What BIDS keeps beside a recording's file under the same name.
BESIDE_A_RECORDING = (".json", ".eeg", ".vmrk", ".fdt")
_TOKEN = re.compile(r"\*\*/|\*|\?|\{(?P<name>[^{}:]*)(?::(?P<width>\d+))?\}|(?P<text>[^*?{]+)")


@dataclass(frozen=True)
class Recording:
    """One recording of a page, not yet opened. `read` gives its `mne.io.Raw`; `files` are what it reads."""

    name: str
    subject: str
    session: str
    run: str
    read: Callable[[], Any] = field(repr=False)
    files: tuple[Path, ...] = ()
    split_at: str | None = None  # the event that starts a new run within the file
    split_margin_s: float = 0.0


def pattern_expression(pattern: str, known: dict[str, str] | None = None) -> re.Pattern[str]:
    """The regular expression of a page's pattern; fields that are `known` stand for their text.

    >>> pattern_expression("**/S{subject}R{run}.edf").fullmatch("files/S001/S001R04.edf").groupdict()
    {'subject': '001', 'run': '04'}
    """
    parts, seen, end = [], dict(known or {}), 0
    for token in _TOKEN.finditer(pattern):
        if token.start() != end:
            break
        end = token.end()
        parts.append(_piece(token, seen, pattern))
    if end != len(pattern):
        raise PageError(f"The pattern {pattern!r} can't be read from {pattern[end:]!r} on; fields look like {{subject}} or {{run:2}}.")
    return re.compile("".join(parts))


def _piece(token: re.Match[str], seen: dict[str, str], pattern: str) -> str:
    name = token["name"]
    if token["text"] is not None:
        return re.escape(token["text"])
    if name is None:
        return {"**/": "(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]"}[token[0]]
    if name not in FIELDS:
        raise PageError(f"The pattern {pattern!r} has the field {name!r}; the fields are {', '.join(FIELDS)}.")
    if name in seen:
        return re.escape(seen[name]) if seen[name] else f"(?P={name})"
    seen[name] = ""
    return f"(?P<{name}>[^/]{{{token['width']}}})" if token["width"] else f"(?P<{name}>[^/]+?)"


def files_below(folder: Path) -> dict[str, Path]:
    """Every file below a folder by its path from there, in the same order on every machine; hidden folders are passed over."""
    found = {path.relative_to(folder).as_posix(): path for base, names in linked_folders(folder) for path in (Path(base, name) for name in names)}
    return dict(sorted(found.items(), key=lambda item: item[0].split("/")))


def list_recordings(page: Page, source: Source, folder: Path | None, wanted: Callable[[str], bool]) -> list[Recording]:
    """The recordings of a source, in order of their names; `wanted` tells which subjects to fetch."""
    if isinstance(source, Files):
        assert folder is not None
        found = _recordings_of_files(source, files_below(folder), str(folder))
    elif isinstance(source, Bids):
        assert folder is not None
        found = _recordings_of_bids(source, folder)
    elif isinstance(source, Fetched):
        found = _recordings_fetched(source, folder, wanted)
    elif isinstance(source, Moabb):
        found = list(recordings_of_moabb(_moabb_dataset(source), source.dataset, source.cue_delay_s, wanted))
    else:
        raise TypeError(f"{type(source).__name__} holds arrays, no recordings.")
    used = [recording for recording in found if page.events_of(recording.run)]
    return _distinct(used)


def _distinct(recordings: list[Recording]) -> list[Recording]:
    by_name: dict[str, Recording] = {}
    for recording in recordings:
        other = by_name.setdefault(recording.name, recording)
        if other is not recording:
            places = " and ".join(", ".join(map(str, each.files)) or "MOABB" for each in (other, recording))
            raise ValueError(f"The recording {recording.name} is there twice: {places}. Point folder= at one of them.")
    return recordings


def _recordings_of_files(source: Files | Fetched, files: dict[str, Path], where: str) -> list[Recording]:
    expression = pattern_expression(source.pattern)
    matches = [(path, found.groupdict()) for name, path in files.items() if (found := expression.fullmatch(name))]
    if not matches:
        raise FileNotFoundError(f"No file in {where} matches the pattern {source.pattern!r}.")
    recordings = [_recording_of_file(source, path, fields, files) for path, fields in matches]
    names = Counter(recording.name for recording in recordings)  # such as run1 in a folder for each subject
    return [_named_by_fields(recording) if names[recording.name] > 1 else recording for recording in recordings]


def _named_by_fields(recording: Recording) -> Recording:
    return replace(recording, name=f"sub-{recording.subject}_ses-{recording.session}_run-{recording.run}_{recording.name}")


def _recording_of_file(source: Files | Fetched, path: Path, fields: dict[str, str], files: dict[str, Path]) -> Recording:
    annotations = _beside(source.annotations, fields, files, path) if source.annotations else None
    labels = source.true_labels if isinstance(source, Files) else None
    labels_file = _beside(labels.pattern, fields, files, path, needed=False) if labels else None
    identity = {name: fields.get(name, "1") for name in FIELDS}
    used = tuple(file for file in (path, annotations, labels_file) if file)
    split = (source.split_at, source.split_margin_s) if isinstance(source, Files) else (None, 0.0)
    reader = (source.reader, source.reader_options) if isinstance(source, Files) else (None, {})
    read = partial(read_file, path, reader, annotations, labels, labels_file)
    return Recording(path.stem, **identity, read=read, files=used, split_at=split[0], split_margin_s=split[1])


def _beside(pattern: str, fields: dict[str, str], files: dict[str, Path], path: Path, needed: bool = True) -> Path | None:
    """The one file that belongs to a recording by its fields."""
    expression = pattern_expression(pattern, fields)
    found = [other for name, other in files.items() if expression.fullmatch(name)]
    if len(found) > 1 or (needed and not found):
        what = f"{len(found)} files match" if found else "no file matches"
        raise FileNotFoundError(f"{path.name} needs one file {pattern!r} beside it; {what}.")
    return found[0] if found else None


def _recordings_of_bids(source: Bids, folder: Path) -> list[Recording]:
    try:
        from mne_bids import BIDSPath
    except ImportError as error:
        raise ImportError("A BIDS root is read through mne-bids: pip install 'sigvit[bids]'.") from error
    paths = BIDSPath(root=folder, task=source.task, datatype=source.datatype, suffix=source.datatype).match(ignore_nosub=True)
    # mne reads the further files of a recording that was split with its first, where they are FIF.
    paths = [path for path in paths if path.extension != ".fif" or int(path.split or 1) == 1]
    paths = sorted((path for path in paths if path.extension not in BESIDE_A_RECORDING), key=lambda path: path.basename)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no {source.datatype} recording of the task {source.task!r} in BIDS order.")
    return [Recording(path.fpath.stem, path.subject, path.session or "1", path.run or "1", partial(read_bids, path), (path.fpath,)) for path in paths]


def _recordings_fetched(source: Fetched, folder: Path | None, wanted: Callable[[str], bool]) -> list[Recording]:
    subjects = [subject for subject in source.subjects if wanted(str(subject))]
    try:
        paths = _fetch(source, subjects, folder)
    except (OSError, RuntimeError) as error:
        raise ConnectionError(f"mne.datasets couldn't fetch {source.fetcher} ({error}). Download the files by hand and name their folder: folder=….") from error
    return _recordings_of_files(source, {path.as_posix().lstrip("/"): path for path in sorted(map(Path, paths))}, f"what {source.fetcher} fetched")


def _fetch(source: Fetched, subjects: list[int], folder: Path | None) -> Iterable[Any]:
    if source.fetcher == "eegbci":
        from mne.datasets import eegbci

        return eegbci.load_data(subjects, list(source.runs), path=folder, update_path=False, verbose="error")
    if source.fetcher != "sleep_physionet_age":
        raise PageError(f"fetcher is {source.fetcher!r}; it must be eegbci or sleep_physionet_age.")
    from mne.datasets.sleep_physionet import age

    pairs = age.fetch_data(subjects, recording=list(source.runs) or [1, 2], path=folder, on_missing="ignore", verbose="error")
    return [path for pair in pairs for path in pair]


def _moabb_dataset(source: Moabb) -> Any:
    try:
        datasets = import_module("moabb.datasets")
    except ImportError as error:
        raise ImportError(f"{source.dataset} is fetched through MOABB: pip install 'sigvit[moabb]', or give a folder of files: folder=….") from error
    return getattr(datasets, source.dataset)()


def recordings_of_moabb(dataset: Any, name: str, cue_delay_s: float, wanted: Callable[[str], bool]) -> Iterator[Recording]:
    """The recordings of a MOABB dataset (subject_list, event_id, get_data), its stimulus channel turned into annotations."""
    for subject in dataset.subject_list:
        if not wanted(str(subject)):
            continue
        for session, runs in _sessions_of_moabb(dataset, name, subject).items():
            for run, raw in runs.items():
                read = partial(_with_annotations, raw, dataset.event_id, cue_delay_s)
                yield Recording(f"{name}_{subject}_{session}_{run}", str(subject), str(session), str(run), read)


def _sessions_of_moabb(dataset: Any, name: str, subject: Any) -> dict[str, dict[str, Any]]:
    try:
        return dataset.get_data(subjects=[subject])[subject]
    except (OSError, RuntimeError) as error:
        raise ConnectionError(f"MOABB couldn't fetch subject {subject} of {name} ({error}). Name a folder of its files: folder=….") from error


def _with_annotations(raw: Any, event_id: dict[str, int], cue_delay_s: float) -> Any:
    """A copy: MOABB's own recording stays as it is, and may be read once more."""
    raw, said = raw.copy(), raw.annotations
    if "stim" in raw and not set(event_id) & set(said.description):
        events = mne.find_events(raw, shortest_event=0, verbose="error")
        names = {number: name for name, number in event_id.items()}
        events = events[np.isin(events[:, 2], list(names))]
        if len(events):
            raw.set_annotations(mne.annotations_from_events(events, raw.info["sfreq"], names, first_samp=raw.first_samp))
            together = raw.annotations
            together += said  # in place: to set them once more would add the first sample's time twice where no date is known
    if cue_delay_s:
        is_cue = [not name.lower().startswith(("bad", *BREAKS)) for name in raw.annotations.description]
        raw.annotations.onset = raw.annotations.onset + cue_delay_s * np.array(is_cue)
    return raw


def check_sha256(recording: Recording, page: Page) -> None:
    """A file whose SHA-256 is in the page must have it."""
    for file in recording.files:
        expected = page.checksums.get(file.name)
        if expected is None:
            continue
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != expected:
            raise ValueError(f"{file} has the SHA-256 {found}, {page.name} expects {expected}: it is another version, edited or damaged.")
