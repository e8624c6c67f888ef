"""Electrodes that don't move, which no deviation may be divided by; numpy only."""

from __future__ import annotations

import numpy as np

# Of its mean: what a flat electrode's deviation is off zero by, through rounding.
ROUNDING = 1e-9


def one_where_flat(deviation: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Deviations to divide by.

    >>> one_where_flat(np.array([2.0, 0.0, 1e-19]), np.array([0.0, 0.0, 1e-3])).tolist()
    [2.0, 1.0, 1.0]
    """
    return np.where(deviation <= ROUNDING * np.abs(mean), 1.0, deviation)
