"""FitJob: what `fit_many` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class FitJob:
    """One training.

    Attributes
    ----------
    train : rows to train on. validation : rows that choose the stopping point, or are trained on as well where nothing is chosen; None for none.
    seed : becomes `random_state`. parameters : what differs from the estimator's own parameters.
    groups : (train rows,) what inner folds keep whole; None where there is nothing to keep.
    name : what messages call it. key : names what is kept of it on disk; made of everything that decides the fit.
    """

    train: np.ndarray
    validation: np.ndarray
    seed: int
    parameters: dict = field(default_factory=dict)
    groups: np.ndarray | None = None
    name: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "train", np.asarray(self.train, dtype=np.int64))
        object.__setattr__(self, "validation", np.asarray([] if self.validation is None else self.validation, dtype=np.int64))
