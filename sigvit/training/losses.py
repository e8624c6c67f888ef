"""Losses of logits against shares of the classes, so that labels, smoothed labels and mixed samples are one case."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from sigvit.training.recipe import CHOICES

# B = batch, C = classes

KINDS = CHOICES["loss"]


def cross_entropy(logits: Tensor, targets: Tensor, class_weights: Tensor | None = None, label_smoothing: float = 0.0, kind: str = "softmax") -> Tensor:
    """Mean loss over the batch, a scalar. The mean over equal shares of a batch is the mean over the batch.

    Parameters
    ----------
    logits, targets : (B, C); the targets are shares of the classes.
    class_weights : (C,); each class's term is multiplied by its weight, and the mean stays over samples.
    label_smoothing : share of the target that is spread over all classes (Szegedy et al. 2016).
    kind : "softmax"; "sigmoid", a yes-no question for each class, their losses added (Beyer et al. 2020, "Are we done with ImageNet?"; the ViT paper's
        pre-training); or "binary", where a class with any share is a yes and the losses' mean is taken (Wightman et al. 2021, "ResNet strikes back";
        DeiT III).

    Raises
    ------
    ValueError : the model has another number of classes than the targets, or a kind that isn't one of the three.

    >>> import torch
    >>> round(float(cross_entropy(torch.zeros(1, 4), torch.eye(4)[:1])), 4), round(float(cross_entropy(torch.zeros(1, 4), torch.eye(4)[:1], kind="sigmoid")), 4)
    (1.3863, 2.7726)
    """
    if logits.shape != targets.shape:
        raise ValueError(f"The model gave logits of shape {tuple(logits.shape)} for targets of shape {tuple(targets.shape)}: rows × classes must be the same.")
    require_kind("kind", kind)
    if kind == "softmax":
        return functional.cross_entropy(logits, targets, class_weights, label_smoothing=label_smoothing)
    if kind == "binary":
        targets = (targets > 0).to(targets.dtype)
    smoothed = targets * (1 - label_smoothing) + label_smoothing / targets.shape[1]
    added = functional.binary_cross_entropy_with_logits(logits.to(smoothed.dtype), smoothed, class_weights, reduction="sum") / len(logits)
    return added / targets.shape[1] if kind == "binary" else added


def require_kind(name: str, kind: str) -> None:
    """ValueError where this is no kind of `cross_entropy`; `name` is what the caller wrote it for."""
    if kind not in KINDS:
        raise ValueError(f"{name} is {kind!r}; there are {', '.join(map(repr, KINDS))}.")
