"""One loose contact doesn't outweigh the others' windows, and what is no artefact stays as it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from sigvit.evidence import baselines
from sigvit.evidence.blend import Blend
from sigvit.evidence.bounding import LEAST, BoundedElectrodes

N, E, S = 101, 3, 67


def signals(seed: int = 0, level: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(level, 1e-5, (N, E, S))


def amplitudes(values: np.ndarray, step: BoundedElectrodes) -> np.ndarray:
    return np.sqrt(((values - step.level_[:, None]) ** 2).mean(2))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(-1.0, 1.0), st.floats(1e-9, 1e3))
def test_every_amplitude_is_bounded_and_what_is_below_keeps_its_bits(seed, level, unit):
    generator = np.random.default_rng(seed)
    values = unit * (signals(seed) * generator.lognormal(0, 1.5, (N, E, 1)) + level * 1e-4)
    step = BoundedElectrodes().fit(values)
    before, bounded = amplitudes(values, step), step.transform(values)
    after = amplitudes(bounded, step)
    assert (after <= step.bound_ * (1 + 1e-9)).all()  # a root of a mean of squares, twice
    below = before <= step.bound_
    assert np.array_equal(bounded[below], values[below])
    single, clearly = values.astype(np.float32), before < step.bound_ * (1 - 1e-5)  # float32 rounds an amplitude at the bound to either side
    assert step.transform(single).dtype == np.float32
    assert np.array_equal(step.transform(single)[clearly], single[clearly])


def test_shape_and_sign_of_a_course_stay():
    values = signals(level=3e-3)  # an offset far above the signal, as without a high-pass
    values[7, 1] = 3e-3 + 1e-3 * np.sin(np.arange(S))
    step = BoundedElectrodes()
    bounded = step.fit_transform(values)[7, 1]
    assert np.corrcoef(bounded, values[7, 1])[0, 1] > 1 - 1e-9
    np.testing.assert_allclose(bounded.mean(), 3e-3, atol=1e-5)  # the sine's own mean, shrunk with it to a few microvolts
    np.testing.assert_allclose(np.sqrt(((bounded - step.level_[1]) ** 2).mean()), LEAST * np.median(amplitudes(values, step)[:, 1]), rtol=1e-9)


def test_clean_windows_are_passed_on_themselves():
    values = signals()
    assert BoundedElectrodes().fit_transform(values) is values
    whole = np.arange(N * E * S).reshape(N, E, S) % 7
    assert BoundedElectrodes().fit_transform(whole) is whole


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_muscle_at_work_is_no_artefact(share):
    values = signals()
    values[: int(share * N), 1] *= 20
    assert BoundedElectrodes().fit_transform(values) is values


def test_an_electrode_that_mostly_is_flat_keeps_what_it_says():
    values = signals()
    values[13:, 2] = 0
    assert BoundedElectrodes().fit_transform(values) is values


def square(amplitudes: np.ndarray) -> np.ndarray:
    """Courses about zero of these amplitudes, (windows, electrodes) → (windows, electrodes, 38)."""
    return amplitudes[..., None] * np.tile([1.0, -1.0], 19)


def test_the_bound_is_two_and_a_half_deviations_of_logarithms_by_quartiles_and_at_least_twice_the_median():
    spread, narrow = np.exp(np.linspace(-2, 2, 41)), np.exp(np.linspace(-0.1, 0.1, 41))  # logarithms with quartiles at ± 1 and ± .05
    step = BoundedElectrodes().fit(1e-5 * square(np.stack([spread, narrow], axis=1)))
    np.testing.assert_allclose(step.bound_, [1e-5 * np.exp(2.5 / norm.ppf(0.75)), 2e-5], rtol=1e-9)  # roots of means of squares, and their logarithms


def test_windows_in_which_an_electrode_is_flat_move_no_bound():
    moving = square(np.random.default_rng(0).lognormal(-11, 0.3, (60, 2)))
    flat = np.concatenate([moving, np.zeros((41, 2, 38))])
    np.testing.assert_allclose(BoundedElectrodes().fit(flat).bound_, BoundedElectrodes().fit(moving).bound_, rtol=1e-12)  # sums of logarithms


@pytest.mark.parametrize(("bounds", "is_amplifiers"), [(1.8, False), (2.2, True), (-2.2, True), (-50.0, True)])
def test_an_offset_of_more_than_two_bounds_is_the_amplifiers(bounds, is_amplifiers):
    step = BoundedElectrodes().fit(square(np.full((11, 1), 1e-5)))
    asked = square(np.full((1, 1), 1e-5)) + bounds * step.bound_
    found = step.transform(asked)
    # Bounds are 2e-5: beside the whole course the offset keeps its sign and what room there is; else both are shrunk by what they exceed the bound by.
    assert found.std() == pytest.approx(1e-5 if is_amplifiers else 1e-5 / np.hypot(bounds, 0.5), rel=1e-9)
    assert found.mean() == pytest.approx(np.sign(bounds) * 3**0.5 * 1e-5 if is_amplifiers else bounds * 2e-5 / np.hypot(bounds, 0.5), rel=1e-9)


@pytest.mark.parametrize(
    ("electrodes", "loud", "is_gain"), [(8, 7, True), (8, 6, False), (7, 6, True), (7, 5, False), (2, 2, True), (2, 1, False), (1, 1, False)]
)
def test_what_more_than_three_quarters_of_several_electrodes_exceed_is_a_gain(electrodes, loud, is_gain):
    step = BoundedElectrodes().fit(square(np.full((11, electrodes), 1e-5)))
    asked = np.where(np.arange(electrodes) < loud, 3.0, 0.5) * 2e-5  # bounds are 2e-5
    asked[0] = 13e-5
    found = step.transform(square(asked[None]))[0].std(axis=1)
    # All are divided by 3, or else each by its own excess; in a pair the smaller one tells what is common.
    expected = np.minimum(asked / 3, 2 * 2e-5) if is_gain else np.minimum(asked, 2e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("common", "alone", "expected"), [(0.7, 1.1, 1.0), (0.9, 1.15, 1.15), (0.9, 1.3, 1.2), (1.2, 1.9, 1.9 / 1.2), (1.2, 2.0, 1.6), (1.6, 4.0, 2.0)]
)
def test_single_electrodes_get_room_as_the_others_come_near_their_bounds(common, alone, expected):
    step = BoundedElectrodes().fit(square(np.full((11, 5), 1e-5)))
    found = step.transform(2e-5 * square(np.array([[alone, *[common] * 4]])))[0].std(axis=1) / 2e-5
    # From three quarters of the bound on as far beyond the bound as they are above that; beyond the bound what they share is divided out first.
    np.testing.assert_allclose(found, [expected, *[min(common, 1.0)] * 4], rtol=1e-9)


@pytest.mark.parametrize("values", [np.zeros((N, E, S)), np.full((N, E, S), 3e-5)])
def test_flat_windows_stay_flat(values):
    assert BoundedElectrodes().fit_transform(values) is values


def test_a_loose_contact_costs_the_blend_little():
    """In an eleventh of the training windows the electrode that tells the labels wanders by millivolts."""
    labels, accuracies = np.arange(N) % 2, np.zeros(2)
    for seed in range(4):
        generator = np.random.default_rng(seed)
        trained, asked = generator.normal(0, 1e-5, (2, N, E, S)) + 3e-6 * labels[:, None, None] * np.eye(E)[1][:, None] * np.sin(np.arange(S) / 9)
        loose = generator.choice(N, N // 11, replace=False)
        trained[loose, 1] += 3e-3 * generator.normal(size=(len(loose), S)).cumsum(1)
        pipelines = {"LDA": baselines.shrinkage_lda(), "xDAWN": baselines.xdawn_tangent_space()}
        accuracies += [Blend(pipelines, before).fit(trained, labels).score(asked, labels) / 4 for before in (None, BoundedElectrodes())]
    assert accuracies[1] > accuracies[0] + 0.08  # without the bound .54, with it .68, without artefacts .69


def test_the_classical_half_of_the_classifier_is_bounded():
    assert isinstance(baselines.classical_blend(E, S, 100.0).before, BoundedElectrodes)


@pytest.mark.parametrize("electrodes", [3, 13])
@pytest.mark.parametrize("gain", [1.9, 2.1, 3.0])
def test_another_gain_leaves_the_ratios_between_electrodes(electrodes, gain):
    """Of a device with twice the gain, half of the electrodes are beyond their bound of twice the typical amplitude, with three times the gain all are."""
    generator = np.random.default_rng(0)
    bound = BoundedElectrodes().fit(generator.normal(0, 1e-5, (101, electrodes, 499)))
    window = generator.normal(0, gain * 1e-5, (1, electrodes, 499)) * np.linspace(0.9, 1.2, electrodes)[:, None]
    level = bound.level_[:, None]
    shares = (bound.transform(window) - level) / (window - level)
    assert shares.max() < 0.8 if gain == 3 else shares.max() > 0.9
    np.testing.assert_allclose(shares, shares[0, 0, 0], rtol=1e-6)  # differences from the level, of which some are nearly 0


def test_a_loose_contact_beside_another_gain_is_still_bounded():
    generator = np.random.default_rng(0)
    bound = BoundedElectrodes().fit(generator.normal(0, 1e-5, (101, 13, 499)))
    window = generator.normal(0, 3e-5, (1, 13, 499))
    window[0, 7] *= 100
    assert bound.transform(window)[0, 7].std() <= 2 * bound.bound_[7] * (1 + 1e-9)  # a root of a mean of squares


def test_another_offset_of_the_amplifier_keeps_the_course():
    generator = np.random.default_rng(0)
    bound = BoundedElectrodes().fit(generator.normal(0, 1e-5, (101, 3, 499)))
    window = generator.normal(0, 1e-5, (7, 3, 499))
    bounded = bound.transform(window + 1e-2)
    courses = [each - each.mean(axis=2, keepdims=True) for each in (bounded, window)]
    np.testing.assert_allclose(*courses, atol=1e-16)  # the sum with an offset a thousand times as large is rounded
    assert (np.abs(bounded.mean(axis=2) - bound.level_) < bound.bound_).all()


def test_a_strong_course_beside_an_offset_is_bounded_like_any_other():
    """It once was divided by what the offset weighs as well: to nothing from one hair above the bound on."""
    generator = np.random.default_rng(0)
    bound = BoundedElectrodes().fit(generator.normal(0, 1e-5, (101, 3, 499)))
    course = generator.normal(0, 1e-5, (1, 3, 499))
    strengths = [bound.transform(course * factor + 5e-3).std() for factor in (1.9, 2.1, 3.0)]
    np.testing.assert_allclose(strengths, LEAST * 1e-5, rtol=0.1)  # as far as 499 samples tell


@pytest.mark.parametrize(("how", "much", "electrodes"), [("gain", 2.0, 4), ("gain", 2.0, 8), ("gain", 3.0, 4), ("offset", 1e-2, 8)])
def test_a_session_recorded_otherwise_is_still_told(how, much, electrodes):
    """The blend once lost it all, where pipelines without a bound had it: of eight electrodes .31 (three times the gain) and .53, .88 and 1.0 without."""
    generator, labels = np.random.default_rng(1), np.tile([0, 1], 60)
    signals = generator.normal(0, 1e-5, (120, electrodes, 128))
    signals[labels == 1, 0] *= 1.2
    signals[labels == 0, 1] *= 1.2
    other = np.arange(120) >= 80
    signals[other] = much * signals[other] if how == "gain" else signals[other] + generator.normal(0, much, (electrodes, 1))
    half = baselines.classical_blend(electrodes, 128, 128.0).fit(signals[~other], labels[~other])
    assert roc_auc_score(labels[other], half.predict_proba(signals[other])[:, 1]) > 0.9
