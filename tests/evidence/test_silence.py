"""A flat window, in training or in test, stops nothing and tells nothing."""

import numpy as np
import pytest

from sigvit.data.synthetic import synthetic_windows
from sigvit.estimators import SignalViTClassifier
from sigvit.evidence import baselines
from sigvit.evidence.alignment import MODES, Alignment
from sigvit.evidence.band_features import BandPower
from sigvit.evidence.covariances import AugmentedCovariances, ShrunkenCovariances, oas_covariances

N, E, S, RATE = 41, 5, 97, 100.0
LABELS = np.arange(N) % 2
FLAT = {
    "zeros": lambda window: 0 * window,
    "an offset": lambda window: 0 * window + 3e-5,
    "an offset of each electrode": lambda window: 0 * window + np.linspace(-1e-4, 1e-4, E)[:, None],
    "rounding": lambda window: 1e-6 * window,
}
RHYTHMS = baselines.read_rhythms(E, S, RATE)


def signals(flat=None) -> np.ndarray:
    values = np.random.default_rng(0).normal(0, 1e-5, (N, E, S))
    values[LABELS == 1, 1] *= 2
    values[LABELS == 1, 2] += 8e-6
    if flat is not None:
        values[7] = flat(values[7])
    return values


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("flat", FLAT.values(), ids=FLAT)
@pytest.mark.parametrize("name", [*baselines.read_course(E, S), *RHYTHMS])
def test_every_baseline_learns_beside_a_flat_window_and_answers_for_one(name, flat):
    pipeline = (baselines.read_course(E, S) | RHYTHMS)[name]
    others = np.arange(N) != 7
    for train, test in ((signals(flat), signals()), (signals(), signals(flat))):
        told = pipeline.fit(train, LABELS).predict_proba(test)
        assert np.isfinite(told).all()
        assert np.mean(told.argmax(1)[others] == LABELS[others]) > 0.9


@pytest.mark.parametrize("name", RHYTHMS)
def test_where_rhythms_are_read_all_flat_windows_are_alike(name):
    told = [RHYTHMS[name].fit(signals(), LABELS).predict_proba(signals(flat))[7] for flat in FLAT.values()]
    np.testing.assert_allclose(told, told[:1] * len(told), rtol=1e-9)  # the same stand-in, whatever the flat window is


def test_windows_that_hold_something_keep_their_bits():
    values = signals()
    assert np.array_equal(ShrunkenCovariances().fit(values).transform(values), oas_covariances(values))
    with_flat = signals(FLAT["zeros"])
    others = np.arange(N) != 7
    for step in (ShrunkenCovariances(), AugmentedCovariances(RATE)):
        assert np.array_equal(step.fit_transform(with_flat)[others], step.fit(values).transform(values)[others])
        assert np.array_equal(step.fit_transform(with_flat), step.fit(with_flat).transform(with_flat))


def test_an_artefact_makes_no_window_silent():
    values = signals()
    values[3] *= 1e6
    assert np.array_equal(ShrunkenCovariances().fit(values).transform(values), oas_covariances(values))


def test_band_power_knows_no_unit():
    values = signals()
    one, other = (BandPower(RATE).fit_transform(unit * values) for unit in (1.0, 1e-9))  # volts, and what tesla would be
    np.testing.assert_allclose(other - other.mean(0), one - one.mean(0), atol=1e-9)  # the floor has the signals' unit: only rounding is left


def test_training_windows_that_are_all_flat_are_no_crash():
    for step in (ShrunkenCovariances(), AugmentedCovariances(RATE), BandPower(RATE)):
        assert np.isfinite(step.fit_transform(np.zeros((N, E, S)))).all()


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "none"])
def test_alignment_to_a_riemannian_mean_goes_on_behind_a_flat_window(mode):
    aligned = Alignment("riemann", mode).fit(signals(FLAT["zeros"])).transform(signals(FLAT["zeros"]))
    assert np.isfinite(aligned).all()
    assert not aligned[7].any()


def test_the_classifier_learns_beside_flat_windows_and_answers_for_them():
    windows = synthetic_windows(effect=3.0)
    values = windows.values.copy()
    values[[3, 31]] = 0
    classifier = SignalViTClassifier(training_steps=10, ensemble=False).fit(values, windows.labels)
    assert np.isfinite(classifier.predict_proba(values)).all()
    heard = np.delete(np.arange(len(values)), [3, 31])
    assert classifier.score(values[heard], windows.labels[heard]) > 0.8


DEAD = {
    **FLAT,
    "offsets that differ": lambda windows: 0 * windows + np.linspace(-1e-4, 1e-4, len(windows))[:, None, None],
    "rounding that differs": lambda windows: 1e-6 * np.random.default_rng(1).permuted(windows, axis=2),
}


@pytest.mark.filterwarnings("error:.*:RuntimeWarning")
@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
@pytest.mark.parametrize("groups", [np.arange(N) >= 23, None], ids=["a person's whole recording", "a stretch of 23 windows"])
def test_who_learns_beside_a_dead_recording_weighs_by_the_live_one(dead, groups):
    values, unseen = signals(), signals()[:23].copy()
    values[:23] = dead(values[:23] if dead not in FLAT.values() else values[7])
    classifier = SignalViTClassifier(training_steps=3).fit(values, LABELS, groups=groups)
    assert np.isfinite(classifier.predict_proba(values)).all()
    judged = np.isfinite(classifier.classical_.out_of_fold_).all(axis=1)
    assert np.flatnonzero(judged).tolist() == list(range(23, N))
    assert np.mean(classifier.classical_.predict(unseen) == LABELS[:23]) > 0.9


@pytest.mark.parametrize("dead", [np.zeros((N, E, S)), np.repeat(signals()[:1], N, axis=0)], ids=["zeros", "copies"])
def test_windows_that_are_all_the_same_are_refused_with_a_sentence(dead):
    with pytest.raises(ValueError, match="All 41 training windows hold the same numbers"):
        SignalViTClassifier(training_steps=3).fit(dead, LABELS)
    told = baselines.shrinkage_lda().fit(dead, LABELS).predict_proba(signals())
    np.testing.assert_allclose(told, [[21 / 41, 20 / 41]] * N, rtol=1e-12)  # the classes' shares
