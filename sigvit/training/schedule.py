"""Learning rates as functions of the step."""

from __future__ import annotations

import math


def cosine(step: int, steps: int, warmup_steps: int = 0, floor: float = 0.0) -> float:
    """Factor on the learning rate at `step` of `steps`: linear warm-up from zero, then a cosine to `floor`.

    The warm-up's first step has 1 / warmup_steps, its last has 1. Loshchilov & Hutter (2017), SGDR.

    >>> [round(cosine(t, 9, warmup_steps=2), 3) for t in (0, 1, 2, 5, 8)]
    [0.5, 1.0, 1.0, 0.611, 0.05]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def constant(step: int, warmup_steps: int = 0) -> float:
    """Factor 1 after a linear warm-up from zero.

    >>> [constant(t, warmup_steps=2) for t in (0, 1, 7)]
    [0.5, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
