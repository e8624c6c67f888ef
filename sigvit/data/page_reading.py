"""A page from its TOML file, checked."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from sigvit.data.page_format import SOURCES, Arrays, Package, Page, Processing, Source, Window
from sigvit.data.page_recordings import page_cut
from sigvit.data.page_tables import PageError, read_table, read_value
from sigvit.data.quality import volts_of

ELECTRODE_KINDS = ("eeg", "emg")


def read_page(path: str | Path) -> Page:
    """The page in a TOML file.

    Raises
    ------
    PageError : not TOML, an unknown key (with the nearest right one), a missing key, a wrong type, or tables that contradict each other.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        plain = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PageError(f"{path.name} is no TOML: {error}") from error
    sources = plain.get("source")
    if sources is None:
        raise PageError(f"{path.name} lacks the table [source].")
    source = tuple(_read_source(table, f"{path.name}: source") for table in (sources if isinstance(sources, list) else [sources]))
    page = read_table(Page, {**plain, "source": ()}, path.name)
    page = replace(page, source=source, name=path.stem, sha256=hashlib.sha256(content).hexdigest(), plain=plain)
    _check_agreement(page)
    _check_labels(page)
    _check_values(page)
    return page


def _read_source(table: Any, place: str) -> Source:
    kind = table.get("kind") if isinstance(table, dict) else None
    if kind not in SOURCES:
        raise PageError(f"{place} has the kind {kind!r}; it must be one of {', '.join(SOURCES)}.")
    return read_value(SOURCES[kind], table, place)


def _check_agreement(page: Page) -> None:
    window, arrays = page.window, isinstance(page.source[0], Package | Arrays)
    if not page.events:
        raise PageError(f"{page.name}.toml lacks [[events]]: which event has which label.")
    if any(isinstance(source, Package | Arrays) != arrays for source in page.source):
        raise PageError(f"{page.name}.toml mixes sources of recordings with sources of arrays.")
    if arrays:
        if window != Window() or page.processing != Processing():
            raise PageError(f"{page.name}.toml has a [window] or [processing], but its source holds finished windows.")
        if page.rejection.bad_spans or isinstance(page.rejection.peak_to_peak_v, str):
            raise PageError(f"{page.name}.toml rejects by annotations or autoreject, but its source holds finished windows: give peak_to_peak_v in volts.")
        return
    given = [key for key in ("start_s", "stop_s", "window_s", "stride_s") if getattr(window, key) is not None]
    if given not in (["start_s", "stop_s"], ["window_s"], ["window_s", "stride_s"]):
        raise PageError(f"{page.name}.toml: window has {', '.join(given) or 'nothing'}; it needs start_s and stop_s, or window_s and perhaps stride_s.")
    for events in page.events:
        if bool(events.labels) == bool(events.label):
            raise PageError(f"{page.name}.toml: each [[events]] needs either labels (event → label) or label (of whole recordings).")
        if events.rest and (not events.labels or window.window_s is None):
            raise PageError(f"{page.name}.toml has a label for the rest, so it needs labels of events and window_s in [window].")
        if events.label and window.window_s is None:
            raise PageError(f"{page.name}.toml labels whole recordings, so window needs window_s.")


def _check_labels(page: Page) -> None:
    """What a page says of a label that no event has would be passed over."""
    given = {label for events in page.events for label in (*events.labels.values(), events.label, events.rest) if label}
    named = {"expect.trials_per_run": page.expect.trials_per_run, "expect.trials": page.expect.trials, "window.background": (page.window.background,)}
    for key, label in ((key, label) for key, labels in named.items() for label in labels if label):
        if label not in given:
            raise PageError(f"{page.name}.toml: {key} has the label {label!r}, which no [[events]] gives; they give {', '.join(sorted(given))}.")


def _check_values(page: Page) -> None:
    """Words and numbers by which no recording can be cut are named before one is fetched or opened."""
    try:
        if page.electrodes.kind not in ELECTRODE_KINDS:
            raise ValueError(f"kind in [electrodes] is {page.electrodes.kind!r}; it must be one of {', '.join(ELECTRODE_KINDS)}.")
        for source in page.source:
            if isinstance(source, Package | Arrays):
                volts_of(source.unit, "source")
            else:
                page_cut(page, ())
    except ValueError as error:
        raise PageError(f"{page.name}.toml: {error}") from error
