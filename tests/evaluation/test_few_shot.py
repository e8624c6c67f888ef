"""Few-shot evaluation is the closed form, sees training rows alone and says what it lacks."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from sigvit.evaluation.few_shot import BIAS, RIDGE, draw, few_shot, fit_ridge


def features_and_labels(seed, rows, width, classes, scale=1.0):
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    centres = generator.standard_normal((classes, width)) * scale
    return generator.standard_normal((rows, width)) * np.arange(1, width + 1) + centres[labels] + 3.0, labels


def closed_form(features, labels, classes, ridge):
    """The normal equations as the paper states them, by explicit inverse, in NumPy's float64."""
    mean, deviation = features.mean(0), features.std(0) + 1e-5
    rows = np.column_stack([(features - mean) / deviation, np.full(len(features), BIAS)])
    targets = np.where(labels[:, None] == np.arange(classes), 1.0, -1.0)
    return mean, deviation, np.linalg.inv(rows.T @ rows + ridge * np.eye(rows.shape[1])) @ rows.T @ targets


@pytest.mark.parametrize(("rows", "width"), [(101, 13), (11, 47), (7, 6)], ids=["many rows", "few rows (dual form)", "as many as columns"])
@pytest.mark.parametrize("ridge", [RIDGE, 0.5])
def test_scores_equal_the_closed_form_in_float64(rows, width, ridge):
    features, labels = features_and_labels(1, rows, width, classes=3)
    unseen = features_and_labels(2, 29, width, classes=3)[0]
    mean, deviation, weights = closed_form(features, labels, 3, ridge)
    expected = np.column_stack([(unseen - mean) / deviation, np.full(len(unseen), BIAS)]) @ weights
    found = fit_ridge(torch.tensor(features), torch.tensor(labels), 3, ridge).scores(torch.tensor(unseen))
    assert np.abs(found.numpy() - expected).max() <= 1e-6  # the tolerance; both are float64


def test_accuracy_is_that_of_the_closed_form_on_the_drawn_rows():
    train, train_labels = features_and_labels(3, 150, 17, classes=5)
    test, test_labels = features_and_labels(3, 150, 17, classes=5)
    test = test + np.random.default_rng(4).standard_normal(test.shape)
    result = few_shot(train, train_labels, test, test_labels, shots=(2, 7), seeds=(0, 11))
    for shots in (2, 7):
        for seed, accuracy in zip((0, 11), result.accuracies[shots], strict=True):
            rows = draw(torch.tensor(train_labels), shots, seed).numpy()
            mean, deviation, weights = closed_form(train[rows], train_labels[rows], 5, RIDGE)
            scores = np.column_stack([(test - mean) / deviation, np.full(len(test), BIAS)]) @ weights
            assert accuracy == (scores.argmax(1) == test_labels).mean()
        assert result[shots] == pytest.approx(np.mean(result.accuracies[shots]))
        assert result.spread[shots] == pytest.approx(np.std(result.accuracies[shots], ddof=1))


def test_the_ridge_is_the_exact_minimum():
    features, labels = (torch.tensor(array) for array in features_and_labels(5, 31, 7, classes=3))
    fitted = fit_ridge(features, labels, 3, ridge=2.0)
    weights = fitted.weights.clone().requires_grad_()
    rows = torch.nn.functional.pad(fitted.standardise(features), (0, 1), value=BIAS)
    loss = (rows @ weights - (2.0 * torch.nn.functional.one_hot(labels, 3) - 1)).square().sum() + 2.0 * weights.square().sum()
    loss.backward()
    assert weights.grad.abs().max() < 1e-6  # zero but for rounding of a bias feature of 100 summed over 31 rows


def test_a_draw_has_so_many_of_each_class_and_is_nested():
    labels = torch.tensor(np.random.default_rng(0).integers(0, 3, 97))
    small, large = draw(labels, 5, seed=2), draw(labels, 11, seed=2)
    assert labels[large].bincount().tolist() == [11, 11, 11]
    assert set(small.tolist()) < set(large.tolist())
    assert set(draw(labels, 5, seed=3).tolist()) != set(small.tolist())


