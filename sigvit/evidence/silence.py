"""Windows in which nothing is: flat, as of a lost contact. They have no logarithm of covariance or power, and tell nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Of a typical training window's power: what a window below has is rounding.
SILENT = 1e-9


def typical_power(powers: np.ndarray) -> float:
    """The median of windows that hold anything, which no artefact moves; 0 where none does.

    >>> typical_power(np.array([0.0, 1.0, 2.0, 1e9]))
    2.0
    """
    return float(np.median(powers[powers > 0])) if (powers > 0).any() else 0.0


def alike(windows: np.ndarray) -> bool:
    """Whether all hold the same numbers, as those of a dead recording do: nothing can be learned from them. The first one that differs ends the comparison.

    >>> alike(np.zeros((3, 2, 5))), alike(np.arange(3))
    (True, False)
    """
    return all(np.array_equal(window, windows[0]) for window in windows[1:])


class Silence(NamedTuple):
    """Up to which power a window counts as silent, and what then stands in for its features: the mean of the training windows that aren't.

    >>> silence = Silence.of(np.array([0.0, 2.0, 4.0]), np.array([[-np.inf], [1.0], [3.0]]), otherwise=np.zeros(1))
    >>> silence.fill(np.array([4.0, 0.0]), np.array([[5.0], [-np.inf]])).tolist()
    [[5.0], [2.0]]
    """

    power: float
    stand_in: np.ndarray

    @classmethod
    def of(cls, powers: np.ndarray, told: np.ndarray, otherwise: np.ndarray) -> Silence:
        """From training windows' powers (N,) and features (N, …); `otherwise` (…) stands in where all are silent."""
        threshold = SILENT * typical_power(powers)
        heard = powers > threshold
        return cls(threshold, told[heard].mean(axis=0) if heard.any() else otherwise)

    def fill(self, powers: np.ndarray, told: np.ndarray) -> np.ndarray:
        """The same features (n, …), those of silent windows replaced."""
        silent = powers <= self.power
        return np.where(silent.reshape(-1, *[1] * (told.ndim - 1)), self.stand_in, told) if silent.any() else told


class CovarianceSilence(NamedTuple):
    """`Silence` of covariances (N, E, E), whose traces are the powers.

    >>> heard = CovarianceSilence.of(np.stack([np.zeros((2, 2)), 3 * np.eye(2)]))
    >>> heard.fill(np.zeros((1, 2, 2)))[0].tolist()
    [[3.0, 0.0], [0.0, 3.0]]
    """

    silence: Silence

    @classmethod
    def of(cls, covariances: np.ndarray) -> CovarianceSilence:
        return cls(Silence.of(_traces(covariances), covariances, np.eye(covariances.shape[-1])))

    def fill(self, covariances: np.ndarray) -> np.ndarray:
        return self.silence.fill(_traces(covariances), covariances)


def _traces(covariances: np.ndarray) -> np.ndarray:
    return np.trace(covariances, axis1=-2, axis2=-1)
