"""folds.csv: a line per fold and row, so that the folds can be judged from the file alone."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from sigvit.data.windows import METADATA_COLUMNS, Windows
from sigvit.evidence.fold import PARTS, Fold
from sigvit.evidence.groups import read_groups
from sigvit.whole_file import whole_file

COLUMNS = (
    *("fold", "protocol", "left_out", "row", "part", "subject", "session", "run", "recording", "trial"),
    *("start_s", "stop_s", "label", "sha256"),
)


def write_csv(path: str | Path, folds: Iterable[Fold], windows: Windows | pd.DataFrame, hashes: Sequence[str] | None = None) -> None:
    """Write the folds with what is known of each row; equal folds and windows give equal bytes, and every number reads back bit-equal.

    Parameters
    ----------
    windows : the divided set, or its metadata alone.
    hashes : SHA-256 of every window's bytes; left out, `windows.row_hashes()`, or empty for bare metadata.

    Raises
    ------
    ValueError : a row number beyond the table. OSError : the file can't be written; what was there before is untouched.

    >>> from tempfile import TemporaryDirectory
    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence.folds import cross_subject
    >>> windows = synthetic_windows(n_subjects=3)
    >>> with TemporaryDirectory() as folder:
    ...     write_csv(f"{folder}/folds.csv", cross_subject(windows.metadata), windows)
    ...     read_csv(f"{folder}/folds.csv")[2].left_out
    'subject 03'
    """
    with whole_file(Path(path)) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        file.writelines(_chunks(folds, windows, hashes))


def folds_sha256(folds: Iterable[Fold], windows: Windows | pd.DataFrame, hashes: Sequence[str] | None = None) -> str:
    """SHA-256 of the file that `write_csv` would write."""
    digest = hashlib.sha256()
    for chunk in _chunks(folds, windows, hashes):
        digest.update(chunk.encode("utf-8"))
    return digest.hexdigest()


def _chunks(folds: Iterable[Fold], windows: Windows | pd.DataFrame, hashes: Sequence[str] | None) -> Iterator[str]:
    """The file's text, fold by fold; what belongs to a row is written as text once."""
    metadata = windows if isinstance(windows, pd.DataFrame) else windows.metadata
    if hashes is None:
        hashes = [""] * len(metadata) if isinstance(windows, pd.DataFrame) else windows.row_hashes()
    groups = read_groups(metadata, may_lack=METADATA_COLUMNS)
    names = [groups.names[column] for column in ("subject", "session", "run", "recording", "trial")]
    clock = [np.array([repr(number) for number in seconds.tolist()], dtype=object) for seconds in (groups.start_s, groups.stop_s)]
    described = [_line(values) for values in zip(*names, *clock, groups.names["label"], hashes, strict=True)]
    yield ",".join(COLUMNS) + "\n"
    for fold in folds:
        leading = _line([fold.number, fold.protocol, fold.left_out])
        for part in PARTS:
            rows = getattr(fold, part).tolist()
            if rows and rows[-1] >= len(described):
                raise ValueError(f"Fold {fold.number} names row {rows[-1]}, but there are {len(described)} rows; the folds belong to another set.")
            yield "".join([f"{leading},{row},{part},{described[row]}\n" for row in rows])


def _line(values: Iterable[object]) -> str:
    """These values between commas, quoted where they need it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def read_csv(path: str | Path) -> list[Fold]:
    """The folds that `write_csv` wrote, in the file's order.

    Raises
    ------
    ValueError : columns that aren't those of folds.csv, an unknown part, or a fold that changes its protocol. OSError : no such file.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path} has the columns {reader.fieldnames}; a table of folds has {', '.join(COLUMNS)}.")
        rows: dict[tuple[str, str, str], dict[str, list[int]]] = {}
        for line in reader:
            parts = rows.setdefault((line["fold"], line["protocol"], line["left_out"]), {part: [] for part in PARTS})
            if line["part"] not in parts or not (line["row"] or "").isdecimal():
                raise ValueError(f"{path}, line {reader.line_num}: row {line['row']!r}, part {line['part']!r}; a part is one of {', '.join(PARTS)}.")
            parts[line["part"]].append(int(line["row"]))
    numbers = [number for number, _, _ in rows]
    if len(set(numbers)) < len(numbers) or not all(number.isdecimal() for number in numbers):
        raise ValueError(f"{path}: a fold's number stands with two protocols or is no number; every fold has one number, one protocol and one left_out.")
    return [Fold(**{part: np.sort(found[part]) for part in PARTS}, number=int(key[0]), protocol=key[1], left_out=key[2]) for key, found in rows.items()]
