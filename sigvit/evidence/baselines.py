"""Classical pipelines that every score is compared with; scikit-learn estimators on arrays (windows, electrodes, samples) in volts.

Everything is fitted inside ``fit`` and nothing is random. Covariances are shrunken (OAS): an average reference, which makes them singular, does no harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyriemann.estimation import Covariances, XdawnCovariances
from pyriemann.spatialfilters import CSP
from pyriemann.tangentspace import TangentSpace
from scipy.signal import butter, sosfiltfilt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sigvit.evidence.linear_discriminant import MICROVOLTS_PER_VOLT, ShrinkageLDA, checked_signals

if TYPE_CHECKING:
    from sigvit.data.windows import Windows

CLASSICAL_BANDS_HZ = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}
# Nine bands of 4 Hz: filter bank CSP, Ang et al. (2008).
FILTER_BANK_HZ = tuple((low, low + 4.0) for low in np.arange(4.0, 40.0, 4.0).tolist())
# The log-Euclidean mean needs no iterations, which counts nine times, and scores the same: .560 for .562 on the training part of scp1 (5 blocks, AUC).
FAST_REFERENCE = {"mean": "logeuclid", "map": "riemann"}


def everything(windows: Windows) -> dict[str, BaseEstimator]:
    """All baselines under their table names: one fixed list for every set, so that none is picked after its score is seen.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> list(everything(synthetic_windows()))[:3]
    ['Majority', 'CSP + LDA', 'Tangent space']
    """
    return {
        "Majority": majority(),
        "CSP + LDA": csp_lda(),
        "Tangent space": tangent_space(),
        "xDAWN + tangent space": xdawn_tangent_space(),
        "Shrinkage LDA": shrinkage_lda(),
        "Band power": band_power(windows.sampling_rate),
        "Filter bank tangent space": filter_bank_tangent_space(windows.sampling_rate),
    }


def majority() -> DummyClassifier:
    """Names the most frequent class of the training windows and gives the classes' shares as probabilities.

    >>> majority().fit(np.zeros((3, 2, 5)), ["rest", "task", "task"]).predict(np.zeros((1, 2, 5))).tolist()
    ['task']
    """
    return DummyClassifier(strategy="prior")


def csp_lda(n_filters: int = 6) -> Pipeline:
    """Common spatial patterns, their log-variance, linear discriminant analysis.

    Blankertz et al. (2008), "Optimizing spatial filters for robust EEG single-trial analysis"; for more than two classes joint diagonalisation
    (Grosse-Wentrup and Buss 2008). Where there are fewer electrodes than ``n_filters``, all filters are used.
    """
    return make_pipeline(microvolts(), Covariances("oas"), CSP(nfilter=n_filters), LinearDiscriminantAnalysis())


def tangent_space() -> Pipeline:
    """Covariance of each window, projected to the tangent space at the training windows' Riemannian mean, logistic regression (Barachant et al. 2012)."""
    return make_pipeline(microvolts(), Covariances("oas"), TangentSpace("riemann"), LogisticClassifier())


def xdawn_tangent_space(n_filters: int = 4) -> Pipeline:
    """xDAWN filters and class averages beside each window, their joint covariance in tangent space, logistic regression: for evoked responses.

    Rivet et al. (2009), "xDAWN algorithm to enhance evoked potentials"; Barachant (2014), "MEG decoding using Riemannian geometry".
    """
    covariances = XdawnCovariances(n_filters, estimator="oas", xdawn_estimator="oas")
    return make_pipeline(microvolts(), covariances, TangentSpace("riemann"), LogisticClassifier())


def shrinkage_lda(segments: int | tuple[int, ...] | str = "auto") -> ShrinkageLDA:
    """Linear discriminant analysis with Ledoit–Wolf shrinkage on segment means; the number of segments is chosen on inner folds of the training windows.

    >>> shrinkage_lda()
    ShrinkageLDA()
    """
    return ShrinkageLDA(segments)


def band_power(sampling_rate: float) -> Pipeline:
    """Log power of each electrode in the classical bands, standardised, logistic regression. ``sampling_rate`` in Hz."""
    return make_pipeline(BandPower(sampling_rate), StandardScaler(), LogisticClassifier())


