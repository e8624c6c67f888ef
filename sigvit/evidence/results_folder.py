"""A results folder: everything that a reader needs to believe a table, and to refute it."""

from __future__ import annotations

import contextlib
import hashlib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import tomli_w

from sigvit.data.windows import Windows
from sigvit.evidence import folds as folds_module
from sigvit.evidence.cross_validation import Results
from sigvit.evidence.folds import Fold
from sigvit.evidence.report import write_report
from sigvit.whole_file import write_atomically


def claim_folder(folder: str | Path, configuration: dict[str, Any], free: Collection[str] = (), later: Collection[str] = ()) -> None:
    """Write config.toml, or find the same one but for the order and the entries called `free`, which decide no result: a folder holds the results of one
    protocol.

    `later` are entries that folders of before don't say; such a folder takes them now.

    Raises
    ------
    ValueError : the folder's config.toml says something else; the differing entries are named. Or it is a file.
    """
    if Path(folder).is_file():
        raise ValueError(f"{folder} is a file, but results are kept in a folder; choose another name.")
    path, text = Path(folder) / "config.toml", tomli_w.dumps(configuration)
    path.parent.mkdir(parents=True, exist_ok=True)
    told = path.read_text(encoding="utf-8") if path.exists() else text
    silent = {*later} - {line.partition(" = ")[0] for line in told.splitlines()}
    old, new = _deciding(told, {*free, *silent}), _deciding(text, {*free, *silent})
    if old != new:
        differing = "; ".join([*(f"there: {line}" for line in sorted({*old} - {*new})), *(f"now: {line}" for line in sorted({*new} - {*old}))])
        raise ValueError(f"{path.parent} holds results of another protocol ({differing}). Choose another output folder, or delete that one.")
    write_atomically(path, text)


def _deciding(text: str, free: Collection[str]) -> list[str]:
    """Lines in one order, since that of pipelines decides nothing; a damaged file's as they are."""
    with contextlib.suppress(tomllib.TOMLDecodeError):
        text = tomli_w.dumps(_ordered(tomllib.loads(text)))
    return [line for line in text.splitlines() if line.partition(" = ")[0] not in free]


def _ordered(entries: dict[str, Any]) -> dict[str, Any]:
    return {name: _ordered(entries[name]) if isinstance(entries[name], dict) else entries[name] for name in sorted(entries)}


def write_results(folder: str | Path, results: Results, windows: Windows, folds: list[Fold], configuration: dict[str, Any]) -> None:
    """Write results.csv, folds.csv, certificate.json and report.html into a claimed folder; the certificate carries the hashes of both tables."""
    folder = Path(folder)
    table = results.table.to_csv(index=False, lineterminator="\n")
    write_atomically(folder / "results.csv", table)
    folds_module.write_csv(folder / "folds.csv", folds, windows)
    certificate = results.certificate.with_results(hashlib.sha256(table.encode()).hexdigest(), results.provenance)
    certificate.write(folder / "certificate.json")
    write_report(results, windows, folds, certificate, folder / "report.html", configuration)
