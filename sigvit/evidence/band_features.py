"""What frequency bands say of windows: their power, their covariances, and these in the tangent space; scikit-learn transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from pyriemann.tangentspace import TangentSpace
from scipy.signal import butter, sosfiltfilt
from sklearn.base import BaseEstimator, TransformerMixin

from sigvit.evidence.covariance_cache import contents, met
from sigvit.evidence.covariances import oas_covariances
from sigvit.evidence.handed_windows import asked_signals, fitted_signals, in_microvolts
from sigvit.evidence.silence import SILENT, CovarianceSilence, Silence, typical_power
from sigvit.evidence.window_blocks import in_blocks

CLASSICAL_BANDS_HZ = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}
# The log-Euclidean mean needs no iterations, which counts once a band, and scores the same: .560 for .562 on the training part of scp1 (5 blocks, AUC).
FAST_REFERENCE = {"mean": "logeuclid", "map": "riemann"}
# What an octave above the bands of EEG must hold of the training windows' power to be looked at: muscles fill many, filtered EEG none.
LEAST_SHARE = 0.01
HALF_OCTAVE = 2**0.5
ROUNDING = 1e-9  # of a frequency's number


class BandPower(TransformerMixin, BaseEstimator):
    """Log power in the classical EEG bands: (windows, electrodes, samples) in volts → (windows, electrodes · bands), natural logarithm of µV².

    A Hann window and one Fourier transform of the whole window. Bands that reach the Nyquist frequency or hold no bin of the transform are left out. Octaves
    above 45 Hz are added where they hold a hundredth of the training windows' power or more, as in muscle signals. A flat electrode's power counts
    as a billionth of a typical window's; in place of a silent window's stand the training windows' means.

    >>> seconds = np.arange(256) / 128
    >>> power = BandPower(128.0).fit_transform(1e-5 * np.sin(2 * np.pi * 10 * seconds)[None, None])
    >>> ["delta", "theta", "alpha", "beta", "gamma"][power.argmax()]
    'alpha'
    """

    def __init__(self, sampling_rate: float):
        self.sampling_rate = sampling_rate

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> BandPower:
        self.fit_transform(X)
        return self

    def fit_transform(self, X: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
        signals = fitted_signals(self, X)
        self.bands_ = self.bands(signals.shape[2])
        if not self.bands_:
            seconds = signals.shape[2] / self.sampling_rate
            raise ValueError(
                f"Windows of {seconds:g} s at {self.sampling_rate:g} Hz hold no frequency of the bands {CLASSICAL_BANDS_HZ}; longer ones are needed."
            )
        top = max(high for _, high in CLASSICAL_BANDS_HZ.values())
        self.bands_ |= {f"{low:g} – {high:g} Hz": (low, high) for low, high in filled_octaves(signals, self.sampling_rate, top)}
        powers = self._powers(signals)
        whole = powers.sum(axis=1)
        self.floor_ = max(SILENT * typical_power(whole) / powers.shape[1], np.finfo(float).tiny)
        told = np.log(powers + self.floor_)
        self.silence_ = Silence.of(whole, told, np.zeros(told.shape[1]))
        return self.silence_.fill(whole, told)

    def transform(self, X: np.ndarray) -> np.ndarray:
        powers = self._powers(asked_signals(self, X))
        return self.silence_.fill(powers.sum(axis=1), np.log(powers + self.floor_))

    def _powers(self, signals: np.ndarray) -> np.ndarray:
        """(windows, electrodes · bands) in µV²."""
        return in_blocks(self._powers_of_few, signals)

    def _powers_of_few(self, signals: np.ndarray) -> np.ndarray:
        power = spectrum(in_microvolts(signals))
        sums = [power[..., bins(signals.shape[2], self.sampling_rate, *band)].sum(axis=2) for band in self.bands_.values()]
        return np.stack(sums, axis=2).reshape(len(power), -1)

    def bands(self, samples: int) -> dict[str, tuple[float, float]]:
        """The bands that windows of so many samples can tell."""
        reachable = {name: band for name, band in CLASSICAL_BANDS_HZ.items() if band[1] < self.sampling_rate / 2}
        return {name: band for name, band in reachable.items() if bins(samples, self.sampling_rate, *band).any()}


class BandTangentSpace(TransformerMixin, BaseEstimator):
    """Shrunken (OAS) covariances of each band in the tangent space at their training mean, side by side.

    (windows, electrodes E, samples) → (windows, bands · E (E + 1) / 2), without a unit: logarithms of ratios to the mean.
    ``bands_hz`` are pairs of edges; with ``octaves`` those above them follow that hold a hundredth of the training windows' power or more. Every window is
    filtered by itself, so that none smears into another. One band at a time is worked on: all covariances of thousands of windows would fill the memory.

    >>> BandTangentSpace(100.0, ((4.0, 8.0), (8.0, 12.0))).fit_transform(np.random.default_rng(0).normal(size=(5, 3, 200))).shape
    (5, 12)
    """

    def __init__(self, sampling_rate: float, bands_hz: tuple[tuple[float, float], ...], octaves: bool = False):
        self.sampling_rate = sampling_rate
        self.bands_hz = bands_hz
        self.octaves = octaves

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> BandTangentSpace:
        self.bands_ = [*self.bands_hz, *(filled_octaves(X, self.sampling_rate, self.bands_hz[-1][1]) if self.octaves else [])]
        self.silences_, self.spaces_ = [], []
        for covariances in self._covariances(X):
            self.silences_.append(CovarianceSilence.of(covariances))
            self.spaces_.append(TangentSpace(FAST_REFERENCE).fit(self.silences_[-1].fill(covariances)))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        features = np.empty((len(X), len(self.bands_), X.shape[1] * (X.shape[1] + 1) // 2))
        for number, covariances in enumerate(self._covariances(X)):
            features[:, number] = self.spaces_[number].transform(self.silences_[number].fill(covariances))
        return features.reshape(len(X), -1)

    def _covariances(self, signals: np.ndarray) -> Iterator[np.ndarray]:
        """(windows, electrodes, electrodes) of one band after the other, in the signals' unit squared."""
        told = contents(signals)
        for band in self.bands_:
            yield met.get(signals, told, ("band", self.sampling_rate, *band), self._covariances_in(band))

    def _covariances_in(self, band: tuple[float, float]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda signals: in_blocks(lambda windows: oas_covariances(band_pass(windows, self.sampling_rate, *band)), signals)


def spectrum(signals: np.ndarray) -> np.ndarray:
    """Power of each frequency under a Hann window, the mean taken away: (windows, electrodes, samples) → (windows, electrodes, frequencies)."""
    window = np.hanning(signals.shape[2])
    return np.abs(np.fft.rfft((signals - signals.mean(axis=2, keepdims=True)) * window, axis=2)) ** 2 / window.sum() ** 2


def bins(samples: int, sampling_rate: float, low_hz: float, high_hz: float) -> np.ndarray:
    """Which frequencies of `spectrum` lie in a band."""
    # Numbers of frequencies, not hertz: a quotient's last bit must not decide on which side of an edge a frequency lies.
    first, behind = (np.ceil(edge * samples / sampling_rate - ROUNDING) for edge in (low_hz, high_hz))
    numbers = np.arange(samples // 2 + 1)
    return (numbers >= first) & (numbers < behind)


def filled_octaves(signals: np.ndarray, sampling_rate: float, above_hz: float) -> list[tuple[float, float]]:
    """The octaves above a frequency that hold a hundredth of the power in at least half of the windows and electrodes; the last ends below Nyquist's.

    >>> filled_octaves(np.random.default_rng(0).normal(size=(5, 2, 400)), 400.0, 45.0)
    [(45.0, 90.0), (90.0, 180.0)]
    """
    octaves, low = [], above_hz
    while (high := min(2 * low, 0.95 * sampling_rate / 2)) >= HALF_OCTAVE * low:
        octaves.append((low, high))
        low = 2 * low
    if not octaves:
        return []
    filled = in_blocks(lambda windows: _filled(windows, sampling_rate, octaves), signals)
    return [octave for octave, share in zip(octaves, filled.mean(axis=(0, 1)), strict=True) if share >= 0.5]


def _filled(signals: np.ndarray, sampling_rate: float, octaves: list[tuple[float, float]]) -> np.ndarray:
    """(windows, electrodes, octaves): whether they hold a hundredth of the power there."""
    power = spectrum(np.asarray(signals, dtype=np.float64))
    inside = [power[..., bins(signals.shape[2], sampling_rate, *octave)].sum(axis=2) for octave in octaves]
    return np.stack(inside, axis=2) > LEAST_SHARE * power.sum(axis=2, keepdims=True)


def band_pass(signals: np.ndarray, sampling_rate: float, low_hz: float, high_hz: float) -> np.ndarray:
    """Butterworth band-pass of order 4, forwards and backwards along the last axis."""
    sections = butter(4, (low_hz, high_hz), "bandpass", fs=sampling_rate, output="sos")
    # 27 samples of odd extension are scipy's default here; a shorter window gives what it has.
    return sosfiltfilt(sections, signals, axis=-1, padlen=min(27, signals.shape[-1] - 1))
