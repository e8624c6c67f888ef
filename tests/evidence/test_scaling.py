"""Scaling: numbers are those of the training windows, and nothing of a window's own power is lost."""

import mne
import numpy as np
import pytest
from sklearn.base import clone

from sigvit.data.arrays import windows_from_arrays
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence.alignment import Alignment
from sigvit.evidence.scaling import ChannelScaler, MovingStandardiser, RobustChannelScaler

N, E, S = 31, 3, 211
STEPS = [ChannelScaler(), RobustChannelScaler(), MovingStandardiser(0.95)]


def signals(seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(0, 1, (N, E, S)) * np.array([1e-5, 3e-5, 2e-6])[:, None] + np.array([1e-4, 0, -2e-5])[:, None]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_units_do_not_matter_and_the_input_stays(step):
    values = signals()
    before = values.copy()
    volts = clone(step).fit(values).transform(values)
    microvolts = clone(step).fit(1e6 * values).transform(1e6 * values)
    np.testing.assert_allclose(volts, microvolts, rtol=1e-9, atol=1e-9)  # float64
    assert np.array_equal(values, before)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_a_window_is_changed_by_training_windows_and_itself_alone(step):
    fitted, test = clone(step).fit(signals()), signals(1)
    together = fitted.transform(test)
    np.testing.assert_array_equal(fitted.transform(test[7:8]), together[7:8])


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_windows_stay_windows_and_float32_stays_float32(step):
    windows = synthetic_windows()
    fitted = clone(step).fit(windows, windows.labels)
    changed = fitted.transform(windows)
    assert changed.electrodes == windows.electrodes
    assert changed.values.dtype == np.float32
    np.testing.assert_array_equal(changed.values, fitted.transform(windows.values))


@pytest.mark.parametrize("step", [*STEPS, Alignment()], ids=lambda step: type(step).__name__)
def test_of_epochs_the_channels_are_read_that_windows_take(step):
    values, info = signals(), mne.create_info(["C3", "Cz", "STI 014", "C4"], 100.0, ["eeg", "eeg", "stim", "eeg"])
    epochs = mne.EpochsArray(np.insert(values, 2, 7.0, axis=1), info, verbose="ERROR")
    np.testing.assert_array_equal(clone(step).fit(epochs).transform(epochs), clone(step).fit(values).transform(values))
    epochs.info["bads"] = ["Cz"]
    with pytest.raises(ValueError, match=r"X marks the channels \['Cz'\] as bad"):
        clone(step).fit(epochs)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
@pytest.mark.parametrize("level", [0.0, 0.1])  # of 0.1 the deviation is off zero by rounding
def test_a_flat_electrode_becomes_zero(step, level):
    values = signals()
    values[:, 1] = level
    fitted, moved = clone(step).fit(values), values.copy()
    np.testing.assert_allclose(fitted.transform(values)[:, 1], 0, atol=1e-9)  # float64, sums of 6541 numbers
    moved[:, 1] += 1e-6 * np.sin(np.arange(S))
    assert np.abs(fitted.transform(moved)[:, 1]).max() < 1, "a microvolt is no artefact where nothing moved"


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_other_electrodes_than_fitted_on_are_refused(step):
    with pytest.raises(ValueError, match=r"X has 2 electrodes, but \w+ was fitted on 3\."):
        clone(step).fit(signals()).transform(signals()[:, :2])


@pytest.mark.parametrize("step", [*STEPS, Alignment()], ids=lambda step: type(step).__name__)
def test_electrodes_in_another_order_are_refused_where_both_are_named(step):
    values, labels = signals(), np.arange(N) % 2
    caps = (["T3", "Cz", "C4"], ["EEG T7-REF", "Cz", "C4"], ["Cz", "T7", "C4"])
    own, written, turned = (windows_from_arrays(values, labels, names, 100.0) for names in caps)
    fitted = clone(step).fit(own)
    np.testing.assert_array_equal(fitted.transform(written).values, fitted.transform(own).values)
    epochs = [mne.EpochsArray(values, windows.info, verbose="ERROR") for windows in (own, turned)]
    for one, other in ((own, turned), epochs):
        with pytest.raises(ValueError, match=f"Electrode 1 of X is Cz, but {type(step).__name__} was fitted on T3 there"):
            clone(step).fit(one).transform(other)
    assert clone(step).fit(own.values).transform(turned.values).shape == (N, E, S), "arrays don't tell"


@pytest.mark.parametrize("step", [*STEPS, Alignment()], ids=lambda step: type(step).__name__)
def test_another_rate_is_refused_where_both_are_told(step):
    own, other = (windows_from_arrays(signals(), np.arange(N) % 2, ["T3", "Cz", "C4"], rate) for rate in (100.0, 250.0))
    epochs = [mne.EpochsArray(signals(), windows.info, verbose="ERROR") for windows in (own, other)]
    for one, another in ((own, other), epochs):
        with pytest.raises(ValueError, match=f"X is sampled at 250 Hz, but {type(step).__name__} was fitted on 100 Hz"):
            clone(step).fit(one).transform(another)


@pytest.mark.parametrize("step", STEPS[:2], ids=lambda step: type(step).__name__)
def test_power_survives(step):
    fitted, values = clone(step).fit(signals()), signals(1)
    centred = values - fitted.center_[:, None]
    louder = fitted.transform(5 * centred + fitted.center_[:, None])
    np.testing.assert_allclose(louder, 5 * fitted.transform(values), rtol=1e-9, atol=1e-9)  # float64


def test_the_robust_scale_is_the_deviation_without_artefacts_and_nearly_so_with_them():
    values = signals()
    expected = ChannelScaler().fit(values)
    robust = RobustChannelScaler().fit(values)
    # 6541 normal numbers: the standard error of a quartile range is about 1.4 %.
    np.testing.assert_allclose(robust.scale_, expected.scale_, rtol=0.06)
    values[:3] *= 1e4
    np.testing.assert_allclose(RobustChannelScaler().fit(values).scale_, expected.scale_, rtol=0.3)
    assert (ChannelScaler().fit(values).scale_ > 100 * expected.scale_).all()


def test_moving_standardisation_is_the_recursion_it_names():
    step, values = MovingStandardiser(0.95).fit(signals()), signals(1)[:2]
    mean, variance = np.tile(step.center_, (2, 1)), np.tile(step.scale_**2, (2, 1))
    expected = np.empty_like(values)
    for sample in range(S):
        mean = 0.95 * mean + 0.05 * values[:, :, sample]
        centred = values[:, :, sample] - mean
        variance = 0.95 * variance + 0.05 * centred**2
        expected[:, :, sample] = centred / np.sqrt(variance)
    np.testing.assert_allclose(step.transform(values), expected, rtol=1e-9)  # float64, another order of sums


def test_moving_standardisation_never_looks_ahead():
    step, values = MovingStandardiser(0.95).fit(signals()), signals(1)
    later = values.copy()
    later[..., 100:] += 1e-3
    np.testing.assert_array_equal(step.transform(later)[..., :100], step.transform(values)[..., :100])


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay is .*; it must be above 0 and below 1"):
        MovingStandardiser(decay).fit(signals())
