"""Nearest neighbours vote as the naive formula says."""

import numpy as np
import pytest

from sigvit.evaluation import nearest_neighbours as room
from sigvit.evaluation.nearest_neighbours import nearest_neighbours


def naive(train, labels, test, test_labels, k, temperature):
    hits = 0
    for row, label in zip(test, test_labels, strict=True):
        cosine = train @ row / np.linalg.norm(train, axis=1) / np.linalg.norm(row)
        nearest = np.argsort(-cosine)[:k]
        weights = np.exp(cosine[nearest] / temperature) if temperature else np.ones(k)
        votes = [weights[labels[nearest] == number].sum() for number in range(labels.max() + 1)]
        hits += int(np.argmax(votes) == label)
    return hits / len(test)


def parts(seed):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((5, 7))
    labels, test_labels = generator.permutation(np.arange(101) % 5), np.arange(43) % 5
    return centres[labels] + generator.standard_normal((101, 7)), labels, centres[test_labels] + generator.standard_normal((43, 7)), test_labels


@pytest.mark.parametrize("k", [1, 7, 101])
@pytest.mark.parametrize("temperature", [0.07, 0.5, None], ids=["DINO's", "soft", "equal votes"])
def test_votes_equal_the_naive_formula(k, temperature, monkeypatch):
    train, labels, test, test_labels = parts(0)
    choices = {"weighting": "equal"} if temperature is None else {"temperature": temperature}
    whole = nearest_neighbours(train, labels, test, test_labels, k=k, **choices)
    assert whole == pytest.approx(naive(train, labels, test, test_labels, k, temperature), abs=1e-12)  # both are counts over 43
    monkeypatch.setattr(room, "ROWS_AT_ONCE", 3 * len(train))
    assert nearest_neighbours(train, labels, test, test_labels, k=k, **choices) == whole


def shared(train, labels, row, k, temperature):
    """Votes of each class where the rows that tie with the k-th share what is left, by exact equality: copies of few rows."""
    kinds, kind = np.unique(train, axis=0, return_inverse=True)
    cosine = (kinds @ row / np.linalg.norm(kinds, axis=1) / np.linalg.norm(row))[kind.reshape(-1)]  # numpy 2.0 gives a column
    edge = np.sort(cosine)[-k]
    shares = np.where(cosine > edge, 1.0, np.where(cosine == edge, (k - (cosine > edge).sum()) / (cosine == edge).sum(), 0.0))
    weights = shares * (np.exp(cosine / temperature) if temperature else 1)
    return [weights[labels == number].sum() for number in range(labels.max() + 1)]


@pytest.mark.parametrize("k", [2, 13, 29])
@pytest.mark.parametrize("temperature", [0.07, None])
def test_rows_as_near_as_the_kth_share_its_vote_whatever_their_order_and_company(k, temperature):
    generator = np.random.default_rng(4)
    train, labels = np.repeat(generator.standard_normal((5, 17)), 7, axis=0), generator.permutation(np.arange(35) % 3)
    test = generator.standard_normal((11, 17))
    answers = np.array([np.argmax(shared(train, labels, row, k, temperature)) for row in test])
    choices = {"k": k} | ({"weighting": "equal"} if temperature is None else {"temperature": temperature})
    for order in (np.arange(35), np.arange(35)[::-1], generator.permutation(35)):
        for row, answer in zip(test, answers, strict=True):
            assert nearest_neighbours(train[order], labels[order], row[None], [answer], **choices) == 1
        assert nearest_neighbours(train[order], labels[order], np.repeat(test, 3, axis=0), np.repeat(answers, 3), **choices) == 1


def test_votes_that_are_equal_up_to_rounding_go_to_the_class_that_sorts_first():
    copies, labels = np.repeat(np.random.default_rng(5).standard_normal((1, 19)), 50, axis=0), np.arange(50) % 2
    row = np.random.default_rng(6).standard_normal((1, 19))
    for k in (2, 5, 50):
        for n in (1, 2, 3, 7, 33):
            assert nearest_neighbours(copies[::-1], labels[::-1], np.repeat(row, n, axis=0), [0] * n, k=k) == 1


def test_length_of_a_feature_vector_means_nothing():
    train, labels, test, test_labels = parts(1)
    scaled = nearest_neighbours(train * np.arange(1, 102)[:, None], labels, test * 1e4, test_labels)
    assert scaled == nearest_neighbours(train, labels, test, test_labels)


def test_a_tiny_temperature_leaves_the_nearest_alone():
    train, labels, test, test_labels = parts(2)
    assert nearest_neighbours(train, labels, test, test_labels, k=50, temperature=1e-9) == nearest_neighbours(train, labels, test, test_labels, k=1)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 102}, "number of training rows, 101"),
        ({"weighting": "none"}, "weighting is 'none'"),
        ({"temperature": 0.0}, "temperatures above 0"),
    ],
)
def test_bad_input_gets_a_sentence(choices, sentence):
    with pytest.raises(ValueError, match=sentence):
        nearest_neighbours(*parts(3), **choices)
