"""Inner folds: what they keep whole, and which windows they leave out because these can't tell whose advice is good."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigvit.evidence.inner_folds import calibrating_folds, inner_folds, telling_windows


def test_they_keep_subjects_whole():
    groups, numbers = np.repeat(["01", "02", "03"], 10), np.tile([0, 1], 15)
    folds = inner_folds(numbers, groups)
    assert len(folds) == 3
    assert all(not set(groups[train]) & set(groups[judge]) for train, judge in folds)


def test_of_few_windows_a_class_there_are_fewer_folds_than_groups():
    """Seven runs of four gestures: no class has five windows and more."""
    numbers, groups = np.arange(28) % 6, np.repeat(np.arange(7), 4)
    folds = inner_folds(numbers[:24], groups[:24])
    assert len(folds) == 4  # as many as a class has windows
    assert all(not set(groups[train]) & set(groups[judge]) for train, judge in folds)
    assert inner_folds(np.arange(8) % 8, np.arange(8)) == []  # one window a class


def test_those_of_one_subject_are_blocks_inside_each_class():
    numbers = np.repeat([0, 1], 10)
    assert [judge.tolist() for _, judge in inner_folds(numbers, np.repeat("01", 20))] == [[k, k + 1, k + 10, k + 11] for k in range(0, 10, 2)]


def test_they_never_train_without_a_class():
    # Class 1 is only in subject 02: no fold that leaves it out can train.
    groups, numbers = np.repeat(["01", "02", "03"], 4), np.array([0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0])
    assert all(len(set(numbers[train])) == 2 for train, _ in inner_folds(numbers, groups))


@pytest.mark.parametrize(("rare", "folds"), [(1, 4), (2, 5), (3, 5)])
@pytest.mark.parametrize("blocks", [1, 7])
def test_a_rare_class_takes_no_fold_but_the_one_that_would_train_without_it(rare, folds, blocks):
    numbers = np.repeat(np.arange(5), [61, 31, 17, 7, rare])
    found = inner_folds(numbers, np.arange(len(numbers)) % blocks)
    assert len(found) == folds
    assert all(set(numbers[train]) == set(range(5)) for train, _ in found)


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(5), [7, 7, 7, 7, 3])])
def test_judges_of_one_class_are_none(groups):
    numbers = np.repeat([0, 1], [30, 1])
    assert inner_folds(numbers, groups) == []


def test_they_train_on_more_windows_than_classes():
    """Six classes of two windows: without one of each, scikit-learn's discriminant refuses the rest."""
    assert inner_folds(np.tile(np.arange(6), 2), None) == []
    assert [len(train) for train, _ in inner_folds(np.tile(np.arange(6), 3), None)] == [12, 12, 12]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=31))
def test_each_content_tells_once_and_only_under_one_label(drawn):
    contents, numbers = np.array(drawn).T
    signals = np.random.default_rng(0).normal(size=(7, 2, 5))[contents]
    rows = telling_windows(signals, numbers)
    telling = {content for content, _ in drawn if len({number for other, number in drawn if other == content}) == 1}
    assert sorted(contents[rows]) == sorted(telling)
    assert all(list(contents).index(contents[row]) == row for row in rows)  # the first of its copies


def test_silent_windows_tell_nothing_where_most_are_silent_too():
    signals = np.random.default_rng(0).normal(size=(31, 3, 17))
    signals[:23] *= 1e-9  # what a filter leaves of an offset
    signals[30] *= 1e4
    assert telling_windows(signals, np.arange(31) % 2).tolist() == list(range(23, 31))


def test_windows_of_which_none_moves_are_told_apart_by_their_levels():
    levels = np.arange(5.0)[:, None, None]
    assert telling_windows(np.tile(levels, (1, 2, 7)), np.arange(5) % 2).tolist() == [0, 1, 2, 3, 4]
    assert telling_windows(levels, np.arange(5) % 2).tolist() == [0, 1, 2, 3, 4]  # one sample


def test_rows_that_are_not_divided_stand_in_no_part():
    rows = np.arange(3, 29)
    numbers, groups = np.arange(31) % 2, np.repeat(np.arange(8), 4)[:31]
    folds = inner_folds(numbers, groups, rows)
    assert sorted(np.concatenate([judge for _, judge in folds])) == rows.tolist()
    assert all(set(train) == set(rows) - set(judge) for train, judge in folds)


def test_where_one_group_is_left_its_windows_are_divided():
    groups = np.repeat([0, 1], [23, 18])
    assert len(inner_folds(np.arange(41) % 2, groups)) == 2
    assert len(inner_folds(np.arange(41) % 2, groups, np.arange(23, 41))) == 5


def test_no_row_to_divide_is_no_fold():
    assert inner_folds(np.arange(41) % 2, None, np.array([], dtype=int)) == []


def test_of_calibrating_windows_each_judges_once_and_all_others_always_train():
    numbers, calibrating = np.arange(41) % 2, np.arange(41) >= 30  # five and six windows a class
    folds = calibrating_folds(numbers, calibrating)
    assert len(folds) == 5
    assert sorted(np.concatenate([judge for _, judge in folds])) == list(range(30, 41))
    assert all(train.tolist() == sorted(set(range(41)) - set(judge)) for train, judge in folds)


def test_two_calibrating_windows_a_class_are_two_folds_and_one_is_a_fold_of_the_others():
    numbers = np.arange(23) % 3
    assert [judge.tolist() for _, judge in calibrating_folds(numbers, np.arange(23) < 6)] == [[0, 1, 2], [3, 4, 5]]
    ((train, judge),) = calibrating_folds(numbers, np.arange(23) < 3)
    assert (train.tolist(), judge.tolist()) == (list(range(3, 23)), [0, 1, 2])


def test_no_fold_of_calibrating_windows_trains_without_a_class():
    # The others lack class 1, of which one window calibrates.
    assert calibrating_folds(np.array([0, 0, 0, 0, 1]), np.arange(5) > 2) == []
    assert len(calibrating_folds(np.array([0, 0, 0, 0, 1, 1]), np.arange(6) > 1)) == 2
