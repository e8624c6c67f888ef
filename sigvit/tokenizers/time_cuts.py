"""Where windows are cut from a stretch of samples: shared by the tokenizers of recordings."""

from __future__ import annotations

import torch
from torch import Tensor

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


def shape_error(n_electrodes: int, recording: Tensor) -> ValueError:
    return ValueError(f"Recordings must be (batch, {n_electrodes} electrodes, samples), but are {tuple(recording.shape)}.")
