"""One training of several: what `train_many` is asked for, and how it would go alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.training.batches import RecordingBatches
from sigvit.training.checkpoint import Checkpoints
from sigvit.training.loop import train
from sigvit.training.mirror import Mirror
from sigvit.training.recipe import Recipe
from sigvit.training.same_training import described, require_same


@dataclass(frozen=True, eq=False)
class Member:
    """One training.

    Attributes
    ----------
    model : trained in place.
    values, targets : (windows, electrodes, samples), standardised, on the model's device; class numbers (windows,). Members may share them.
    recipe, seed : of this training.
    n_classes : None counts up to the largest target.
    class_weights : (classes,) weights of the loss. validation : values and targets that choose the weights and the end; never trained on.
    rows : numbers of the windows that are trained on, int64; None for all. Who leaves out different windows of one set shares its values.
    sampling_rate : of the values, in hertz; only shifts of frequency need it. mirror : only flips of hemispheres need it.
    name : what a message about this training calls it.
    key : names its snapshots; made of everything that decides the training. Empty where none are kept.
    """

    model: nn.Module
    values: Tensor
    targets: Tensor
    recipe: Recipe
    seed: int
    n_classes: int | None = None
    class_weights: Tensor | None = None
    validation: tuple[Tensor, Tensor] | None = None
    name: str = ""
    key: str = ""
    sampling_rate: float | None = None
    mirror: Mirror | None = None
    rows: Tensor | None = None

    def batches(self) -> RecordingBatches:
        return RecordingBatches(self.values, self.targets, self.recipe, self.seed, self.n_classes, self.sampling_rate, self.mirror, self.rows)

    @property
    def batch_size(self) -> int:
        """Windows of a step: a batch is never larger than the set."""
        return min(self.recipe.batch_size, len(self.values if self.rows is None else self.rows))

    def described(self) -> dict[str, dict[str, Any]]:
        """What a snapshot of this training is compared by."""
        return described(self.model, self.recipe, self.seed)

    def require_same(self, saved: dict[str, Any]) -> None:
        """ValueError: the snapshot is of another recipe, seed, architecture or tokenizer."""
        require_same(f"The snapshot of {self.name or self.key}", saved, self.described())


def train_alone(member: Member, checkpoints: Checkpoints | None = None, on_step: Callable[[int], None] | None = None) -> list[dict[str, float]]:
    """Train one member by `sigvit.training.loop.train`; returns its history."""
    validation = None
    if member.validation is not None:
        values, targets = member.validation
        validation = partial(validation_loss, values=values, targets=targets, class_weights=member.class_weights)
    return train(
        member.model,
        member.batches(),
        member.recipe,
        member.seed,
        class_weights=member.class_weights,
        validation=validation,
        checkpoints=checkpoints,
        on_step=on_step,
    )


@torch.no_grad()
def validation_loss(model: nn.Module, values: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> float:
    """Mean cross-entropy of a model on (windows, electrodes, samples) and class numbers (windows,), without label smoothing; call `eval()` first."""
    logits = torch.cat([model(part) for part in values.split(256)])
    return float(functional.cross_entropy(logits.float(), targets, None if class_weights is None else class_weights.float()))
