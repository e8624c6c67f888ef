"""Where electrodes are normalised their strength tells nothing, how they move together does, and a silent one stays silent."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sigvit.evidence import baselines
from sigvit.evidence.normalising import NormalisedElectrodes
from sigvit.evidence.silence import SILENT

N, E, S, RATE = 41, 3, 67, 100.0
LABELS = np.arange(N) % 2


def signals(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1e-5, (N, E, S))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(1e-9, 1e3))
def test_what_strengthens_an_electrode_in_a_window_changes_nothing(seed, unit):
    values, strengths = signals(seed), np.random.default_rng(seed).lognormal(0, 1.0, (N, E, 1))
    normalised = NormalisedElectrodes().fit(values)
    np.testing.assert_allclose(normalised.transform(values).std(axis=2), 1, rtol=1e-9)  # a deviation of a quotient by the deviation: rounding
    stronger = NormalisedElectrodes().fit(unit * strengths * values)
    np.testing.assert_allclose(stronger.transform(unit * strengths * values), normalised.transform(values), rtol=1e-9, atol=1e-9)  # rounding again


def test_an_offset_stays_on_the_scale_of_its_electrode():
    values = signals()
    step = NormalisedElectrodes().fit(values)
    moved = step.transform(values + 3e-5) - step.transform(values)
    np.testing.assert_allclose(moved, 3e-5 / values.std(2, keepdims=True) * np.ones(S), rtol=1e-6)  # a difference of numbers near it: rounding


def test_a_silent_electrode_is_not_blown_up():
    values = signals()
    step = NormalisedElectrodes().fit(values)
    quiet = values.copy()
    quiet[3, 1] *= 1e-6
    told = step.transform(quiet)
    assert 0 < told[3, 1].std() < SILENT**0.5
    assert np.array_equal(np.delete(told, 3, axis=0), np.delete(step.transform(values), 3, axis=0))
    assert not NormalisedElectrodes().fit_transform(np.zeros((N, E, S))).any()


def test_the_classical_half_gains_where_contacts_differ_in_strength_and_classes_in_shape():
    generator, windows = np.random.default_rng(1), []
    for label in LABELS.tolist() * 4:  # two electrodes move together, or apart; each as strong as its contact happens to be
        shared, own = generator.normal(size=(2, S)), generator.normal(size=(E, S))
        windows.append(generator.lognormal(0, 1.5, (E, 1)) * (own + np.stack([shared[0], shared[label], shared[1]])))
    values, labels = 1e-5 * np.array(windows), np.tile(LABELS, 4)
    train = np.arange(len(labels)) < 3 * N
    score = {
        name: np.mean(pipeline.fit(values[train], labels[train]).predict(values[~train]) == labels[~train])
        for name, pipeline in {"half": baselines.classical_blend(E, S, RATE), "as it was": baselines.tangent_space()}.items()
    }
    assert score["half"] > score["as it was"] + 0.1, score  # 1.0 and .854; 41 windows, of which one is .024
