"""Complex filters whose output's squared size is power at a frequency: numpy only. Each has unit energy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# F = filters, L = samples


def stft_filters(frequencies: Sequence[float] | np.ndarray, window: int, sampling_rate: float) -> np.ndarray:
    """(F, L) complex: Hann's window (its periodic form, as `torch.hann_window` gives it) at each frequency.

    >>> stft_filters([8.0, 16.0], 64, 128.0).shape
    (2, 64)
    """
    _check_frequencies(frequencies, sampling_rate)
    samples = np.arange(window)
    hann = np.sin(np.pi * samples / window) ** 2
    return _unit_energy(hann * np.exp(-2j * np.pi * np.asarray(frequencies)[:, None] * samples / sampling_rate))


def filter_bank_filters(bands: Sequence[tuple[float, float]], window: int, sampling_rate: float) -> np.ndarray:
    """(F, L) complex: for each band the low-pass filter of half its width (a sinc in Hamming's window), moved to its centre.

    >>> filter_bank_filters([(8.0, 12.0)], 65, 128.0).shape
    (1, 65)
    """
    for low, high in bands:
        check_band(low, high, sampling_rate)
    centred = np.arange(window) - (window - 1) / 2
    low, high = np.array(bands).T[..., None]
    low_pass = np.hamming(window) * np.sinc((high - low) * centred / sampling_rate)
    return _unit_energy(low_pass * np.exp(-1j * np.pi * (low + high) * centred / sampling_rate))


def morlet_wavelets(frequencies: Sequence[float], cycles: float | Sequence[float], sampling_rate: float) -> np.ndarray:
    """(F, L) complex: Morlet's wavelets out to five standard deviations, all in the middle of the longest's samples.

    As `mne.time_frequency.morlet` (Tallon-Baudry & Bertrand 1999) makes them, with mean zero.

    >>> morlet_wavelets([8.0, 16.0], 7.0, 128.0).shape
    (2, 179)
    """
    _check_frequencies(frequencies, sampling_rate)
    counts = np.broadcast_to(np.asarray(cycles, dtype=float), len(frequencies)) if np.ndim(cycles) == 0 else np.asarray(cycles, dtype=float)
    if len(counts) != len(frequencies) or not (counts > 0).all():
        raise ValueError(f"cycles are {cycles}; give one number above 0, or one for each of {len(frequencies)} frequencies.")
    found = [_wavelet(frequency, count, sampling_rate) for frequency, count in zip(frequencies, counts, strict=True)]
    longest = max(map(len, found))
    return _unit_energy(np.array([np.pad(wavelet, (longest - len(wavelet)) // 2) for wavelet in found]))


def _wavelet(frequency: float, cycles: float, sampling_rate: float) -> np.ndarray:
    deviation_s = cycles / (2 * np.pi * frequency)
    half = np.arange(0, 5 * deviation_s, 1 / sampling_rate)
    seconds = np.concatenate([-half[:0:-1], half])
    wave = np.exp(-2j * np.pi * frequency * seconds) - np.exp(-2 * (np.pi * frequency * deviation_s) ** 2)
    return wave * np.exp(-(seconds**2) / (2 * deviation_s**2))


def check_band(low: float, high: float, sampling_rate: float) -> None:
    """ValueError where these are no limits of a band, in Hz."""
    if not 0 <= low < high <= sampling_rate / 2:
        raise ValueError(f"The band {low:g}-{high:g} Hz isn't one between 0 and half the rate, {sampling_rate / 2:g} Hz.")


def _check_frequencies(frequencies: Sequence[float] | np.ndarray, sampling_rate: float) -> None:
    found = np.asarray(frequencies, dtype=float)
    if not len(found) or not ((found > 0) & (found <= sampling_rate / 2)).all() or (np.diff(found) <= 0).any():
        raise ValueError(f"frequencies are {found.tolist()} Hz; they ascend between 0 and half the rate, {sampling_rate / 2:g} Hz.")


def _unit_energy(filters: np.ndarray) -> np.ndarray:
    return filters / np.linalg.norm(filters, axis=1, keepdims=True)
