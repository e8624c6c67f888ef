"""Before the first fit: what may not be judged (fitted already, with an alignment that nobody tells whose the windows are), and what pipelines bring along."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline

from sigvit.evidence.grid_search import GridSearch
from sigvit.evidence.searched_values import parameters_of
from sigvit.evidence.window_steps import NO_ALIGNMENT, alignment_of, takes_windows


def require_runnable(pipelines: Mapping[str, Any], seeds: Iterable[int]) -> list[int]:
    """The seeds, where every pipeline can be fitted with each of them in every fold; ValueError where one can't, or where there is nothing to fit.

    >>> from sigvit.evidence import baselines
    >>> require_runnable({"LDA": baselines.shrinkage_lda()}, [3, 3])
    Traceback (most recent call last):
    ValueError: The seed 3 stands 2 times in seeds; a fit counts once.
    """
    if not isinstance(pipelines, Mapping):
        raise ValueError(f"pipelines are a {type(pipelines).__name__}; give each a name, as in {{'LDA': sigvit.baselines.shrinkage_lda()}}.")
    given = list(seeds)
    try:
        whole = [int(seed) for seed in given]
    except (TypeError, ValueError, OverflowError):
        whole = []  # None, text or infinity
    if whole != given:
        raise ValueError(f"seeds are {given}; they must be whole numbers.")
    if not pipelines or not whole:
        raise ValueError(f"Nothing to fit: there are {len(pipelines)} pipelines and {len(whole)} seeds; give at least one of each.")
    commonest = max(whole, key=whole.count)
    if whole.count(commonest) > 1:
        raise ValueError(f"The seed {commonest} stands {whole.count(commonest)} times in seeds; a fit counts once.")
    for name, pipeline in pipelines.items():
        require_unfitted(name, pipeline)
        require_told(name, pipeline)
    return whole


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


def require_told(name: str, pipeline: Any) -> None:
    """ValueError: an alignment stands where it isn't told whose the windows are, so that it would take all people for one.

    >>> from sklearn.ensemble import VotingClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sigvit.evidence import baselines
    >>> from sigvit.evidence.alignment import Alignment
    >>> require_told("all", make_pipeline(Alignment(), VotingClassifier([("tangent", baselines.tangent_space())])))
    >>> require_told("all", VotingClassifier([("tangent", make_pipeline(Alignment(), baselines.tangent_space()))]))
    Traceback (most recent call last):
    ValueError: Pipeline 'all': an alignment stands in VotingClassifier, which can't say whose windows these are; put it before: make_pipeline(Alignment(…), …).
    """
    for holder in _untold(pipeline):
        raise ValueError(
            f"Pipeline {name!r}: an alignment stands in {type(holder).__name__}, which can't say whose windows these are; put it before: "
            "make_pipeline(Alignment(…), …)."
        )


def _untold(part: Any) -> Iterator[Any]:
    """What holds an alignment and is neither handed `Windows` nor hands on their origin; of searches like scikit-learn's it is said that they tell nothing."""
    if alignment_of(part) == NO_ALIGNMENT or takes_windows(part) or hasattr(part, "refit"):
        return
    if isinstance(part, Pipeline | FeatureUnion):
        for _, step in part.steps if isinstance(part, Pipeline) else part.transformer_list:
            yield from _untold(step)
    elif isinstance(part, GridSearch):
        yield from _untold(part.estimator)
    elif not hasattr(part, "fit") or "origin" not in inspect.signature(part.fit).parameters:
        yield part


def given_weights(pipelines: Mapping[str, Any]) -> list[str]:
    """A sentence for every tokenizer with weights that a pipeline's networks start from: it may be fresh, or have been trained on anything."""
    found = [
        f"{name!r} starts from the weights of the {type(value).__name__} that it was given: if they were trained before, nothing says on which windows."
        for name, pipeline in pipelines.items()
        for parameter, value in parameters_of(pipeline)
        if parameter.split("__")[-1] == "tokenizer" and hasattr(value, "named_parameters") and not isinstance(value, type) and dict(value.named_parameters())
    ]
    return list(dict.fromkeys(found))


def _fitted(part: Any) -> Iterator[str]:
    """The fitted attributes of an estimator: those that scikit-learn knows by their last letter and that its constructor doesn't make."""
    if not hasattr(part, "get_params") or isinstance(part, type):
        return
    ending = {attribute for attribute in vars(part) if attribute.endswith("_") and not attribute.startswith("_")}
    yield from ending - set(vars(type(part)(**part.get_params(deep=False)))) if ending else ()
