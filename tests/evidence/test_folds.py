"""Splitters: what is left out, what validation keeps whole, and what is refused in a sentence."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats.contingency import crosstab

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import folds as splitters
from sigvit.evidence.certificate import certify
from sigvit.evidence.fold import Division, _neighbours
from sigvit.evidence.folds import Fold, cross_session, cross_subject, shipped, shuffled_trials, within_session
from sigvit.evidence.groups import read_groups


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """5 subjects × 2 sessions × 3 runs × 7 trials of two classes, a clock per run."""
    return synthetic_windows(n_subjects=5, n_sessions=2, n_runs=3, n_trials=7).metadata


def held(table: pd.DataFrame, rows: np.ndarray, *columns: str) -> set:
    return set(map(tuple, table.loc[rows, list(columns)].to_numpy().tolist()))


def same(one: list[Fold], other: list[Fold]) -> bool:
    return len(one) == len(other) and all(
        (a.number, a.protocol, a.left_out) == (b.number, b.protocol, b.left_out)
        and all(np.array_equal(getattr(a, part), getattr(b, part)) for part in ("train", "validation", "test"))
        for a, b in zip(one, other, strict=True)
    )


def test_each_subject_is_left_out_once_and_validation_is_another_subject(table: pd.DataFrame) -> None:
    folds = cross_subject(table)
    assert [fold.left_out for fold in folds] == [f"subject 0{number}" for number in range(1, 6)]
    for fold in folds:
        parts = [held(table, part, "subject") for part in (fold.train, fold.validation, fold.test)]
        assert [len(part) for part in parts] == [3, 1, 1]
        assert len(set.union(*parts)) == 5
        assert len(fold.train) + len(fold.validation) + len(fold.test) == len(table)


def test_seed_changes_only_who_is_grouped_with_whom(table: pd.DataFrame) -> None:
    groupings = [cross_subject(table, k=2, seed=seed) for seed in range(7)]
    assert same(groupings[0], cross_subject(table, k=2, seed=0))
    assert len({frozenset(fold.left_out for fold in folds) for folds in groupings}) > 1
    for folds in groupings:
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(table)))
    tests = [[fold.test.tolist() for fold in cross_subject(table, seed=seed)] for seed in (0, 1)]
    assert tests[0] == tests[1]


def test_row_order_does_not_change_who_is_left_out(table: pd.DataFrame) -> None:
    order = np.random.default_rng(0).permutation(len(table))
    shuffled = table.iloc[order].reset_index(drop=True)
    for splitter in (cross_subject, cross_session, within_session):
        for fold, other in zip(splitter(table), splitter(shuffled), strict=True):
            assert fold.left_out == other.left_out
            assert set(order[other.test]) == set(fold.test)
            assert set(order[other.train]) == set(fold.train)


def test_groups_of_subjects_with_one_class_each_hold_every_class() -> None:
    table = synthetic_windows(n_subjects=8, n_runs=1, n_trials=3).metadata
    table["label"] = np.where(table.subject.astype(int) <= 4, "patient", "control")
    for fold in cross_subject(table, k=4):
        for part in (fold.train, fold.validation, fold.test):
            assert set(table.label[part]) == {"patient", "control"}


def test_with_two_subjects_validation_falls_back_to_sessions_then_runs_then_blocks(table: pd.DataFrame) -> None:
    two = table[table.subject.isin(["01", "02"])].reset_index(drop=True)
    for column, rows in (("session", two), ("run", two[two.session == "1"]), ("recording", two[(two.session == "1") & (two.run == "1")])):
        rows = rows.reset_index(drop=True)
        fold = cross_subject(rows)[0]
        shared = held(rows, fold.validation, "subject", "session", column) & held(rows, fold.train, "subject", "session", column)
        assert bool(shared) == (column == "recording")
        assert len(fold.validation)
    blocks = np.sort(rows.start_s[fold.validation])
    assert not ((rows.start_s[fold.train] > blocks.min()) & (rows.start_s[fold.train] < blocks.max())).any()


def test_sessions_are_left_out_inside_their_subject(table: pd.DataFrame) -> None:
    folds = cross_session(table)
    assert len(folds) == 10
    for fold in folds:
        assert held(table, fold.train, "subject") == held(table, fold.test, "subject")
        assert not held(table, fold.train, "session") & held(table, fold.test, "session")
        assert not held(table, fold.train, "run") & held(table, fold.validation, "run")


def test_a_subject_with_one_session_is_in_no_fold(table: pd.DataFrame) -> None:
    rows = table[(table.subject != "03") | (table.session == "1")].reset_index(drop=True)
    folds = cross_session(rows)
    used = np.concatenate([np.concatenate([fold.train, fold.validation, fold.test]) for fold in folds])
    assert "03" not in set(rows.subject[used])
    with pytest.raises(ValueError, match="two sessions or more, and none of the 5 here has them"):
        cross_session(table[table.session == "1"])


def test_runs_are_left_out_where_there_are_runs_and_blocks_where_there_is_one(table: pd.DataFrame) -> None:
    rows = table[(table.session == "1") | (table.run == "2")].reset_index(drop=True)
    folds = within_session(rows, validation=0.3)
    assert [fold.left_out for fold in folds[:5]] == [
        *(f"subject 01, session 1, run {run}" for run in (1, 2, 3)),
        *(f"subject 01, session 2, block {block} of 5" for block in (1, 2)),
    ]
    assert {fold.protocol for fold in folds} == {"within_session"}


def test_sessions_runs_and_blocks_go_into_k_groups_and_folds_are_numbered_through() -> None:
    table = synthetic_windows(n_subjects=2, n_sessions=5, n_runs=3, n_trials=7).metadata
    drawn = [cross_session(table, k=2, seed=seed) for seed in range(5)]
    for folds, n_folds in ((drawn[0], 2 * 2), (within_session(table, k=2, by="run"), 2 * 10), (within_session(table, k=3, by="block"), 3 * 10)):
        assert [fold.number for fold in folds] == list(range(n_folds))
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(table)))
    assert len({tuple(fold.left_out for fold in folds) for folds in drawn}) > 1


def test_a_session_too_small_to_divide_is_refused_or_left_out_if_asked(table: pd.DataFrame) -> None:
    rows = table[(table.subject != "03") | ((table.session == "2") & (table.run == "1") & (table.trial < 2))].reset_index(drop=True)
    with pytest.raises(ValueError, match=r"subject 03, session 2 needs 5 trials for 5 folds, but there are 2; .* Or: undividable='leave out' leaves such"):
        within_session(rows)
    folds = within_session(rows, undividable="leave out")
    assert [fold.number for fold in folds] == list(range(4 * 2 * 3))
    assert not any("subject 03" in fold.left_out for fold in folds)
    assert any("2 of 170 windows are tested in no fold, of subject 03" in sentence for sentence in certify(rows, folds).warnings)
    with pytest.raises(ValueError, match="needs 2 runs"):
        within_session(table[table.run == "1"], by="run", undividable="leave out")
    with pytest.raises(ValueError, match="it is 'refuse' or 'leave out'"):
        within_session(rows, undividable="skip")


def test_validation_holds_about_its_share_of_rows_when_subjects_are_unequal() -> None:
    """One subject of four in the rest may hold a fortieth of it; then another, or two, are taken."""
    table = synthetic_windows(n_subjects=5, n_runs=1, n_trials=80).metadata
    keep = table.trial < table.subject.map({"01": 80, "02": 60, "03": 80, "04": 4, "05": 30})
    table = table[keep].reset_index(drop=True)
    for seed in range(5):
        for fold in cross_subject(table, seed=seed):
            share = len(fold.validation) / (len(fold.train) + len(fold.validation))
            assert 0.1 <= share <= 0.4


def test_blocks_are_contiguous_in_time_and_guarded() -> None:
    table = synthetic_windows(n_subjects=1, n_runs=1, n_trials=61, gap_s=0.0).metadata
    length = table.stop_s[0] - table.start_s[0]
    for fold in within_session(table, k=5, guard_s=2.5 * length):
        test, train = table.loc[fold.test], table.loc[np.union1d(fold.train, fold.validation)]
        assert len(test) in (12, 13)
        assert np.ptp(fold.test) == len(fold.test) - 1
        before, after = train[train.start_s < test.start_s.min()], train[train.start_s > test.start_s.max()]
        assert len(before) + len(after) == len(train)
        # two windows and a half lie between: the third next is the first that is far enough; 1e-9 is the dust of sums
        assert len(before) == 0 or test.start_s.min() - before.stop_s.max() == pytest.approx(3 * length, abs=1e-9)


def test_filter_support_widens_both_windows() -> None:
    table = synthetic_windows(n_subjects=1, n_runs=1, n_trials=61, gap_s=0.0).metadata
    wide, guard = (within_session(table, **seconds) for seconds in ({"filter_support_s": 1.25}, {"guard_s": 2.5}))
    assert same(wide, guard)


def test_without_a_clock_blocks_are_cut_inside_each_class() -> None:
    table = synthetic_windows(n_subjects=1, n_runs=1, n_trials=40).metadata.sort_values("label", ignore_index=True)
    table["start_s"] = table["stop_s"] = np.nan
    for fold in within_session(table, k=4):
        assert sorted(table.label[fold.test]) == ["left"] * 5 + ["right"] * 5
        for label in ("left", "right"):
            assert np.ptp(fold.test[table.label[fold.test] == label]) == 4


def test_windows_of_one_trial_stay_together() -> None:
    table = synthetic_windows(n_subjects=1, n_runs=1, n_trials=60).metadata
    table["trial"] = table.trial // 3
    for folds in (within_session(table, k=4), shuffled_trials(table, k=4)):
        for fold in folds:
            parts = [held(table, part, "trial") for part in (fold.train, fold.validation, fold.test)]
            assert not parts[0] & parts[1]
            assert not (parts[0] | parts[1]) & parts[2]


def test_shuffled_trials_are_spread_by_class_inside_each_session(table: pd.DataFrame) -> None:
    folds = shuffled_trials(table, k=3)
    assert len(folds) == 3 * 10
    assert {fold.protocol for fold in folds} == {"shuffled_trials"}
    for fold in folds:
        assert len(held(table, np.concatenate([fold.train, fold.validation, fold.test]), "subject", "session")) == 1
        counts = table.label[fold.test].value_counts()
        assert abs(counts["left"] - counts["right"]) <= 2
    assert not same(folds, shuffled_trials(table, k=3, seed=1))


def test_shipped_split_is_taken_as_it_is_and_validation_keeps_what_it_keeps(table: pd.DataFrame) -> None:
    by_subject = table.assign(shipped=np.where(table.subject == "02", "test", "train"))
    (fold,) = shipped(by_subject)
    assert set(fold.test) == set(np.flatnonzero(table.subject == "02"))
    assert not held(table, fold.train, "subject") & held(table, fold.validation, "subject")
    by_run = table.assign(shipped=np.where(table.run == "2", "test", "train"))
    (fold,) = shipped(by_run)
    assert not held(table, fold.train, "recording") & held(table, fold.validation, "recording")
    with pytest.raises(ValueError, match="lacks 'shipped'"):
        shipped(table)
    with pytest.raises(ValueError, match=r"it holds \['nan', 'test', 'train'\]"):
        shipped(by_run.assign(shipped=by_run.shipped.where(by_run.index > 0, np.nan)))


def test_a_shipped_validation_part_is_taken_as_it_is(table: pd.DataFrame) -> None:
    parts = dict(zip(sorted(set(table.subject)), ("train", "validation", "test"), strict=False))
    (fold,) = shipped(table.assign(shipped=[parts.get(subject, "train") for subject in table.subject]))
    for rows, part in ((fold.train, "train"), (fold.validation, "validation"), (fold.test, "test")):
        assert {parts.get(subject, "train") for subject in table.subject[rows]} == {part}
    assert len(fold.train) + len(fold.validation) + len(fold.test) == len(table)


def test_a_shipped_validation_part_must_leave_every_class_to_train_on_and_trains_if_none_is_wanted(table: pd.DataFrame) -> None:
    parts = table.assign(shipped=np.where(table.subject == "02", "test", np.where(table.label == table.label[0], "validation", "train")))
    with pytest.raises(ValueError, match=rf"would train on 72 rows without class '{table.label[0]}'"):
        shipped(parts)
    (fold,) = shipped(parts, validation=0)
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (168, 0, 42)


def test_validation_can_be_left_out(table: pd.DataFrame) -> None:
    fold = cross_subject(table, validation=0)[0]
    assert fold.validation.dtype == np.int64
    assert (len(fold.train), len(fold.validation)) == (168, 0)


@pytest.mark.parametrize("column", ["subject", "session", "run", "recording", "start_s", "stop_s", "trial", "label"])
def test_a_missing_column_is_named(table: pd.DataFrame, column: str) -> None:
    with pytest.raises(ValueError, match=f"lacks '{column}'"):
        cross_subject(table.drop(columns=column))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"subject": None}, "Column 'subject' has no value in row 0"),
        ({"run": "a\nb"}, "can't have a line break"),
        ({"start_s": np.inf}, "'start_s' is infinite in row 0"),
        ({"start_s": "soon"}, "isn't a number of seconds"),
        ({"stop_s": np.nan}, "a start or a stop but not both"),
        ({"stop_s": -1.0}, "a window stops after it starts"),
        ({"label": "left"}, "are of class 'left'; a classifier needs two"),
    ],
)
def test_a_bad_value_gets_a_sentence(table: pd.DataFrame, change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        cross_subject(table.assign(**change))


def test_too_few_groups_get_a_sentence(table: pd.DataFrame) -> None:
    one = table[(table.subject == "01") & (table.recording == table.recording[0])].reset_index(drop=True)
    for splitter, sentence in (
        (lambda: cross_subject(one), "cross_subject needs 2 subjects for 2 folds, but there is 1"),
        (lambda: cross_subject(table, k=7), "cross_subject needs 7 subjects for 7 folds, but there are 5"),
        (lambda: within_session(table, k=4, by="run"), "subject 01, session 1 needs 4 runs for 4 folds, but there are 3"),
        (lambda: within_session(one, k=11), "needs 11 trials for 11 folds, but there are 7"),
        (lambda: shuffled_trials(one, k=11), "needs 11 trials for 11 folds, but there are 7"),
        (lambda: cross_subject(table, k=1), "k is 1; cross-validation needs 2 folds or more"),
        (lambda: cross_session(table, k=0), "k is 0; cross-validation needs 2 folds or more"),
        (lambda: within_session(table, k=0, by="run"), "k is 0; cross-validation needs 2 folds or more"),
        (lambda: cross_subject(table, k=2.0), "k is 2.0; it is a whole number of folds"),
        (lambda: within_session(table, by="day"), "can't divide by 'day'"),
        (lambda: cross_subject(table, validation=1.0), "validation is 1.0"),
        (lambda: cross_subject(table, guard_s=-1.0), "guard_s is -1.0"),
        (lambda: cross_subject(table[:0]), "has no rows"),
        (
            lambda: within_session(one, guard_s=1000.0),
            r"would train on 0 rows \(5 others lie too near the test part or share its trials\) without class 'left', 'right'",
        ),
        (lambda: cross_subject([1, 2]), "The metadata is a list"),
    ):
        with pytest.raises(ValueError, match=sentence):
            splitter()


def test_a_fold_that_would_train_without_a_class_is_refused(table: pd.DataFrame) -> None:
    rare = table.assign(label=np.where((table.subject == "04") & (table.run == "1"), "rare", table.label))
    with pytest.raises(ValueError, match=r"Fold 3 \(subject 04 left out\) would train on 168 rows without class 'rare'"):
        cross_subject(rare)


def test_a_set_without_clock_and_with_few_of_a_class_has_no_blocks(table: pd.DataFrame) -> None:
    one = table[:7].assign(start_s=np.nan, stop_s=np.nan)
    with pytest.raises(ValueError, match="a class of fewer than 5 trials"):
        within_session(one, by="block")


def test_blocks_are_refused_where_every_recording_holds_one_class(table: pd.DataFrame) -> None:
    rest_or_task = table.assign(label=np.where(table.run == "1", "rest", "task"), run="1")
    with pytest.raises(ValueError, match="what identifies the recording would identify the class"):
        within_session(rest_or_task, k=4, by="block")
    assert len(cross_subject(rest_or_task)) == 5


def slow_neighbours(has: np.ndarray, counts: np.ndarray, share: float, turn: int) -> list[list[int]]:
    """Neighbouring units that leave every class: those of about the share that hold every class, then the others, the nearest to it first."""
    n_units, wanted_rows, good, others = len(has), share * counts.sum(), [], []
    wanted = min(max(1, round(share * n_units)), n_units - 1)
    for size in [*range(wanted, min(2 * wanted + 1, n_units - 1) + 1), *range(wanted - 1, 0, -1)]:
        for first in range(n_units):
            chosen = (turn + first + np.arange(size)) % n_units
            lacks, misses = not has[chosen].any(axis=0).all(), abs(counts[chosen].sum() - wanted_rows)
            if np.delete(has, chosen, axis=0).any(axis=0).all():
                (others if lacks or misses > wanted_rows / 2 else good).append((lacks, misses, chosen.tolist()))
    return [chosen for _, _, chosen in [*good, *sorted(others, key=lambda other: other[:2])]]


@pytest.mark.parametrize("seed", range(29))
def test_validation_takes_neighbours_in_the_order_of_the_plain_definition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    has = generator.random((int(generator.integers(2, 13)), 3)) < generator.choice([0.5, 0.9])
    has, counts = has[:, has.any(axis=0)], generator.integers(1, 50, len(has))
    counts[0] *= generator.choice([1, 50])
    found = [chosen.tolist() for chosen in _neighbours(has, counts, 0.2, turn=seed)]
    assert found == slow_neighbours(has, counts, 0.2, seed)


def test_one_subject_with_most_of_the_windows_costs_no_more_than_the_others_together() -> None:
    counts = np.array([20] * 100 + [20_000])
    start = time.process_time()
    for turn in range(101):
        next(_neighbours(np.ones((101, 2), bool), counts, 0.2, turn))
    assert time.process_time() - start < 5  # it takes .2 s on one core; trying one choice after the other takes 14


def test_a_fold_is_frozen_and_refuses_rows_that_are_no_rows() -> None:
    fold = Fold([0, 2], [], [1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        fold.train = np.array([1])
    assert dataclasses.replace(fold, test=[3]).test.dtype == np.int64
    for rows, sentence in (
        ([2, 0], "The train part of fold 0 holds row 0 behind row 2; row numbers are sorted, each once"),
        ([0, 0], "The train part of fold 0 holds row 0 behind row 0"),
        ([0, -1], "The train part of fold 0 holds row -1; rows are counted from 0, not from the end"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Fold(rows, [], [1])
    for rows in ([0.5], [[0, 1]], [True, False]):
        with pytest.raises(ValueError, match="give row numbers"):
            Fold([0], [], rows)


def test_folds_come_back_from_csv_and_seconds_are_bit_equal(tmp_path: Path) -> None:
    windows = synthetic_windows(n_subjects=3, n_trials=7)
    seconds = np.random.default_rng(0).uniform(0, 1e4, len(windows)).cumsum()
    windows.metadata = windows.metadata.assign(start_s=seconds, stop_s=seconds + 1 / 3, recording='a "b", c', trial=range(len(windows)))
    folds = cross_subject(windows.metadata)
    for name in ("folds.csv", "again.csv"):
        splitters.write_csv(tmp_path / name, folds, windows)
    assert (tmp_path / "folds.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()
    assert same(splitters.read_csv(tmp_path / "folds.csv"), folds)
    lines = pd.read_csv(tmp_path / "folds.csv", dtype=str).astype({"row": int, "start_s": object, "stop_s": object})
    lines[["start_s", "stop_s"]] = lines[["start_s", "stop_s"]].map(float)
    assert " ".join(lines.columns) == "fold protocol left_out row part subject session run recording trial start_s stop_s label sha256"
    for column in ("start_s", "stop_s", "subject", "recording"):
        assert (lines[column].to_numpy() == windows.metadata[column].to_numpy()[lines.row]).all()
    assert (lines.sha256 == np.array(windows.row_hashes())[lines.row]).all()
    assert len(lines) == 3 * len(windows)


def test_csv_of_bare_metadata_and_unknown_clock(table: pd.DataFrame, tmp_path: Path) -> None:
    bare = table.assign(start_s=np.nan, stop_s=np.nan)
    folds = cross_subject(bare)
    splitters.write_csv(tmp_path / "folds.csv", folds, bare)
    assert same(splitters.read_csv(tmp_path / "folds.csv"), folds)
    line = (tmp_path / "folds.csv").read_text().splitlines()[1]
    assert line.startswith("0,cross_subject,subject 01,")
    assert ",nan,nan," in line
    assert line.endswith(",")


def test_a_table_that_is_none_of_folds_is_refused_and_nothing_is_left_behind(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    with pytest.raises(ValueError, match=r"Fold 0 names row 999, but there are 210 rows"):
        splitters.write_csv(path, [Fold([0], [], [999])], table)
    assert list(tmp_path.iterdir()) == []
    splitters.write_csv(path, cross_subject(table), table)
    text = path.read_text()
    for changed, sentence in (
        (text.replace("fold,", "number,", 1), "a table of folds has fold, protocol"),
        (text.replace(",train,", ",exam,", 1), "a part is one of train, validation, test"),
        (text.replace("0,cross_subject", "0,cross_session", 1), "stands with two protocols"),
    ):
        path.write_text(changed)
        with pytest.raises(ValueError, match=sentence):
            splitters.read_csv(path)


def test_a_division_without_a_seed_is_refused():
    with pytest.raises(ValueError, match="seed is None, which would draw another division at each call"):
        cross_subject(synthetic_windows(n_subjects=3).metadata, seed=None)


def test_what_folds_ask_of_all_rows_is_taken_once(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fold of blocks asks whether recordings hold one class each, and every fold which classes are left to train on."""
    crossed, looked_up = [], []

    class Counted(np.ndarray):
        def __getitem__(self, rows):
            looked_up.append(rows)
            return np.asarray(self)[rows]

    monkeypatch.setattr("sigvit.evidence.groups.crosstab", lambda *codes: crossed.append(1) or crosstab(*codes))
    groups = read_groups(table)
    groups.names["label"] = groups.names["label"].view(Counted)
    division = Division(groups, 0.2, 0.0)
    tests = [np.arange(7), np.arange(7, 20), np.arange(20, 31)]
    for number, test in enumerate(tests):
        division.fold(np.arange(len(groups)), test, ["blocks"], number, "within_session", "rows")
    assert len(crossed) == 1
    assert len(looked_up) == 2 * len(tests)
