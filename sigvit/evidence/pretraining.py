"""What a model saw before any fold was made: a record beside its weights, and the check that no test part was in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sigvit.data.windows import METADATA_COLUMNS, Windows
from sigvit.evidence.fold import Fold
from sigvit.evidence.groups import Groups, plain_name, read_groups
from sigvit.evidence.judged_set import JudgedSet, source_of
from sigvit.evidence.leak_checks import Finding, Judged, check_fold
from sigvit.whole_file import write_atomically

FILE = "pretraining.json"
WEIGHTS = "model.safetensors"
FORMAT = 1
GROUPS = ("subject", "session", "run", "recording", "trial")
NAMED_ROWS = 3

Folder = str | Path
Pretrained = Folder | Iterable[Folder] | Mapping[int, Folder | Iterable[Folder]] | None


@dataclass(frozen=True, eq=False)
class Pretraining:
    """What `pretraining.json` beside a model says.

    Attributes
    ----------
    folder : the model's. objective : how it was trained, in words. sha256 : of the file.
    table : one row a window: dataset, source (whose recordings they are: the citation, else the set's name), row, the columns of `Windows.metadata`, sha256.
    filter_support_s : the longest of its sets.
    """

    folder: str
    objective: str
    sha256: str
    table: pd.DataFrame
    filter_support_s: float

    def describe(self, folds: Sequence[int], hashes: list[str] | None) -> dict:
        """For the certificate: which windows these are, and which rows of the certified set are among them."""
        counts = self.table["dataset"].value_counts(sort=False)
        rows = [] if hashes is None else np.flatnonzero(np.isin(hashes, self.table["sha256"])).tolist()
        return {
            "folder": self.folder,
            "objective": self.objective,
            "sha256": self.sha256,
            "folds": list(folds),
            "windows": {str(name): int(count) for name, count in counts.items()},
            "rows": rows,
        }


def write_pretraining(folder: Folder, sets: Iterable[Windows], objective: str) -> None:
    """Write `pretraining.json` into a model's folder: every window that it was trained on, with or without labels. It speaks of the weights that lie there.

    Parameters
    ----------
    folder : of the model, as `save_pretrained` writes it; made where it isn't there.
    sets : exactly the windows that it saw; `windows[rows]` where those were some rows only. None for a model of images.
        `page["citation"]` says whose they are; people of two sets that don't both have one, or that are called alike, count as the same where they have
        the same name.
    objective : in words, such as "masked_patches".

    >>> import tempfile
    >>> from sigvit.data.synthetic import synthetic_windows
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_pretraining(folder, [synthetic_windows(n_subjects=2)], "masked_patches")
    ...     len(read_pretraining(folder).table)
    40
    """
    described = [_described(windows) for windows in sets]
    into = Path(folder)
    into.mkdir(parents=True, exist_ok=True)
    told = {"format": FORMAT, "objective": objective, "weights_sha256": _weights_sha256(into), "sets": described}
    write_atomically(into / FILE, json.dumps(told, indent=1, default=_plain) + "\n")


def windows_sha256(windows: Windows) -> str:
    """SHA-256 of all that decides what a model learns from a set: what `pretraining.json` says of it, its electrodes, their places and bad marks, its rate,
    further columns.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> windows = synthetic_windows(n_subjects=2)
    >>> windows_sha256(windows) == windows_sha256(windows[:]), windows_sha256(windows) == windows_sha256(windows[1:])
    (True, False)
    """
    places = [np.float32(channel["loc"]).tolist() for channel in windows.info["chs"]]  # as a saved set keeps them
    further = windows.metadata.drop(columns=list(METADATA_COLUMNS)).to_csv(index=False)
    told = (_described(windows), windows.electrodes, places, windows.sampling_rate, further, sorted(windows.info["bads"]))
    return hashlib.sha256(json.dumps(told, default=_plain).encode()).hexdigest()


def _described(windows: Windows) -> dict:
    table = windows.metadata[list(METADATA_COLUMNS)].astype(object).where(windows.metadata[list(METADATA_COLUMNS)].notna(), None)
    entries = table.to_dict("list") | {"sha256": windows.row_hashes()}
    return {"dataset": windows.name, "source": source_of(windows), "filter_support_s": windows.filter_support_s, "windows": entries}


def read_pretraining(folder: Folder) -> Pretraining:
    """What a model's folder says of its pre-training.

    Raises
    ------
    FileNotFoundError : the folder has no such record. ValueError : it can't be read, or was written of other weights than lie beside it.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {FILE}, so nothing says which recordings its model has seen; experiments/pretraining.py writes it, and "
            "sigvit.evidence.pretraining.write_pretraining for models of your own."
        )
    data = path.read_bytes()
    try:
        told = json.loads(data)
        tables = [pd.DataFrame(each["windows"]).assign(dataset=each["dataset"], source=each["source"]) for each in told["sets"]]
        supports = [float(each["filter_support_s"]) for each in told["sets"]]
        if told["format"] != FORMAT:
            raise ValueError(f"it has the format {told['format']!r} instead of {FORMAT}")
        nothing = pd.DataFrame(columns=["dataset", "source", *METADATA_COLUMNS, "sha256"])
        table = pd.concat(tables, ignore_index=True) if tables else nothing
        missing = [column for column in (*METADATA_COLUMNS, "sha256") if column not in table]
        if missing:
            raise ValueError(f"its windows lack {', '.join(missing)}")
        objective, stated = str(told["objective"]), told["weights_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} can't be read as a record of pre-training: {error}.") from error
    found = _weights_sha256(Path(folder))
    if stated and found and stated != found:  # whoever writes the record first states none
        raise ValueError(
            f"{path} says what other weights have seen (SHA-256 {stated[:12]}…) than {WEIGHTS} beside it ({found[:12]}…), which were saved there later; "
            "write_pretraining with the windows that these were trained on."
        )
    return Pretraining(str(folder), objective, hashlib.sha256(data).hexdigest(), table, max(supports, default=0.0))


