"""What a search over parameters may set: of ours, scikit-learn's and Optuna's alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


def searched_values(search: Any) -> Iterator[tuple[str, Any]]:
    """(parameter of its estimator, a value that the search may set), for every one that can be counted; nothing where it isn't a search.

    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.model_selection import GridSearchCV
    >>> list(searched_values(GridSearchCV(RidgeClassifier(), {"alpha": [0.1, 1.0], "solver": ["svd"]})))
    [('alpha', 0.1), ('alpha', 1.0), ('solver', 'svd')]
    """
    own = search.get_params(deep=False) if hasattr(search, "get_params") and not isinstance(search, type) else {}
    for given in own.values() if "estimator" in own else ():
        for grid in given if isinstance(given, list | tuple) else [given]:
            if isinstance(grid, Mapping):
                yield from ((str(name), value) for name, values in grid.items() for value in _counted(values))


def parameters_of(pipeline: Any) -> Iterator[tuple[str, Any]]:
    """Every parameter of a pipeline and of what it is made of, with the values that a search in it may set."""
    own = pipeline.get_params(deep=True)
    yield from own.items()
    for search in (pipeline, *own.values()):
        for name, value in searched_values(search):
            yield name, value
            if hasattr(value, "get_params") and not isinstance(value, type):
                yield from parameters_of(value)


def _counted(values: Any) -> list[Any]:
    """The values of a list, an array or a categorical distribution; a continuous one has none that could be counted."""
    values = getattr(values, "choices", values)
    return list(values) if isinstance(values, list | tuple | set | range | np.ndarray) else []
