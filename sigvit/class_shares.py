"""How much each class counts in a network's loss, and what a network learns of how frequent the classes are; imports nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def class_weights(asked: Any, targets: np.ndarray, classes: list) -> np.ndarray | None:
    """(classes,) weights as scikit-learn's `class_weight` has them, of class numbers (windows,); None where all windows count alike.

    A class that is here and isn't named has the weight 1; a class that this part lacks may have one where all that are here do.

    >>> class_weights("balanced", np.array([0, 0, 0, 1]), ["left", "right"]).round(2).tolist(), class_weights({"right": 3}, np.array([0, 1]), ["left", "right"])
    ([0.67, 2.0], array([1., 3.]))
    """
    if asked is None:
        return None
    if isinstance(asked, str) and asked == "balanced":
        return len(targets) / (len(classes) * np.bincount(targets, minlength=len(classes)))
    if not isinstance(asked, Mapping):
        raise ValueError(f'class_weight is {asked!r}; it must be None, "balanced" or a dictionary {{class: weight}}.')
    unknown = sorted(map(str, set(asked) - set(classes))) if set(classes) - set(asked) else []
    weights = np.array([asked.get(label, 1.0) for label in classes], dtype=float)
    if unknown or not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        wrong = f"names {', '.join(unknown)}" if unknown else f"is {asked}"
        raise ValueError(f"class_weight {wrong}; it must give numbers from zero upwards to some of the classes {classes}.")
    return weights


def taught_shares(shares: np.ndarray, weights: np.ndarray | None, label_smoothing: float) -> np.ndarray:
    """(classes,) what a network says of windows that tell it nothing: the classes' shares in what it was shown, as its loss has smoothed and weighed them.

    >>> shares = np.array([0.75, 0.25])
    >>> taught_shares(shares, None, 0.1), taught_shares(shares, class_weights("balanced", np.array([0, 0, 0, 1]), ["left", "right"]), 0.0)
    (array([0.725, 0.275]), array([0.5, 0.5]))
    """
    smoothed = (1 - label_smoothing) * shares + label_smoothing / len(shares)
    weighed = smoothed if weights is None else smoothed * weights
    return weighed / weighed.sum()
