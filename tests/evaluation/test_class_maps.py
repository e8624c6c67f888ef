"""Permuted labels make the baseline: it holds its level where nothing is, and finds what is there."""

import itertools

import numpy as np
import pytest

from sigvit.evaluation.class_maps import class_maps, in_bins


def test_every_permutation_of_few_trials_gives_the_exact_p():
    """Six trials have twenty divisions into three and three; random permutations come near the share of those that reach the true one."""
    values, labels = np.random.default_rng(0).standard_normal((6, 2, 5)), np.array([0, 1, 0, 1, 1, 0])
    maps = class_maps(values, labels, n_permutations=4999)
    excess = [values[list(own), 0].mean(0) - np.delete(values[:, 0], own, axis=0).mean(0) for own in itertools.combinations(range(6), 3)]
    true = values[labels == 0, 0].mean(0) - values[labels == 1, 0].mean(0)
    np.testing.assert_allclose(maps.excess[0], true, atol=1e-12)
    exact = [(np.max(excess, axis=1) >= place - 1e-12).mean() for place in true]
    np.testing.assert_allclose(maps.p[0], exact, atol=0.025)  # three and a half deviations of a share of 5000 draws


def test_without_an_effect_a_map_is_called_at_its_level():
    called = [
        (class_maps(np.random.default_rng(seed).standard_normal((17, 2, 11)), np.arange(17) % 2, n_permutations=99).p[0] <= 0.05).any() for seed in range(200)
    ]
    assert np.mean(called) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)  # three deviations of 200 draws


def test_a_subject_s_own_habit_is_no_effect_when_labels_are_exchanged_within_subjects():
    subject = np.repeat([0, 1], 20)
    labels = np.where(np.random.default_rng(0).random(40) < np.where(subject == 0, 0.8, 0.2), 0, 1)
    values = np.random.default_rng(1).standard_normal((40, 2, 3)) * 0.1
    values[subject == 0, 0, 1] += 1.0
    assert class_maps(values, labels).p[0, 1] < 0.05
    assert class_maps(values, labels, groups=subject).p[0, 1] > 0.05


def test_subjects_of_one_label_exchange_it_as_a_whole():
    subject, values = np.repeat(np.arange(6), 10), np.zeros((60, 2, 3))
    labels = subject % 2
    values[labels == 0, 0, 2] = 1.0
    assert class_maps(values, labels).p[0, 2] < 0.01
    assert class_maps(values, labels, groups=subject, n_permutations=1999).p[0, 2] == pytest.approx(1 / 20, abs=0.02)  # one of the 20 divisions of six


def test_units_exchange_their_label_as_a_whole_within_their_group():
    """Of three subjects each has two recordings, one a class: eight divisions, of which one is the true one."""
    recording, values = np.repeat(np.arange(6), 7), np.zeros((42, 2, 3))
    labels = recording % 2
    values[labels == 0, 0, 2] = 1.0
    assert class_maps(values, labels, recording // 2).p[0, 2] < 0.01
    assert class_maps(values, labels, recording // 2, 1999, units=recording).p[0, 2] == pytest.approx(1 / 8, abs=0.025)  # three deviations of 2000 draws
    assert class_maps(values, labels, n_permutations=1999, units=recording).p[0, 2] == pytest.approx(1 / 20, abs=0.02)  # of the 20 divisions of six


@pytest.mark.parametrize(("groups", "units", "sentence"), [
    (None, np.zeros(11), r"units must be \(40,\), but are \(11,\)"),
    (None, np.arange(40) // 2, "more than one label"),
    (np.arange(40) // 2 % 2, np.arange(40) % 10, "more than one group"),
])  # fmt: skip
def test_units_that_can_not_exchange_a_label_are_refused(groups, units, sentence):
    with pytest.raises(ValueError, match=sentence):
        class_maps(np.zeros((40, 2, 3)), np.arange(40) % 2, groups, units=units)


def test_a_class_that_is_not_there_has_no_map():
    maps = class_maps(np.zeros((4, 3, 2)), np.array([0, 2, 0, 2]))
    assert np.isnan(maps.mean[1]).all()
    assert np.isnan(maps.threshold[1])
    assert not np.isnan(maps.mean[[0, 2]]).any()


def test_bins_keep_the_sum():
    values = np.random.default_rng(0).standard_normal((2, 3, 17))
    assert in_bins(values, 5).shape == (2, 3, 4)
    np.testing.assert_allclose(in_bins(values, 5).sum(-1), values.sum(-1), atol=1e-12)


@pytest.mark.parametrize(
    ("values", "labels", "sentence"),
    [
        (np.zeros((4, 2)), np.arange(4) % 2, "must be .trials, classes, …"),
        (np.zeros((4, 2, 3)), np.arange(5) % 2, "must be .trials, classes, …"),
        (np.zeros((4, 2, 3)), np.zeros(4, int), "at least two of the classes 0 … 1"),
        (np.zeros((4, 2, 3)), np.array([0, 1, 2, 0]), "at least two of the classes 0 … 1"),
    ],
)
def test_bad_input_gets_a_sentence(values, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        class_maps(values, labels)


def test_maps_of_many_places_are_those_of_few(monkeypatch):
    values, labels = np.random.default_rng(0).standard_normal((23, 2, 31)), np.arange(23) % 2
    whole = class_maps(values, labels, n_permutations=99)
    monkeypatch.setattr("sigvit.evaluation.class_maps.PLACES_AT_ONCE", 7)
    for own, other in zip(class_maps(values, labels, n_permutations=99), whole, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-12)  # sums in another order


def test_groups_that_are_not_the_trials_are_refused():
    with pytest.raises(ValueError, match=r"groups must be \(40,\), but are \(10,\)"):
        class_maps(np.zeros((40, 2, 3)), np.arange(40) % 2, groups=np.zeros(10))
