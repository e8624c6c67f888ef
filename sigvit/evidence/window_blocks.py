"""What is computed of each window by itself, a few windows at a time: in-between numbers of all windows would fill the memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# That are held at once beside the windows and the answer.
BLOCK_NUMBERS = 2**20


def in_blocks(compute: Callable[[np.ndarray], np.ndarray], signals: np.ndarray, copies: int = 1) -> np.ndarray:
    """`compute(signals)`, where that treats each window (windows, …) by itself and on its way holds so many copies of it.

    >>> in_blocks(lambda windows: windows.sum(axis=1), np.ones((3, 2)))
    array([2., 2., 2.])
    """
    at_once = max(1, BLOCK_NUMBERS // (copies * int(np.prod(signals.shape[1:]))))
    return np.concatenate([compute(signals[first : first + at_once]) for first in range(0, max(1, len(signals)), at_once)])
