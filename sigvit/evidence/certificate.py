"""Certificate: the proof, stored with every score, that no fold's parts share what they may not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sigvit.data.windows import METADATA_COLUMNS, Windows
from sigvit.evidence.changed_copies import copy_warnings, find_changed_copies, join_copies
from sigvit.evidence.control_score import control_score, control_warnings
from sigvit.evidence.copied_signals import find_copies
from sigvit.evidence.fold import Fold
from sigvit.evidence.folds_csv import folds_sha256
from sigvit.evidence.groups import Groups, read_groups
from sigvit.evidence.index_pairs import as_folds
from sigvit.evidence.intervals import required_gap_s
from sigvit.evidence.judged_set import JudgedSet, read_set
from sigvit.evidence.leak import Leak, leak_of
from sigvit.evidence.leak_checks import CHECKS, Finding, Judged, check_fold
from sigvit.evidence.order_warnings import order_warnings
from sigvit.evidence.pretraining import Pretrained, by_fold, check_pretraining, read_pretraining
from sigvit.evidence.set_warnings import rejection_warnings, set_warnings
from sigvit.whole_file import write_atomically

__all__ = ["Aligned", "Certificate", "Check", "Leak", "certify", "rows_sha256"]

# What `tolerated` names where a pipeline read test windows before it judged them.
ALIGNMENT = "alignment"


@dataclasses.dataclass(frozen=True)
class Check:
    """One kind of comparison over all folds.

    Attributes
    ----------
    name, meaning : which check, and what it says where it finds nothing.
    compared : pairs of rows looked at ("copy": stretches of samples; "shipped": rows), summed over folds and pairs of parts; 0: not possible or not asked.
    found : rows that share something, summed likewise; above 0 only where it was tolerated.
    """

    name: str
    meaning: str
    compared: int
    found: int


@dataclasses.dataclass(frozen=True)
class Aligned:
    """How a pipeline's steps align people or sessions: the mode, and whether all test windows are read before the first is judged."""

    pipeline: str
    mode: str
    uses_test_windows: bool

    @property
    def warning(self) -> str:
        """What a reader of the score must know; empty where there is nothing."""
        if self.uses_test_windows:
            return (
                f"{self.pipeline!r} was aligned by the test windows themselves ({self.mode}): it read all of them, unlabelled, before it judged the first. "
                "Its score is that of someone who has the whole test part at once."
            )
        if "online" in self.mode.split("+"):
            return f"{self.pipeline!r} was aligned online: each test window by the unlabelled ones of its session before it, in row order."
        return ""


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What was compared, and that nothing was shared that wasn't tolerated by name.

    Attributes
    ----------
    verdict : "proved", or "tolerated" where an overlap was asked for by name and found, or a pipeline was aligned by the windows it is judged on.
    tolerated : the checks that found something and were tolerated, and "alignment".
    checks : every check with its counts. warnings : sentences about what no check forbids.
    dataset, n_rows, page_sha256, signal_sha256 : the judged set: its name, its windows, the hash of its page and that of all rows' hashes ("" where unknown).
    folds_sha256 : of folds.csv as `folds.write_csv` writes it. sizes : per fold its number, left_out and the rows of each part.
    filter_support_s, guard_s : seconds by which every window was widened to each side, and that were asked for beyond.
    control : score of the signal before the cue in the same folds, or None where there is none.
    results_sha256, provenance : of results.csv, and what each fit saw; set by `with_results`.
    alignment : pipelines whose steps align people or sessions, each with its mode; set by `with_alignment`.
    pretraining : each pre-trained model that was checked: its folder, objective, folds, how many windows of which sets it saw, the rows of this set among
        them, and the SHA-256 of its record.
    """

    verdict: str
    tolerated: tuple[str, ...]
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    dataset: str
    n_rows: int
    page_sha256: str
    signal_sha256: str
    folds_sha256: str
    sizes: tuple[dict, ...]
    filter_support_s: float
    guard_s: float
    control: dict | None = None
    results_sha256: str = ""
    provenance: tuple[dict, ...] = ()
    alignment: tuple[Aligned, ...] = ()
    pretraining: tuple[dict, ...] = ()

    @property
    def reason(self) -> str:
        """What was tolerated, in words; empty where nothing was."""
        reasons = ["the parts overlap"] if set(self.tolerated) - {ALIGNMENT} else []
        return " and ".join([*reasons, *(["test windows were read, unlabelled, before they were judged"] if ALIGNMENT in self.tolerated else [])])

    def require_match(self, windows: Windows | pd.DataFrame, folds: Iterable[Fold]) -> None:
        """ValueError unless this certificate was made of these windows and folds."""
        given = read_set(windows)
        found = folds_sha256(as_folds(folds, len(windows), index=given.metadata.index), given.metadata, given.hashes)
        if found != self.folds_sha256:
            raise ValueError(
                f"The certificate of {self.dataset!r} ({self.n_rows} rows, {len(self.sizes)} folds) was made of other windows or folds than these "
                f"({len(windows)} rows): the SHA-256 of their folds.csv is {found[:12]}…, not {self.folds_sha256[:12]}…. Certify these."
            )

    def require_pretrained(self, folders: Iterable[str | Path]) -> None:
        """ValueError unless what each of these models has seen was compared with every fold's test part."""
        for folder in folders:
            sha256, folds = read_pretraining(folder).sha256, {size["fold"] for size in self.sizes}
            checked = {number for entry in self.pretraining if entry["sha256"] == sha256 for number in entry["folds"]}
            if folds - checked:
                raise ValueError(
                    f"The certificate of {self.dataset!r} says nothing of the pre-training of {folder} in the folds {sorted(folds - checked)[:5]}; "
                    "certify(windows, folds, pretrained=…) compares it with the test parts."
                )

    def with_results(self, results_sha256: str, provenance: Iterable[dict]) -> Certificate:
        """A copy that also carries the hash of results.csv and, per fit, which rows it saw, what chose its stopping point and how often test was read."""
        return dataclasses.replace(self, results_sha256=results_sha256, provenance=tuple(dict(entry) for entry in provenance))

    def with_alignment(self, aligned: Iterable[Aligned]) -> Certificate:
        """A copy that says which pipelines were aligned, and how; "tolerated" where one read test windows before it judged them."""
        alignment = tuple(aligned)
        tolerated = tuple(name for name in self.tolerated if name != ALIGNMENT)
        tolerated += (ALIGNMENT,) if any(each.uses_test_windows for each in alignment) else ()
        warnings = (*self.warnings, *(sentence for each in alignment if (sentence := each.warning) and sentence not in self.warnings))
        return dataclasses.replace(self, alignment=alignment, tolerated=tolerated, warnings=warnings, verdict="tolerated" if tolerated else "proved")

    def with_warnings(self, sentences: Iterable[str]) -> Certificate:
        """A copy that warns of these as well."""
        return dataclasses.replace(self, warnings=tuple(dict.fromkeys((*self.warnings, *sentences))))

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))

    def write(self, path: str | Path) -> None:
        """Write certificate.json, beside and renamed."""
        write_atomically(Path(path), json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n")


def certify(
    windows: Windows | pd.DataFrame,
    folds: Iterable[Fold | tuple],
    *,
    tolerate: Sequence[str] = (),
    guard_s: float = 0.0,
    filter_support_s: float | None = None,
    protocol: str | None = None,
    pretrained: Pretrained = None,
) -> Certificate:
    """Prove, fold by fold, that train, validation and test share nothing they may not.

    Compared are rows, trials, sample intervals of one recording (every window widened to both sides by the filters' support, and the guard between),
    the groups that the protocol keeps apart, bytes of windows, and stretches of samples that were copied.

    Parameters
    ----------
    windows : the divided set, or a bare metadata table (no signals are compared then; columns it lacks are named in a warning).
    folds : a list of `Fold`, or of (train, test) row numbers or masks from any scikit-learn or MOABB splitter; boolean columns are read by their index.
    tolerate : names of checks whose findings are accepted, to compare with a published protocol that overlaps; the verdict is then "tolerated".
    guard_s : seconds that must lie between two parts in one recording beyond the filters' support.
    filter_support_s : how far to each side filters smear a sample; left out, `windows.filter_support_s`, and 0 for bare metadata.
        Less than the windows say of themselves is a warning in the certificate.
    protocol : what index pairs promise: "cross_subject", "cross_session", "within_session"; left out, nothing about groups.
    pretrained : folder or folders of models that the folds' trainings start from, or fold number → folder or folders; what these saw before
        (`pretraining.json`) is compared with the test parts as if it were training.

    Raises
    ------
    FileNotFoundError : a pre-trained model's folder doesn't say what it saw.
    Leak : something is shared; its message names fold, rows, recording and seconds. ValueError : folds or metadata that can't be judged, an unknown check.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence import folds
    >>> windows = synthetic_windows()
    >>> certify(windows, folds.cross_subject(windows.metadata)).verdict
    'proved'
    >>> from sklearn.model_selection import GroupKFold
    >>> pairs = GroupKFold(3).split(windows.metadata, groups=windows.metadata.subject)
    >>> certify(windows.metadata, pairs, protocol="cross_subject").verdict
    'proved'
    """
    unknown = [name for name in tolerate if name not in CHECKS] if not isinstance(tolerate, str) else [tolerate]
    if unknown:
        raise ValueError(f"There is no check {unknown[0]!r} to tolerate; tolerate is a list of names out of {', '.join(CHECKS)}.")
    given = read_set(windows)
    groups = read_groups(given.metadata, may_lack=tuple(column for column in METADATA_COLUMNS if column != "subject"))
    divided = as_folds(folds, len(groups), protocol, given.metadata.index)
    support_s = given.filter_support_s if filter_support_s is None else filter_support_s
    judged = _judged(given, groups, required_gap_s(support_s, guard_s))
    findings = [finding for fold in divided for finding in check_fold(fold, judged)]
    seen_before = by_fold(pretrained, divided)
    for record, of in seen_before:
        findings += check_pretraining(record, of, given, groups, guard_s, support_s)
    refused = [finding for finding in findings if finding.leaks and finding.check not in tolerate]
    if refused:
        raise leak_of(refused, judged)
    tolerated = tuple(name for name in CHECKS if any(finding.leaks and finding.check == name for finding in findings))
    control = None if given.control_values is None else control_score(given.control_values, groups, divided)
    return Certificate(
        verdict="tolerated" if tolerated else "proved",
        tolerated=tolerated,
        checks=_checks(findings),
        warnings=(
            *set_warnings(groups, divided, judged.signal),
            *_support_warnings(support_s, given.filter_support_s),
            *rejection_warnings(given.page),
            *order_warnings(groups, divided),
            *control_warnings(control),
            *copy_warnings(judged.copies),
            *_split_warnings(divided, judged.shipped),
        ),
        dataset=given.name,
        n_rows=len(groups),
        page_sha256=_sha256(json.dumps(given.page, sort_keys=True, default=str)),
        signal_sha256="" if given.hashes is None else _sha256("\n".join(given.hashes)),
        folds_sha256=folds_sha256(divided, given.metadata, given.hashes),
        sizes=tuple(_sizes(fold) for fold in divided),
        filter_support_s=float(support_s),
        guard_s=float(guard_s),
        control=control,
        pretraining=tuple(record.describe([fold.number for fold in of], given.hashes) for record, of in seen_before),
    )


def rows_sha256(rows: np.ndarray) -> str:
    """SHA-256 of sorted row numbers as decimal text between commas, so that anyone can recompute it from folds.csv.

    >>> rows_sha256(np.array([2, 0, 1])) == hashlib.sha256(b"0,1,2").hexdigest()
    True
    """
    return _sha256(",".join(map(str, np.sort(rows).tolist())))


def _support_warnings(filter_support_s: float, own_support_s: float) -> list[str]:
    if filter_support_s >= own_support_s:
        return []
    given, own = f"a filter support of {filter_support_s:g} s was given", f"the windows say {own_support_s:g} s of themselves"
    return [f"For this certificate {given}, but {own}: parts may share what filters smeared from one into the other."]


def _split_warnings(folds: list[Fold], shipped: np.ndarray | None) -> list[str]:
    if shipped is not None or not any(fold.protocol == "shipped" for fold in folds):
        return []
    return ["The folds are called the source's split, but the metadata lacks 'shipped': on which side the source puts a row was not compared."]


def _judged(given: JudgedSet, groups: Groups, gap_s: float) -> Judged:
    shipped = np.array([str(value) for value in given.metadata["shipped"].tolist()]) if "shipped" in given.metadata else None
    if given.values is None:
        return Judged(groups, gap_s, shipped=shipped)
    copies = join_copies(find_copies(given.values, groups), find_changed_copies(given.values, groups))
    return Judged(groups, gap_s, pd.factorize(np.array(given.hashes, dtype=object))[0], copies, shipped)


def _checks(findings: list[Finding]) -> tuple[Check, ...]:
    """Counts of every check over all folds; those that no fold called for stand with 0."""
    counts = {name: [0, 0] for name in CHECKS}
    for finding in findings:
        counts[finding.check][0] += finding.compared
        counts[finding.check][1] += len(finding.rows) if finding.leaks else 0
    return tuple(Check(name, meaning, *counts[name]) for name, meaning in CHECKS.items())


def _sizes(fold: Fold) -> dict[str, Any]:
    return {"fold": fold.number, "left_out": fold.left_out, "train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
