"""Where windows are cut from a stretch of samples: shared by the tokenizers of recordings."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sigvit.grid import Axis

LEFTOVERS = ("drop", "pad", "error")


def n_steps(n_times: int, window: int, stride: int, leftover: str) -> int:
    """How many windows a recording of `n_times` samples holds.

    Raises
    ------
    ValueError : no window fits, or samples are left over and `leftover` is "error".

    >>> [n_steps(100, window=30, stride=20, leftover=choice) for choice in ("drop", "pad")]
    [4, 5]
    """
    rest = (n_times - window) % stride if n_times >= window else window - n_times
    if rest and leftover == "error":
        raise ValueError(f"Windows of {window} samples every {stride} leave {rest} of {n_times} samples over; choose other sizes, or leftover='drop' or 'pad'.")
    if n_times < 1 or (n_times < window and leftover != "pad"):
        raise ValueError(f"A recording of {n_times} samples holds no window of {window}; use a shorter window or leftover='pad'.")
    steps = max(n_times - window, 0) // stride + 1
    return steps + 1 if leftover == "pad" and (steps - 1) * stride + window < n_times else steps


def time_axis(steps: int, window: int, stride: int, sampling_rate: float | None) -> Axis:
    """The mean time of each window's samples, in seconds from the first sample, or in samples where no rate is known."""
    rate, unit = (1.0, "samples") if sampling_rate is None else (sampling_rate, "s")
    return Axis("time", unit, tuple(((step * stride + (window - 1) / 2) / rate,) for step in range(steps)))


def check_cut(window: int, stride: int, width: int, leftover: str, sampling_rate: float | None) -> None:
    """ValueError where these contradict each other."""
    for name, count in (("window", window), ("stride", stride), ("width", width)):
        if not isinstance(count, Integral) or isinstance(count, bool):
            raise ValueError(f"{name} is {count!r}; it must be a whole number, such as 64.")
    if min(window, stride, width) < 1:
        raise ValueError(f"window {window}, stride {stride} and width {width} must all be at least 1 (sample, sample, number).")
    if stride > window:
        raise ValueError(f"A stride of {stride} samples skips samples between windows of {window}; the stride may be at most the window.")
    if leftover not in LEFTOVERS:
        raise ValueError(f"leftover is {leftover!r}; there are {', '.join(map(repr, LEFTOVERS))}.")
    if sampling_rate is not None and not sampling_rate > 0:
        raise ValueError(f"sampling_rate is {sampling_rate}; it must be above 0 Hz, or None.")


def real_samples(mask: Tensor, recording: Tensor) -> Tensor:
    """A mask of electrodes (B, E) or of samples (B, E, samples), as one of samples.

    Raises
    ------
    ValueError : a mask that isn't bool or has neither of the two shapes.
    """
    if mask.dtype != torch.bool or mask.shape not in (recording.shape[:2], recording.shape):
        raise ValueError(
            f"The mask must be bool of shape {tuple(recording.shape[:2])} or {tuple(recording.shape)}, but is {mask.dtype} of {tuple(mask.shape)}."
        )
    return mask if mask.ndim == 3 else mask[..., None].expand_as(recording)


def fit_length(signal: Tensor, n_times: int) -> Tensor:
    """The first `n_times` samples, filled with zeros (of a mask: with False) where there are fewer.

    >>> fit_length(torch.ones(1, 2), 3).tolist()
    [[1.0, 1.0, 0.0]]
    """
    missing = n_times - signal.shape[-1]
    return functional.pad(signal, (0, missing)) if missing > 0 else signal[..., :n_times]


def steps_alone(mask: Tensor, steps: int, window: int, stride: int, leftover: str) -> Tensor:
    """Which of the steps a recording would have without what its mask leaves out behind its last real sample: (B, E, samples) → (B, steps).

    So a short recording that is filled up for longer company keeps the tokens that it has alone.

    >>> mask = torch.arange(9) < torch.tensor([[[6]], [[9]]])
    >>> [steps_alone(mask, 3, window=3, stride=3, leftover="drop").sum(1).tolist(), steps_alone(mask[..., :7], 3, 3, 3, "pad").sum(1).tolist()]
    [[2, 3], [2, 3]]
    >>> steps_alone(mask, 5, window=7, stride=2, leftover="pad").sum(1).tolist()
    [1, 2]
    """
    numbers = torch.arange(1, mask.shape[-1] + 1, device=mask.device)
    length = (mask.any(1) * numbers).amax(-1, keepdim=True)
    starts = torch.arange(steps, device=mask.device) * stride
    # A window that is filled up is there while the one before it leaves samples over; before the first there is none.
    return ((starts - stride + window < length) | (starts == 0)) & (starts < length) if leftover == "pad" else starts + window <= length


def real_steps(mask: Tensor, steps: int, window: int, stride: int, leftover: str) -> Tensor:
    """Which steps hold a real sample of any electrode, of those that the recording would have alone (`steps_alone`): (B, E, samples) → (B, steps).

    >>> real_steps(torch.tensor([[[True] * 4 + [False] * 5]]), 3, window=3, stride=3, leftover="drop").tolist()
    [[True, False, False]]
    """
    seen = fit_length(mask.any(1), (steps - 1) * stride + window).unfold(-1, window, stride).any(-1)
    return seen & steps_alone(mask, steps, window, stride, leftover)


def samples_of(seconds: float, sampling_rate: float) -> int:
    """Seconds in samples, rounded to the nearest, halves down.

    >>> samples_of(0.25, 250.0)
    62
    """
    return int(np.ceil(seconds * sampling_rate - 0.5))


def check_recording(recording: Tensor, n_electrodes: int) -> None:
    """ValueError where this isn't (batch, n_electrodes, samples)."""
    if recording.ndim != 3 or recording.shape[1] != n_electrodes:
        raise ValueError(f"Recordings must be (batch, {n_electrodes} electrodes, samples), but are {tuple(recording.shape)}.")


def as_signals(signals: Any) -> Tensor:
    """A tensor as it is, anything else as an array's, whatever the order of its numbers and of their bytes in memory.

    Raises
    ------
    ValueError : an array that is masked in places.

    >>> as_signals(np.arange(3, dtype=">f8")[::-1]).tolist()
    [2.0, 1.0, 0.0]
    """
    if isinstance(signals, Tensor):
        return signals
    if np.ma.is_masked(signals):
        raise ValueError("The signals are masked in places, and windows have no gaps; leave the windows out that have some, or fill them (signals.filled).")
    array = np.asarray(signals)
    backwards = min(array.strides, default=0) < 0  # torch has no steps back through memory, not even along an axis of one step
    return torch.as_tensor(array.astype(array.dtype.newbyteorder("="), order="C", copy=backwards))
