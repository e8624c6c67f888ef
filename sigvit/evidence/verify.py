"""Verify: confirm or refute a results folder from its files alone.

Reads `folds.csv`, `certificate.json` and `results.csv`, and computes every score anew from the predictions in `fits`, where that folder still is (and says
where it isn't); trusts none of them, and shares no code with what wrote them: this file needs nothing but Python and can be copied out alone.

    python verify.py RESULTS_FOLDER

Exit code 0: confirmed. 1: refuted, every finding in a sentence. 2: the files can't be read.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import itertools
import json
import math
import operator
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

FOLD_COLUMNS = (
    *("fold", "protocol", "left_out", "row", "part", "subject", "session", "run", "recording", "trial"),
    *("start_s", "stop_s", "label", "sha256"),
)
RESULT_COLUMNS = (
    *("pipeline", "dataset", "protocol", "subject", "session", "fold", "left_out", "seed", "score", "metric", "accuracy", "balanced_accuracy"),
    *("log_loss", "calibration_error", "n_classes", "chance", "samples", "samples_validation", "samples_test", "alignment"),
)
CERTIFICATE_ENTRIES = (
    *("verdict", "tolerated", "n_rows", "dataset", "folds_sha256", "results_sha256", "signal_sha256", "filter_support_s", "guard_s"),
    *("sizes", "checks", "provenance", "alignment", "pretraining"),
)
PARTS = ("train", "validation", "test")
PAIRS = (("train", "test"), ("validation", "test"), ("train", "validation"))
SCORES = ("score", "accuracy", "balanced_accuracy", "log_loss", "calibration_error", "n_classes")
STATED = ("channels", "n_sessions", "n_times", "sampling_rate", "parameters", "time")  # only a kept fit says anything of these
SMALLEST_PROBABILITY = 1e-7  # a certain mistake costs 16.1 nats
# Near to one of them, and none of them, is a promise that nothing would hold.
PROTOCOLS = (
    *("cross_subject", "cross_session", "within_session", "calibrated_subject", "calibrated_session"),
    *("shipped", "shuffled_trials", "index_pairs"),
)
USAGE = "usage: python verify.py RESULTS_FOLDER, or sigvit verify RESULTS_FOLDER"
NOT_KEPT = "none of the predictions kept in fits is of it, by its training rows, its test rows and their labels, and by its seed"
TOUCH_S = 1e-6  # windows that touch don't overlap; a microsecond is float dust, not a sample
NOT_HERE = (
    "not to be seen from these files: copied stretches of samples, the source's own split, classes that follow recordings, what happened inside a fit; "
    f"{', '.join(STATED)} are what a fit says of itself; n_rows, filter_support_s and guard_s may be more than they were, and page_sha256, the control score, "
    "names, meanings and counts of checks anything; report.html, config.toml and the warnings are not read"
)


class Row(NamedTuple):
    """What folds.csv says of one window."""

    subject: str
    session: str
    run: str
    recording: str
    trial: str
    start_s: float
    stop_s: float
    label: str
    sha256: str


@dataclass
class Fold:
    """One fold of folds.csv: row numbers of each part."""

    number: int
    protocol: str
    left_out: str
    parts: dict[str, list[int]] = field(default_factory=lambda: {part: [] for part in PARTS})

    def __str__(self) -> str:
        return f"fold {self.number} ({self.left_out})"


@dataclass
class Stored:
    """What a results folder holds.

    Attributes
    ----------
    folds : by number. rows : by number. results : every line of results.csv by column. parts : of every fit that is kept.
    findings : what is wrong with folds.csv by itself, and with the hashes of both tables.
    """

    certificate: dict[str, Any]
    folds: dict[int, Fold]
    rows: dict[int, Row]
    results: list[dict[str, str]]
    parts: list[dict[str, Any]]
    findings: list[str]


class Unreadable(Exception):  # noqa: N818  (it says what the file is)
    """A file that is missing or isn't what its name says."""


def verify(folder: str | Path) -> list[str]:
    """What is wrong with a results folder, each in a sentence; an empty list confirms it.

    Parameters
    ----------
    folder : holds folds.csv, certificate.json and results.csv, and perhaps the predictions of every fit, in fits.

    Raises
    ------
    Unreadable : a file is missing, cut off, or has other columns.
    """
    return judge(read(Path(folder)))


def read(folder: Path) -> Stored:
    """All files of a results folder, each read once."""
    certificate = read_certificate(folder / "certificate.json")
    folds, rows, findings = read_folds(folder / "folds.csv")
    results, parts = read_results(folder / "results.csv"), list(kept_parts(folder / "fits"))
    return Stored(certificate, folds, rows, results, parts, check_hashes(folder, certificate) + findings)


def judge(stored: Stored) -> list[str]:
    """What is wrong with what was read, each in a sentence."""
    checks = (check_certificate, check_leaks, check_results, check_predictions, check_alignment, check_pretraining, check_provenance)
    return [*stored.findings, *(finding for check in checks for finding in check(stored))]


