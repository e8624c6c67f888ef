"""The linear probe is the convex minimum, chooses its penalty inside the training part, and is the same twice."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sigvit.evaluation.linear_probe import _held_out, fit_probe, linear_probe


def parts(seed=0, rows=157, width=11, classes=3, noise=2.0):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((classes, width))
    labels = np.arange(rows) % classes
    return centres[labels] + noise * generator.standard_normal((rows, width)), labels


def test_weights_equal_those_of_scikit_learn():
    features, labels = (torch.tensor(array) for array in parts())
    probe = fit_probe(features, labels, torch.arange(len(labels)) % 5 == 0, penalties=[0.01])
    rows = probe.standardise(features).numpy()
    # Scikit-learn's C weighs the sum of the losses, our penalty their mean.
    reference = LogisticRegression(C=1 / (0.01 * len(rows)), tol=1e-10, max_iter=1000).fit(rows, labels.numpy())
    # Both end where the gradient is small, not zero; probabilities agree far better than any accuracy can tell.
    assert np.abs(probe.logits(features).softmax(1).numpy() - reference.predict_proba(rows)).max() < 1e-5


def test_the_penalty_with_the_lowest_held_out_loss_is_chosen():
    """Many noisy features want a strong penalty, few clean ones a weak one."""
    noisy, labels = (torch.tensor(array) for array in parts(1, rows=60, width=53, noise=6.0))
    clean, clean_labels = (torch.tensor(array) for array in parts(1, rows=600, width=2, noise=0.1))
    by_five = torch.arange(600) % 5 == 0
    assert fit_probe(noisy, labels, by_five[:60]).penalty > 0.05 > 1e-4 >= fit_probe(clean, clean_labels, by_five).penalty


def test_two_calls_give_the_same_bits_and_tensors_the_same_as_arrays():
    features, labels = parts(2)
    first = linear_probe(features, labels, features, labels)
    assert linear_probe(torch.tensor(features), torch.tensor(labels), torch.tensor(features), torch.tensor(labels)) == first
    torch.manual_seed(13)
    probes = [fit_probe(torch.tensor(features), torch.tensor(labels), torch.arange(157) % 5 == 0, [0.1, 0.01]) for _ in range(2)]
    assert torch.equal(probes[0].weights, probes[1].weights)


@pytest.mark.parametrize("block", [torch.no_grad, torch.inference_mode])
def test_it_fits_wherever_it_is_called(block):
    features, labels = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    with block():
        found = linear_probe(features.double() + 2 * labels[:, None], labels.clone(), features, labels)
    assert found == linear_probe(features + 2 * labels[:, None], labels, features, labels)


def test_the_fit_sees_nothing_of_the_test_part():
    train, labels = parts(3)
    test, test_labels = parts(4, rows=9)
    alone = [linear_probe(train, labels, test[row : row + 1], test_labels[row : row + 1], penalties=[0.01]) for row in range(9)]
    extreme = linear_probe(train, labels, 1e6 * test[:1], [0], penalties=[0.01])
    together = linear_probe(train, labels, np.vstack([test, 1e6 * test[:1]]), np.append(test_labels, 0), penalties=[0.01])
    assert together == pytest.approx((sum(alone) + extreme) / 10, abs=1e-12)  # a mean of zeros and ones


def test_groups_stay_on_one_side_of_the_inner_split():
    labels, groups = np.arange(90) % 3, np.repeat(np.arange(9), 10)
    held_out = _held_out(labels, groups).numpy()
    assert set(groups[held_out]) & set(groups[~held_out]) == set()
    assert len(set(groups[held_out])) == 2


def test_a_fifth_of_each_class_is_held_out():
    labels = np.repeat([0, 1], [50, 7])
    held_out = _held_out(labels, None).numpy()
    assert np.bincount(labels[held_out]).tolist() == [10, 2]


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"penalties": []}, "at least one, each above 0"),
        ({"penalties": [0.1, 0.0]}, "each above 0"),
        ({"penalties": (float("nan"), 1.0)}, "each above 0"),
        ({"train_labels": [0] * 156 + [1], "test_labels": [0] * 157}, "1 classes have too few samples"),
        ({"groups": np.zeros(157)}, "3 classes have too few groups"),
        ({"groups": np.zeros(3)}, r"groups must be \(157,\), but are \(3,\)"),
        ({"train_features": np.ma.masked_greater(parts()[0], 2)}, "The numbers are masked in places"),
    ],
)
def test_bad_input_gets_a_sentence(choices, sentence):
    features, labels = parts()
    with pytest.raises(ValueError, match=sentence):
        linear_probe(**({"train_features": features, "train_labels": labels, "test_features": features, "test_labels": labels} | choices))


def test_groups_are_drawn_until_every_class_stays():
    """A class in 2 of 10 groups: every 45th draw of two groups takes both away."""
    groups = np.repeat(np.arange(10), 4)
    for pair in combinations(range(10), 2):
        labels = np.isin(groups, pair).astype(int)
        features = labels[:, None] + np.linspace(0, 0.1, 40)[:, None]
        assert linear_probe(features, labels, features, labels, groups=groups) == 1.0
