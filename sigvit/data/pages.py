"""Datasets by their pages: `open_dataset` reads a page, finds what it names, holds it against what the page expects, and cuts windows."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sigvit.data.cutter import labels_gone, warn_of_dropped
from sigvit.data.joining import NewRows
from sigvit.data.page_arrays import package_folder, windows_of_arrays, windows_of_package
from sigvit.data.page_expectations import check_arrays, check_trials, check_whole
from sigvit.data.page_format import Arrays, Fetched, Moabb, Package, Page, Source
from sigvit.data.page_places import find_page, find_source, page_names, pages_folder
from sigvit.data.page_reading import read_page
from sigvit.data.page_recordings import windows_of_recording
from sigvit.data.page_rejection import Rejected, without_rejected
from sigvit.data.page_selection import Selection
from sigvit.data.page_sources import Recording, list_recordings
from sigvit.data.quality import check_signals, warn_of_references
from sigvit.data.storage import WindowsFolder
from sigvit.data.windows import Windows, concatenate


def open_dataset(
    name_or_path: str | Path,
    folder: str | Path | None = None,
    *,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    repeats: str | None = None,
    failures: str = "raise",
    into: str | Path | None = None,
) -> Windows:
    """The windows of a dataset, as its page says.

    Parameters
    ----------
    name_or_path : a page's name (`describe_datasets` lists them) or the path of a TOML page of your own.
    folder : where the files lie, for pages that need local files (of a package: its folder, unpacked). Default: the data folder (SIGVIT_DATA, else
        ../shared/data) where the page names a sub-folder of it.
    only, exclude : parts by name: "sub-03", "sub-03/ses-01", "sub-03/ses-01/run-2", a recording's name, or a subject's bare id. `*` and `?` match.
    include : parts that the page excludes and you want nevertheless, by the same names.
    repeats : "keep" or "drop" byte-identical windows; default: what the page says.
    failures : "raise" (default) stops at the first recording that can't be read or isn't what the page expects; "exclude" goes on with the others,
        warns, and records each in ``windows.page["excluded"]``.

    into : a new folder in which the windows grow on disk, one recording after the other, for sets larger than memory; they come back as
        `Windows.load` maps them, and open from there without the page's recordings.

    Returns
    -------
    Windows : float32 (windows, electrodes, samples) in volts. `page` tells name, title, task, licence, citation, notes, the page itself and its
        SHA-256, how recordings were cut, what was excluded (with the reason) and which windows were dropped.

    Raises
    ------
    PageError : the page has an unknown key, a wrong type, or contradicts itself; no page has this name (with the nearest).
    FileNotFoundError : what the page needs isn't there; the message says how to get it.
    ExpectationError : a recording isn't what the page expects; recording, found and expected are named.

    Examples
    --------
    >>> windows = open_dataset("finger_movements")
    >>> windows.values.shape, windows.classes
    ((416, 28, 50), ('left', 'right'))
    """
    if failures not in ("raise", "exclude"):
        raise ValueError(f"failures is {failures!r}; it must be 'raise' or 'exclude'.")
    page = read_page(find_page(name_or_path))
    opening = Opening(page, Selection(page, only, exclude, include), Rejected.of(page, repeats), failures)
    source, place = find_source(page, folder)
    narrowed = bool(only or exclude or include or repeats)
    if into is None:
        return _opened(opening, source, place, narrowed, None)
    with WindowsFolder(into) as grown:
        grown.finish(_opened(opening, source, place, narrowed, grown.rows))
    return Windows.load(into)


def _opened(opening: Opening, source: Source, place: Path | None, narrowed: bool, new_rows: NewRows | None) -> Windows:
    page = opening.page
    windows = concatenate(opening.parts(source, place), name=page.name, new_rows=new_rows)
    opening.selection.check_all_used()
    if not narrowed and not opening.selection.failures:
        check_whole(page, windows, opening.n_recordings)
    if isinstance(source, Package | Arrays):
        check_signals(windows, page.electrodes.constant)
    warn_of_references(opening.recordings, page.name)
    if page.split is not None:
        windows.metadata["shipped"] = [page.split.part(subject) for subject in windows.metadata["subject"].astype(str)]
    if not page.order_is_time:
        windows.metadata[["start_s", "stop_s"]] = np.nan
    windows.page = opening.described(source, len(windows))
    if gone := labels_gone(windows):
        warn_of_dropped(windows, page.name, gone)
    return windows


@dataclass
class Opening:
    """A page while it is opened: what was excluded, dropped and found on the way."""

    page: Page
    selection: Selection
    rejected: Rejected
    failures: str = "raise"
    notes: list[str] = field(default_factory=list)
    recordings: dict[str, Any] = field(default_factory=dict)
    cut: dict[str, Any] = field(default_factory=dict)
    n_recordings: int = 0

    def parts(self, source: Source, place: Path | None) -> Iterator[Windows]:
        """The windows of one recording (or file) after the other, rejected ones left out."""
        found = False
        for windows in self._arrays(source, place) if isinstance(source, Package | Arrays) else self._recordings(source, place):
            kept = without_rejected(windows, self.rejected)
            if len(kept):
                found = True
                yield kept
        if not found:
            raise ValueError(f"{self.page.name} has no window left: {self._what_went()}.")

    def _arrays(self, source: Package | Arrays, place: Path | None) -> Iterator[Windows]:
        page = self.page
        parts = (
            windows_of_package(page, source, place or package_folder(source.package), self.notes)
            if isinstance(source, Package)
            else windows_of_arrays(page, source, place or Path())
        )
        for windows in parts:
            self.n_recordings += 1
            name = f"the {windows.metadata['shipped'].iloc[0]} part" if "shipped" in windows.metadata else "a file"
            check_arrays(page, name, windows)
            check_trials(page, name, windows, page.events[0])
            yield self.selection.rows(windows)

    def _recordings(self, source: Source, place: Path | None) -> Iterator[Windows]:
        for recording in list_recordings(self.page, source, place, self.selection.fetches):
            if not self.selection.opens(recording):
                continue
            try:
                yield from self._windows(recording)
            except (ValueError, OSError, RuntimeError) as error:
                if self.failures == "raise":
                    raise
                self.selection.failed(recording, error)
                warnings.warn(f"{self.page.name} goes on without {recording.name}: {error}", stacklevel=5)

    def _windows(self, recording: Recording) -> list[Windows]:
        """All windows of a recording, or none of them."""
        parts = []
        for events, windows in windows_of_recording(self.page, recording):
            chosen = self.selection.rows(windows) if recording.split_at else windows
            if len(chosen):
                check_trials(self.page, windows.metadata["recording"].iloc[0], windows, events)
                parts.append(chosen)
        for windows in parts:
            self.n_recordings += 1
            self.rejected.dropped += windows.page["dropped"]["windows"]
            self.recordings |= windows.page["recordings"]
            self.cut = self.cut or windows.page["cut"]
        return parts

    def _what_went(self) -> str:
        excluded = "; ".join(f"{each['recording']}: {each['reason']}" for each in self.selection.excluded[:4])
        return f"{len(self.selection.excluded)} parts excluded ({excluded or 'none'}), {len(self.rejected.dropped)} windows dropped"

    def described(self, source: Source, n_windows: int) -> dict[str, Any]:
        """Plain data for `Windows.page`."""
        page, rows = self.page, self.rejected.dropped
        told = {key: getattr(page, key) for key in ("name", "title", "task", "licence", "citation")}
        reasons = Counter(row["reason"].partition(":")[0] for row in rows)
        dropped = {"planned": n_windows + len(rows), "kept": n_windows, "reasons": dict(reasons), "windows": rows}
        in_order = page.order_is_time and not isinstance(source, Package | Arrays)
        found = {
            "source": source.kind,
            "order_is_time": in_order,
            "excluded": self.selection.excluded,
            "dropped": dropped,
            "recordings": self.recordings,
            "cut": self.cut,
        }
        return told | {"notes": [*page.notes, *self.notes], "page": page.plain, "sha256": page.sha256} | found


def describe_datasets() -> str:
    """The shipped pages as text: name, whether it can be opened now, title, and what it needs where it can't.

    >>> "scp1" in describe_datasets()
    True
    """
    pages = [read_page(pages_folder() / f"{name}.toml") for name in page_names()]
    width = max(len(page.name) for page in pages)
    lines = ["Pages for sigvit.open_dataset (● here, ○ to be got first):", ""]
    for page in pages:
        try:
            source, _ = find_source(page, None)
            here = not isinstance(source, Fetched | Moabb)
        except FileNotFoundError:
            here = False
        lines.append(f"{'●' if here else '○'} {page.name:<{width}}  {page.title}")
        if not here:
            lines.append(f"  {'':<{width}}  needs {page.needs}")
    return "\n".join([*lines, "", "A page of your own: sigvit.open_dataset('my_page.toml')."])
