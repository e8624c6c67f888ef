"""A search over parameters that learns from what it has tried (Optuna), by inner folds of whole groups."""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator, Mapping
from typing import Any

from sigvit.evidence.grid_search import LOG_LOSS, GridSearch


class OptunaSearch(GridSearch):
    """As `GridSearch`, but settings are proposed by Optuna's tree-structured Parzen estimator (Akiba et al. 2019, arXiv:1907.10902), some at a time.

    The settings of one round, their inner folds and, in `cross_validate`, all outer folds and seeds are fitted at once where the estimator has `fit_many`.
    The proposals are a function of the estimator's seed (in `cross_validate` the fold's) and of the scores. Needs the extra "optuna".

    Parameters
    ----------
    estimator, scoring : as of `GridSearch`.
    parameters : {name: distribution}, of `optuna.distributions`.
    trials : settings that are tried. at_once : settings of one round; the fewer, the more each learns from those before.

    Attributes
    ----------
    As of `GridSearch`.

    Raises
    ------
    ImportError : Optuna isn't installed. ValueError : as of `GridSearch`, and numbers of trials below one.

    >>> from optuna.distributions import FloatDistribution
    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence import baselines
    >>> windows = synthetic_windows(effect=3.0)
    >>> search = OptunaSearch(baselines.csp_lda(), {"lineardiscriminantanalysis__tol": FloatDistribution(1e-6, 1e-2, log=True)}, trials=3, at_once=2)
    >>> len(search.fit(windows.values, windows.labels).cv_results_["params"])
    3
    """

    def __init__(self, estimator: Any, parameters: Mapping[str, Any], trials: int = 32, at_once: int = 8, scoring: str = LOG_LOSS) -> None:
        super().__init__(estimator, parameters, scoring)
        self.trials = trials
        self.at_once = at_once

    def _proposals(self, seed: int) -> Generator[list[dict], list[list[float]]]:
        self._check(set(self.parameters))
        if min(self.trials, self.at_once) < 1 or not self.parameters:
            raise ValueError(
                f"trials {self.trials} and at_once {self.at_once} must be at least 1, with a parameter to search; there are {len(self.parameters)}."
            )
        study = _study(seed)
        for done in range(0, self.trials, self.at_once):
            asked = [study.ask(dict(self.parameters)) for _ in range(min(self.at_once, self.trials - done))]
            scores = yield [trial.params for trial in asked]
            for trial, found in zip(asked, scores, strict=True):
                mean = sum(found) / len(found)
                study.tell(trial, -math.inf if math.isnan(mean) else mean)  # no score is the worst, and tells Optuna where not to go


def _study(seed: int) -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError("OptunaSearch needs the package optuna: pip install 'sigvit[optuna]', or use GridSearch.") from error
    # Settings that are being judged count as bad ones, so that those of a round keep apart.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # before version 5 that might still change
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="maximize", sampler=sampler)