def read_certificate(path: Path) -> dict[str, Any]:
    """certificate.json, with every entry that is judged."""
    try:
        certificate = json.loads(_bytes(path).decode("utf-8"))
    except ValueError as error:
        raise Unreadable(f"{path} isn't JSON ({error}).") from error
    missing = [entry for entry in CERTIFICATE_ENTRIES if not isinstance(certificate, dict) or entry not in certificate]
    if missing:
        raise Unreadable(f"{path} lacks {', '.join(missing)}; it isn't the certificate of a results folder.")
    return certificate


def read_lines(path: Path, columns: tuple[str, ...]) -> tuple[list[str], Iterator[list[str]]]:
    """Head and lines of a table that has these columns, and perhaps others."""
    try:
        reader = csv.reader(io.StringIO(_bytes(path).decode("utf-8"), newline=""), strict=True)
        head = next(reader, [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unreadable(f"{path} isn't a table ({error}).") from error
    missing = [column for column in columns if column not in head]
    if missing or len(set(head)) < len(head):
        raise Unreadable(f"{path} lacks the columns {', '.join(missing)}, or has one twice.")
    return head, _whole_lines(path, reader, len(head))


def _whole_lines(path: Path, reader: Any, n_columns: int) -> Iterator[list[str]]:
    try:
        for line in reader:
            if len(line) not in (0, n_columns):
                raise Unreadable(f"{path}, line {reader.line_num}, has {len(line)} columns, its head {n_columns}.")
            if line:
                yield line
    except csv.Error as error:
        raise Unreadable(f"{path} isn't a table ({error}).") from error


def read_results(path: Path) -> list[dict[str, str]]:
    """Every line of results.csv by column."""
    head, lines = read_lines(path, RESULT_COLUMNS)
    return [dict(zip(head, line, strict=True)) for line in lines]


def read_folds(path: Path) -> tuple[dict[int, Fold], dict[int, Row], list[str]]:
    """Folds by number, rows by number, and where one fold or row is described in two ways."""
    folds: dict[str, Fold] = {}
    texts: dict[str, list[str]] = {}
    findings = []
    head, lines = read_lines(path, FOLD_COLUMNS)
    arrange = operator.itemgetter(*(head.index(column) for column in FOLD_COLUMNS))
    for line in lines:
        number, protocol, left_out, row, part, *described = arrange(line)
        if number not in folds:
            folds[number] = Fold(_whole(number, path), protocol, left_out)
        fold = folds[number]
        if part not in PARTS:
            raise Unreadable(f"{path}: row {row} of {fold} is in the part {part!r}; parts are {', '.join(PARTS)}.")
        if (fold.protocol, fold.left_out) != (protocol, left_out):
            findings.append(f"folds.csv describes {fold} in two ways.")
        if texts.setdefault(row, described) != described:
            findings.append(f"folds.csv describes row {row} in two ways, the second in {fold}.")
        fold.parts[part].append(_whole(row, path))
    if not folds:
        raise Unreadable(f"{path} holds no folds.")
    rows = {_whole(row, path): _row(described, path) for row, described in texts.items()}
    return {fold.number: fold for fold in folds.values()}, rows, list(dict.fromkeys(findings))


def _whole(text: str, path: Path) -> int:
    if not (text.isascii() and text.isdecimal() and text == str(int(text))):
        raise Unreadable(f"{path} holds {text!r} where the number of a fold or row should be.")
    return int(text)


def _row(described: list[str], path: Path) -> Row:
    subject, session, run, recording, trial, start_s, stop_s, label, sha256 = described
    try:
        return Row(subject, session, run, recording, trial, float(start_s), float(stop_s), label, sha256)
    except ValueError as error:
        raise Unreadable(f"{path} holds a time that should be a number of seconds ({error}).") from error


def check_hashes(folder: Path, certificate: dict[str, Any]) -> list[str]:
    """Both tables are those that the certificate was written for."""
    findings = []
    for table in ("folds", "results"):
        found, certified = hashlib.sha256(_bytes(folder / f"{table}.csv")).hexdigest(), str(certificate[f"{table}_sha256"])
        if found != certified:
            findings.append(f"{table}.csv was changed after the certificate: its SHA-256 is {found[:12]}…, certified is {certified[:12]}….")
    return findings


def check_certificate(stored: Stored) -> list[str]:
    """What the certificate says of sizes and verdict agrees with the folds and with itself."""
    certificate, folds, rows = stored.certificate, stored.folds, stored.rows
    findings = list(_wrong_sizes(certificate["sizes"], folds))
    if max(rows) >= certificate["n_rows"] or min(rows) < 0:
        findings.append(f"folds.csv names rows {min(rows)} to {max(rows)}, but {certificate['n_rows']} rows were certified.")
    broken = [number for number, row in rows.items() if not (row.stop_s > row.start_s or (math.isnan(row.start_s) and math.isnan(row.stop_s)))]
    if broken:
        findings.append(f"Row {broken[0]} starts at {rows[broken[0]].start_s} s and stops at {rows[broken[0]].stop_s} s; {len(broken)} rows have no interval.")
    found = [check["name"] for check in certificate["checks"] if check["found"] and check["name"] not in certificate["tolerated"]]
    if found:
        findings.append(f"The certificate says that its check {found[0]!r} found something, but not that this was tolerated.")
    findings += _unsigned(str(certificate["signal_sha256"]), certificate["n_rows"], rows)
    for protocol in sorted({fold.protocol for fold in folds.values()} - set(PROTOCOLS)):
        near = difflib.get_close_matches("_".join(protocol.lower().replace("-", "_").split()), PROTOCOLS, n=1, cutoff=0.8)
        if near:
            findings.append(f"The protocol is {protocol!r}, an unknown name that promises nothing about groups; {near[0]!r} would.")
    if certificate["verdict"] != ("tolerated" if certificate["tolerated"] else "proved"):
        findings.append(f"The verdict is {certificate['verdict']!r}, but what was tolerated is {certificate['tolerated']}.")
    return findings


def _wrong_sizes(sizes: list[dict[str, Any]], folds: dict[int, Fold]) -> Iterator[str]:
    stated = {int(size["fold"]): {part: size[part] for part in PARTS} for size in sizes}
    for size in sizes:
        fold = folds.get(int(size["fold"]))
        if fold is not None and size["left_out"] != fold.left_out:
            yield f"Fold {fold.number}: the certificate leaves out {size['left_out']!r}, folds.csv {fold.left_out!r}."
    counted = {number: {part: len(fold.parts[part]) for part in PARTS} for number, fold in folds.items()}
    for number in sorted(stated.keys() | counted.keys()):
        if stated.get(number) != counted.get(number):
            yield f"Fold {number}: the certificate counts {stated.get(number)}, folds.csv {counted.get(number)}."


def _unsigned(signal_sha256: str, n_rows: int, rows: dict[int, Row]) -> Iterator[str]:
    """Where the certificate knows the signals' bytes, folds.csv says of every row which they are."""
    blank = [number for number, row in rows.items() if not row.sha256]
    if signal_sha256 and blank:
        yield f"Row {blank[0]} has no SHA-256 of its signal in folds.csv ({len(blank)} rows), though the certificate compared signals."
    elif signal_sha256 and len(rows) == n_rows and signal_sha256 != hashlib.sha256("\n".join(rows[row].sha256 for row in sorted(rows)).encode()).hexdigest():
        yield "The SHA-256 of the signals in folds.csv aren't those that were certified."


def check_leaks(stored: Stored) -> list[str]:
    """Every leak that these files can show, in every fold, but for the kinds that the certificate says were tolerated."""
    certificate, rows = stored.certificate, stored.rows
    gap_s = 2 * certificate["filter_support_s"] + certificate["guard_s"]
    if not (math.isfinite(gap_s) and certificate["filter_support_s"] >= 0 and certificate["guard_s"] >= 0):
        return [f"The certificate's filter support ({certificate['filter_support_s']} s) and guard ({certificate['guard_s']} s) aren't seconds from 0 upwards."]
    unclocked = {row.recording for row in rows.values() if math.isnan(row.start_s)}
    findings = []
    for fold in stored.folds.values():
        for name, sentence in leaks_of(fold, rows, gap_s, unclocked):
            if name not in certificate["tolerated"]:
                findings.append(f"F{str(fold)[1:]} leaks: {sentence}.")
    return findings


def leaks_of(fold: Fold, rows: dict[int, Row], gap_s: float, unclocked: set[str]) -> Iterator[tuple[str, str]]:
    """(check, sentence) of everything that the fold's parts share."""
    for part in PARTS:
        twice = [row for row, count in Counter(fold.parts[part]).items() if count > 1]
        if twice:
            yield "row", f"{part} names row {twice[0]} more than once"
        if not fold.parts[part] and part != "validation":
            yield "row", f"its {part} part is empty"
    for parts in PAIRS:
        first, second = (fold.parts[part] for part in parts)
        for name, key in _keys(fold, parts, rows):
            yield from _shared(name, parts, first, second, key)
            if name in ("subject", "session", "run"):
                yield from _aliases(name, parts, first, second, key)
        both = set(first) & set(second)
        only_first, only_second = ([row for row in part if row not in both] for part in (first, second))
        yield from _shared("signal", parts, only_first, only_second, lambda row: rows[row].sha256 or f"unknown {row}")
        yield from _too_near(parts, only_first, only_second, rows, gap_s)
    yield from _out_of_order(fold, rows, unclocked)


def _keys(fold: Fold, parts: tuple[str, str], rows: dict[int, Row]) -> Iterator[tuple[str, Callable[[int], Hashable]]]:
    """What two parts may not have in common: always rows and trials, and the group that the protocol leaves out."""
    yield "row", lambda row: row
    yield "trial", lambda row: (rows[row].recording, rows[row].trial)
    depth = {"cross_subject": 1, "cross_session": 2, "within_session": 3}.get(fold.protocol)
    if depth is None or _is_block(fold):
        return

    def group(row: int) -> Hashable:
        return rows[row][:depth]

    rest = fold.parts["train"] + fold.parts["validation"]
    if "test" in parts or _can_spare(rest, group, rows):
        yield Row._fields[depth - 1], group


def _can_spare(rest: list[int], group: Callable[[int], Hashable], rows: dict[int, Row]) -> bool:
    """Whether some group could be left out of training without losing a class; otherwise validation had to share one with train."""
    holders: dict[str, set] = defaultdict(set)
    for row in rest:
        holders[rows[row].label].add(group(row))
    needed = {next(iter(groups)) for groups in holders.values() if len(groups) == 1}
    return bool({group(row) for row in rest} - needed)


def _shared(name: str, parts: tuple[str, str], first: list[int], second: list[int], key: Callable[[int], Hashable]) -> Iterator[tuple[str, str]]:
    known = {key(row): row for row in first}
    found = [row for row in second if key(row) in known]
    if found:
        what = {"row": "rows", "signal": "byte-identical windows"}.get(name, f"{name}s")
        yield name, f"{parts[0]} and {parts[1]} share {what}, such as row {known[key(found[0])]} and row {found[0]} ({len(found)} rows of {parts[1]})"


def _aliases(name: str, parts: tuple[str, str], first: list[int], second: list[int], key: Callable[[int], Any]) -> Iterator[tuple[str, str]]:
    """Names of two parts that differ only in case, spaces, a BIDS prefix, leading zeros or Unicode form: one subject (session, run), written in two ways."""
    plain = {row: tuple(map(_plain, key(row))) for row in (*first, *second)}
    known: dict[tuple, set] = defaultdict(set)
    for row in first:
        known[plain[row]].add(key(row))
    found = [row for row in second if plain[row] in known and key(row) not in known[plain[row]]]
    if found:
        other = next(iter(known[plain[found[0]]]))
        yield "alias", f"{parts[0]} and {parts[1]} hold the {name}s {'/'.join(other)} and {'/'.join(key(found[0]))}, written alike ({len(found)} rows)"


def _plain(name: str) -> str:
    joined = re.sub(r"(?<!\d) | (?!\d)", "", " ".join(unicodedata.normalize("NFKC", name).casefold().split()))
    return re.sub(r"(?<!\d)(?<!\d\.)0+(?=\d)", "", re.sub(r"^(sub|ses|run)-(?=.)", "", joined))


def _too_near(parts: tuple[str, str], first: list[int], second: list[int], rows: dict[int, Row], gap_s: float) -> Iterator[tuple[str, str]]:
    """One sweep over the windows by recording and start: a window leaks if an earlier one of the other part ended less than the gap before it."""
    timed = [(side, row) for side, part in enumerate((first, second)) for row in part if rows[row].stop_s > rows[row].start_s]
    sides = [(rows[row].recording, rows[row].start_s, side, row) for side, row in timed]
    recording, latest = None, [(-math.inf, -1), (-math.inf, -1)]
    found, example = 0, (-1, -1)
    for name, start_s, side, row in sorted(sides):
        if name != recording:
            recording, latest = name, [(-math.inf, -1), (-math.inf, -1)]
        stop_s, other = latest[1 - side]
        if stop_s + gap_s - TOUCH_S > start_s:
            found, example = found + 1, example if found else (other, row)
        latest[side] = max(latest[side], (rows[row].stop_s, row))
    if found:
        a, b = (f"row {row} ({rows[row].start_s:.3f} to {rows[row].stop_s:.3f} s)" for row in example)
        where = f"{a} and {b} of recording {rows[example[0]].recording}"
        yield "interval", f"{parts[0]} and {parts[1]} hold windows less than {gap_s:g} s apart, such as {where} ({found} windows)"


def _is_block(fold: Fold) -> bool:
    return fold.protocol == "within_session" and re.search(r", block \d+ of \d+$", fold.left_out) is not None


def _out_of_order(fold: Fold, rows: dict[int, Row], unclocked: set[str]) -> Iterator[tuple[str, str]]:
    """Nothing is trained or chosen on that lies between a block's tested trials, or, of a calibrated subject or session, behind its first tested trial.

    Time is that of recordings in natural order, and of the clock in each. In a recording without one row order stands for it, and then, in all of the
    recording, subject or session, inside each class.
    """
    depth = {"calibrated_subject": 1, "calibrated_session": 2}.get(fold.protocol)
    if depth is None and not _is_block(fold):
        return

    def unit(row: int) -> Hashable:
        return rows[row][:depth] if depth else rows[row].recording

    def trial(row: int) -> tuple[str, str]:
        return rows[row].recording, rows[row].trial

    every = [row for part in PARTS for row in fold.parts[part]]
    timeless = {unit(row) for row in every if rows[row].recording in unclocked}
    begun: dict[tuple[str, str], tuple] = {}
    for row in every:
        recording, start_s = rows[row].recording, 0.0 if rows[row].recording in unclocked else rows[row].start_s
        natural = [int(part) if number % 2 else part for number, part in enumerate(re.split(r"(\d+)", recording))]
        moment = (natural, recording, start_s, row)
        begun[trial(row)] = min(begun.get(trial(row), moment), moment)

    when = {row: begun[trial(row)] for row in every}
    where = {row: (unit(row), rows[when[row][-1]].label if unit(row) in timeless else "") for row in every}
    tested: dict[tuple, list[tuple]] = defaultdict(list)
    for row in fold.parts["test"]:
        tested[where[row]].append(when[row])
    bounds = {place: (min(moments), max(moments)) for place, moments in tested.items()}
    behind = [row for part in ("train", "validation") for row in fold.parts[part] if where[row] in bounds and bounds[where[row]][0] < when[row]]
    between = [row for row in behind if when[row] < bounds[where[row]][1]]
    if depth and behind:
        yield "calibration", f"row {behind[0]} of the tested {'subject' if depth == 1 else 'session'} is trained on, but comes after its first tested trial"
    if not depth and between:
        yield "block", f"row {between[0]} is trained or chosen on, but lies between test trials of recording {rows[between[0]].recording}"


def check_results(stored: Stored) -> list[str]:
    """One row per pipeline, fold and seed, each with the fold's own words and numbers that can be true."""
    folds, results = stored.folds, stored.results
    if not results:
        return ["results.csv holds no rows."]
    try:
        keys = [(line["pipeline"], int(line["fold"]), int(line["seed"])) for line in results]
    except ValueError as error:
        raise Unreadable(f"results.csv holds a fold or seed that isn't a whole number ({error}).") from error
    findings = [f"results.csv has {count} rows of {_fit(key)}." for key, count in Counter(keys).items() if count > 1]
    pipelines, seeds, present = sorted({name for name, _, _ in keys}), sorted({seed for _, _, seed in keys}), set(keys)
    lacking = [key for key in ((name, number, seed) for name in pipelines for number in folds for seed in seeds) if key not in present]
    findings += [f"results.csv lacks {_fit(lacking[0])} and {len(lacking) - 1} more fits."] if lacking else []
    for key, line in zip(keys, results, strict=True):
        if key[1] not in folds:
            findings.append(f"results.csv has a row of {_fit(key)}, but folds.csv has no such fold.")
        else:
            findings += [f"results.csv, {_fit(key)}: {what}." for what in _wrong(line, folds[key[1]], stored.rows, stored.certificate["dataset"])]
    return findings


def _wrong(line: dict[str, str], fold: Fold, rows: dict[int, Row], dataset: str) -> Iterator[str]:
    tested = [rows[row] for row in fold.parts["test"]]
    joined = {column: "+".join(sorted({getattr(row, column).replace("+", "++") for row in tested})) for column in ("subject", "session")}
    expected = joined | {"dataset": dataset, "protocol": fold.protocol, "left_out": fold.left_out, "samples_test": str(len(tested))}
    n_train, n_validation = len(fold.parts["train"]), len(fold.parts["validation"])
    if (line["samples"], line["samples_validation"]) not in {(str(n_train), str(n_validation)), (str(n_train + n_validation), "0")}:
        yield f"{line['samples']} training and {line['samples_validation']} validation rows, but the fold has {n_train} and {n_validation}"
    for column, value in expected.items():
        if line[column] != value:
            yield f"{column} is {line[column]!r}, but it should be {value!r}"
    yield from _wrong_scores(line, len({row.label for row in tested}))


def _wrong_scores(line: dict[str, str], n_tested_classes: int) -> Iterator[str]:
    numbers = {column: _number(line[column]) for column in ("score", "accuracy", "balanced_accuracy", "n_classes")}
    for column in ("accuracy", "balanced_accuracy"):
        if not 0 <= numbers[column] <= 1:
            yield f"{column} is {line[column]!r}, not between 0 and 1"
    if math.isnan(numbers["score"]):
        if n_tested_classes > 1:
            yield f"it has no score, though {n_tested_classes} classes were tested"
    elif not 0 <= numbers["score"] <= 1:
        yield f"the score is {line['score']!r}, not between 0 and 1"
    elif line["metric"] in line and numbers["score"] != _number(line[line["metric"]]):
        yield f"the score is {line['score']}, but its metric, {line['metric']}, is {line[line['metric']]}"
    metric = "roc_auc" if numbers["n_classes"] == 2 else "balanced_accuracy"
    guessed = n_tested_classes if n_tested_classes > 1 else numbers["n_classes"]
    if not _same(line["chance"], 1 / max(1, guessed)):
        yield f"chance is {line['chance']!r}, but with n_classes {line['n_classes']!r}, {n_tested_classes} of them tested, it should be one in {guessed:g}"
    if line["metric"] != metric or not numbers["n_classes"] >= max(2, n_tested_classes):
        tested = f"{n_tested_classes} of {line['n_classes']} classes were tested"
        yield f"{tested} and the metric is {line['metric']!r}; two classes have roc_auc, more balanced_accuracy"


def kept_parts(fits: Path) -> Iterator[dict[str, Any]]:
    """Every part of every fit that is kept."""
    for path in sorted(fits.glob("*.json")):
        try:
            yield from json.loads(_bytes(path).decode("utf-8"))["parts"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{path} isn't a kept fit ({error!r}).") from error


def check_predictions(stored: Stored) -> list[str]:
    """Every score of the table is that of predictions that were kept, and what else it says is what their fit says. Other fits may lie there too."""
    folds, rows, results = stored.folds, stored.rows, stored.results
    kept: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for part in stored.parts:
        kept[part["row"]["pipeline"], part["row"]["fold"]].append(part)
    seeds: dict[tuple[str, int], list[int]] = defaultdict(list)
    for line in results:
        seeds[line["pipeline"], int(line["fold"])].append(int(line["seed"]))
    findings, computed = [], dict[int, dict[str, float]]()
    for line in results if kept else ():
        key = (line["pipeline"], int(line["fold"]), int(line["seed"]))
        of_fold = [part for part in kept[key[:2]] if key[1] in folds and _is_of(part, folds[key[1]], rows)]
        # A seed may have been the first before others were put in front of it: then it has a fit of its own, and the table says what the new first seed's does.
        parts = _for_all_seeds(of_fold, seeds[key[:2]]) + [part for part in of_fold if part["row"]["seed"] == key[2]]
        scores = [computed.get(id(part)) or computed.setdefault(id(part), _scores(part, rows)) for part in parts]
        agreeing = [part for part, found in zip(parts, scores, strict=True) if _agree(line, found)]
        findings += [f"results.csv, {_fit(key)}: {what}." for what in _misstated(line, agreeing)]
        if not agreeing:
            what = f"its predictions, kept in fits, give {_told(scores[-1])}" if scores else NOT_KEPT
            findings.append(f"results.csv, {_fit(key)}: it says {_told({name: _number(line[name]) for name in SCORES})}, but {what}.")
    return findings


def _for_all_seeds(of_fold: list[dict[str, Any]], seeds: list[int]) -> list[dict[str, Any]]:
    """Fits that stand for every seed: without a seed to set, a pipeline is fitted once, under the first, and another seed's fit predicts the same."""
    first = [part for part in of_fold if part["row"]["seed"] == seeds[0]]
    predicted = [part["predictions"] for part in first]
    return first if all(part["predictions"] in predicted for part in of_fold if part["row"]["seed"] in seeds) else []


def _misstated(line: dict[str, str], parts: list[dict[str, Any]]) -> Iterator[str]:
    for name in STATED:
        said = [part["row"][name] for part in parts if name in part["row"]]
        if name in line and said and not any(_same(line[name], value) for value in said):
            yield f"{name} is {line[name]!r}, but its fit, kept in fits, says {said[-1]!r}"
    improbable = [_improbable(part) for part in parts]
    if improbable and all(improbable):
        yield improbable[-1]


def _improbable(part: dict[str, Any]) -> str:
    """What is wrong with predictions that aren't probabilities; a float32 softmax sums to 1 within 1e-3."""
    for row, told in zip(part["test_rows"], part["predictions"], strict=True):
        if not (min(told) >= -1e-6 and abs(sum(told) - 1) <= 1e-3):
            return f"of row {row} its predictions, kept in fits, are {told}; probabilities are at least 0 and sum to 1"
    return ""


def fitted_once(stored: Stored) -> list[str]:
    """Pipelines of which not every seed of the table has a kept fit of its own."""
    kept = {(part["row"]["pipeline"], part["row"]["seed"]) for part in stored.parts}
    return sorted({line["pipeline"] for line in stored.results if (line["pipeline"], int(line["seed"])) not in kept})


def _is_of(part: dict[str, Any], fold: Fold, rows: dict[int, Row]) -> bool:
    """Whether it was fitted on the fold's own training rows (and validation rows) and asked about its test rows under the labels of folds.csv."""
    fitted_on = part.get("provenance", {}).get("fit_rows_sha256")
    if sorted(part["test_rows"]) != sorted(fold.parts["test"]) or fitted_on not in _training_sha256(fold):
        return False
    return [_label(name) for name in part["labels"]] == [rows[row].label for row in part["test_rows"]]


def _training_sha256(fold: Fold) -> tuple[str, str]:
    """Of the training rows, and of these with the validation rows."""
    return _rows_sha256(fold.parts["train"]), _rows_sha256(fold.parts["train"] + fold.parts["validation"])


def _scores(part: dict[str, Any], rows: dict[int, Row]) -> dict[str, float]:
    """The scores of one fit's predictions against the labels of folds.csv."""
    classes = {_label(name): number for number, name in enumerate(part["classes"])}
    numbers = [classes.get(rows[row].label, -1) for row in part["test_rows"]]
    hits = [probabilities.index(max(probabilities)) == number for number, probabilities in zip(numbers, part["predictions"], strict=True)]
    present = sorted(set(numbers))
    recalls = [sum(hit for hit, own in zip(hits, numbers, strict=True) if own == number) / numbers.count(number) for number in present]
    balanced = sum(recalls) / len(recalls)
    score = math.nan if len(present) < 2 else balanced if len(classes) > 2 else _area(numbers, [second for _, second in part["predictions"]])
    losses = [-math.log(max(probabilities[number], SMALLEST_PROBABILITY)) for number, probabilities in zip(numbers, part["predictions"], strict=True)]
    error = _calibration_error(hits, [max(probabilities) for probabilities in part["predictions"]])
    return dict(zip(SCORES, (score, sum(hits) / len(hits), balanced, sum(losses) / len(losses), error, len(classes)), strict=True))


def _calibration_error(hits: list[bool], confidence: list[float]) -> float:
    """How far confidence is from accuracy, over ten bins of confidence that hold their upper edge, weighted by their windows."""
    bins: dict[int, list[float]] = defaultdict(list)
    for hit, sure in zip(hits, confidence, strict=True):
        # Rounded, so that 0.1 + 0.2 falls into the bin whose upper edge is 0.3.
        bins[min(max(math.ceil(round(sure * 10, 9)), 1), 10)].append(hit - sure)
    return sum(abs(sum(differences)) for differences in bins.values()) / len(hits)


def _label(name: Any) -> str:
    """As folds.csv has it: whole floats are written as integers."""
    return str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)


def _area(numbers: list[int], second: list[float]) -> float:
    """Area under the ROC curve: the share of pairs of windows of the two classes that are in the right order; a tie counts half."""
    below = {False: 0, True: 0}
    area = 0.0
    for _, tied in itertools.groupby(sorted(zip(second, numbers, strict=True)), key=operator.itemgetter(0)):
        counts = Counter(number == 1 for _, number in tied)
        area += counts[True] * (below[False] + counts[False] / 2)
        below = {side: below[side] + counts[side] for side in below}
    return area / (below[True] * below[False])


def _agree(line: dict[str, str], found: dict[str, float]) -> bool:
    return all(_same(line[name], found[name]) for name in SCORES)


def _same(stated: str, value: float | None) -> bool:
    """Up to what a table loses that was read and written again; nothing is the same as NaN."""
    number, value = _number(stated), math.nan if value is None else value
    return abs(number - value) <= 1e-6 * max(1, abs(value)) or (math.isnan(number) and math.isnan(value))


def _told(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())


def check_alignment(stored: Stored) -> list[str]:
    """The table's modes of alignment are the certificate's, and one that reads test windows before it judges them is tolerated by name."""
    stated = {str(entry["pipeline"]): entry for entry in stored.certificate["alignment"]}
    modes: dict[str, set[str]] = defaultdict(set)
    for line in stored.results:
        # A search may have chosen another one in every fold.
        modes[line["pipeline"]] |= set(line["alignment"].split("+")) - {"none"}
    found = {name: "+".join(sorted(several)) for name, several in modes.items() if several}
    findings = []
    for name, mode in found.items():
        # A part of a pipeline is called "pipeline: part".
        entry = stated.get(name) or next((entry for whole, entry in stated.items() if name.startswith(f"{whole}: ")), {"mode": "none"})
        if entry["mode"] != mode:
            findings.append(f"Pipeline {name!r} was aligned in the mode {mode!r} by results.csv, but {entry['mode']!r} by the certificate.")
    findings += [
        f"Pipeline {name!r} was aligned ({entry['mode']}) by the certificate, but not by results.csv."
        for name, entry in stated.items()
        if entry["mode"] != "none" and not any(line == name or line.startswith(f"{name}: ") for line in found)
    ]
    reads = sorted({name for name, mode in found.items() if "transductive" in mode.split("+")} | {name for name in stated if stated[name]["uses_test_windows"]})
    if reads and "alignment" not in stored.certificate["tolerated"]:
        findings.append(f"Pipeline {reads[0]!r} read test windows before it judged them, but the certificate doesn't tolerate 'alignment' by name.")
    return findings


def check_pretraining(stored: Stored) -> list[str]:
    """No row that a pre-trained model saw stands in the test part of a fold that starts from it."""
    folds, findings = stored.folds, []
    for entry in stored.certificate["pretraining"] if "pretraining" not in stored.certificate["tolerated"] else ():
        rows = {int(row) for row in entry["rows"]}
        for number in entry["folds"]:
            shared = sorted(rows & set(folds[int(number)].parts["test"])) if int(number) in folds else []
            if shared:
                some = ", ".join(map(str, shared[:5])) + (" …" if len(shared) > 5 else "")
                findings.append(f"Test rows {some} of {folds[int(number)]} were in the pre-training of {entry['folder']}.")
    return findings


def check_provenance(stored: Stored) -> list[str]:
    """Every fit saw its own fold's training rows, chose on that fold's validation rows or on nothing, and read the test rows once."""
    folds, provenance = stored.folds, stored.certificate["provenance"]
    entries = {(str(entry["pipeline"]), int(entry["fold"]), int(entry["seed"])): entry for entry in provenance}
    lines = {(line["pipeline"], int(line["fold"]), int(line["seed"])): line for line in stored.results}
    findings = [f"The certificate says nothing of how {_fit(key)} was fitted." for key in lines if key not in entries]
    findings += [f"The certificate speaks of {_fit(key)}, which results.csv doesn't have." for key in entries if key not in lines]
    if len(entries) < len(provenance):
        findings.append("The certificate's provenance names a fit twice.")
    seen = {number: _training_sha256(fold) for number, fold in folds.items()}
    for key, entry in entries.items():
        if key in lines and key[1] in folds:
            findings += [f"{_fit(key)}: {what}." for what in _wrong_fit(entry, lines[key], folds[key[1]], *seen[key[1]])]
    return findings


def _wrong_fit(entry: dict[str, Any], line: dict[str, str], fold: Fold, train: str, train_and_validation: str) -> Iterator[str]:
    if entry["fit_rows_sha256"] not in (train, train_and_validation):
        yield f"it was fitted on {entry['n_fit_rows']} rows that aren't the training part of {fold}"
        return
    only_train = entry["fit_rows_sha256"] == train
    n_rows = len(fold.parts["train"]) + (0 if only_train else len(fold.parts["validation"]))
    if entry["n_fit_rows"] != n_rows or line["samples"] != str(n_rows):
        yield f"the certificate counts {entry['n_fit_rows']} fitted rows and results.csv {line['samples']}, but there are {n_rows}"
    if entry["selection"] not in ("none", "validation"):
        yield f"its stopping point was chosen on {entry['selection']!r}; that must be 'validation' or 'none'"
    if entry["selection"] == "validation" and not only_train:
        yield "its stopping point was chosen on validation rows that it was also fitted on"
    if entry["test_reads"] != 1:
        yield f"the test rows were read {entry['test_reads']} times, not once"


def _fit(key: tuple[str, int, int]) -> str:
    return f"pipeline {key[0]!r}, fold {key[1]}, seed {key[2]}"


def _rows_sha256(rows: list[int]) -> str:
    return hashlib.sha256(",".join(map(str, sorted(rows))).encode()).hexdigest()


def _number(text: str) -> float:
    """NaN where the table has nothing, or something that isn't a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path} can't be read ({error.strerror}).") from error


def main(arguments: list[str] | None = None) -> int:
    """Judge the folder named by the one argument and print why; 0 confirmed, 1 refuted, 2 unreadable."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments in (["-h"], ["--help"]):
        print(f"{USAGE}\nJudges a results folder from its files alone: 0 confirmed, 1 refuted with every finding in a sentence, 2 unreadable.")
        return 0
    if len(arguments) != 1:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        stored = read(Path(arguments[0]))
        findings = judge(stored)
        agreed = "" if findings else _agreed(stored)
    except (Unreadable, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        print(f"UNREADABLE: {error if isinstance(error, Unreadable) else f'the files lack what a results folder has ({error!r}).'}")
        return 2
    if findings:
        print("\n".join([f"REFUTED: {arguments[0]}, {len(findings)} findings.", *(f"- {finding}" for finding in findings[:40])]))
        if len(findings) > 40:
            print(f"- and {len(findings) - 40} more.")
        return 1
    print(f"CONFIRMED: {arguments[0]}, {agreed}.\n({NOT_HERE})")
    return 0


def _agreed(stored: Stored) -> str:
    """What agrees where there are no findings, in words."""
    certificate, once = stored.certificate, fitted_once(stored)
    tolerated = f", with {', '.join(certificate['tolerated'])} tolerated by name" if certificate["tolerated"] else ""
    n_fits, n_folds = len(certificate["provenance"]), len(certificate["sizes"])
    scores = "no score was computed anew, since no predictions are kept in fits"
    if stored.parts:
        seedless = f" (of {', '.join(once)} one fit stands for all seeds, as of a pipeline without a seed)" if once else ""
        scores = f"every score was computed anew from the predictions in fits{seedless}"
    agree = f"{n_folds} folds, {n_fits} fits, hashes, leaks, table, provenance agree; {scores}"
    return f"verdict {certificate['verdict']!r}{tolerated}: {agree}"


if __name__ == "__main__":
    sys.exit(main())
