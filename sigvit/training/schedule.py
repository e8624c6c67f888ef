"""Learning rates as functions of the step: each a factor on the recipe's, after a linear warm-up from zero."""

from __future__ import annotations

import math

from sigvit.training.recipe import Recipe


def learning_rate_factor(recipe: Recipe, step: int) -> float:
    """The recipe's factor at `step`.

    >>> [round(learning_rate_factor(Recipe(steps=9, warmup_steps=2), t), 3) for t in (0, 1, 2, 5, 8)]
    [0.5, 1.0, 1.0, 0.611, 0.05]
    """
    if recipe.schedule == "cosine":
        return cosine(step, recipe.steps, recipe.warmup_steps, recipe.final_factor)
    if recipe.schedule == "linear":
        return linear(step, recipe.steps, recipe.warmup_steps, recipe.final_factor)
    along = reciprocal_square_root if recipe.schedule == "rsqrt" else constant
    return cooldown(step, recipe.steps, recipe.cooldown_steps, recipe.final_factor) * along(step, recipe.warmup_steps)


def cosine(step: int, steps: int, warmup_steps: int = 0, floor: float = 0.0) -> float:
    """Factor on the learning rate at `step` of `steps`: linear warm-up from zero, then a cosine to `floor`.

    The warm-up's first step has 1 / warmup_steps, its last has 1. Loshchilov & Hutter (2017), SGDR.

    >>> [round(cosine(t, 9, warmup_steps=2), 3) for t in (0, 1, 2, 5, 8)]
    [0.5, 1.0, 1.0, 0.611, 0.05]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * _done(step, steps, warmup_steps)))


def linear(step: int, steps: int, warmup_steps: int = 0, floor: float = 0.0) -> float:
    """Warm-up, then a straight line to `floor`, as the ViT paper's pre-training on ImageNet-21k.

    >>> [linear(t, 10, warmup_steps=2) for t in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 1 - (1 - floor) * _done(step, steps, warmup_steps)


def reciprocal_square_root(step: int, warmup_steps: int) -> float:
    """Warm-up, then sqrt(warmup_steps / step): the rate doesn't depend on when training ends (Vaswani et al. 2017; Zhai et al. 2022 add a cooldown).

    >>> [reciprocal_square_root(t, warmup_steps=4) for t in (0, 3, 4, 16, 64)]
    [0.25, 1.0, 1.0, 0.5, 0.25]
    """
    return (step + 1) / warmup_steps if step < warmup_steps else math.sqrt(max(1, warmup_steps) / max(1, step))


def constant(step: int, warmup_steps: int = 0) -> float:
    """Factor 1 after a linear warm-up from zero.

    >>> [constant(t, warmup_steps=2) for t in (0, 1, 7)]
    [0.5, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def cooldown(step: int, steps: int, cooldown_steps: int, floor: float = 0.0) -> float:
    """Factor 1 until the last `cooldown_steps`, then a straight line to `floor`; the recipe multiplies it by what its schedule has there by itself.

    >>> [cooldown(t, 10, cooldown_steps=4) for t in (0, 6, 8, 9)]
    [1.0, 1.0, 0.5, 0.25]
    """
    left = (steps - step) / cooldown_steps if cooldown_steps else 1.0
    return floor + (1 - floor) * min(1.0, left)


def _done(step: int, steps: int, warmup_steps: int) -> float:
    """Share of the way after the warm-up."""
    return min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
