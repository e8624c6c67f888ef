"""A recipe is everything a training needs but the data, the model and the seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from sigvit.plain_fields import plain_value

CHOICES = {
    "dtype": ("float32", "float64", "bfloat16"),
    "optimizer": ("adamw", "adam", "lamb", "sgd"),
    "schedule": ("cosine", "linear", "rsqrt", "constant"),
    "loss": ("softmax", "sigmoid", "binary"),
}
# What varies recordings; images are varied by `ImageAugmentation`.
OF_RECORDINGS = (
    "time_shift",
    "noise",
    "time_mask",
    "channel_dropout",
    "amplitude_scale",
    "surrogate",
    "frequency_shift",
    "recombination",
    "hemisphere_flip",
)

# A few hundred windows of a recording have learned in so many steps what they will (docs/log.md); of more windows each is shown so many times.
FEWEST_STEPS, SHOWN = 1000, 32


def steps_for(n_windows: int, batch_size: int) -> int:
    """Steps where nobody says how many: 1000, or as many as show every window 32 times.

    >>> steps_for(300, 32), steps_for(5000, 32)
    (1000, 5000)
    """
    return max(FEWEST_STEPS, -(-SHOWN * n_windows // max(1, batch_size)))  # the recipe refuses less than 1


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    steps : optimiser steps; the schedule runs over all of them.
    warmup_steps : first of these, in which the learning rate rises in a line from zero.
    batch_size : windows or images a step, over all processes and accumulation steps. Recordings take at most the training set.
    accumulation : equal parts of the batch that each process works on one after the other: less memory, the same gradient up to rounding, but for dropout and
        stochastic depth, which draw other masks for another number of parts.
    optimizer : "adamw" (decoupled weight decay, Loshchilov & Hutter 2019), "adam" (Kingma & Ba 2015; the decay is an L2 term of the gradient, so it is
        divided by the gradient's size like the rest), "lamb" (You et al. 2020; for batches of thousands) or "sgd" (with
        momentum; the decay is an L2 term). The ViT paper's "Adam" is "adamw" here: JAX decays decoupled.
    learning_rate : at the top of the schedule.
    weight_decay : at the top of the schedule. A decoupled decay is multiplied by the learning rate, as PyTorch does: big_vision's 1e-4
        at a rate of 1e-3 is 0.1 here. Biases, norms, special tokens and positions are not decayed.
    betas : decays of Adam's two moments.
    momentum : of SGD.
    layer_decay : each block's learning rate is this times the next one's; embedding lowest, norm after the blocks and head full (Bao et al. 2022, BEiT).
    schedule : "cosine", "linear", "rsqrt" (reciprocal square root) or "constant", each after `warmup_steps` from zero; see `sigvit.training.schedule`.
    final_factor : where cosine, line or cooldown ends, as a share of the learning rate; of "rsqrt" as a share of the rate that it would have there by itself.
    cooldown_steps : last steps over which "rsqrt" and "constant" are multiplied by a line from 1 to `final_factor`.
    clip_norm : largest norm of the whole gradient; infinity doesn't clip.
    loss : "softmax", "sigmoid" or "binary" cross-entropy; see `sigvit.training.losses`.
    label_smoothing : share of each target that is spread over all classes (Szegedy et al. 2016).
    ema_decay : decay of the moving average of the weights, which is what training returns; 0 returns the last weights.
    time_shift : largest circular shift of a window, as a share of its length, drawn anew for every window and step.
    noise : standard deviation of Gaussian noise added to the standardised signal.
    time_mask : longest stretch of a window that is set to zero, as a share of its length.
    channel_dropout : probability that an electrode is set to zero.
    amplitude_scale : largest change of a window's size, as a logarithm: 0.2 multiplies by e^-0.2 … e^0.2.
    surrogate : probability that a window's phases are drawn anew, the same on all electrodes: what happened when is lost, the spectra stay.
    frequency_shift : hertz that a window's frequencies are moved by at most; the batches must know the sampling rate.
    recombination : probability that a window is put together anew from stretches of windows of its class.
    hemisphere_flip : probability that left and right are exchanged, in electrodes and labels; the batches must know the mirror.
    mixup, cutmix : parameters of the Beta distributions that samples and targets are mixed by (Zhang et al. 2018; Yun et al. 2019); 0 mixes nothing.
        With both, every sample takes one or the other.
    mixing_probability : share of the samples that are mixed.
    validate_every : steps between looks at the validation part, where there is one.
    patience : looks without a better validation loss until training stops; 0 never stops early. The best look's weights are returned.
    dtype : "float32", "float64", or "bfloat16" (autocast over float32 weights).
    compile : run the model through `torch.compile`: minutes at first, then faster. Dropout and stochastic depth draw other masks then, so that a training
        with either goes on only with the choice that it began with.

    Raises
    ------
    ValueError : a number outside its range or not finite, or a fraction where a whole number belongs, named; a choice that the others leave without a reader.

    >>> Recipe(steps=7).steps
    7
    >>> Recipe(label_smoothing=1.5)
    Traceback (most recent call last):
    ValueError: label_smoothing is 1.5; it must be at least 0 and below 1.
    >>> Recipe(optimizer="adamw", momentum=0.8)
    Traceback (most recent call last):
    ValueError: momentum is 0.8, but nothing reads it: optimizer is 'adamw', and only 'sgd' has a momentum.
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
    accumulation: int = 1
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9
    layer_decay: float = 1.0
    schedule: str = "cosine"
    final_factor: float = 0.0
    cooldown_steps: int = 0
    loss: str = "softmax"
    cutmix: float = 0.0
    mixing_probability: float = 1.0
    compile: bool = False
    time_mask: float = 0.0
    channel_dropout: float = 0.0
    amplitude_scale: float = 0.0
    surrogate: float = 0.0
    frequency_shift: float = 0.0
    recombination: float = 0.0
    hemisphere_flip: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(Recipe):  # a subclass may have others, of any kind
            object.__setattr__(self, field.name, plain_value(self, field, infinite=field.name == "clip_norm"))
        for name in ("steps", "batch_size", "validate_every", "accumulation"):
            require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("warmup_steps", "weight_decay", "noise", "mixup", "cutmix", "patience", "cooldown_steps", "amplitude_scale", "frequency_shift"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        for name in ("learning_rate", "clip_norm"):
            require(self, name, getattr(self, name) > 0, "above 0")
        for name in ("label_smoothing", "ema_decay", "time_shift", "momentum", "time_mask", "channel_dropout"):
            require(self, name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        for name in ("layer_decay", "mixing_probability"):
            require(self, name, 0 < getattr(self, name) <= 1, "above 0 and at most 1")
        for name in ("surrogate", "recombination", "hemisphere_flip"):
            require(self, name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        require(self, "final_factor", 0 <= self.final_factor <= 1, "from 0 to 1")
        require(self, "betas", all(0 <= beta < 1 for beta in self.betas), "two numbers, each at least 0 and below 1")
        for name, words in CHOICES.items():
            require(self, name, getattr(self, name) in words, ", ".join(map(repr, words[:-1])) + f" or {words[-1]!r}")
        self._require_readers()

    def _require_readers(self) -> None:
        """A field that was set although the others leave nothing to read it is a misunderstanding."""
        falls = self.schedule in ("cosine", "linear")
        chosen = f"schedule is {self.schedule!r}"
        unread = {
            "momentum": (self.optimizer != "sgd", f"optimizer is {self.optimizer!r}, and only 'sgd' has a momentum"),
            "betas": (self.optimizer == "sgd", "optimizer is 'sgd', which has a momentum instead"),
            "cooldown_steps": (falls, f"{chosen}, which falls to its end by itself"),
            "final_factor": (not falls and not self.cooldown_steps, f"{chosen} without cooldown_steps"),
            "mixing_probability": (not self.mixup and not self.cutmix, "neither mixup nor cutmix is on"),
        }
        for name, (nobody_reads_it, reason) in unread.items():
            if nobody_reads_it:
                require_unset(self, (name,), reason)


def require(settings: Any, name: str, holds: bool, range_in_words: str) -> None:
    """ValueError where what a field of a dataclass must be doesn't hold.

    >>> require(Recipe(), "steps", False, "at least 2000")
    Traceback (most recent call last):
    ValueError: steps is 1000; it must be at least 2000.
    """
    if not holds:
        raise ValueError(f"{name} is {getattr(settings, name)}; it must be {range_in_words}.")


def require_unset(settings: Any, names: Iterable[str], reason: str) -> None:
    """ValueError where a field of a dataclass, which nothing reads for this reason, was set to something else than its default.

    >>> require_unset(Recipe(noise=0.1), ["steps", "noise"], "images have a noise of their own")
    Traceback (most recent call last):
    ValueError: noise is 0.1, but nothing reads it: images have a noise of their own.
    """
    defaults = {field.name: field.default for field in fields(settings)}
    for name in names:
        if getattr(settings, name) != defaults[name]:
            raise ValueError(f"{name} is {getattr(settings, name)}, but nothing reads it: {reason}.")