def test_the_fit_sees_nothing_of_the_test_part():
    """One test row's accuracy doesn't depend on its company, however extreme."""
    train, labels = features_and_labels(6, 90, 11, classes=3)
    test, test_labels = features_and_labels(7, 30, 11, classes=3)
    alone = [few_shot(train, labels, test[row : row + 1], test_labels[row : row + 1], shots=(5,), seeds=(1,))[5] for row in range(30)]
    with_outlier = few_shot(train, labels, np.vstack([test, 1e6 * test[:1]]), np.append(test_labels, 0), shots=(5,), seeds=(1,))
    extreme = few_shot(train, labels, 1e6 * test[:1], [0], shots=(5,), seeds=(1,))[5]
    assert with_outlier[5] == pytest.approx((sum(alone) + extreme) / 31, abs=1e-12)  # a mean of zeros and ones


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_names_and_numbers_give_the_same(dtype):
    train, labels = features_and_labels(8, 60, 5, classes=2)
    train = torch.tensor(train).to(dtype).requires_grad_()
    names = np.array(["face", "house"])[labels]
    by_number = few_shot(train.detach().numpy(), labels, train.detach().numpy(), labels, shots=(3,))
    assert few_shot(train, names, train, names.tolist(), shots=[3]).accuracies == by_number.accuracies
    assert few_shot(train, torch.tensor(labels), train, torch.tensor(labels), shots=(3,)).accuracies == by_number.accuracies


def test_a_constant_feature_changes_nothing():
    train, labels = features_and_labels(9, 60, 5, classes=2)
    constant = np.full((60, 1), 0.1)
    plain = few_shot(train, labels, train, labels, shots=(7,)).accuracies
    assert few_shot(np.hstack([train, constant]), labels, np.hstack([train, constant]), labels, shots=(7,)).accuracies == plain


def test_one_seed_has_no_spread():
    train, labels = features_and_labels(9, 60, 5, classes=2)
    result = few_shot(train, labels, train, labels, shots=(7,), seeds=[0])
    assert math.isnan(result.spread[7])
    assert str(result).startswith("7-shot 0.")
    assert len(result) == 1


TRAIN, LABELS = features_and_labels(10, 20, 3, classes=2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train_labels": [0] * 17 + [1] * 3, "shots": (1, 5)}, "5 shots need as many training samples of each class, but class 1 has 3"),
        ({"train_labels": [0] * 20}, "Training has 1 class"),
        ({"train_labels": LABELS[:19]}, r"training labels must be \(20,\), but are \(19,\)"),
        ({"test_labels": LABELS + 1}, r"Test has labels that training doesn't have: \[2\]"),
        ({"test_features": TRAIN[:, :2]}, "Training has 3 features a row but test has 2"),
        ({"train_features": TRAIN.ravel()}, r"must be \(rows, features\), at least one of each, but are \(60,\)"),
        ({"train_features": np.where(np.arange(20)[:, None] == 13, np.nan, TRAIN)}, "Row 13 of the training features holds NaN"),
        ({"train_labels": ["a", "b", float("nan"), "b"] * 5}, "5 of 20 rows of training features have no label, the first in row 2"),
        ({"test_labels": [0, 1, None, 0] * 5}, "5 of 20 rows of test features have no label, the first in row 2"),
        ({"shots": ()}, r"shots \(\) and seeds \(0, 1, 2\) must each name at least one"),
        ({"shots": 5}, "shots is 5; it must be one or several whole numbers in a list"),
        ({"shots": (1.0, 5.0)}, r"shots is \(1.0, 5.0\); it must be one or several whole numbers"),
        ({"shots": (0,)}, "shots are at least 1"),
        ({"ridge": 0.0, "shots": (1,)}, "ridge is 0.0; it must be above 0"),
    ],
)
def test_bad_input_gets_a_sentence(changes, sentence):
    arguments = {"train_features": TRAIN, "train_labels": LABELS, "test_features": TRAIN, "test_labels": LABELS} | changes
    with pytest.raises(ValueError, match=sentence):
        few_shot(**arguments)


@pytest.mark.parametrize("form", ["reversed", "big-endian", "pandas", "read-only"])
def test_features_may_come_in_any_form(form):
    features, labels = np.random.default_rng(0).standard_normal((50, 4)), np.repeat([0, 1], 25)
    features[labels == 1] += 1
    given = {"reversed": features[::-1].copy()[::-1], "big-endian": features.astype(">f8"), "pandas": pd.DataFrame(features).astype("Float64")}
    given["read-only"] = features.copy()
    given["read-only"].setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert few_shot(given[form], labels, given[form], labels, shots=(5,)) == few_shot(features, labels, features, labels, shots=(5,))
