"""Scaling of electrodes, fitted on the training windows; scikit-learn transformers on (windows, electrodes, samples) or `Windows`.

None of them divides a window by its own deviation: that would erase its power, which is what many tasks are told by (`normalising.py` does, beside them).
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from sigvit.evidence.window_steps import WindowStep
from sigvit.flat import one_where_flat

# Of a normal distribution, from the first to the third quartile.
QUARTILES_PER_DEVIATION = 1.3489795003921634
# A moving deviation is never taken to be smaller than this share of the training windows': a dead stretch stays quiet.
SMALLEST_DEVIATION = 1e-2


class ChannelScaler(WindowStep):
    """Each electrode less its training mean, by its training standard deviation; a flat electrode becomes zero.

    Attributes
    ----------
    center_, scale_ : (electrodes,), in the units of the signal.

    >>> signals = np.random.default_rng(0).normal(3e-6, 1e-5, (17, 2, 31))
    >>> scaled = ChannelScaler().fit_transform(signals)
    >>> scaled.mean(axis=(0, 2)).round(6) + 0.0, scaled.std(axis=(0, 2)).round(6)
    (array([0., 0.]), array([1., 1.]))
    """

    def _fit(self, signals: np.ndarray, groups: np.ndarray | None) -> None:
        self.center_, scale = self._moments(signals)
        self.scale_ = one_where_flat(scale, self.center_)

    def _change(self, signals: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        return (signals - self.center_[:, None]) / self.scale_[:, None]

    def _moments(self, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return signals.mean(axis=(0, 2)), signals.std(axis=(0, 2))


class RobustChannelScaler(ChannelScaler):
    """Each electrode less its training median, by its interquartile range as a normal distribution's deviation: a quarter of artefacts changes little.

    >>> signals = np.random.default_rng(0).normal(0, 1e-5, (101, 1, 31))
    >>> signals[:9] *= 1000
    >>> bool(9e-6 < RobustChannelScaler().fit(signals).scale_[0] < 1.3e-5)
    True
    """

    def _moments(self, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, median, high = np.quantile(signals, [0.25, 0.5, 0.75], axis=(0, 2))
        return median, (high - low) / QUARTILES_PER_DEVIATION


class MovingStandardiser(WindowStep):
    """Each sample less a moving mean, by a moving deviation, both of the electrode's own past in the window: slow drifts go, in amplitude too.

    Exponential moving standardisation of Schirrmeister et al., "Deep learning with convolutional neural networks for EEG decoding and visualization", Human
    Brain Mapping 38, 2017; they run over whole recordings. Windows are judged one by one here, so mean and deviation start from those of the training
    windows, and no window sees another.

    Parameters
    ----------
    decay : share of mean and variance that is kept from sample to sample, above 0 and below 1; 0.999, theirs, forgets within a thousand samples.

    Attributes
    ----------
    center_, scale_ : (electrodes,), of the training windows: where every window starts.

    Raises
    ------
    ValueError : a decay outside its range.

    >>> signals = np.random.default_rng(0).normal(0, 1e-5, (17, 2, 997)) + 1e-4
    >>> bool(abs(MovingStandardiser(0.99).fit_transform(signals)[..., 500:].mean()) < 0.01)
    True
    """

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = decay

    def _fit(self, signals: np.ndarray, groups: np.ndarray | None) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"decay is {self.decay}; it must be above 0 and below 1.")
        self.center_ = signals.mean(axis=(0, 2))
        self.scale_ = one_where_flat(signals.std(axis=(0, 2)), self.center_)

    def _change(self, signals: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        centred = signals - self._moving(signals, self.center_)
        deviation = np.sqrt(self._moving(centred**2, self.scale_**2))
        return centred / np.maximum(deviation, SMALLEST_DEVIATION * self.scale_[:, None])

    def _moving(self, signals: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Exponential moving means, including the present sample, from a start for each electrode."""
        before = np.broadcast_to(self.decay * start[:, None], (*signals.shape[:2], 1))
        return lfilter([1 - self.decay], [1, -self.decay], signals, axis=2, zi=before)[0]
