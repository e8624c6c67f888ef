"""What a pipeline may not be, found before its first fit: fitted already, or with an alignment that nobody tells whose the windows are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sigvit.evidence.searched_values import parameters_of


def require_unfitted(name: str, pipeline: Any) -> None:
    """ValueError: a fresh copy of the pipeline, as every fold gets one, holds something that was fitted before.

    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> fitted = RidgeClassifier().fit([[2.0], [3.0]], ["left", "right"])
    >>> require_unfitted("ridge", make_pipeline(fitted))
    >>> require_unfitted("ridge", make_pipeline(FrozenEstimator(fitted)))
    Traceback (most recent call last):
    ValueError: Pipeline 'ridge' holds FrozenEstimator, which keeps in every fold what it was fitted on, perhaps the fold's test windows; give it unfitted.
    """
    copy = clone(pipeline)
    for part in (copy, *(held for _, held in parameters_of(copy))):
        if isinstance(part, FrozenEstimator) or any(_fitted(part)):
            raise ValueError(
                f"Pipeline {name!r} holds {type(part).__name__}, which keeps in every fold what it was fitted on, perhaps the fold's test windows; "
                "give it unfitted."
            )


def _fitted(part: Any) -> Iterator[str]:
    """The fitted attributes of an estimator: those that scikit-learn knows by their last letter and that its constructor doesn't make."""
    if not hasattr(part, "get_params") or isinstance(part, type):
        return
    ending = {attribute for attribute in vars(part) if attribute.endswith("_") and not attribute.startswith("_")}
    yield from ending - set(vars(type(part)(**part.get_params(deep=False)))) if ending else ()
