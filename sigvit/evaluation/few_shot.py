"""Few-shot evaluation in closed form: a few samples of each class, exact ridge regression, no learning rate and no luck but the draw.

Dosovitskiy et al. 2021 (arXiv:2010.11929), section 4.1; constants as in big_vision.
"""

from __future__ import annotations

import operator
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sigvit.evaluation.features import Features, Labels, Split, Standardiser, accuracy, read_split

BIAS = 100.0  # large, so that the bias is almost free of the ridge
RIDGE = 2.0**10


@dataclass(frozen=True)
class RidgeClassifier:
    """Linear scores of standardised features; `weights` are (F + 1, classes), the last row the bias feature's."""

    standardise: Standardiser
    weights: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """(N, F) → (N, classes): near 1 for the class, near -1 for the others."""
        return _with_bias(self.standardise(features)) @ self.weights


def fit_ridge(features: Tensor, labels: Tensor, n_classes: int, ridge: float = RIDGE) -> RidgeClassifier:
    """The exact minimiser of ‖X w - Y‖² + ridge ‖w‖², with X standardised by its own rows and a bias feature added, and targets Y of ±1.

    Solved in whichever form is smaller: (XᵀX + ridge)⁻¹XᵀY with many rows, Xᵀ(XXᵀ + ridge)⁻¹Y with few.

    >>> fit_ridge(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]), 2, ridge=1e-6).scores(torch.tensor([[1.0]])).round(decimals=3).tolist()
    [[-1.0, 1.0]]
    """
    if not ridge > 0:
        raise ValueError(f"ridge is {ridge}; it must be above 0, so that there is one solution.")
    standardise = Standardiser.of(features)
    rows = _with_bias(standardise(features))
    targets = 2.0 * torch.nn.functional.one_hot(labels, n_classes).to(rows.dtype) - 1.0
    few = len(rows) < rows.shape[1]
    gram = rows @ rows.T if few else rows.T @ rows
    factor = torch.linalg.cholesky(gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
    weights = rows.T @ torch.cholesky_solve(targets, factor) if few else torch.cholesky_solve(rows.T @ targets, factor)
    return RidgeClassifier(standardise, weights)


@dataclass(frozen=True)
class FewShot(Mapping[int, float]):
    """Mean accuracy by shots; `accuracies` holds every seed's.

    >>> result = FewShot({1: (0.5, 0.75), 5: (1.0, 1.0)})
    >>> result[1], round(result.spread[1], 3), dict(result)
    (0.625, 0.177, {1: 0.625, 5: 1.0})
    """

    accuracies: Mapping[int, tuple[float, ...]]

    @property
    def spread(self) -> dict[int, float]:
        """Standard deviation over the seeds; NaN with a single one."""
        return {shots: statistics.stdev(found) if len(found) > 1 else float("nan") for shots, found in self.accuracies.items()}

    def __getitem__(self, shots: int) -> float:
        return statistics.fmean(self.accuracies[shots])

    def __iter__(self) -> Iterator[int]:
        return iter(self.accuracies)

    def __len__(self) -> int:
        return len(self.accuracies)

    def __str__(self) -> str:
        return ", ".join(f"{shots}-shot {self[shots]:.3f} ± {self.spread[shots]:.3f}" for shots in self)


def few_shot(
    train_features: Features,
    train_labels: Labels,
    test_features: Features,
    test_labels: Labels,
    shots: Iterable[int] = (1, 5, 10, 25),
    seeds: Iterable[int] = range(3),
    ridge: float = RIDGE,
) -> FewShot:
    """Test accuracy of a linear classifier that saw `shots` samples of each class, for every number of shots and seed.

    Parameters
    ----------
    train_features, test_features : (rows, features), arrays or tensors, as `model.features` gives them for images and recordings. The statistics that
        standardise come from the drawn training rows alone.
    train_labels, test_labels : (rows,), class numbers or names.
    shots : samples of each class; a seed's smaller draws are part of its larger ones.
    seeds : one draw each.
    ridge : strength of the L2 penalty; 2¹⁰ as in big_vision, where every feature has variance 1 and the bias feature is 100.

    Returns
    -------
    A mapping from shots to mean accuracy, with `spread` and every seed's `accuracies`. Everything is computed in float64.

    Raises
    ------
    ValueError : arrays that don't belong together, no shots or seeds, or a class with fewer samples than shots.

    >>> generator = np.random.default_rng(0)
    >>> labels = np.repeat([0, 1, 2], 30)
    >>> features = np.eye(3)[labels] + 0.1 * generator.standard_normal((90, 3))
    >>> few_shot(features, labels, features, labels, shots=(5, 25))[25]
    1.0
    """
    split = read_split(train_features, train_labels, test_features, test_labels)
    shots, seeds = _whole_numbers("shots", shots), _whole_numbers("seeds", seeds)
    _check_draws(split.train_labels, split.classes, shots, seeds)
    return judge_draws(split, {count: [draw(split.train_labels, count, seed) for seed in seeds] for count in shots}, ridge)


def judge_draws(split: Split, draws: Mapping[int, Sequence[Tensor]], ridge: float = RIDGE) -> FewShot:
    """As `few_shot`, with the rows of training given for each number of shots: so the features of a large set are needed of drawn rows alone."""
    accuracies: dict[int, tuple[float, ...]] = {}
    for shots, several in draws.items():
        fitted = (fit_ridge(split.train[rows], split.train_labels[rows], len(split.classes), ridge) for rows in several)
        accuracies[shots] = tuple(accuracy(classifier.scores(split.test), split.test_labels) for classifier in fitted)
    return FewShot(accuracies)


def draw(labels: Tensor, shots: int, seed: int) -> Tensor:
    """Row numbers of `shots` samples of each class, a pure function of labels and seed (the draw of big_vision).

    >>> len(draw(torch.tensor([0, 0, 1, 1, 1]), shots=2, seed=0))
    4
    """
    generator, numbers = np.random.default_rng(seed), labels.cpu().numpy()
    rows = [generator.permutation(np.flatnonzero(numbers == number))[:shots] for number in range(int(numbers.max()) + 1)]
    return torch.as_tensor(np.concatenate(rows), device=labels.device)


def _with_bias(rows: Tensor) -> Tensor:
    return torch.nn.functional.pad(rows, (0, 1), value=BIAS)


def _whole_numbers(name: str, given: Iterable[int]) -> tuple[int, ...]:
    try:
        return tuple(map(operator.index, given))
    except TypeError:
        raise ValueError(f"{name} is {given}; it must be one or several whole numbers in a list, such as [5].") from None


def _check_draws(labels: Tensor, classes: np.ndarray, shots: tuple[int, ...], seeds: tuple[int, ...]) -> None:
    if not shots or not seeds or min(shots) < 1:
        raise ValueError(f"shots {shots} and seeds {seeds} must each name at least one, and shots are at least 1.")
    counts = labels.bincount(minlength=len(classes))
    fewest = int(counts.argmin())
    if max(shots) > counts[fewest]:
        name, count = classes[fewest], int(counts[fewest])
        raise ValueError(f"{max(shots)} shots need as many training samples of each class, but class {name} has {count}; ask for fewer.")
