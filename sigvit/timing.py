"""Seconds of steps that take turns; imports nothing of ours."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch

Name = TypeVar("Name")
A_TURN, MOST_CALLS = 0.05, 100  # seconds; times that a step is called in them


def step_times(
    steps: Mapping[Name, Callable[[], object]], device: torch.device | str = "cpu", rounds: int = 7, turn: float = A_TURN
) -> dict[Name, list[float]]:
    """Seconds of each in every round, taken in turn, so that what disturbs the machine for a while disturbs all alike; two calls each first.

    Of a short step they are the mean of as many calls as take `turn` seconds: in a training it follows its like, not a large model.

    >>> {name: len(times) for name, times in step_times({"one": int, "other": float}, rounds=3).items()}
    {'one': 3, 'other': 3}
    """
    device = torch.device(device)
    calls = []
    for step in steps.values():
        step()
        calls.append(round(min(max(turn / seconds_of(step, device, 1)[0], 1), MOST_CALLS)))
    rows = [[statistics.mean(seconds_of(step, device, count)) for step, count in zip(steps.values(), calls, strict=True)] for _ in range(rounds)]
    return {name: list(column) for name, column in zip(steps, zip(*rows, strict=True), strict=True)}


def step_seconds(steps: Sequence[Callable[[], object]], device: torch.device | str = "cpu", rounds: int = 7, turn: float = A_TURN) -> list[float]:
    """Median seconds of each, as `step_times` takes them."""
    return [statistics.median(times) for times in step_times(dict(enumerate(steps)), device, rounds, turn).values()]


def seconds_of(step: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Of so many calls; on a GPU until it is done."""
    times = []
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        step()
        _wait(device)
        times.append(time.perf_counter() - start)
    return times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
