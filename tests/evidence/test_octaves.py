"""Octaves above the bands of EEG are read where the training windows fill them, and only there."""

import numpy as np
import pytest

from sigvit.evidence import baselines
from sigvit.evidence.band_features import CLASSICAL_BANDS_HZ, BandPower, BandTangentSpace, band_pass, bins

RATE = 500.0


def muscle_like() -> tuple[np.ndarray, np.ndarray]:
    """Noise without anything below 90 Hz, in the second class three times as large between 90 and 180 Hz at the first electrode."""
    generator, labels = np.random.default_rng(0), np.arange(60) % 2
    signals = band_pass(generator.normal(0, 1e-5, (60, 2, 401)), RATE, 90.0, 240.0)
    louder = band_pass(generator.normal(0, 3e-5, (60, 401)), RATE, 90.0, 180.0)
    signals[labels == 1, 0] += louder[labels == 1]
    return signals, labels


@pytest.mark.parametrize("make", [baselines.band_power, baselines.filter_bank_tangent_space])
def test_what_lies_above_the_bands_of_eeg_is_told_apart(make):
    signals, labels = muscle_like()
    assert make(RATE).fit(signals[:40], labels[:40]).score(signals[40:], labels[40:]) > 0.9


def test_filled_octaves_are_added_and_empty_ones_are_not():
    signals, _ = muscle_like()
    slow = band_pass(np.random.default_rng(1).normal(0, 1e-5, (20, 2, 401)), RATE, 1.0, 30.0)
    # The filter's slope below 90 Hz reaches into the first; above 180 Hz less than half an octave is left.
    assert list(BandPower(RATE).fit(signals).bands_.values())[5:] == [(45.0, 90.0), (90.0, 180.0)]
    assert list(BandPower(RATE).fit(slow).bands_) == list(CLASSICAL_BANDS_HZ)
    assert BandTangentSpace(RATE, ((4.0, 8.0),), octaves=True).fit(slow).bands_ == [(4.0, 8.0), (8.0, 16.0), (16.0, 32.0)]
    assert BandTangentSpace(RATE, ((4.0, 8.0),)).fit(slow).bands_ == [(4.0, 8.0)]


@pytest.mark.parametrize(("rate", "samples", "number"), [(250.0, 175, 21), (250.0, 225, 27), (100.0, 130, 39), (300.0, 260, 26)])
def test_a_frequency_on_an_edge_belongs_to_the_band_above_it(rate, samples, number):
    beta, gamma = (np.flatnonzero(bins(samples, rate, *CLASSICAL_BANDS_HZ[name])) for name in ("beta", "gamma"))
    assert number == 30 * samples / rate
    assert (beta[-1], gamma[0]) == (number - 1, number)
