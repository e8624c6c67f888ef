"""Each tokenizer makes learnable what it is for: oscillations of random phase, correlations, places on the scalp."""

import numpy as np
import pytest

import sigvit
from sigvit import tokenizers

E, S, RATE = 4, 96, 64.0
NAMES = ["C3", "Cz", "C4", "Oz"]


def oscillations(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """8 Hz or 12 Hz of random phase on the same electrode, in noise."""
    chance, labels = np.random.default_rng(seed), np.arange(120) % 2
    phase = chance.uniform(0, 2 * np.pi, 120)[:, None]
    waves = np.sin(2 * np.pi * np.where(labels, 8.0, 12.0)[:, None] * np.arange(S) / RATE + phase)
    return chance.normal(size=(120, E, S)) + waves[:, None] * np.array([0.0, 1.0, 0.0, 0.0])[:, None], labels


def correlations(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two electrodes go together or against each other; every electrode alone is the same noise."""
    chance, labels = np.random.default_rng(seed), np.arange(120) % 2
    signals = chance.normal(size=(120, E, S))
    signals[:, 2] = 0.4 * np.where(labels, 1, -1)[:, None] * signals[:, 0] + np.sqrt(1 - 0.4**2) * signals[:, 2]
    return signals, labels


def places(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A slow wave on the left or on the right."""
    chance, labels = np.random.default_rng(seed), np.arange(120) % 2
    wave = 0.5 * np.sin(np.pi * np.arange(S) / S)
    side = np.where(labels[:, None] == 0, [1, 0, 0, 0], [0, 0, 1, 0])
    return chance.normal(size=(120, E, S)) + wave * side[..., None], labels


SEEN = {
    "ConvStem, power": (oscillations, lambda: tokenizers.ConvStem(E, 8, 16, 40, 20, 16, "log_power")),
    "SpectrogramPatches": (oscillations, lambda: tokenizers.SpectrogramPatches(E, RATE, "stft", 32, 8, (6, 8, 10, 12, 14, 16), patch=(6, 3), width=16)),
    "CovarianceTokens": (correlations, lambda: tokenizers.CovarianceTokens(E, S, S, 16)),
    "CovarianceTokens, bands": (oscillations, lambda: tokenizers.CovarianceTokens(E, S, S, 16, ((6, 10), (10, 14)), sampling_rate=RATE)),
    "ConvStem": (places, lambda: tokenizers.ConvStem(E, 8, 8, 16, 8, 16)),
    "ScalpMapPatches": (places, lambda: tokenizers.ScalpMapPatches(E, (8, 8), (4, 4), 8, 3, 16, names=NAMES)),
}


@pytest.mark.parametrize("kind", SEEN)
def test_a_short_training_tells_new_windows_apart(kind):
    task, make = SEEN[kind]
    classifier = sigvit.SignalViTClassifier(make(), width=16, heads=2, depth=1, training_steps=60, mixup=0.0, time_shift=0.0, ensemble=False, classical=None)
    (windows, labels), (others, truth) = task(0), task(1)
    # Chance is .5, with .046 standard deviation on 120 windows.
    assert classifier.fit(windows, labels).score(others, truth) > 0.75
