"""Classical pipelines that every score is compared with; scikit-learn estimators on arrays (windows, electrodes, samples) in volts.

Of `mne.Epochs` they read the channels that `SignalViTClassifier` reads, and refuse those of other electrodes or another rate than they were fitted on.

Everything is fitted inside ``fit`` and nothing is random. Covariances are shrunken (OAS): an average reference, which makes them singular, does no harm.
Where covariances of so many windows and electrodes fill the memory, CSP and tangent spaces read principal components in the electrodes' place
(`FewerElectrodes`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pyriemann import spatialfilters
from pyriemann.tangentspace import TangentSpace
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sigvit.evidence.band_features import FAST_REFERENCE, BandPower, BandTangentSpace
from sigvit.evidence.blend import Blend
from sigvit.evidence.bounding import BoundedElectrodes
from sigvit.evidence.covariances import AugmentedCovariances, FewerElectrodes, ShrunkenCovariances, XdawnShrunkenCovariances
from sigvit.evidence.handed_windows import Microvolts
from sigvit.evidence.linear_discriminant import ShrinkageLDA
from sigvit.evidence.normalising import NormalisedElectrodes
from sigvit.labels import plain_labels

if TYPE_CHECKING:
    from sigvit.data.windows import Windows

# Nine bands of 4 Hz: filter bank CSP, Ang et al. (2008).
FILTER_BANK_HZ = tuple((low, low + 4.0) for low in np.arange(4.0, 40.0, 4.0).tolist())

XDAWN = "xDAWN + tangent space"


def everything(windows: Windows) -> dict[str, BaseEstimator]:
    """All baselines under their table names that such windows allow: the list never depends on a score.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> list(everything(synthetic_windows()))[:3]
    ['Majority', 'Shrinkage LDA', 'xDAWN + tangent space']
    """
    _, n_electrodes, n_times = windows.values.shape
    course, rhythms = read_course(n_electrodes, n_times), read_rhythms(n_electrodes, n_times, windows.sampling_rate)
    return {"Majority": majority(), **course, **rhythms}


def read_course(n_electrodes: int, n_times: int) -> dict[str, BaseEstimator]:
    """The pipelines that read the course of the signal in time, evoked responses and slow potentials; one electrode, and one sample, have no covariances.

    >>> list(read_course(1, 200))
    ['Shrinkage LDA']
    """
    lda = {"Shrinkage LDA": shrinkage_lda()}
    return lda | {XDAWN: xdawn_tangent_space()} if n_electrodes > 1 and n_times > 1 else lda


def read_rhythms(n_electrodes: int, n_times: int, sampling_rate: float | None = None) -> dict[str, BaseEstimator]:
    """The pipelines that read covariances or power, whatever the phase.

    Without a rate (in Hz) what reads frequencies is left out; one electrode, and one sample, have no covariances, and two samples no spectrum.

    >>> list(read_rhythms(1, 200, 100.0))
    ['Band power', 'Augmented tangent space']
    """
    found: dict[str, BaseEstimator] = {}
    if n_electrodes > 1 and n_times > 1:
        found |= {"CSP + LDA": csp_lda(), "Tangent space": tangent_space()}
    if sampling_rate is not None and BandPower(sampling_rate).bands(n_times):
        found["Band power"] = band_power(sampling_rate)
    if n_electrodes > 1 and n_times > 2 and sampling_rate is not None and sampling_rate > 2 * FILTER_BANK_HZ[0][1]:
        found["Filter bank tangent space"] = filter_bank_tangent_space(sampling_rate)
    if sampling_rate is not None and n_times > 1:
        found["Augmented tangent space"] = augmented_tangent_space(sampling_rate)
    return found


def classical_blend(n_electrodes: int, n_times: int, sampling_rate: float | None = None) -> Blend:
    """Every pipeline here but the majority that such windows allow, weighed on inner folds: the classical half of the ViT. The rate in Hz.

    Those that read rhythms err alike, so they are blended first and weighed as one: a few hundred windows tell three weights better than seven (docs/log.md).
    xDAWN stands there twice, once more behind `NormalisedElectrodes`: how strong an evoked response is differs from person to person. In front of all
    stands `BoundedElectrodes`, so that windows with artefacts count for no more than others.

    >>> list(classical_blend(22, 1000, 250.0).candidates)
    ['Shrinkage LDA', 'xDAWN + tangent space', 'Rhythms']
    """
    course, rhythms = read_course(n_electrodes, n_times), read_rhythms(n_electrodes, n_times, sampling_rate)
    if XDAWN in course:
        course[XDAWN] = Blend({"as recorded": xdawn_tangent_space(), "normalised": _xdawn_normalised()})
    return Blend(course | ({"Rhythms": Blend(rhythms)} if rhythms else {}), before=BoundedElectrodes())


def _xdawn_normalised() -> Pipeline:
    """Windows whose electrodes are equally strong have no unit to bring to microvolts."""
    _, *steps = xdawn_tangent_space().steps
    return make_pipeline(NormalisedElectrodes(), *[step for _, step in steps])


def rhythms_tell_more(blend: Blend) -> bool:
    """Whether, on inner folds of its training windows, the best pipeline of a `classical_blend` that reads rhythms is ahead of shrinkage LDA.

    xDAWN + tangent space isn't asked: with few electrodes it reads covariances as well as any.

    >>> labels = np.arange(40) % 2
    >>> noise = np.random.default_rng(0).normal(0, 1e-5, (40, 3, 128))
    >>> noise[labels == 1, 1] *= 1.3  # power alone tells the labels
    >>> rhythms_tell_more(classical_blend(3, 128, 64.0).fit(noise, labels))
    True
    """
    losses = list(blend.fitted_["Rhythms"].log_loss_.values()) if "Rhythms" in blend.fitted_ else []
    return bool(losses and blend.log_loss_ and min(losses) < blend.log_loss_["Shrinkage LDA"])


def majority() -> DummyClassifier:
    """Names the most frequent class of the training windows and gives the classes' shares as probabilities.

    >>> majority().fit(np.zeros((3, 2, 5)), ["rest", "task", "task"]).predict(np.zeros((1, 2, 5))).tolist()
    ['task']
    """
    return DummyClassifier(strategy="prior")


class CSP(spatialfilters.CSP):
    """pyriemann's, for labels of any kind; a missing one is refused."""

    def fit(self, X: np.ndarray, y: Any) -> CSP:
        return super().fit(X, plain_labels(y, "windows"))


