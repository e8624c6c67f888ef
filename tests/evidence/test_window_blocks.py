"""What is computed a few windows at a time is what all at once give, and holds no copies of all windows."""

import tracemalloc

import numpy as np
import pytest

from sigvit.evidence import band_features
from sigvit.evidence.band_features import BandPower, BandTangentSpace, filled_octaves
from sigvit.evidence.bounding import BoundedElectrodes
from sigvit.evidence.covariance_cache import CovarianceCache
from sigvit.evidence.covariances import AugmentedCovariances, ShrunkenCovariances, XdawnShrunkenCovariances
from sigvit.evidence.linear_discriminant import ledoit_wolf, segment_means
from sigvit.evidence.normalising import NormalisedElectrodes
from sigvit.evidence.window_blocks import in_blocks

RATE = 101.0
STEPS = {
    "band power": lambda signals: BandPower(RATE).fit_transform(signals),
    "bands' covariances": lambda signals: BandTangentSpace(RATE, ((4.0, 8.0), (8.0, 12.0))).fit_transform(signals),
    "octaves": lambda signals: np.array(filled_octaves(signals, RATE, 11.0)),
    "covariances": lambda signals: ShrunkenCovariances().fit_transform(signals),
    "delayed copies": lambda signals: AugmentedCovariances(RATE).fit_transform(signals),
    "xDAWN": lambda signals: XdawnShrunkenCovariances(2, xdawn_estimator="oas").fit(signals, np.arange(len(signals)) % 2).transform(signals),
    "segment means": lambda signals: segment_means(signals, 13),
    "shrinkage": lambda signals: np.array(ledoit_wolf(signals.reshape(len(signals), -1))),
    "equally strong": lambda signals: NormalisedElectrodes().fit_transform(signals),
    "bounded": lambda signals: BoundedElectrodes().fit_transform(signals),
}


@pytest.mark.parametrize("step", STEPS)
def test_blocks_give_the_numbers_of_all_windows_at_once(step, monkeypatch):
    monkeypatch.setattr(band_features, "met", CovarianceCache(0))
    monkeypatch.setattr("sigvit.evidence.covariances.met", CovarianceCache(0))
    signals = np.random.default_rng(0).normal(0, 1e-5, (31, 3, 211))
    signals[7, 1] *= 100
    whole = STEPS[step](signals)
    monkeypatch.setattr("sigvit.evidence.window_blocks.BLOCK_NUMBERS", 5 * 3 * 211)
    np.testing.assert_array_equal(STEPS[step](signals), whole)


@pytest.mark.parametrize("step", ["band power", "bands' covariances", "octaves", "covariances", "xDAWN", "segment means"])
def test_no_step_holds_copies_of_all_windows_on_its_way(step, monkeypatch):
    monkeypatch.setattr(band_features, "met", CovarianceCache(0))
    monkeypatch.setattr("sigvit.evidence.window_blocks.BLOCK_NUMBERS", 2**12)
    signals = np.random.default_rng(0).normal(0, 1e-5, (521, 5, 211)).astype(np.float32)
    # Fitting xDAWN joins all windows to one recording.
    run = XdawnShrunkenCovariances(2, xdawn_estimator="oas").fit(signals, np.arange(521) % 2).transform if step == "xDAWN" else STEPS[step]
    run(signals[:11])  # what is imported, compiled and planned once
    tracemalloc.start()
    run(signals)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < signals.nbytes  # half of one copy in double precision


def test_no_window_is_one_empty_block():
    assert in_blocks(lambda windows: windows.sum(axis=2), np.empty((0, 3, 7))).shape == (0, 3)
