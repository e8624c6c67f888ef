"""Calibration folds: others and the first n trials a class train, the same later windows are judged for every n, and nothing is taken from the future."""

import dataclasses
import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines, folds, verify
from sigvit.evidence.certificate import Leak, certify
from sigvit.evidence.cross_validation import cross_validate


@pytest.fixture(scope="module")
def windows():
    return synthetic_windows(n_subjects=3, n_sessions=2, n_runs=2, n_trials=14)


def units(table: pd.DataFrame, by: str) -> pd.Series:
    return table["subject"] if by == "subject" else table["subject"] + "/" + table["session"]


@pytest.mark.parametrize("by", ["subject", "session"])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_train_holds_n_trials_a_class_of_the_tested_one_all_before_its_test(windows, by, n):
    made = folds.calibrate(windows.metadata, n, by=by, reserve=5)
    assert len(made) == (3 if by == "subject" else 6)
    certificate = certify(windows, made)
    assert certificate.verdict == "proved"
    n_pairs = sum((len(fold.train) + len(fold.validation)) * len(fold.test) for fold in made)
    assert next(check for check in certificate.checks if check.name == "calibration").compared == (n_pairs if n else 0)
    for fold in made:
        table = windows.metadata.assign(unit=units(windows.metadata, by))
        train, test = table.iloc[fold.train], table.iloc[fold.test]
        assert test["unit"].nunique() == 1
        own = train[train["unit"] == test["unit"].iloc[0]]
        assert own["label"].value_counts().to_dict() == ({"left": n, "right": n} if n else {})
        order = ["session", "run", "start_s"]
        assert own.empty or own[order].apply(tuple, axis=1).max() < test[order].apply(tuple, axis=1).min()
        assert not (table.iloc[fold.validation]["unit"] == test["unit"].iloc[0]).any()
        assert fold.protocol == (f"calibrated_{by}" if n else f"cross_{by}")
        if by == "session":
            assert set(train["subject"]) == set(test["subject"])


@pytest.mark.parametrize("apart", [{}, {"filter_support_s": 0.7}, {"guard_s": 1.3}])
def test_every_n_is_judged_on_the_same_windows_with_the_same_others(windows, apart):
    """Windows lie a second apart: filters that reach .7 s to each side, or a longer guard, keep one from the other."""
    curve = [folds.calibrate(windows.metadata, n, reserve=5, **apart) for n in (0, 2, 5)]
    assert all(certify(windows, made, **apart).verdict == "proved" for made in curve)
    for several in zip(*curve, strict=True):
        for fold in several[1:]:
            np.testing.assert_array_equal(fold.test, several[0].test)
            np.testing.assert_array_equal(fold.validation, several[0].validation)
            assert set(several[0].train) < set(fold.train)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 4),
    extra=st.integers(0, 3),
    seed=st.integers(0, 2**16),
    support_s=st.sampled_from([0.0, 0.7]),
    guard_s=st.sampled_from([0.0, 1.3]),
    clocked=st.booleans(),
)
def test_whatever_the_order_of_rows_the_certificate_proves_them(n, extra, seed, support_s, guard_s, clocked):
    table = synthetic_windows(n_subjects=3, n_runs=2, n_trials=23, seed=seed).metadata
    if not clocked:
        table = table.assign(start_s=np.nan, stop_s=np.nan)
    table = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    if not n + extra:
        extra = 1
    made = folds.calibrate(table, n, reserve=n + extra, filter_support_s=support_s, guard_s=guard_s)
    assert certify(table, made, filter_support_s=support_s, guard_s=guard_s).verdict == "proved"


def test_seed_and_share_choose_who_validates():
    table = synthetic_windows(n_subjects=7, n_trials=14).metadata
    chosen = [tuple(set(table["subject"][fold.validation]).pop() for fold in folds.calibrate(table, 2, seed=seed)) for seed in range(3)]
    assert len(set(chosen)) > 1
    assert [len(fold.validation) for fold in folds.calibrate(table, 2, validation=0)] == [0] * 7


def test_without_a_clock_each_class_goes_by_its_own_rows():
    table = synthetic_windows(n_subjects=2, n_runs=1, n_trials=20).metadata.sort_values(["subject", "label"], ignore_index=True)
    fold = folds.calibrate(table.assign(start_s=np.nan, stop_s=np.nan), 3)[0]
    np.testing.assert_array_equal(fold.train[:6], [0, 1, 2, 10, 11, 12])
    np.testing.assert_array_equal(fold.test, [*range(3, 10), *range(13, 20)])


@pytest.mark.parametrize("at", [1, -1])
@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("by", ["subject", "session"])
def test_training_or_choosing_on_what_comes_later_is_a_leak(windows, by, part, at):
    fold = folds.calibrate(windows.metadata, 2, by=by, reserve=5)[1]
    row = int(fold.test[at])
    late = dataclasses.replace(fold, **{part: np.union1d(getattr(fold, part), [row])}, test=np.setdiff1d(fold.test, [row]))
    with pytest.raises(Leak, match="hold 1 rows of the tested subject or session that come after its first tested trial") as caught:
        certify(windows, [late])
    assert caught.value.rows == [row]


