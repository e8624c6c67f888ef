"""What a dataset's page may say: one frozen dataclass a table of the TOML file. Adding a dataset takes a page and no Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

Range = int | tuple[int, int]
Names = str | tuple[str, ...]


@dataclass(frozen=True)
class Files:
    """Recordings in a folder. Without `folder` the caller has to name one; with it, it is a sub-folder of the data folder."""

    kind: str
    pattern: str  # "**/sub-{subject}/ses-{session}/eeg/*_run-{run}_eeg.edf"; {run:2} is two characters; ** is any folders
    folder: str | None = None
    annotations: str | None = None  # pattern of a second file with the events, found by the same fields
    reader: str | None = None  # a reader of mne.io by name ("read_raw_cnt"), where the file's ending doesn't tell
    reader_options: dict[str, Any] = field(default_factory=dict)
    true_labels: TrueLabels | None = None
    split_at: str | None = None  # an event that starts a new run within the file
    split_margin_s: float = 0.0  # what is cut off on both sides of such an event


@dataclass(frozen=True)
class TrueLabels:
    """Class numbers kept beside a recording (a MATLAB file), one a cue, in the cues' order."""

    pattern: str
    array: str
    cue: str  # the event whose name doesn't tell the class
    events: dict[str, str]  # class number → event


@dataclass(frozen=True)
class Bids:
    """A BIDS root, read through mne-bids."""

    kind: str
    task: str
    folder: str | None = None
    datatype: str = "eeg"


@dataclass(frozen=True)
class Fetched:
    """Files that a fetcher of MNE downloads: "eegbci" or "sleep_physionet_age"."""

    kind: str
    fetcher: str
    subjects: tuple[int, ...]
    pattern: str  # reads subject, session and run from the file names
    runs: tuple[int, ...] = ()
    annotations: str | None = None


@dataclass(frozen=True)
class Moabb:
    """A dataset class of MOABB."""

    kind: str
    dataset: str
    cue_delay_s: float = 0.0  # the cue comes so long after the time that MOABB stores


@dataclass(frozen=True)
class Package:
    """Series in text files (.ts) inside an installed package; it isn't imported."""

    kind: str
    package: str
    files: dict[str, str]  # part → path inside the package; "train" and "test" are the shipped split
    sampling_rate_hz: float
    unit: str
    electrodes: tuple[str, ...] = ()
    subject: str = "1"
    session: str = "1"
    run: str = "1"
    row_step: int = 0  # row r of the file starts r·row_step samples into the electrodes laid end to end: lay them out again


@dataclass(frozen=True)
class Arrays:
    """Named arrays in .npz files: their names for values (trials, electrodes, samples), label, subject and so on."""

    kind: str
    files: dict[str, str]
    values: str
    label: str
    unit: str
    sampling_rate: str
    electrodes: str
    subject: str
    trial: str
    folder: str | None = None
    session: str | None = None
    run: str | None = None
    offset: str | None = None  # values = offset + step · running sum of `values`
    step: str | None = None


Source = Files | Bids | Fetched | Moabb | Package | Arrays
SOURCES: dict[str, type] = {"files": Files, "bids": Bids, "mne": Fetched, "moabb": Moabb, "package": Package, "arrays": Arrays}


@dataclass(frozen=True)
class Events:
    """Event → label, for all runs or for some; or one label for whole recordings."""

    labels: dict[str, str] = field(default_factory=dict)
    runs: Names | None = None
    label: str | None = None
    rest: str | None = None  # of everything that no event spans; windows of window_s


@dataclass(frozen=True)
class Window:
    """Where a window lies: start_s to stop_s after an event, or windows of window_s every stride_s over the events' duration or the recording."""

    start_s: float | None = None
    stop_s: float | None = None
    window_s: float | None = None
    stride_s: float | None = None
    baseline_s: tuple[float, float] | None = None
    control_s: tuple[float, float] | None = None  # before the cue: a score from it shows what isn't the task
    background: str | None = None  # of this label only what lies within background_s of another label stays
    background_s: float = 0.0
    rest_margin_s: float = 0.0  # how far from every event the windows of `rest` stay


