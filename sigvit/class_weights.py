"""How much each class counts in a network's loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def class_weights(asked: Any, targets: np.ndarray, classes: list) -> np.ndarray | None:
    """(classes,) weights as scikit-learn's `class_weight` has them, of class numbers (windows,); None where all windows count alike.

    A class that is here and isn't named has the weight 1; a class that this part lacks may have one where all that are here do.

    >>> class_weights("balanced", np.array([0, 0, 0, 1]), ["left", "right"]).round(2).tolist(), class_weights({"right": 3}, np.array([0, 1]), ["left", "right"])
    ([0.67, 2.0], array([1., 3.]))

    Raises
    ------
    ValueError : neither None nor "balanced" nor a dictionary, classes that don't exist, or weights that are none.
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