def filter_bank_tangent_space(sampling_rate: float) -> Pipeline:
    """Tangent spaces of nine bands of 4 Hz from 4 to 40 Hz (those below the Nyquist frequency), side by side, logistic regression. ``sampling_rate`` in Hz."""
    bands = [(low, high) for low, high in FILTER_BANK_HZ if high < sampling_rate / 2]
    if not bands:
        raise ValueError(f"A sampling rate of {sampling_rate} Hz leaves no band of the filter bank, which starts at 4 to 8 Hz; more than 16 Hz is needed.")
    parts = []
    for low, high in bands:
        steps = make_pipeline(BandPass(sampling_rate, low, high), Covariances("oas"), TangentSpace(FAST_REFERENCE))
        parts.append((f"{low:g}-{high:g} Hz", steps))
    return make_pipeline(microvolts(), FeatureUnion(parts), LogisticClassifier())


def microvolts() -> FunctionTransformer:
    """Volts to microvolts in double precision, after a check of shape and values: covariances of volts would be near 1e-10."""
    return FunctionTransformer(_to_microvolts)


class LogisticClassifier(LogisticRegression):
    """Logistic regression, L2 penalty with C = 1, run to convergence; it has no seed, since L-BFGS draws nothing and one fit stands for every seed."""

    def __init__(self) -> None:
        super().__init__(max_iter=10_000)


class BandPower(TransformerMixin, BaseEstimator):
    """Log power in the classical EEG bands: (windows, electrodes, samples) in volts → (windows, electrodes · bands), natural logarithm of µV².

    A Hann window and one Fourier transform of the whole window. Bands that reach the Nyquist frequency or hold no bin of the transform are left out.

    >>> seconds = np.arange(256) / 128
    >>> power = BandPower(128.0).fit_transform(1e-5 * np.sin(2 * np.pi * 10 * seconds)[None, None])
    >>> ["delta", "theta", "alpha", "beta", "gamma"][power.argmax()]
    'alpha'
    """

    def __init__(self, sampling_rate: float):
        self.sampling_rate = sampling_rate

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> BandPower:
        self.bands_ = self._bands(checked_signals(X).shape[2])
        if not self.bands_:
            seconds = X.shape[2] / self.sampling_rate
            raise ValueError(
                f"Windows of {seconds:g} s at {self.sampling_rate:g} Hz hold no frequency of the bands {CLASSICAL_BANDS_HZ}; longer ones are needed."
            )
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        signals = _to_microvolts(X)
        centred = signals - signals.mean(axis=2, keepdims=True)
        power = np.abs(np.fft.rfft(centred * np.hanning(signals.shape[2]), axis=2)) ** 2 / np.sum(np.hanning(signals.shape[2])) ** 2
        sums = np.stack([power[..., self._bins(signals.shape[2], *band)].sum(axis=2) for band in self.bands_.values()], axis=2)
        # 1e-9 µV² is far below any amplifier's noise and keeps the logarithm of a flat electrode finite.
        return np.log(sums + 1e-9).reshape(len(signals), -1)

    def _bins(self, samples: int, low: float, high: float) -> np.ndarray:
        frequencies = np.fft.rfftfreq(samples, 1 / self.sampling_rate)
        return (frequencies >= low) & (frequencies < high)

    def _bands(self, samples: int) -> dict[str, tuple[float, float]]:
        reachable = {name: band for name, band in CLASSICAL_BANDS_HZ.items() if band[1] < self.sampling_rate / 2}
        return {name: band for name, band in reachable.items() if self._bins(samples, *band).any()}


class BandPass(TransformerMixin, BaseEstimator):
    """Butterworth band-pass of order 4, forwards and backwards, inside each window alone, so that no window smears into another."""

    def __init__(self, sampling_rate: float, low_hz: float, high_hz: float):
        self.sampling_rate = sampling_rate
        self.low_hz = low_hz
        self.high_hz = high_hz

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> BandPass:
        self.sections_ = butter(4, (self.low_hz, self.high_hz), "bandpass", fs=self.sampling_rate, output="sos")
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        # 27 samples of odd extension are scipy's default here; a shorter window gives what it has.
        return sosfiltfilt(self.sections_, X, axis=2, padlen=min(27, X.shape[2] - 1))


def _to_microvolts(signals: np.ndarray) -> np.ndarray:
    return checked_signals(signals).astype(np.float64) * MICROVOLTS_PER_VOLT