def _weights_sha256(folder: Path) -> str | None:
    """Of the weights in a model's folder; None where there are none yet."""
    path = folder / WEIGHTS
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def by_fold(pretrained: Pretrained, folds: Sequence[Fold]) -> list[tuple[Pretraining, list[Fold]]]:
    """Each folder's record, with the folds whose models start from it; a folder or a list of them stands for all folds."""
    if pretrained is None:
        return []
    if isinstance(pretrained, str | Path):
        pretrained = [pretrained]
    if not isinstance(pretrained, Mapping):
        return [(read_pretraining(folder), list(folds)) for folder in dict.fromkeys(map(str, pretrained))]
    unknown = set(pretrained) - {fold.number for fold in folds}
    if unknown:
        raise ValueError(f"pretrained names the folds {sorted(unknown)}, but the folds are numbered {sorted(fold.number for fold in folds)}.")
    named = {number: [str(given)] if isinstance(given, str | Path) else [str(folder) for folder in given] for number, given in pretrained.items()}
    folders = dict.fromkeys(folder for several in named.values() for folder in several)
    return [(read_pretraining(folder), [fold for fold in folds if folder in named.get(fold.number, ())]) for folder in folders]


def check_pretraining(record: Pretraining, folds: Iterable[Fold], given: JudgedSet, groups: Groups, guard_s: float, support_s: float) -> Iterator[Finding]:
    """For each fold, the test rows that the pre-training saw or lies too near, judged as if it were the fold's training part.

    People and recordings of a bare table are taken for those of any source.
    """
    if record.table.empty:
        return
    n_rows = len(groups)
    joint = pd.concat([_named(groups), _named_apart(record.table, given.name, given.source)], ignore_index=True)
    codes = None if given.hashes is None else pd.factorize(np.array([*given.hashes, *record.table["sha256"]], dtype=object))[0]
    judged = Judged(read_groups(joint), support_s + record.filter_support_s + guard_s, codes)
    before = np.arange(n_rows, len(joint))
    for fold in folds:
        found = [finding for finding in check_fold(replace(fold, train=before, validation=before[:0]), judged) if finding.leaks]
        rows = np.unique(np.concatenate([finding.rows for finding in found])) if found else np.empty(0, np.int64)
        tested = rows[rows < n_rows]
        if found and not len(tested):
            tested = fold.test  # what leaks is told by the pre-training rows alone: it lies between or behind the tested ones
        words = _words(record, rows[rows >= n_rows] - n_rows, given.source)
        yield Finding("pretraining", fold, (words, "test"), len(before) * len(fold.test), tested, tested[:0])


def _words(record: Pretraining, at: np.ndarray, source: str) -> str:
    """The pre-training, with some of the windows of it that were found, and why people of another set may count as the tested ones."""
    if not len(at):
        return f"the pre-training of {record.folder}"
    some = [f"{row.dataset} subject {row.subject}, recording {row.recording}, trial {row.trial}" for row in record.table.iloc[at[:NAMED_ROWS]].itertuples()]
    why = "; equal names are one person's unless the pages of both sets state citations, and different ones, and the sets have different names"
    why = why if (record.table["source"].iloc[at] != source).any() else ""
    return f"the pre-training of {record.folder} ({len(at)} of its windows, such as {'; '.join(some)}{why})"


def _named_apart(table: pd.DataFrame, name: str, source: str) -> pd.DataFrame:
    """The pre-training's windows beside those of the judged set: people and recordings of another citation are others, whatever they are called."""
    seen, dataset = _named(read_groups(table)), table["dataset"].astype(str)
    plain = {each: plain_name(str(each)) for each in table["source"].unique()}  # how a citation is written means nothing
    # Without a citation the source is the set's own name, which differs between cuts of one recording.
    both_cited = (table["source"] != dataset) & (source != name)
    # A set's citation may be completed later.
    other_set = dataset != name
    other = both_cited & other_set & (table["source"].map(plain) != plain_name(source))
    for column in GROUPS:
        seen[column] = seen[column].where(~other, dataset + ": " + seen[column])
    # Another page of the same recordings numbers its trials anew; where there is a clock, it tells.
    recut = ~other & other_set & seen["start_s"].notna()
    seen["trial"] = seen["trial"].where(~recut, dataset + " " + seen["trial"])
    return seen


def _named(groups: Groups) -> pd.DataFrame:
    """The columns of `Windows.metadata`, all of them, names as text."""
    return pd.DataFrame(groups.names | {"start_s": groups.start_s, "stop_s": groups.stop_s})


def _plain(value: object) -> object:
    """numpy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} can't be written as JSON")
