"""Features and labels, checked: what every evaluation of this room reads, from images and recordings alike."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from sigvit.evaluation.attention import of_array
from sigvit.labels import plain_labels

# N = rows, F = features

Features: TypeAlias = Tensor | ArrayLike  # (N, F) numbers
Labels: TypeAlias = Tensor | ArrayLike  # (N,) class numbers or names


class Split(NamedTuple):
    """Training and test part, on one device: features (N, F) of one floating type, labels as numbers into `classes`."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: np.ndarray


def read_split(train_features: Features, train_labels: Labels, test_features: Features, test_labels: Labels, dtype: torch.dtype = torch.float64) -> Split:
    """The four arrays or tensors as tensors on the training features' device.

    Raises
    ------
    ValueError : features that aren't (rows, features) or aren't finite, labels that are missing or of another length, widths that differ, fewer than two
        classes, or a test label that training doesn't have.

    >>> read_split([[0.0], [1.0]], ["face", "house"], [[2.0]], ["house"]).test_labels
    tensor([1])
    """
    train = read_features(train_features, "training", dtype)
    test = read_features(test_features, "test", dtype, train.device)
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"Training has {train.shape[1]} features a row but test has {test.shape[1]}; both must come from the same model.")
    names, test_names = _names(train_labels, len(train), "training"), _names(test_labels, len(test), "test")
    classes, numbers = np.unique(names, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"Training has {len(classes)} class; at least two are needed.")
    unknown = sorted(set(test_names.tolist()) - set(classes.tolist()))
    if unknown:
        raise ValueError(f"Test has labels that training doesn't have: {unknown[:5]}; training has {classes[:5].tolist()}{' …' if len(classes) > 5 else ''}.")
    test_numbers = np.searchsorted(classes, test_names)
    return Split(train, torch.as_tensor(numbers, device=train.device), test, torch.as_tensor(test_numbers, device=train.device), classes)


def read_features(features: Features, part: str, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """(N, F) as a detached tensor; `part` names it in errors."""
    read = (features if isinstance(features, Tensor) else of_array(features)).detach()
    read = (read.cpu() if read.device.type == "mps" else read).to(device=device, dtype=dtype)  # Apple's GPUs have no float64
    if read.ndim != 2 or not read.numel():
        raise ValueError(f"The {part} features must be (rows, features), at least one of each, but are {tuple(read.shape)}.")
    finite = read.isfinite().all(1)
    if not bool(finite.all()):
        raise ValueError(f"Row {int((~finite).nonzero()[0])} of the {part} features holds NaN or infinity; look at the model or its input.")
    return read


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Share of the rows (N, classes) whose highest score is their label's (N,).

    >>> accuracy(torch.tensor([[0.5, 0.25], [0.5, 0.75]]), torch.tensor([0, 0]))
    0.5
    """
    return (scores.argmax(1) == labels).double().mean().item()


class Standardiser(NamedTuple):
    """Each feature to mean 0 and standard deviation 1, by the statistics of the rows it was made from."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Standardiser:
        """(N, F) → the statistics of its columns; 1e-5 is added to each deviation, as in big_vision, so that constant features stay finite."""
        return cls(features.mean(0), features.std(0, correction=0) + 1e-5)

    def __call__(self, features: Tensor) -> Tensor:
        """(N, F) → (N, F)."""
        return (features - self.mean) / self.deviation


def _names(labels: Labels, rows: int, part: str) -> np.ndarray:
    names = plain_labels(labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels, f"rows of {part} features")
    if names.shape != (rows,):
        raise ValueError(f"There are {rows} rows of {part} features, so {part} labels must be ({rows},), but are {names.shape}.")
    return names