def csp_lda(n_filters: int = 6) -> Pipeline:
    """Common spatial patterns, their log-variance, linear discriminant analysis.

    Blankertz et al. (2008), "Optimizing spatial filters for robust EEG single-trial analysis"; for more than two classes joint diagonalisation
    (Grosse-Wentrup and Buss 2008). Where there are fewer electrodes than ``n_filters``, all filters are used.
    """
    return make_pipeline(Microvolts(), FewerElectrodes(), ShrunkenCovariances(), CSP(nfilter=n_filters), LinearDiscriminantAnalysis())


def tangent_space() -> Pipeline:
    """Covariance of each window, projected to the tangent space at the training windows' Riemannian mean, logistic regression (Barachant et al. 2012)."""
    return make_pipeline(Microvolts(), FewerElectrodes(), ShrunkenCovariances(), TangentSpace("riemann"), LogisticClassifier())


def xdawn_tangent_space(n_filters: int = 4) -> Pipeline:
    """xDAWN filters and class averages beside each window, their joint covariance in tangent space, logistic regression: for evoked responses.

    Rivet et al. (2009), "xDAWN algorithm to enhance evoked potentials"; Barachant (2014), "MEG decoding using Riemannian geometry".
    """
    covariances = XdawnShrunkenCovariances(n_filters, xdawn_estimator="oas")
    return make_pipeline(Microvolts(), covariances, TangentSpace("riemann"), LogisticClassifier())


def shrinkage_lda(segments: int | tuple[int, ...] | str = "auto") -> ShrinkageLDA:
    """Linear discriminant analysis with Ledoit–Wolf shrinkage on segment means, pooled over numbers of segments (`ShrinkageLDA`).

    >>> shrinkage_lda()
    ShrinkageLDA()
    """
    return ShrinkageLDA(segments)


def band_power(sampling_rate: float) -> Pipeline:
    """Log power of each electrode in the classical bands and in filled octaves above (`BandPower`), standardised, logistic regression; the rate in Hz."""
    return make_pipeline(BandPower(sampling_rate), StandardScaler(), LogisticClassifier())


def filter_bank_tangent_space(sampling_rate: float) -> Pipeline:
    """Tangent spaces of nine bands of 4 Hz from 4 to 40 Hz (those below the Nyquist frequency), side by side, logistic regression. ``sampling_rate`` in Hz.

    Octaves above are added where the training windows hold power there, as muscle signals do: `BandTangentSpace`.
    """
    bands = tuple((low, high) for low, high in FILTER_BANK_HZ if high < sampling_rate / 2)
    if not bands:
        raise ValueError(f"A sampling rate of {sampling_rate} Hz leaves no band of the filter bank, which starts at 4 to 8 Hz; more than 16 Hz is needed.")
    return make_pipeline(Microvolts(sampling_rate), FewerElectrodes(), BandTangentSpace(sampling_rate, bands, octaves=True), LogisticClassifier())


def augmented_tangent_space(sampling_rate: float) -> Pipeline:
    """Covariances of the electrodes and their delayed copies (`AugmentedCovariances`) in tangent space, logistic regression. ``sampling_rate`` in Hz."""
    return make_pipeline(Microvolts(sampling_rate), FewerElectrodes(), AugmentedCovariances(sampling_rate), TangentSpace(FAST_REFERENCE), LogisticClassifier())


class LogisticClassifier(LogisticRegression):
    """Logistic regression, L2 penalty with C = 1, run to convergence; it has no seed, since L-BFGS draws nothing and one fit stands for every seed."""

    def __init__(self) -> None:
        super().__init__(max_iter=10_000)

    def fit(self, X: np.ndarray, y: Any, sample_weight: np.ndarray | None = None) -> LogisticClassifier:
        return super().fit(X, plain_labels(y, "windows"), sample_weight)
