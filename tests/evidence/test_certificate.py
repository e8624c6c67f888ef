"""Certificate: every planted leak is named by row, honest folds are proved, and what was proved is written down."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, StratifiedKFold

from sigvit.data.recordings import windows_from_raw
from sigvit.data.synthetic import synthetic_raw, synthetic_windows
from sigvit.data.windows import Windows
from sigvit.evidence import folds as splitters
from sigvit.evidence.certificate import Aligned, Certificate, Leak, certify, rows_sha256
from sigvit.evidence.folds import Fold, cross_session, cross_subject, shipped, shuffled_trials, within_session
from sigvit.evidence.leak_checks import CHECKS


@pytest.fixture
def windows() -> Windows:
    """3 subjects × 2 sessions × 2 runs × 11 trials; 67 samples at 64 Hz, a second apart."""
    return synthetic_windows(n_subjects=3, n_sessions=2, n_runs=2, n_trials=11)


def found(certificate: Certificate) -> dict[str, int]:
    return {check.name: check.found for check in certificate.checks}


def compared(certificate: Certificate) -> dict[str, int]:
    return {check.name: check.compared for check in certificate.checks}


def move(fold: Fold, row: int) -> Fold:
    """The fold with one test row moved into train: what a shuffled trial looks like."""
    return dataclasses.replace(fold, train=np.union1d(fold.train, [row]), test=np.setdiff1d(fold.test, [row]))


@pytest.mark.parametrize("splitter", [cross_subject, cross_session, within_session])
def test_honest_folds_are_proved_and_everything_was_compared(windows: Windows, splitter) -> None:
    certificate = certify(windows, splitter(windows.metadata))
    assert certificate.verdict == "proved"
    assert certificate.tolerated == ()
    assert set(found(certificate).values()) == {0}
    claimed = {cross_subject: "subject", cross_session: "session", within_session: "run"}[splitter]
    for name in ("row", "trial", "interval", "signal", "copy", claimed):
        assert compared(certificate)[name] > 0


def test_only_rows_with_a_clock_are_compared_by_it(windows: Windows) -> None:
    fold = cross_subject(windows.metadata, validation=0)[0]
    windows.metadata.loc[[*fold.train[:3], *fold.test[:5]], ["start_s", "stop_s"]] = np.nan
    assert compared(certify(windows.metadata, [fold]))["interval"] == (len(fold.train) - 3) * (len(fold.test) - 5)


def test_counts_are_the_pairs_of_rows(windows: Windows) -> None:
    fold = cross_subject(windows.metadata)[0]
    n_train, n_validation, n_test = len(fold.train), len(fold.validation), len(fold.test)
    n_pairs = n_train * n_test + n_validation * n_test + n_train * n_validation
    certificate = certify(windows, [fold])
    assert compared(certificate)["row"] == compared(certificate)["interval"] == n_pairs
    assert certificate.sizes == ({"fold": 0, "left_out": "subject 01", "train": n_train, "validation": n_validation, "test": n_test},)


@pytest.mark.parametrize(
    ("splitter", "check"),
    [(cross_subject, "subject"), (cross_session, "session"), (within_session, "run"), (lambda table: within_session(table, k=3, by="block"), "block")],
)
def test_a_shuffled_trial_is_caught_and_its_row_named(windows: Windows, splitter, check: str) -> None:
    folds = splitter(windows.metadata)
    row = int(folds[0].test[len(folds[0].test) // 2])
    folds[0] = move(folds[0], row)
    with pytest.raises(Leak, match="Fold 0") as caught:
        certify(windows, folds)
    assert caught.value.checks == [check]
    assert row in caught.value.rows
    assert f"row {row} " in str(caught.value)
    assert any(row in pair for pair in caught.value.pairs)
    assert all(one != partner for one, partner in caught.value.pairs)


def test_a_shared_row_is_caught(windows: Windows) -> None:
    fold = cross_subject(windows.metadata)[0]
    with pytest.raises(Leak) as caught:
        certify(windows, [dataclasses.replace(fold, validation=np.union1d(fold.validation, fold.test[:1]))])
    assert caught.value.checks[0] == "row"
    assert (int(fold.test[0]), int(fold.test[0])) in caught.value.pairs
    assert str(caught.value).splitlines()[0].count(f"row {fold.test[0]} (subject 01, recording sub-01_ses-1_run-1, trial 0, 0.000 to 1.047 s)") == 1


@pytest.mark.parametrize(("n_folds", "n_moved"), [(1, 1), (2, 2), (3, 5)])
def test_a_leak_shows_three_rows_of_every_fold_and_tells_of_the_first(windows: Windows, n_folds: int, n_moved: int) -> None:
    folds = cross_subject(windows.metadata)[:n_folds]
    moved = [fold.test[7 : 7 + n_moved].tolist() for fold in folds]
    for rows in range(n_moved):
        folds = [move(fold, own[rows]) for fold, own in zip(folds, moved, strict=True)]
    with pytest.raises(Leak, match=r"Fold 0 \(subject 01 left out\): train and test share subjects \(44 rows\)") as caught:
        certify(windows.metadata, folds)
    assert [row for row, _ in caught.value.pairs] == [row for own in moved for row in own[:3]]
    assert f"row {moved[0][0]} (subject 01, recording sub-01_ses-1_run-1, trial 7, 14.328 to 15.375 s) and row 0 (" in str(caught.value)
    assert ("more places" in str(caught.value)) == (n_folds > 1)
    assert n_folds == 1 or f"(subject: the same in {n_folds - 1} more places.)" in str(caught.value)


def test_windows_of_one_trial_in_two_parts_are_caught(windows: Windows) -> None:
    windows.metadata = windows.metadata.assign(trial=windows.metadata.trial // 2)
    with pytest.raises(Leak, match="share trials") as caught:
        certify(windows, KFold(5, shuffle=True, random_state=0).split(windows.values))
    assert "trial" in caught.value.checks


def test_overlapping_windows_under_shuffled_folds_are_caught_with_their_seconds() -> None:
    windows = synthetic_windows(n_subjects=1, n_runs=2, n_trials=31, gap_s=-0.25)
    with pytest.raises(Leak, match=r"recording sub-01_ses-1_run-1, trial \d+, \d+\.\d{3} to \d+\.\d{3} s") as caught:
        certify(windows, shuffled_trials(windows.metadata, k=3))
    assert caught.value.checks == ["interval"]
    assert all(abs(row - partner) == 1 for row, partner in caught.value.pairs), "neighbours overlap by a quarter of a second"
    assert certify(windows, within_session(windows.metadata, by="run")).verdict == "proved"
    assert certify(windows, within_session(windows.metadata, k=3, by="block")).verdict == "proved"


@pytest.mark.parametrize(
    ("support_s", "guard_s", "leaks"), [(0.0, 0.0, False), (0.49, 0.0, False), (0.51, 0.0, True), (0.0, 0.99, False), (0.0, 1.01, True), (0.3, 0.5, True)]
)
def test_a_filter_or_guard_longer_than_the_gap_is_caught(windows: Windows, support_s: float, guard_s: float, leaks: bool) -> None:
    """The windows lie 1 s apart; a filter smears both, so half a second to each side is the most it may reach."""
    folds = within_session(windows.metadata, k=3, by="block")
    windows.filter_support_s = support_s
    if not leaks:
        certificate = certify(windows, folds, guard_s=guard_s)
        assert (certificate.verdict, certificate.filter_support_s, certificate.guard_s) == ("proved", support_s, guard_s)
        return
    with pytest.raises(Leak, match=f"lie nearer than {2 * support_s + guard_s:g} s") as caught:
        certify(windows, folds, guard_s=guard_s)
    assert caught.value.checks == ["interval"]
    assert all(abs(row - partner) == 1 for row, partner in caught.value.pairs)
    guarded = within_session(windows.metadata, k=3, by="block", filter_support_s=support_s, guard_s=guard_s, validation=0)
    assert certify(windows, guarded, guard_s=guard_s).verdict == "proved"


def test_windows_that_touch_do_not_overlap_whatever_the_dust_of_sums() -> None:
    windows = synthetic_windows(n_subjects=1, n_runs=1, n_trials=31, gap_s=0.0)
    start_s = np.cumsum(np.full(31, 0.1)) + 1e5
    windows.metadata = windows.metadata.assign(start_s=start_s, stop_s=start_s + 0.1)
    certificate = certify(windows.metadata, KFold(3, shuffle=True, random_state=0).split(windows.values))
    assert found(certificate)["interval"] == 0


def test_a_recording_copied_under_a_second_session_is_caught(windows: Windows) -> None:
    one, two = (np.flatnonzero((windows.metadata.subject == "02") & (windows.metadata.session == session)) for session in "12")
    windows.values[two] = windows.values[one]
    with pytest.raises(Leak, match="byte-identical") as caught:
        certify(windows, cross_session(windows.metadata))
    assert caught.value.checks == ["signal"]
    assert caught.value.rows == sorted([*one, *two])
    assert certify(windows, cross_subject(windows.metadata)).verdict == "proved"


@pytest.mark.parametrize("shift", [1, 29])
def test_a_copied_recording_is_caught_when_its_windows_lie_elsewhere(windows: Windows, shift: int) -> None:
    one, two = (np.flatnonzero((windows.metadata.subject == "02") & (windows.metadata.session == session)) for session in "12")
    windows.values[two, :, shift:] = windows.values[one, :, :-shift]
    with pytest.raises(Leak, match="copied from the other part") as caught:
        certify(windows, cross_session(windows.metadata))
    assert caught.value.checks == ["copy"]
    assert caught.value.rows == sorted([*one, *two])
    assert all(abs(row - partner) == 22 for row, partner in caught.value.pairs)


def test_hidden_overlap_without_a_clock_is_caught_by_its_samples() -> None:
    windows = synthetic_windows(n_subjects=1, n_runs=1, n_trials=20)
    signal = np.random.default_rng(0).standard_normal((3, 1000)).astype(np.float32)
    windows.values[:] = np.stack([signal[:, 30 * trial : 30 * trial + 67] for trial in range(20)])
    windows.metadata = windows.metadata.assign(start_s=np.nan, stop_s=np.nan)
    with pytest.raises(Leak) as caught:
        certify(windows, shuffled_trials(windows.metadata, k=4))
    assert caught.value.checks == ["copy"]
    with pytest.raises(Leak) as caught:
        certify(windows, [Fold([3, 4, 7], [], [4, 11])], tolerate=["row", "trial"])
    assert (caught.value.checks, caught.value.rows) == (["copy"], [3, 4]), "a row of both parts doesn't hide that it overlaps others"


def test_flat_and_clipped_stretches_are_no_copies(windows: Windows) -> None:
    windows.values[:, :, 20:] = np.float32(3e-4)
    assert certify(windows, cross_subject(windows.metadata)).verdict == "proved"


@pytest.mark.parametrize(("part", "other"), [("test", "train"), ("test", "validation"), ("train", "test")])
def test_the_sources_split_is_compared_with_the_source(windows: Windows, part: str, other: str) -> None:
    windows.metadata = windows.metadata.assign(shipped=np.where(windows.metadata.subject == "02", "test", "train"))
    (fold,) = shipped(windows.metadata)
    row = int(getattr(fold, part)[3])
    moved = dataclasses.replace(fold, **{part: np.setdiff1d(getattr(fold, part), [row]), other: np.union1d(getattr(fold, other), [row])})
    for judged in (windows, windows.metadata):
        with pytest.raises(Leak, match="put on the other side") as caught:
            certify(judged, [moved])
        assert (caught.value.rows, caught.value.pairs) == ([row], [(row, row)])
    tables = windows.metadata, windows.metadata.drop(columns="shipped")
    told = [any("the metadata lacks 'shipped'" in sentence for sentence in certify(table, [fold]).warnings) for table in tables]
    assert told == [False, True]
    assert certify(windows.metadata, cross_subject(windows.metadata)).verdict == "proved", "other folds needn't be the source's"


@pytest.mark.parametrize(
    ("splitter", "left_out", "check"),
    [(cross_subject, "subject 01, block 1 of 3", "subject"), (within_session, "subject 01, session 1, run block 2", "run")],
)
def test_what_is_no_block_keeps_its_groups_apart_whatever_it_is_called(windows: Windows, splitter, left_out: str, check: str) -> None:
    fold = splitter(windows.metadata)[0]
    with pytest.raises(Leak) as caught:
        certify(windows, [dataclasses.replace(move(fold, int(fold.test[0])), left_out=left_out)])
    assert caught.value.checks == [check]


def test_validation_may_not_share_a_subject_where_it_need_not(windows: Windows) -> None:
    fold = cross_subject(windows.metadata)[0]
    mixed = dataclasses.replace(fold, train=np.union1d(fold.train[1:], fold.validation[:1]), validation=np.union1d(fold.validation[1:], fold.train[:1]))
    second, third = (np.flatnonzero(windows.metadata.subject == name) for name in ("02", "03"))
    torn = dataclasses.replace(fold, train=second[:22], validation=np.r_[second[22:], third])  # train alone could spare nobody, both together can
    for each in (mixed, torn):
        with pytest.raises(Leak, match="train and validation share subjects"):
            certify(windows, [each])
    two = windows[(windows.metadata.subject != "03").to_numpy()]
    certificate = certify(two, cross_subject(two.metadata))
    assert any("2 of 2 folds validation shares a subject with train, for want of another" in warning for warning in certificate.warnings)


def test_windows_of_one_class_recordings_may_not_stand_on_both_sides() -> None:
    """Rest and task in recordings of their own: shuffled windows measure the recording."""
    windows = synthetic_windows(n_subjects=4, n_runs=2, n_trials=13)
    windows.metadata["label"] = windows.labels = np.where(windows.metadata.run == "1", "rest", "task")
    with pytest.raises(Leak, match="every recording holds one class") as caught:
        certify(windows, shuffled_trials(windows.metadata))
    assert caught.value.checks == ["recording"]
    fold = cross_subject(windows.metadata)[0]
    row, within_train = fold.test[:1], fold.train[:1]
    with pytest.raises(Leak, match="validation and test share recordings"):
        certify(windows, [Fold(fold.train, np.union1d(fold.validation, row), fold.test[1:])])
    assert certify(windows, [Fold(fold.train[1:], np.union1d(fold.validation, within_train), fold.test)]).verdict == "proved"
    certificate = certify(windows, cross_subject(windows.metadata))
    assert any("Every one of 8 recordings holds one class" in warning for warning in certificate.warnings)


def test_an_overlap_is_tolerated_by_name_only_and_stamped() -> None:
    windows = synthetic_windows(n_subjects=1, n_runs=2, n_trials=31, gap_s=-0.25)
    folds = shuffled_trials(windows.metadata, k=3)
    certificate = certify(windows, folds, tolerate=["interval", "trial"])
    assert (certificate.verdict, certificate.tolerated) == ("tolerated", ("interval",))
    assert found(certificate)["interval"] > 0
    with pytest.raises(Leak):
        certify(windows, folds, tolerate=["trial"])
    assert certify(windows, within_session(windows.metadata), tolerate=["interval"]).verdict == "proved"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("limit", [2e-4, "autoreject"])
def test_a_limit_that_was_learned_from_all_windows_is_named(limit) -> None:
    if limit == "autoreject":
        pytest.importorskip("autoreject", reason="autoreject isn't installed: pip install 'sigvit[autoreject]'")
    raw = synthetic_raw(n_trials=20)
    cue = int(raw.annotations.onset[0] * raw.info["sfreq"])
    raw._data[:, cue + 50 : cue + 90] += 1e-3  # swings further than any limit
    windows = windows_from_raw(raw, {"left": "left", "right": "right"}, 0, 2, reject_v=limit, subject="01")
    named = [warning for warning in certify(windows, within_session(windows.metadata)).warnings if "autoreject learned" in warning]
    assert len(named) == (limit == "autoreject")
    chosen = windows.page["recordings"][windows.metadata["recording"].iloc[0]]["reject_v"]
    rejected = [each for each in windows.page["dropped"]["windows"] if "peak_to_peak_v" in each]
    assert len(rejected) >= 1
    assert all(f"{chosen * 1e6:.0f} µV" in warning and f"{len(rejected)} windows were dropped" in warning for warning in named)


@pytest.mark.parametrize(("given", "told"), [(0.0, True), (0.4, True), (None, False), (0.5, False), (0.7, False)])
def test_a_support_below_the_windows_own_is_told(given: float | None, told: bool) -> None:
    windows = dataclasses.replace(synthetic_windows(n_subjects=3, n_trials=31), filter_support_s=0.5)
    certificate = certify(windows, cross_subject(windows.metadata), filter_support_s=given)
    assert certificate.filter_support_s == (0.5 if given is None else given)
    warnings = certificate.warnings
    sentence = f"a filter support of {given:g} s was given, but the windows say 0.5 s of themselves" if told else "filter support"
    assert any(sentence in warning for warning in warnings) == told


def test_one_pipeline_of_several_that_reads_test_windows_is_tolerated_beside_an_overlap() -> None:
    windows = synthetic_windows(n_subjects=1, n_runs=2, n_trials=31, gap_s=-0.25)
    inductive, both = Aligned("one", "inductive", False), Aligned("other", "inductive+transductive", True)
    told = certify(windows, within_session(windows.metadata)).with_alignment([inductive, both])
    assert (told.verdict, told.tolerated) == ("tolerated", ("alignment",))
    assert told.reason == "test windows were read, unlabelled, before they were judged"
    assert told.with_alignment(told.alignment) == told
    assert told.with_alignment([inductive]).verdict == "proved"
    overlapping = certify(windows, shuffled_trials(windows.metadata, k=3), tolerate=["interval"])
    assert overlapping.reason == "the parts overlap"
    told = overlapping.with_alignment([both])
    assert told.reason == "the parts overlap and test windows were read, unlabelled, before they were judged"
    again = told.with_alignment([inductive])
    assert (again.verdict, again.tolerated) == ("tolerated", ("interval",))


def test_warnings_are_added_once(windows: Windows) -> None:
    certificate = certify(windows, cross_subject(windows.metadata)).with_alignment([Aligned("one", "inductive+online", False)])
    (online,) = [sentence for sentence in certificate.warnings if "'one' was aligned online" in sentence]
    assert certificate.with_warnings([online, "new", "new"]).warnings == (*certificate.warnings, "new")


@pytest.mark.parametrize("tolerate", [["overlap"], "interval"])
def test_an_unknown_check_cannot_be_tolerated(windows: Windows, tolerate) -> None:
    with pytest.raises(ValueError, match="to tolerate; tolerate is a list of names out of row, trial, interval"):
        certify(windows, cross_subject(windows.metadata), tolerate=tolerate)


def test_pairs_of_any_splitter_are_audited_with_a_bare_table(windows: Windows) -> None:
    table = windows.metadata[["subject", "session", "run"]]
    by_subject = list(LeaveOneGroupOut().split(table, groups=table.subject))
    assert certify(table, by_subject, protocol="cross_subject").verdict == "proved"
    certificate = certify(table, StratifiedKFold(3, shuffle=True, random_state=0).split(table, windows.labels))
    assert "The metadata lacks recording, start_s, stop_s, trial, label; what these would show was not compared." in certificate.warnings
    assert any("share subjects (up to 3 in a fold; the protocol is index_pairs)" in warning for warning in certificate.warnings)
    with pytest.raises(Leak, match="share subjects"):
        certify(table, KFold(3, shuffle=True, random_state=0).split(table), protocol="cross_subject")
    with pytest.raises(ValueError, match="lacks 'subject'"):
        certify(table.drop(columns="subject"), by_subject)


def test_masks_and_unsorted_rows_are_read_and_broken_ones_refused(windows: Windows) -> None:
    table, n_rows = windows.metadata, len(windows)
    test = (table.subject == "01").to_numpy()
    rows = np.random.default_rng(0).permutation(n_rows)
    certificates = [certify(table, [(~test, test)]), certify(table, [(rows[~test[rows]], np.flatnonzero(test).tolist())])]
    assert certificates[0] == certificates[1]
    table_of_another_order = table.sort_values("label", kind="stable")
    assert certify(table, [tuple((table_of_another_order.subject == "01") == part for part in (False, True))]) == certificates[0]
    numbered_backwards = table.set_axis(np.arange(n_rows)[::-1])
    columns = [tuple((numbered_backwards.subject == "01") == part for part in (False, True))]
    assert certify(numbered_backwards, columns) == certificates[0]
    certificates[0].require_match(numbered_backwards, columns)
    for pair, sentence in (
        (([0, 0, 1], [2]), "The train part of fold 0 holds row 0 behind row 0; row numbers are sorted, each once"),
        (([0], [n_rows]), f"names row {n_rows}, but there are {n_rows} rows"),
        (([0], [-1]), "rows are counted from 0, not from the end"),
        (([0.5], [1]), "array of float64"),
        (([], [1]), "an empty train part"),
        ((table.subject[:5] == "01", test), "The train part of fold 0: The boolean column of 5 rows has another index"),
        ((test[:5], test), r"is a mask of shape \(5,\), but there are 132 rows"),
        ("ab3", "give a Fold or a pair"),
    ):
        with pytest.raises(ValueError, match=sentence):
            certify(table, [pair])
    with pytest.raises(ValueError, match="There are no folds to judge"):
        certify(table, [])
    folds = cross_subject(table)
    with pytest.raises(ValueError, match="Fold number 0 stands for several folds"):
        certify(table, [folds[0], folds[0]])
    with pytest.raises(ValueError, match="did you mean 'cross_subject'"):
        certify(table, [dataclasses.replace(folds[0], protocol="cross-subjects")])
    with pytest.raises(ValueError, match="is for index pairs"):
        certify(table, folds, protocol="cross_subject")
    for other in ([1, 2], SimpleNamespace(metadata=table)):  # MNE's epochs have metadata too
        with pytest.raises(ValueError, match=f"not {type(other).__name__}"):
            certify(other, folds)


def test_group_splits_of_scikit_learn_match_our_own(windows: Windows) -> None:
    pairs = list(GroupKFold(3).split(windows.values, groups=windows.metadata.subject))
    certificate = certify(windows, pairs, protocol="cross_subject")
    assert certificate.verdict == "proved"
    assert compared(certificate)["subject"] == sum(len(train) * len(test) for train, test in pairs)


def test_labels_that_differ_from_the_metadata_are_refused(windows: Windows) -> None:
    windows.labels[7:13] = "another"
    with pytest.raises(ValueError, match=r"windows.labels and windows.metadata\['label'\] differ, first in row 7;"):
        certify(windows, cross_subject(windows.metadata))


@pytest.mark.parametrize(("n_labels", "n_rows"), [(1, 132), (131, 132), (132, 131)])
def test_labels_and_metadata_of_other_lengths_are_refused(windows: Windows, n_labels: int, n_rows: int) -> None:
    """Both can be set after the windows were made; one label once stood for all rows of its class."""
    folds = cross_subject(windows.metadata)
    windows.metadata = windows.metadata.assign(label="one")[:n_rows]
    windows.labels = np.full(n_labels, "one")
    with pytest.raises(ValueError, match=f"There are 132 windows, but {n_labels} labels and {n_rows} rows of metadata"):
        certify(windows, folds)


def test_labels_are_compared_as_text(windows: Windows) -> None:
    windows.metadata["label"] = np.where(windows.labels == "left", 1, 2)
    windows.labels = windows.metadata["label"].to_numpy().astype(str)
    assert certify(windows, cross_subject(windows.metadata)).verdict == "proved"


def test_certificate_fits_its_own_windows_and_folds_only(windows: Windows) -> None:
    folds = cross_subject(windows.metadata)
    certificate = certify(windows, folds)
    certificate.require_match(windows, folds)
    other = windows[np.arange(len(windows))]
    other.values[0, 0, 0] += 1e-6
    relabelled = windows[np.arange(len(windows))]
    relabelled.metadata.loc[0, "run"] = "9"
    for changed, divided in ((other, folds), (relabelled, folds), (windows, folds[:2]), (windows, [*folds[:2], move(folds[2], int(folds[2].test[0]))])):
        with pytest.raises(ValueError, match="was made of other windows or folds"):
            certificate.require_match(changed, divided)


def test_certificate_is_written_with_results(windows: Windows, tmp_path: Path) -> None:
    folds = cross_subject(windows.metadata)
    windows.page = {"title": "Synthetic", "steps": ["none"]}
    entry = {"pipeline": "LDA", "fold": 0, "seed": 0, "fit_rows_sha256": "", "n_fit_rows": 1, "selection": "none", "test_reads": 1}
    certificate = certify(windows, folds).with_results("abc", [entry])
    certificate.write(tmp_path / "certificate.json")
    assert json.loads((tmp_path / "certificate.json").read_text(encoding="utf-8")) == certificate.to_dict()
    assert list(tmp_path.iterdir()) == [tmp_path / "certificate.json"]
    splitters.write_csv(tmp_path / "folds.csv", folds, windows)
    assert hashlib.sha256((tmp_path / "folds.csv").read_bytes()).hexdigest() == certificate.folds_sha256
    assert (certificate.n_rows, certificate.dataset) == (132, "synthetic")
    assert certificate.signal_sha256 == hashlib.sha256("\n".join(windows.row_hashes()).encode()).hexdigest()
    assert [check.name for check in certificate.checks] == list(CHECKS)


def test_equal_pages_have_equal_hashes(windows: Windows) -> None:
    folds = cross_subject(windows.metadata)
    hashes = []
    for page in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3}):
        windows.page = page
        hashes.append(certify(windows, folds).page_sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_leak_survives_pickling(windows: Windows) -> None:
    fold = cross_subject(windows.metadata)[0]
    with pytest.raises(Leak) as caught:
        certify(windows, [move(fold, int(fold.test[0]))])
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.rows, copy.pairs, copy.checks) == (str(caught.value), caught.value.rows, caught.value.pairs, caught.value.checks)


def test_rows_hash_ignores_order_and_is_plain_text() -> None:
    assert rows_sha256(np.array([11, 2, 3])) == rows_sha256(np.array([2, 3, 11])) == hashlib.sha256(b"2,3,11").hexdigest()


def test_an_empty_set_gets_a_sentence(windows: Windows) -> None:
    with pytest.raises(ValueError, match="an empty window set can't be divided"):
        certify(pd.DataFrame(columns=windows.metadata.columns), [([0], [1])])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[("01", "1"), ("S1", "s1"), ("sub-07", "7"), ("anna", "anna "), ("S 1", "S1"), ("sub- 3", "3"), ("S  1", "S 1"), ("v.01", "v.1"), ("00.5", "0.5")],
        *[("Jos\u00e9", "Jose\u0301"), ("1", "\uff11")],  # an accent of one character or two, a full-width digit
    ],
)
def test_one_subject_under_two_names_is_refused(windows: Windows, one: str, other: str) -> None:
    metadata = windows.metadata.assign(subject=windows.metadata.subject.map({"01": one, "02": other, "03": "10"}))
    folds = cross_subject(metadata, validation=0)
    with pytest.raises(Leak, match="whose names differ from the other part's only in case") as caught:
        certify(metadata, folds)
    assert caught.value.checks == ["alias"]
    assert all(metadata.subject[row] != metadata.subject[partner] for row, partner in caught.value.pairs)
    assert set(caught.value.rows) == set(np.flatnonzero(metadata.subject != "10"))
    assert certify(metadata, folds, tolerate=["alias"]).tolerated == ("alias",)
    assert certify(metadata.assign(subject=metadata.subject.replace(other, "another")), folds).verdict == "proved"


@pytest.mark.parametrize(("one", "other"), [("0.05", "0.5"), (0.05, 0.5), ("1.01", "1.1"), ("v1.001", "v1.01")])
def test_zeros_behind_a_decimal_point_tell_sessions_apart(one: str | float, other: str | float) -> None:
    metadata = synthetic_windows(n_subjects=2, n_sessions=2, n_trials=5).metadata
    metadata["session"] = metadata["session"].map({"1": one, "2": other})
    assert certify(metadata, cross_session(metadata)).verdict == "proved"


def test_sessions_of_one_name_in_two_subjects_are_no_alias(windows: Windows) -> None:
    metadata = windows.metadata.assign(session=np.where(windows.metadata.subject == "02", "0" + windows.metadata.session, windows.metadata.session))
    assert certify(metadata, cross_session(metadata)).verdict == "proved"


@pytest.mark.parametrize("change", [lambda copy: -copy, lambda copy: 1.1 * copy, lambda copy: copy - copy.mean(axis=1, keepdims=True)])
def test_a_recording_that_was_changed_and_given_another_name_is_refused(windows: Windows, change) -> None:
    """Subject 02's windows are subject 01's, in other units or to another reference, 7 samples later."""
    first, second = (np.flatnonzero(windows.metadata.subject == name) for name in ("01", "02"))
    values = windows.values.copy()
    values[second] = change(np.roll(values[first], 7, axis=2))
    with pytest.raises(Leak, match="copied from the other part") as caught:
        certify(dataclasses.replace(windows, values=values), cross_subject(windows.metadata))
    assert set(caught.value.rows) == {*first, *second}
