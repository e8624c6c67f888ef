"""Linear probe: logistic regression on frozen features, with the penalty chosen inside the training part. Convex, so there is nothing to tune or seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sigvit.evaluation.features import Features, Labels, Standardiser, accuracy, read_split

PENALTIES = tuple(10.0**exponent for exponent in range(-6, 2))
FOLD = 5  # every fifth row of a class, or every fifth group, is held out to choose the penalty
DRAWS = 100  # of groups, until those that stay have every class


@dataclass(frozen=True)
class LinearProbe:
    """What was fitted: `weights` (F + 1, classes), the last row the bias, on standardised features, and the penalty that was chosen."""

    standardise: Standardiser
    weights: Tensor
    penalty: float

    def logits(self, features: Tensor) -> Tensor:
        """(N, F) → (N, classes)."""
        return functional.pad(self.standardise(features), (0, 1), value=1.0) @ self.weights


@torch.inference_mode(False)
def linear_probe(
    train_features: Features,
    train_labels: Labels,
    test_features: Features,
    test_labels: Labels,
    penalties: Iterable[float] = PENALTIES,
    groups: Labels | None = None,
) -> float:
    """Test accuracy of multinomial logistic regression on all training rows.

    The L2 penalty is the one with the lowest loss on a held-out fifth of the training rows (of each class; of the groups where they are given); then
    all rows are fitted. Two calls give the same bits.

    Parameters
    ----------
    train_features, train_labels, test_features, test_labels : as for `few_shot`.
    penalties : candidates λ of mean cross-entropy + λ / 2 ‖weights‖², above 0; the bias is free.
    groups : (training rows,), such as subjects: rows of one group are never on both sides of the inner split.

    Raises
    ------
    ValueError : arrays that don't belong together, a penalty that isn't above 0, or too few samples to hold any out.

    >>> generator = np.random.default_rng(0)
    >>> labels = np.repeat([0, 1], 40)
    >>> features = generator.standard_normal((80, 3)) + 5 * labels[:, None]
    >>> linear_probe(features, labels, features, labels)
    1.0
    """
    split = read_split(train_features, train_labels, test_features, test_labels)
    held_out = _held_out(split.train_labels.cpu().numpy(), groups)
    return accuracy(fit_probe(split.train, split.train_labels, held_out, penalties).logits(split.test), split.test_labels)


def fit_probe(features: Tensor, labels: Tensor, held_out: Tensor, penalties: Iterable[float] = PENALTIES) -> LinearProbe:
    """The probe of these rows, (N, F) float64 and (N,) class numbers; `held_out`, (N,) bool, are those that choose the penalty."""
    penalties = sorted(penalties, reverse=True)
    if not penalties or not all(penalty > 0 for penalty in penalties):  # NaN is neither
        raise ValueError(f"penalties are {penalties}; there must be at least one, each above 0.")
    n_classes = int(labels.max()) + 1
    held_out = held_out.to(features.device)
    inner, losses = ~held_out, []
    standardise = Standardiser.of(features[inner])
    weights = features.new_zeros(features.shape[1] + 1, n_classes)
    for penalty in penalties:  # from strong to weak, each starting where the last ended
        weights = _fit(standardise(features[inner]), labels[inner], weights, penalty)
        probe = LinearProbe(standardise, weights, penalty)
        losses.append(functional.cross_entropy(probe.logits(features[held_out]), labels[held_out]).item())
    chosen = penalties[int(np.argmin(losses))]
    standardise = Standardiser.of(features)
    return LinearProbe(standardise, _fit(standardise(features), labels, torch.zeros_like(weights), chosen), chosen)


def _fit(rows: Tensor, labels: Tensor, start: Tensor, penalty: float) -> Tensor:
    """The minimum, by L-BFGS over all rows at once."""
    rows = functional.pad(rows, (0, 1), value=1.0)
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=300, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(rows @ weights, labels) + penalty / 2 * weights[:-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)  # type: ignore[arg-type]
    return weights.detach()


def _held_out(labels: np.ndarray, groups: Labels | None) -> Tensor:
    """(N,) bool: a fifth of each class, drawn by a fixed permutation, or a fifth of the groups, at least one."""
    generator = np.random.default_rng(0)
    chosen = np.zeros(len(labels), dtype=bool)
    if groups is not None:
        names = np.asarray(groups.cpu() if isinstance(groups, Tensor) else groups)
        if names.shape != labels.shape:
            raise ValueError(f"There are {len(labels)} training rows, so groups must be ({len(labels)},), but are {names.shape}.")
        for _ in range(DRAWS):
            kinds = generator.permutation(np.unique(names))
            chosen = np.isin(names, kinds[: -(-len(kinds) // FOLD)])
            if len(np.unique(labels[~chosen])) == len(np.unique(labels)):
                break
    else:
        for number in np.unique(labels):
            rows = generator.permutation(np.flatnonzero(labels == number))
            chosen[rows[: -(-len(rows) // FOLD)]] = True
    missing = set(np.unique(labels)) - set(np.unique(labels[~chosen]))
    if missing:
        unit = "samples" if groups is None else "groups"
        raise ValueError(f"{len(missing)} classes have too few {unit} to hold any out and still be trained on; each needs at least two {unit}.")
    return torch.as_tensor(chosen)
