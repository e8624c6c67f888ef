"""Folds: which rows train, which choose, which judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of a window set; row numbers are sorted and in no two parts.

    Attributes
    ----------
    train, validation, test : sorted int64 row numbers. Rows in none of them lie in a guard gap.
    number : the fold's number in its list.
    protocol : "within_session", "cross_session", "cross_subject", "shipped" or a name that says what is unusual.
    left_out : what the test part is, in words: "subject 03", "run 2".
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    number: int = 0
    protocol: str = ""
    left_out: str = ""
