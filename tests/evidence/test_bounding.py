"""One loose contact doesn't outweigh the others' windows, and what is no artefact stays as it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