@dataclass(frozen=True)
class Electrodes:
    """Which channels become electrodes and what they are called; names of the 10-05 system get its positions.

    `kind` is what channels without a type of their own are: all in named arrays and text series, those that mne calls EEG in files. "emg", muscles, have no
    places on the scalp, keep their names, and may have an amplifier's gain in their values.
    """

    pick: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    bad: str = "refuse"  # what to do with those that a recording marks bad: refuse, drop, interpolate, keep
    constant: str = "refuse"  # electrodes that never move in a whole recording: refuse, keep
    rename: dict[str, str] = field(default_factory=dict)
    kind: str = "eeg"  # or "emg"


@dataclass(frozen=True)
class Processing:
    """What is done to a recording before it is cut."""

    band_hz: tuple[float, float] | None = None
    notch_hz: float | tuple[float, ...] | None = None
    resample_hz: float | None = None
    reference: Names | None = None  # "average", or electrodes whose mean is subtracted
    skip_end_s: float = 0.0  # cut off the end of every recording before anything else


@dataclass(frozen=True)
class Rejection:
    """Which windows are dropped; each is counted and named in `windows.page["dropped"]`."""

    peak_to_peak_v: float | str | None = None  # larger on any electrode; "autoreject" chooses the limit for each recording
    flat_v: float | None = None  # standard deviation smaller on any electrode
    bad_spans: tuple[str, ...] = ()  # annotations that mark bad spans, besides those that begin with "bad"
    repeats: bool = False  # byte-identical windows after the first


@dataclass(frozen=True)
class Expect:
    """What the recordings must hold; a number or [lowest, highest]."""

    sampling_rate_hz: float | tuple[float, float] | None = None
    channels: int | tuple[str, ...] | None = None
    electrodes: int | tuple[str, ...] | None = None
    recordings: Range | None = None
    subjects: Range | None = None
    duration_s: tuple[float, float] | None = None
    event_duration_s: tuple[float, float] | None = None
    trials_per_run: dict[str, Range] = field(default_factory=dict)
    trials: dict[str, Range] = field(default_factory=dict)


@dataclass(frozen=True)
class Exclusion:
    """A part that isn't used, by patterns (`*`, `?`), and why."""

    reason: str
    subject: Names = "*"
    session: Names = "*"
    run: Names = "*"

    def matches(self, subject: str, session: str, run: str) -> bool:
        return matches_any(subject, self.subject) and matches_any(session, self.session) and matches_any(run, self.run)


@dataclass(frozen=True)
class Split:
    """Whole subjects that the source, or a published protocol, tests on and chooses by; the others are trained on."""

    test: Names
    validation: Names = ()

    def part(self, subject: str) -> str:
        """ "train", "validation" or "test"."""
        if matches_any(subject, self.test):
            return "test"
        return "validation" if matches_any(subject, self.validation) else "train"


@dataclass(frozen=True)
class Page:
    """A dataset's page. `name` is the file's name; `sha256` that of its bytes; `plain` what it says, JSON-able."""

    title: str
    task: str
    licence: str
    citation: str
    needs: str
    source: tuple[Source, ...]
    events: tuple[Events, ...]
    window: Window = field(default_factory=Window)
    electrodes: Electrodes = field(default_factory=Electrodes)
    processing: Processing = field(default_factory=Processing)
    rejection: Rejection = field(default_factory=Rejection)
    expect: Expect = field(default_factory=Expect)
    exclude: tuple[Exclusion, ...] = ()
    split: Split | None = None
    run_groups: dict[str, tuple[str, ...]] = field(default_factory=dict)  # runs that are left out together: their name → the runs
    notes: tuple[str, ...] = ()
    order_is_time: bool = True  # false: nobody knows when a window was recorded, so its start and stop are NaN
    checksums: dict[str, str] = field(default_factory=dict)  # file name → SHA-256
    name: str = field(default="", metadata={"in_page": False})
    sha256: str = field(default="", metadata={"in_page": False})
    plain: dict = field(default_factory=dict, metadata={"in_page": False})

    def events_of(self, run: str) -> Events | None:
        """The events table for a run, or None where the page doesn't use that run."""
        return next((events for events in self.events if events.runs is None or matches_any(run, events.runs)), None)


def matches_any(value: str, patterns: Names) -> bool:
    """Whether a name matches one of the patterns: case counts on every machine, leading zeros of numbers don't.

    >>> matches_any("004", ("4", "8")), matches_any("sub-04", "sub-*"), matches_any("A", "a")
    (True, True, False)
    """
    return any(fnmatchcase(value, pattern) or (value.isdecimal() and pattern.isdecimal() and int(value) == int(pattern)) for pattern in as_names(patterns))


def as_names(patterns: Names) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else patterns
