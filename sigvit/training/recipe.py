"""A recipe is everything a training needs but the data, the model and the seed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    steps : optimiser steps. The learning rate falls along a cosine to zero over all of them.
    batch_size : windows or images a step; at most the training set.
    learning_rate, warmup_steps, weight_decay : of AdamW (Loshchilov & Hutter 2019); biases, norms, special tokens and positions are not decayed.
    clip_norm : largest norm of the whole gradient.
    label_smoothing : share of each target that is spread over all classes (Szegedy et al. 2016).
    ema_decay : decay of the moving average of the weights, which is what training returns; 0 returns the last weights.
    time_shift : largest circular shift of a window, as a share of its length, drawn anew for every window and step.
    noise : standard deviation of Gaussian noise added to the standardised signal.
    mixup : parameter of the Beta distribution that windows and targets are mixed by (Zhang et al. 2018); 0 mixes nothing.
    validate_every : steps between looks at the validation part, where there is one.
    patience : looks without a better validation loss until training stops; 0 never stops early. The best look's weights are returned.
    dtype : "float32", "float64", or "bfloat16" (autocast over float32 weights).

    Raises
    ------
    ValueError : a number outside its range, named.

    >>> Recipe(steps=7).steps
    7
    >>> Recipe(label_smoothing=1.5)
    Traceback (most recent call last):
    ValueError: label_smoothing is 1.5; it must be at least 0 and below 1.
    """

    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    label_smoothing: float = 0.1
    ema_decay: float = 0.99
    time_shift: float = 0.0
    noise: float = 0.0
    mixup: float = 0.0
    validate_every: int = 25
    patience: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("warmup_steps", "weight_decay", "noise", "mixup", "patience"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("learning_rate", "clip_norm"):
            self._require(name, getattr(self, name) > 0, "above 0")
        for name in ("label_smoothing", "ema_decay", "time_shift"):
            self._require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        self._require("dtype", self.dtype in ("float32", "float64", "bfloat16"), '"float32", "float64" or "bfloat16"')

    def _require(self, name: str, holds: bool, range_in_words: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)}; it must be {range_in_words}.")
