"""A results folder: everything that a reader needs to believe a table, and to refute it."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import tomli_w

from sigvit.data.windows import Windows
from sigvit.evidence.cross_validation import Results
from sigvit.evidence.folds import Fold
from sigvit.evidence.folds_csv import write_csv
from sigvit.evidence.report import entries, write_report
from sigvit.whole_file import write_atomically


def claim_folder(folder: str | Path, configuration: dict[str, Any], free: Collection[str] = ()) -> None:
    """Write config.toml; where there is one, it must say the same, but for the order of entries and those called `free`, which decide no result.

    Raises
    ------
    ValueError : the folder's config.toml says something else, and the differing entries are named, or can't be read. Or the folder is a file.
    """
    if Path(folder).is_file():
        raise ValueError(f"{folder} is a file, but results are kept in a folder; choose another name.")
    path, text = Path(folder) / "config.toml", tomli_w.dumps(configuration)
    path.parent.mkdir(parents=True, exist_ok=True)
    asked = _deciding(text, free)
    try:
        told = _deciding(path.read_text(encoding="utf-8"), free) if path.exists() else asked
    except ValueError as error:
        raise ValueError(f"{path} can't be read ({error}). Choose another output folder, or delete that one.") from error
    if told != asked:
        differing = "; ".join([*(f"there: {entry}" for entry in sorted(told - asked)), *(f"now: {entry}" for entry in sorted(asked - told))])
        raise ValueError(f"{path.parent} holds results of another protocol ({differing}). Choose another output folder, or delete that one.")
    write_atomically(path, text)


def _deciding(text: str, free: Collection[str]) -> set[str]:
    """What a config.toml says, an entry each, such as "asked.seeds = 5"."""
    return {f"{name} = {value!r}" for name, value in entries(tomllib.loads(text)) if name.rpartition(".")[2] not in free}


def write_results(folder: str | Path, results: Results, windows: Windows, folds: list[Fold], configuration: dict[str, Any]) -> None:
    """Write results.csv, folds.csv, certificate.json and report.html into a claimed folder; the certificate carries the hashes of both tables."""
    folder = Path(folder)
    table = results.table.to_csv(index=False, lineterminator="\n")
    write_atomically(folder / "results.csv", table)
    write_csv(folder / "folds.csv", folds, windows)
    certificate = results.certificate.with_results(hashlib.sha256(table.encode()).hexdigest(), results.provenance)
    certificate.write(folder / "certificate.json")
    write_report(results, windows, folds, folder / "report.html", configuration)
