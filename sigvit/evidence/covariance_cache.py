"""Covariances of windows that were met before, in another fold, with another seed or in a twin of the pipeline: kept by what the window holds."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

import numpy as np

# Of the covariances that a process keeps; above it those go that were asked for longest ago.
MOST_BYTES = 2**28


def contents(signals: np.ndarray) -> list[bytes]:
    """SHA-256 of every window (windows, …), of its shape, number format and bytes.

    >>> first, second, third = contents(np.array([[1.0], [2.0], [1.0]]))
    >>> first == third, first == second
    (True, False)
    """
    shape_and_format = f"{signals.shape[1:]} {signals.dtype}".encode()
    return [hashlib.sha256(shape_and_format + np.ascontiguousarray(window).tobytes()).digest() for window in signals]


class CovarianceCache:
    """What was computed of single windows, by the window's content and what was computed.

    Parameters
    ----------
    most_bytes : of the arrays that are kept.

    >>> cache, computed = CovarianceCache(most_bytes=1000), []
    >>> square = lambda windows: computed.append(len(windows)) or windows**2
    >>> for signals in (np.array([[2.0], [3.0]]), np.array([[3.0], [5.0]])):
    ...     print(cache.get(signals, contents(signals), "square", square).tolist())
    [[4.0], [9.0]]
    [[9.0], [25.0]]
    >>> computed
    [2, 1]
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[tuple[bytes, Hashable], np.ndarray] = OrderedDict()
        self._bytes, self._lock = 0, Lock()

    def get(self, signals: np.ndarray, contents: list[bytes], what: Hashable, compute: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """`compute(signals)`, where `compute` treats each window (windows, …) by itself; it is given only those that aren't kept.

        `what` names the computation with all its settings.
        """
        keys = [(content, what) for content in contents]
        found = {key: array for key in keys if (array := self._recall(key)) is not None}
        missing = {key: row for row, key in enumerate(keys) if key not in found}
        if missing:
            met_first = signals if len(missing) == len(signals) else signals[list(missing.values())]
            found |= dict(zip(missing, compute(met_first), strict=True))
            for key in missing:
                self._keep(key, found[key].copy())
        return np.stack([found[key] for key in keys]) if keys else compute(signals)

    def _recall(self, key: tuple[bytes, Hashable]) -> np.ndarray | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: tuple[bytes, Hashable], array: np.ndarray) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = array
                self._bytes += array.nbytes
            while self._bytes > self.most_bytes:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes


# Of this process: folds, seeds and twins inside a blend meet the same windows.
met = CovarianceCache()
