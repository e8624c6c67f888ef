"""What an estimator holds, and what a search over parameters may set: of ours, scikit-learn's and Optuna's alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from types import MethodType
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


def parameters_of(held: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of every parameter of an estimator and of all that it is made of, with the values that a search in it may set.

    >>> from sklearn.feature_selection import SelectKBest
    >>> [value for name, value in parameters_of([SelectKBest(k=7), {"k": 5}]) if name == "k"]
    [7, 5]
    """
    for own, value in held_by(held, name):
        yield own, value
        yield from parameters_of(value, own)


def held_by(holder: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of what stands directly in an estimator, a list, a dictionary, a method (its object) or a partial function; what has no name has `name`."""
    if isinstance(holder, type):
        return
    if hasattr(holder, "get_params"):
        yield from holder.get_params(deep=False).items()
        yield from searched_values(holder)
    elif isinstance(holder, Mapping):
        yield from ((str(key), value) for key, value in holder.items())
    elif isinstance(holder, partial):
        yield from [(name, holder.func), *((name, value) for value in holder.args), *holder.keywords.items()]
    elif isinstance(holder, MethodType):
        yield name, holder.__self__
    elif isinstance(holder, list | tuple | set | frozenset):
        yield from ((name, value) for value in holder)


def _counted(values: Any) -> list[Any]:
    """The values of a list, an array or a categorical distribution; a continuous one has none that could be counted."""
    values = getattr(values, "choices", values)
    return list(values) if isinstance(values, list | tuple | set | range | np.ndarray) else []
