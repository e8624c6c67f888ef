"""Control score: the signal before the cue is judged in the same folds, and told where it knows the class."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence.certificate import certify
from sigvit.evidence.control_score import _auc, control_score, control_warnings
from sigvit.evidence.folds import cross_subject
from sigvit.evidence.groups import read_groups


@pytest.mark.parametrize("classes", [("left", "right"), ("left", "right", "feet")])
def test_a_class_known_before_the_cue_is_told_and_noise_is_not(classes: tuple[str, ...]) -> None:
    windows = synthetic_windows(n_subjects=3, n_trials=30, classes=classes)
    noise = 1e-5 * np.random.default_rng(1).standard_normal((len(windows), 3, 13)).astype(np.float32)
    folds = cross_subject(windows.metadata)
    windows.control_values = noise
    certificate = certify(windows, folds)
    assert certificate.control["p"] > 0.05
    assert not any("before the cue" in sentence for sentence in certificate.warnings)
    known = np.unique(windows.labels, return_inverse=True)[1][:, None]
    windows.control_values = noise + np.float32(1e-5) * (known == np.arange(3))[:, :, None].astype(np.float32)
    certificate = certify(windows, folds)
    assert certificate.control["score"] > 0.9
    assert certificate.control["metric"] == ("roc_auc" if len(classes) == 2 else "balanced_accuracy")
    assert any("The signal before the cue already tells the class" in sentence for sentence in certificate.warnings)


@pytest.mark.slow
def test_noise_before_the_cue_is_told_in_no_more_than_one_set_of_twenty(monkeypatch) -> None:
    """Its folds train each other: of labels shuffled in each test part alone 10 % of such sets are beyond."""
    monkeypatch.setattr("sigvit.evidence.control_score.PERMUTATIONS", 99)
    metadata, generator, n_sets = synthetic_windows(n_subjects=3, n_trials=20).metadata, np.random.default_rng(0), 400
    groups, folds = read_groups(metadata), cross_subject(metadata)
    noise = (1e-5 * generator.standard_normal((len(groups), 5, 7)).astype(np.float32) for _ in range(n_sets))
    told = sum(bool(control_warnings(control_score(values, groups, folds))) for values in noise)
    # A share of .05 of 400 sets is off by .011 (one standard deviation).
    assert told / n_sets <= 0.05 + 3 * 0.011


def test_test_rows_do_not_train_the_control() -> None:
    """Labels that are pure noise to a linear map score near chance, although it could learn them by heart."""
    windows = synthetic_windows(n_subjects=3, n_trials=20, effect=0.0)
    noise = 1e-5 * np.random.default_rng(0).standard_normal((len(windows), 31, 8)).astype(np.float32)
    found = control_score(noise, read_groups(windows.metadata), cross_subject(windows.metadata))
    assert 0.25 < found["score"] < 0.75  # 40 test trials a fold: the standard deviation of a chance AUC is .09


def test_a_division_whose_test_parts_hold_one_class_has_no_control() -> None:
    windows = synthetic_windows(n_subjects=4, n_trials=4)
    table = windows.metadata.assign(label=np.where(windows.metadata.subject.isin(["01", "02"]), "patient", "control"))
    assert control_score(np.zeros((len(table), 2, 3), np.float32), read_groups(table), cross_subject(table, validation=0)) is None


def test_area_is_that_of_scikit_learn_with_ties() -> None:
    generator = np.random.default_rng(0)
    labels, scores = generator.integers(0, 2, 53), generator.integers(0, 7, 53).astype(float)
    assert _auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)  # float64 sums of 53 numbers
