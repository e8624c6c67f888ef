"""The log-linear pool of several classifiers: their log-probabilities, weighed and added, with weights of smallest loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from sigvit.evidence.metrics import window_log_loss

# n = windows, K = sources, C = classes

# Far below any probability that a few hundred windows support: one mistake that a source is certain of must not decide its weight.
LEAST_PROBABILITY = 1e-6
# What holds the weights near equal ones, in windows: a few dozen windows overrule it, a handful don't.
PULL = 1.0
# Natural logarithms of the temperatures that are searched, and how much smaller a loss (nats) elsewhere must be to be another valley and no rounding.
LOG_TEMPERATURES = (-np.log(20), np.log(1000))
DEEPER = 1e-9


class Weighed(NamedTuple):
    """What sources count in a pool: `weights` of log-probabilities divided by `temperatures`, and the log-loss in nats of each alone at its own; (K,) each."""

    weights: np.ndarray
    temperatures: np.ndarray
    losses: np.ndarray


def weigh(log_probabilities: np.ndarray, numbers: np.ndarray) -> Weighed:
    """How much each source counts, by windows (n, K, C) that it wasn't fitted on and their class numbers (n,): first its best temperature, then the weights.

    >>> modest, boastful = np.log([[0.8, 0.2], [0.2, 0.8], [0.2, 0.8]] * 50), np.log([[0.99, 0.01], [0.01, 0.99], [0.01, 0.99]] * 50)
    >>> weighed = weigh(np.stack([modest, boastful], axis=1), np.array([0, 1, 0] * 50))
    >>> bool(weighed.temperatures[1] > 3 * weighed.temperatures[0])
    True
    >>> np.allclose(*weighed.weights, atol=1e-3)  # they say the same
    True
    """
    found = [best_temperature(each, numbers) for each in log_probabilities.swapaxes(0, 1)]
    temperatures, losses = np.transpose(found)
    return Weighed(blend_weights(log_probabilities / temperatures[:, None], numbers), temperatures, losses)


def blend_weights(log_probabilities: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Weights (K,), none negative, of the log-linear pool with the smallest log-loss, pulled towards 1 / K each.

    Parameters
    ----------
    log_probabilities : (n, K, C), of windows that the sources weren't fitted on. numbers : (n,) their class numbers.

    The loss is convex, so there is one answer. Genest and Zidek 1986 (Statistical Science 1) for pools; Breiman 1996 ("Stacked regressions") for the choice.

    >>> right, wrong = np.log([[0.8, 0.2], [0.2, 0.8]] * 50), np.log([[0.4, 0.6], [0.6, 0.4]] * 50)
    >>> weights = blend_weights(np.stack([right, wrong], axis=1), np.array([0, 1] * 50))
    >>> bool(weights[0] > 20 * weights[1])
    True
    """
    n, sources, _ = log_probabilities.shape
    log_probabilities, rows = np.maximum(log_probabilities, np.log(LEAST_PROBABILITY)), np.arange(n)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.einsum("nkc,k->nc", log_probabilities, weights)
        errors = softmax(logits, axis=1)
        errors[rows, numbers] -= 1
        apart = weights - 1 / sources
        mean_loss = -log_softmax(logits, axis=1)[rows, numbers].mean() + PULL / n * sources * (apart @ apart)
        return mean_loss, np.einsum("nc,nkc->k", errors, log_probabilities) / n + 2 * PULL / n * sources * apart

    return minimize(loss, np.full(sources, 1 / sources), jac=True, bounds=[(0, None)] * sources, method="L-BFGS-B").x


def pooled(log_probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The pool's log-probabilities: (n, K, C) and (K,) → (n, C).

    >>> np.exp(pooled(np.log([[[0.8, 0.2], [0.5, 0.5]]]), np.array([1.0, 1.0]))).round(3).tolist()
    [[0.8, 0.2]]
    """
    return log_softmax(np.einsum("nkc,k->nc", log_probabilities, weights), axis=1)


def logarithms(probabilities: np.ndarray, least: float = np.finfo(np.float64).tiny) -> np.ndarray:
    """Of what a source says, its certainty uncut: where all windows lie far from the boundary, as those of a person recorded with another gain do, their order
    is all that it still knows. Of a source whose certainty no temperature was chosen for, `least` is `LEAST_PROBABILITY`."""
    return np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), least))


def for_even_classes(log_probabilities: np.ndarray, shares: np.ndarray | None) -> np.ndarray:
    """Log-probabilities (n, C) for classes that are equally frequent, of a source that learned them in these shares (C,); None: they are so already.

    Bayes' rule; Saerens et al. 2002, "Adjusting the outputs of a classifier to new a priori probabilities", Neural Computation 14.

    >>> np.exp(for_even_classes(np.log([[0.9, 0.1], [0.6, 0.4]]), np.array([0.9, 0.1]))).round(3).tolist()
    [[0.5, 0.5], [0.143, 0.857]]
    """
    return log_probabilities if shares is None else log_softmax(log_probabilities - np.log(shares), axis=1)


def told_apart(log_probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (n, C) in the same order, but beyond 1e-6 certainty grows ever more slowly, so that double precision tells each from 1.

    >>> told_apart(np.log([[0.8, 0.2], [1.0, 1e-90], [1.0, 1e-99]])).round(12).tolist()
    [[0.8, 0.2], [0.999999994856, 5.144e-09], [0.999999995352, 4.648e-09]]
    """
    edge = np.log(LEAST_PROBABILITY)
    slower = np.exp(np.maximum(log_probabilities, edge) - np.log1p(np.maximum(edge - log_probabilities, 0.0)))
    return slower / slower.sum(axis=1, keepdims=True)


def best_temperature(logits: np.ndarray, numbers: np.ndarray) -> tuple[float, float]:
    """The temperature between 1/20 and 1000 with the smallest mean log-loss, and that loss in nats.

    >>> temperature, loss = best_temperature(np.array([[9.0, 0.0]] * 4), np.array([0, 0, 0, 1]))
    >>> round(9 / temperature, 2), round(loss, 3)
    (1.1, 0.562)
    """

    def loss(log_temperature: float) -> float:
        return float(window_log_loss(numbers, softmax(logits / np.exp(log_temperature), axis=1)).mean())

    found = _lowest(loss, *LOG_TEMPERATURES)
    # Where clipped mistakes make the loss flat, one search stays on the plateau.
    places = np.linspace(*LOG_TEMPERATURES, 50)
    losses = [loss(place) for place in places]
    best = int(np.argmin(losses))
    if losses[best] < found[1] - DEEPER:
        found = _lowest(loss, places[max(best - 1, 0)], places[min(best + 1, len(places) - 1)])
    return float(np.exp(found[0])), found[1]


def _lowest(loss: Callable[[float], float], low: float, high: float) -> tuple[float, float]:
    """Where between two places the loss is smallest, and that loss."""
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(found.x), float(found.fun)
