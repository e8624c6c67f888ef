"""k nearest neighbours by cosine similarity: what features are worth without training anything.

Wu et al. 2018 (arXiv:1805.01978), as DINO evaluates (Caron et al. 2021, arXiv:2104.14294).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sigvit.evaluation.features import Features, Labels, accuracy, read_split

ROWS_AT_ONCE = 2**26  # similarities held at once: half a gigabyte in float64
# Cosines and sums of votes that differ by less are equal: rounding depends on the order of rows and on their number.
ALIKE, SAME_VOTES = 1e-12, 1e-9


def nearest_neighbours(
    train_features: Features,
    train_labels: Labels,
    test_features: Features,
    test_labels: Labels,
    k: int = 20,
    weighting: str = "similarity",
    temperature: float = 0.07,
) -> float:
    """Test accuracy when the k most similar training rows vote.

    Parameters
    ----------
    train_features, train_labels, test_features, test_labels : as for `few_shot`; features are scaled to length 1.
    k : neighbours; at most the training rows. Rows as similar as the k-th share equally the votes that the nearer ones leave of k.
    weighting : "similarity": a vote weighs exp(cosine / temperature), as in DINO; "equal": one each. A tie goes to the class that sorts first.
    temperature : of the votes, above 0.

    Raises
    ------
    ValueError : arrays that don't belong together, k or temperature out of range, another weighting.

    >>> nearest_neighbours([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], ["a", "a", "b"], [[2.0, 0.1], [0.1, 3.0]], ["a", "b"], k=1)
    1.0
    """
    split = read_split(train_features, train_labels, test_features, test_labels)
    if not 1 <= k <= len(split.train):
        raise ValueError(f"k is {k}; it must be from 1 to the number of training rows, {len(split.train)}.")
    if weighting not in ("similarity", "equal") or not temperature > 0:
        raise ValueError(f"weighting is {weighting!r} and temperature {temperature}; there are 'similarity' and 'equal', and temperatures above 0.")
    train, test = functional.normalize(split.train), functional.normalize(split.test)
    sharpness = 1 / temperature if weighting == "similarity" else 0.0
    parts = test.split(max(1, ROWS_AT_ONCE // len(train)))
    votes = torch.cat([_votes(part @ train.T, split.train_labels, k, sharpness, len(split.classes)) for part in parts])
    highest = votes >= votes.amax(1, keepdim=True) * (1 - SAME_VOTES)
    return accuracy(highest.int(), split.test_labels)  # of several the first


def _votes(similarity: Tensor, labels: Tensor, k: int, sharpness: float, n_classes: int) -> Tensor:
    """(N, training rows) similarities → (N, classes) sums of votes; cosines are taken from the nearest one's, so that it never underflows."""
    cosine, rows = similarity.topk(k, dim=1)
    votes = similarity.new_zeros(len(similarity), n_classes)
    votes.scatter_add_(1, labels[rows], ((cosine - cosine[:, :1]) * sharpness).exp())
    for row in (similarity >= cosine[:, -1:] - ALIKE).sum(1).gt(k).nonzero()[:, 0].tolist():
        votes[row] = _shared_votes(similarity[row], labels, k, sharpness, n_classes)
    return votes


def _shared_votes(similarity: Tensor, labels: Tensor, k: int, sharpness: float, n_classes: int) -> Tensor:
    """(classes,) of one test row (training rows,): those that are as near as the k-th share the votes that the nearer ones leave of k."""
    nearest = similarity.topk(k).values
    nearer, near = similarity > nearest[-1] + ALIKE, similarity >= nearest[-1] - ALIKE
    left = (k - nearer.sum()) / (near.sum() - nearer.sum())
    votes = similarity.new_zeros(n_classes).index_add_(0, labels[nearer], ((similarity[nearer] - nearest[0]) * sharpness).exp())
    return votes + ((nearest[-1] - nearest[0]) * sharpness).exp() * left * labels[near & ~nearer].bincount(minlength=n_classes)
