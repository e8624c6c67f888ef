"""Augmentation of recordings, batched on the device, seeded per (seed, step).

Every function draws for each window anew, on the CPU, from a generator of its own purpose; what is off changes no bit, of the others' draws neither.
Rommel, Paillard, Moreau & Gramfort, "Data augmentation for learning predictive models on EEG: a systematic comparison", Journal of Neural
Engineering 19, 2022, compare them all.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from sigvit.training.mirror import Mirror
from sigvit.training.randomness import generator, on_rows

# B = batch, N = windows, E = electrodes, S = samples, C = classes

# Stretches that a recombined window is put together from.
SEGMENTS = 8


def shift_time(values: Tensor, largest: int, seed: int, step: int) -> Tensor:
    """Each window (B, E, S) rolled by its own whole number of samples in -largest … largest; what leaves at one end enters at the other.

    Slow potentials gain most (Rommel et al. 2022 review shifts and others for EEG).

    >>> shift_time(torch.arange(5.0).expand(1, 2, 5), 2, seed=0, step=0).sort().values.tolist()
    [[[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0, 4.0]]]
    """
    if largest == 0:
        return values
    batch, _, samples = values.shape
    shifts = torch.randint(-largest, largest + 1, (batch, 1, 1), generator=generator(seed, "shift", step))
    source = _rolled(samples, values.device).index_select(0, ((-shifts).flatten() % samples).to(values.device, non_blocking=True))[:, None]
    return values.gather(2, source.expand_as(values))


@lru_cache(maxsize=8)
def _rolled(samples: int, device: torch.device) -> Tensor:
    """Row r counts from r on and round, (samples + 1, samples): rows of one long count, since a remainder for each number takes twice the time of all the rest.

    Kept on the device, so that a batch sends its shifts alone there.
    """
    with torch.inference_mode(False):
        return torch.arange(samples, device=device).repeat(2).unfold(0, samples, 1)


def add_noise(values: Tensor, deviation: float, seed: int, step: int) -> Tensor:
    """White Gaussian noise of standard deviation `deviation`, in the units of `values`."""
    if deviation == 0:
        return values
    noise = torch.randn(values.shape, generator=generator(seed, "noise", step), dtype=values.dtype)
    return values + deviation * noise.to(values.device, non_blocking=True)


def mask_time(values: Tensor, largest: int, seed: int, step: int) -> Tensor:
    """One stretch of each window (B, E, S) set to zero on all electrodes: of 0 … largest samples, anywhere in the window.

    Mohsenvand, Izadi & Maes, "Contrastive Representation Learning for Electroencephalogram Classification", Machine Learning for Health, 2020.

    >>> (mask_time(torch.ones(5, 2, 97), 31, seed=0, step=0) == 0).sum(2)[:, 0].max() <= 31
    tensor(True)
    """
    if largest == 0:
        return values
    batch, _, samples = values.shape
    draws = torch.rand(2, batch, 1, generator=generator(seed, "time mask", step), dtype=torch.float64)
    length = (draws[0] * (largest + 1)).long()
    start = (draws[1] * (samples - length + 1)).long()
    place = torch.arange(samples)
    inside = (place >= start) & (place < start + length)
    return _silenced(values, inside[:, None])


def drop_electrodes(values: Tensor, probability: float, seed: int, step: int) -> Tensor:
    """Each electrode of each window (B, E, S) set to zero with this probability; a window that would lose all that have a sample keeps all.

    Saeed, Grangier, Pietquin & Zeghidour, "Learning from Heterogeneous EEG Signals with Differentiable Channel Reordering", ICASSP 2021.
    The others aren't made larger for it: a silent electrode is what a bad one looks like.
    """
    if probability == 0:
        return values
    dropped = torch.rand(values.shape[:2], generator=generator(seed, "channel dropout", step)) < probability
    dropped = dropped.to(values.device, non_blocking=True)
    dropped &= ~(dropped | values.isnan().all(2)).all(1, keepdim=True)
    return _silenced(values, dropped[:, :, None])


def scale_amplitude(values: Tensor, exponent: float, seed: int, step: int) -> Tensor:
    """Each window (B, E, S) times its own factor between e^-exponent and e^exponent, evenly drawn on the logarithmic scale; all electrodes alike.

    Mohsenvand et al. (2020) scale evenly on the linear one, which makes windows larger on the whole.
    """
    if exponent == 0:
        return values
    draws = torch.rand(len(values), 1, 1, generator=generator(seed, "amplitude", step), dtype=torch.float64)
    return values * torch.exp(exponent * (2 * draws - 1)).to(values, non_blocking=True)


def take_surrogates(values: Tensor, probability: float, seed: int, step: int) -> Tensor:
    """Fourier surrogates of windows (B, E, S), each with this probability: a random phase is added to every frequency, the same on all electrodes.

    Each electrode keeps its power spectrum and each pair its cross-spectrum, so what is lost is where in the window something happened: for
    oscillations, never for evoked responses. Schwabedal, Snyder, Cakmak, Nemati & Clifford, "Addressing Class Imbalance in Classification
    Problems of Noisy Signals by using Fourier Transform Surrogates", 2018, arXiv:1806.08675.
    """
    if probability == 0:
        return values
    batch, _, samples = values.shape
    source = generator(seed, "surrogate", step)
    chosen = torch.rand(batch, generator=source) < probability
    phases = 2 * math.pi * torch.rand(batch, 1, samples // 2 + 1, generator=source, dtype=torch.float64)
    # The mean, and the highest frequency of an even number of samples, are real numbers.
    phases[..., 0] = 0
    if samples % 2 == 0:
        phases[..., -1] = 0
    return on_rows(values, chosen, lambda windows, rows: turn_phases(windows, phases[rows]))


def turn_phases(values: Tensor, phases: Tensor) -> Tensor:
    """Windows (B, E, S) whose frequencies are turned by phases (B, 1 or E, S // 2 + 1) in radians."""
    kind = torch.complex128 if values.dtype == torch.float64 else torch.complex64
    turn = torch.polar(torch.ones_like(phases), phases).to(values.device, kind, non_blocking=True)
    return torch.fft.irfft(torch.fft.rfft(values) * turn, n=values.shape[2])


def shift_frequency(values: Tensor, largest_hz: float, sampling_rate: float, seed: int, step: int) -> Tensor:
    """Each window (B, E, S) with all its frequencies moved by its own number of hertz, drawn evenly from -largest_hz … largest_hz.

    Rommel, Moreau, Paillard & Gramfort, "CADDA: Class-wise Automatic Differentiable Data Augmentation for EEG Signals", ICLR 2022: people differ in where
    their rhythms lie.

    >>> shift_frequency(torch.ones(2, 3, 101), 0.5, sampling_rate=100.0, seed=0, step=0).shape
    torch.Size([2, 3, 101])
    """
    if largest_hz == 0:
        return values
    draws = torch.rand(len(values), 1, 1, generator=generator(seed, "frequency shift", step), dtype=torch.float64)
    return move_frequencies(values, largest_hz * (2 * draws - 1), sampling_rate)


def move_frequencies(values: Tensor, shift_hz: Tensor, sampling_rate: float) -> Tensor:
    """Windows (B, E, S) moved by shift_hz (B, 1, 1): the analytic signal turns on, its real part is taken.

    What would fall below zero hertz, or rise above half the sampling rate, comes back from that edge.
    """
    samples = values.shape[2]
    spectrum = torch.fft.rfft(values)
    positive = torch.full((spectrum.shape[2],), 2.0, dtype=values.dtype)
    positive[0] = 1
    if samples % 2 == 0:
        positive[-1] = 1
    analytic = torch.fft.ifft(functional.pad(spectrum * positive.to(values.device, non_blocking=True), (0, samples - spectrum.shape[2])))
    angle = 2 * math.pi * shift_hz * torch.arange(samples, dtype=torch.float64) / sampling_rate
    return analytic.real * angle.cos().to(values, non_blocking=True) - analytic.imag * angle.sin().to(values, non_blocking=True)


def recombine(values: Tensor, rows: Tensor, classes: Tensor, probability: float, seed: int, step: int, pool: Tensor | None = None) -> Tensor:
    """The windows `rows` (B,) of a training part (N, E, S), each with this probability put together anew from windows of its class.

    A window is cut into eight equal stretches of time; each is taken, at the same time and on all electrodes, from a window of the same class, drawn for
    itself from the whole training part. Where stretches meet the signal jumps. Lotte, "Signal Processing Approaches to Minimize or Suppress Calibration
    Time in Oscillatory Activity-Based Brain–Computer Interfaces", Proceedings of the IEEE 103, 2015.

    Parameters
    ----------
    rows : int64 on the CPU. classes : (N,) int64 class numbers, on the CPU.
    pool : row numbers that stretches may be taken from, where some of the windows are not to be trained on; None for all. Holds `rows`.

    >>> values, classes = torch.arange(6.0)[:, None, None].expand(6, 1, 16), torch.arange(6) % 2
    >>> {number % 2 for number in recombine(values, torch.tensor([1, 5]), classes, 1.0, seed=0, step=0).flatten().tolist()}
    {1.0}
    """
    windows = values.index_select(0, rows.to(values.device, non_blocking=True))
    if probability == 0:
        return windows
    source = generator(seed, "recombination", step)
    chosen = torch.rand(len(rows), generator=source) < probability
    draws = torch.rand(len(rows), SEGMENTS, generator=source, dtype=torch.float64)
    pool = torch.arange(len(classes)) if pool is None else pool.cpu()
    order, counts, own = pool[classes[pool].argsort(stable=True)], classes[pool].bincount(), classes[rows]
    first = counts.cumsum(0) - counts
    donors = order[first[own][:, None] + (draws * counts[own][:, None]).long()]
    samples = values.shape[2]
    edges = [-(-samples * number // SEGMENTS) for number in range(SEGMENTS + 1)]

    def put_together(_: Tensor, taken: Tensor) -> Tensor:
        own_donors = donors[taken].to(values.device, non_blocking=True)
        stretches = [values[:, :, start:stop].index_select(0, each) for start, stop, each in zip(edges, edges[1:], own_donors.T, strict=False)]
        return torch.cat(stretches, dim=2)

    return on_rows(windows, chosen, put_together)


def flip_hemispheres(values: Tensor, targets: Tensor, mirror: Mirror, probability: float, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Windows (B, E, S) and their target shares (B, C), each with this probability as seen in the mirror: left and right exchanged, in both.

    Deiss, Biswal, Jin, Sun, Westover & Sun, "HAMLET: Interpretable Human And Machine co-LEarning Technique", 2018, arXiv:1803.09702, flip the hemispheres.
    """
    if probability == 0:
        return values, targets
    chosen = torch.rand(len(values), generator=generator(seed, "hemisphere flip", step)) < probability
    electrodes, classes = torch.as_tensor(mirror.electrodes, device=values.device), torch.as_tensor(mirror.classes, device=values.device)
    flipped = on_rows(values, chosen, lambda windows, _: windows[:, electrodes])
    return flipped, on_rows(targets, chosen, lambda shares, _: shares[:, classes])


def _silenced(values: Tensor, chosen: Tensor) -> Tensor:
    """Windows (B, E, S) with zeros where chosen (B, 1 or E, 1 or S); missing samples (NaN) aren't there to be silenced, and stay missing."""
    return values.masked_fill(chosen.to(values.device, non_blocking=True) & ~values.isnan(), 0)
