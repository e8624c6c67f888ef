"""Learning rates as functions of the step: each a factor on the recipe's, after a linear warm-up from zero."""

from __future__ import annotations

import math

from sigvit.training.recipe import Recipe


def learning_rate_factor(recipe: Recipe, step: int) -> float:
    """The recipe's factor on its learning rate at `step`. The warm-up's first step has 1 / warmup_steps, its last has 1; then

    - "cosine": half a cosine to `final_factor` (Loshchilov & Hutter 2017, SGDR)
    - "linear": a straight line to `final_factor`, as the ViT paper's pre-training on ImageNet-21k
    - "rsqrt": sqrt(warmup_steps / step), so that the rate doesn't depend on when training ends (Vaswani et al. 2017)
    - "constant": 1

    The last two are multiplied by a line from 1 to `final_factor` over the last `cooldown_steps`, also in the warm-up (Zhai et al. 2022).

    >>> [round(learning_rate_factor(Recipe(steps=9, warmup_steps=2), t), 3) for t in (0, 1, 2, 5, 8)]
    [0.5, 1.0, 1.0, 0.611, 0.05]
    >>> [learning_rate_factor(Recipe(steps=10, warmup_steps=2, schedule="linear"), t) for t in (0, 1, 2, 4, 10)]
    [0.5, 1.0, 1.0, 0.75, 0.0]
    >>> [learning_rate_factor(Recipe(warmup_steps=4, schedule="rsqrt"), t) for t in (0, 3, 4, 16, 64)]
    [0.25, 1.0, 1.0, 0.5, 0.25]
    >>> [learning_rate_factor(Recipe(steps=10, warmup_steps=2, schedule="constant", cooldown_steps=4), t) for t in (0, 1, 6, 8, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.25]
    """
    warmup, floor = recipe.warmup_steps, recipe.final_factor
    warm = (step + 1) / warmup if step < warmup else None
    if recipe.schedule in ("cosine", "linear"):
        done = min(1.0, (step - warmup) / max(1, recipe.steps - warmup))
        fallen = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)) if recipe.schedule == "cosine" else 1 - (1 - floor) * done
        return fallen if warm is None else warm
    along = math.sqrt(max(1, warmup) / max(1, step)) if recipe.schedule == "rsqrt" else 1.0
    left = min(1.0, (recipe.steps - step) / recipe.cooldown_steps) if recipe.cooldown_steps else 1.0
    return (floor + (1 - floor) * left) * (along if warm is None else warm)
