"""Augmentation of recordings, batched on the device, seeded per (seed, step)."""

from __future__ import annotations

import torch
from torch import Tensor

from sigvit.training.randomness import generator

# B = batch, E = electrodes, S = samples


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
    source = (torch.arange(samples) - shifts) % samples
    return values.gather(2, source.to(values.device).expand_as(values))


def add_noise(values: Tensor, deviation: float, seed: int, step: int) -> Tensor:
    """White Gaussian noise of standard deviation `deviation`, in the units of `values`."""
    if deviation == 0:
        return values
    noise = torch.randn(values.shape, generator=generator(seed, "noise", step), dtype=values.dtype)
    return values + deviation * noise.to(values.device)