def test_verify_confirms_a_folder_and_refutes_a_later_trial(windows, tmp_path):
    made = folds.calibrate(windows.metadata, 2, reserve=5)
    results = cross_validate({"LDA": baselines.shrinkage_lda(4)}, windows, made)
    table = results.table.to_csv(index=False, lineterminator="\n")
    (tmp_path / "results.csv").write_text(table)
    folds.write_csv(tmp_path / "folds.csv", made, windows)
    results.certificate.with_results(hashlib.sha256(table.encode()).hexdigest(), results.provenance).write(tmp_path / "certificate.json")
    assert verify.verify(tmp_path) == []
    fold = made[1]
    late = dataclasses.replace(fold, train=np.union1d(fold.train, fold.test[-1:]), test=fold.test[:-1])
    folds.write_csv(tmp_path / "folds.csv", [late], windows)
    read, rows, _ = verify.read_folds(tmp_path / "folds.csv")
    found = list(verify.leaks_of(read[1], rows, 0.0, set()))
    assert [name for name, _ in found] == ["calibration"]


class Remembering(ClassifierMixin, BaseEstimator):
    """Keeps what it was told."""

    def fit(self, X, y, calibration=None):
        self.classes_, self.calibration_, self.labels_ = np.unique(y), calibration, y
        return self

    def predict_proba(self, X):
        share = self.calibration_.mean()
        return np.tile([share, 1 - share], (len(X), 1))


@pytest.mark.parametrize("n", [0, 3])
def test_an_estimator_is_told_which_rows_calibrate(windows, n):
    made = folds.calibrate(windows.metadata, n, reserve=3)
    results = cross_validate({"remembering": Remembering()}, windows, made)
    for fold in made:
        own = results.predictions[results.predictions["fold"] == fold.number]
        assert own["probability_left"].iloc[0] == pytest.approx(2 * n / (len(fold.train) + len(fold.validation)))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"n": 4, "reserve": 3}, "n is 4 and reserve 3"),
        ({"n": -1, "reserve": 3}, "n is -1 and reserve 3"),
        ({"n": 1, "by": "run"}, "by is 'run'; calibration is by 'subject' or 'session'"),
        ({"n": 1, "undividable": "skip"}, "undividable is 'skip'"),
        ({"n": 28}, "subject 01 has too few trials to set 28 of each class apart"),
    ],
)
def test_what_cannot_be_asked_is_said(windows, asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        folds.calibrate(windows.metadata, **asked)


def test_every_class_of_the_tested_one_is_tested(windows):
    rare = windows.metadata.assign(label=np.where(windows.metadata.index % 28 == 5, "rare", windows.metadata["label"]))
    with pytest.raises(ValueError, match=r"too few trials to set 2 of each class apart and test all classes after them \(lacking: rare\)"):
        folds.calibrate(rare, 2)
    constant = windows.metadata.assign(label=np.where(windows.metadata["subject"] == "01", "left", windows.metadata["label"]))
    with pytest.raises(ValueError, match="subject 01 holds class 'left' only"):
        folds.calibrate(constant, 2)


def test_without_calibration_every_row_is_tested(windows):
    tested = np.concatenate([fold.test for fold in folds.calibrate(windows.metadata, 0)])
    np.testing.assert_array_equal(np.sort(tested), np.arange(len(windows)))


def test_one_alone_has_nobody_to_learn_from(windows):
    for by, rows in (("subject", windows.metadata["subject"] == "02"), ("session", windows.metadata["session"] == "2")):
        with pytest.raises(ValueError, match=f"has no other {by} to train on"):
            folds.calibrate(windows.metadata[rows].reset_index(drop=True), 2, by=by)


def test_who_has_too_few_trials_can_be_left_out(windows):
    table = windows.metadata[(windows.metadata["subject"] != "02") | (windows.metadata["run"] == "1")].reset_index(drop=True)
    made = folds.calibrate(table, 14, undividable="leave out")
    assert [fold.left_out.split(" after")[0] for fold in made] == ["subject 01", "subject 03"]


def test_recordings_of_one_class_each_are_not_calibrated_inside():
    table = synthetic_windows(n_subjects=6, n_runs=2, n_trials=10).metadata
    table["label"] = np.where(table["run"] == "1", "rest", "task")
    with pytest.raises(ValueError, match="would calibrate and test inside the same recordings"):
        folds.calibrate(table.assign(start_s=np.nan, stop_s=np.nan), 3)
    assert len(folds.calibrate(table.assign(start_s=np.nan, stop_s=np.nan), 0, reserve=3)) == 6, "others' recordings tell nothing"
