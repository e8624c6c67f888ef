"""What the patch projection looks for: the principal components of its filters, and the signals that they answer to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sigvit.evaluation.attention import Numbers, as_tensor

# D = width, P = numbers of a patch, n = filters that are kept


class PrincipalFilters(NamedTuple):
    """`filters` (n, *shape of a patch), each of length 1, strongest first, and `shares` (n,): of the squared weights that each accounts for."""

    filters: np.ndarray
    shares: np.ndarray


def principal_filters(weight: Numbers, count: int = 28) -> PrincipalFilters:
    """The principal components of a projection's filters.

    Dosovitskiy et al. 2021 (arXiv:2010.11929), figure 7 left, shows the first 28 of ViT-L/32. The mean over the D filters is taken out first: it shifts all
    numbers of a token alike, and every LayerNorm takes that out again.

    Parameters
    ----------
    weight : (D, *shape of a patch): (D, channels, rows, columns) of images; of recordings (D, electrodes, samples), by `weight.unflatten(1, (-1, window))`.
    count : how many, at most as many as there are. The sign of a component is arbitrary; here its largest number is positive.

    Raises
    ------
    ValueError : a weight that isn't (D, …), or a count below 1.

    >>> found = principal_filters([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> found.filters.round(3).tolist(), found.shares.round(3).tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [0.9, 0.1])
    """
    numbers = as_tensor(weight).double().numpy()
    if numbers.ndim < 2 or not numbers.size or count < 1:
        raise ValueError(f"A projection's weight must be (width, …) and count at least 1, but they are {numbers.shape} and {count}.")
    flat = numbers.reshape(len(numbers), -1)
    _, strengths, components = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    largest = components[np.arange(len(components)), np.abs(components).argmax(1)]
    components = components * np.where(largest < 0, -1.0, 1.0)[:, None]
    power = strengths**2
    shares = power / power.sum() if power.sum() else power
    return PrincipalFilters(components[:count].reshape(-1, *numbers.shape[1:]), shares[:count])


def filter_patterns(filters: Numbers, patches: Numbers) -> np.ndarray:
    """The signal that goes up and down with each filter's answer: what a source looks like that the filter catches.

    Haufe et al. 2014 (doi:10.1016/j.neuroimage.2013.10.067): a filter also cancels noise, so that its weights aren't where the source is; the pattern, the
    covariance of the patches with the filter's answer over that answer's variance, is.

    Parameters
    ----------
    filters : (n, *shape of a patch).
    patches : (patches, *shape of a patch), or flat (patches, P), as `tokenizer.unfold` gives them.

    Returns
    -------
    (n, *shape of a patch) float64, in the patches' unit; zero where a filter's answer never changes.

    >>> noise, source = np.random.default_rng(0).standard_normal((2, 10_000))
    >>> filter_patterns([[1.0, -1.0]], np.stack([source + noise, noise], axis=1)).round(1).tolist()  # the source is in the first alone
    [[1.0, -0.0]]
    """
    wanted, seen = as_tensor(filters).double().numpy(), as_tensor(patches).double().numpy()
    flat = seen.reshape(len(seen), -1)
    if flat.shape[1] != wanted[0].size:
        raise ValueError(f"A filter has {wanted[0].size} numbers, but a patch {flat.shape[1]}; both must be of the same projection.")
    centred = flat - flat.mean(0)
    answers = centred @ wanted.reshape(len(wanted), -1).T
    power = (answers**2).sum(0)[:, None]
    # A patch that never changes has a mean that is off by rounding.
    rounding = 1e-20 * (wanted.reshape(len(wanted), -1) ** 2).sum(1, keepdims=True) * (flat**2).sum()
    return np.divide(answers.T @ centred, power, out=np.zeros((len(wanted), flat.shape[1])), where=power > rounding).reshape(wanted.shape)


def space_and_time(patch: Numbers) -> tuple[np.ndarray, np.ndarray, float]:
    """The best product of a scalp map and a time course for one filter or pattern (electrodes, samples).

    Returns
    -------
    (electrodes,) map in the patch's unit, (samples,) course whose largest magnitude is 1 and positive, and the share of the squares that the product
    accounts for: 1 where one map goes up and down as a whole.

    >>> topography, course, share = space_and_time([[1.0, 2.0], [-3.0, -6.0]])
    >>> topography.round(6).tolist(), course.tolist(), round(share, 6)
    ([2.0, -6.0], [0.5, 1.0], 1.0)
    """
    numbers = as_tensor(patch).double().numpy()
    if numbers.ndim != 2:
        raise ValueError(f"A filter over the scalp must be (electrodes, samples), but is {numbers.shape}.")
    maps, strengths, courses = np.linalg.svd(numbers, full_matrices=False)
    peak = courses[0, np.abs(courses[0]).argmax()]
    scale = peak if peak else 1.0
    power = float((strengths**2).sum())
    return maps[:, 0] * strengths[0] * scale, courses[0] / scale, float(strengths[0] ** 2 / power) if power else 0.0
