"""Attributions of many trials as one map a class, held against what permuted labels give."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sigvit.evaluation.attention import Numbers, as_tensor

# n = trials, K = classes, P = permutations

PLACES_AT_ONCE = 4096  # of which all permutations' differences are held


class ClassMaps(NamedTuple):
    """One map a class.

    `mean` (K, …): mean attribution to class k over the trials of class k.
    `excess` (K, …): that less the mean attribution to class k over all other trials.
    `threshold` (K,): what the largest excess of a map stays below in 95 of 100 sets of permuted labels.
    `p` (K, …): share of such sets, the true one counted, whose largest excess anywhere is at least this one: corrected for all places of the map.
    """

    mean: np.ndarray
    excess: np.ndarray
    threshold: np.ndarray
    p: np.ndarray


def class_maps(
    values: Numbers, labels: Numbers, groups: Numbers | None = None, n_permutations: int = 999, seed: int = 0, units: Numbers | None = None
) -> ClassMaps:
    """Mean attribution of each class, with a permutation baseline.

    If the model saw nothing in a class, its trials would be attributed to that class as any trial is; so labels are exchanged between trials. The largest
    value of each permuted map makes the baseline, which corrects for looking at all places (Nichols & Holmes 2002, doi:10.1002/hbm.1058).

    Parameters
    ----------
    values : (n, K, …), as `attribution` gives them.
    labels : (n,) class numbers 0 … K - 1; each class there at least once, or its map is NaN.
    groups : (n,), such as subjects: labels are exchanged within each group; where every group has one label, whole groups exchange theirs.
    n_permutations : 999 make the smallest p .001.
    units : (n,), what a label was given to, such as recordings of one class each: trials of one unit are alike, so that whole units exchange labels.

    Raises
    ------
    ValueError : arrays that don't belong together, fewer than two classes, labels out of range, or a unit of several labels or groups.

    >>> values = np.zeros((20, 2, 3)); labels = np.arange(20) % 2
    >>> values[labels == 0, 0, 1] = 1.0  # the second place speaks for class 0, in its trials
    >>> maps = class_maps(values, labels)
    >>> maps.mean[0].tolist(), maps.p[0].round(2).tolist()
    ([0.0, 1.0, 0.0], [1.0, 0.0, 1.0])
    """
    numbers, own = as_tensor(values).double().numpy(), as_tensor(labels).numpy()
    within, whole = (None if each is None else np.asarray(each) for each in (groups, units))
    _check(numbers, own, within, whole, n_permutations)
    drawn = np.stack([own, *_permuted(own, within, whole, n_permutations, np.random.default_rng(seed))])
    shape = numbers.shape[2:]
    mean, excess, p = (np.full((numbers.shape[1], *shape), np.nan) for _ in range(3))
    threshold = np.full(numbers.shape[1], np.nan)
    for number in np.unique(own):
        flat = numbers[:, number].reshape(len(own), -1)
        found, largest, size = _largest(_contrast(drawn == number), flat)
        mean[number] = flat[own == number].mean(0).reshape(shape)
        excess[number] = found.reshape(shape)
        threshold[number] = np.quantile(largest, 0.95)
        # rounding makes sums of equal numbers in another order differ in their last digits
        slack = 1e-9 * size
        p[number] = 1 - np.searchsorted(np.sort(largest), found - slack).reshape(shape) / len(largest)
    return ClassMaps(mean, excess, threshold, p)


def in_bins(values: Numbers, size: int) -> np.ndarray:
    """Sums over so many neighbours along the last axis; a last bin that isn't full is kept.

    >>> in_bins([[1.0, 2.0, 3.0, 4.0, 5.0]], 2).tolist()
    [[3.0, 7.0, 5.0]]
    """
    numbers = as_tensor(values).double().numpy()
    if size < 1:
        raise ValueError(f"A bin of {size} samples holds nothing; give at least 1.")
    return np.add.reduceat(numbers, np.arange(0, numbers.shape[-1], size), axis=-1)


def _contrast(chosen: np.ndarray) -> np.ndarray:
    """(…, n) bool → (…, n) weights: the mean over the chosen less the mean over the others."""
    count = chosen.sum(-1, keepdims=True)
    return np.where(chosen, 1 / count, -1 / (chosen.shape[-1] - count))


def _largest(contrasts: np.ndarray, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The first contrast's differences (places,), the largest of each contrast (1 + P,), and the largest magnitude of all; some places at a time."""
    first, largest, size = np.empty(flat.shape[1]), np.full(len(contrasts), -np.inf), 0.0
    for start in range(0, flat.shape[1], PLACES_AT_ONCE):
        differences = contrasts @ flat[:, start : start + PLACES_AT_ONCE]
        first[start : start + PLACES_AT_ONCE] = differences[0]
        largest = np.maximum(largest, differences.max(1))
        size = max(size, float(np.abs(differences).max()))
    return first, largest, size


def _permuted(labels: np.ndarray, groups: np.ndarray | None, units: np.ndarray | None, count: int, generator: np.random.Generator) -> np.ndarray:
    """(count, n) labels, one a unit."""
    if groups is not None and each_has_one(groups, labels):
        groups, units = None, groups
    _, first, of_trial = np.unique(np.arange(len(labels)) if units is None else units, return_index=True, return_inverse=True)
    own = labels[first]
    if groups is None:
        return np.stack([generator.permutation(own)[of_trial] for _ in range(count)])
    drawn = np.tile(own, (count, 1))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups[first] == group)
        drawn[:, rows] = generator.permuted(drawn[:, rows], axis=1)
    return drawn[:, of_trial]


def each_has_one(groups: np.ndarray, values: np.ndarray) -> bool:
    """Whether all members of each group, (n,), have one value, (n,).

    >>> each_has_one(np.array([1, 1, 2]), np.array(["a", "a", "a"])), each_has_one(np.array([1, 1, 2]), np.array(["a", "b", "b"]))
    (True, False)
    """
    pairs = np.stack([np.unique(each, return_inverse=True)[1] for each in (groups, values)], axis=1)
    return len(np.unique(pairs, axis=0)) == len(np.unique(groups))


def _check(values: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, units: np.ndarray | None, n_permutations: int) -> None:
    if values.ndim < 3 or labels.shape != values.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(f"Attributions are {values.shape} and labels {labels.dtype} {labels.shape}; they must be (trials, classes, …) and whole (trials,).")
    for name, given in (("groups", groups), ("units", units)):
        if given is not None and given.shape != labels.shape:
            raise ValueError(f"There are {len(labels)} trials, so {name} must be ({len(labels)},), but are {given.shape}.")
    for name, column in (("label", labels), ("group", groups)):
        if units is not None and column is not None and not each_has_one(units, column):
            raise ValueError(f"Some units have trials of more than one {name}; a unit exchanges its one label within its group as a whole.")
    if len(np.unique(labels)) < 2 or labels.min() < 0 or labels.max() >= values.shape[1]:
        raise ValueError(f"Labels must be numbers of at least two of the classes 0 … {values.shape[1] - 1}, but are {np.unique(labels).tolist()}.")
    if n_permutations < 1:
        raise ValueError(f"n_permutations is {n_permutations}; it must be at least 1.")
