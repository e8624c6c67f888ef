"""Mixing of whole samples and their targets, for images and recordings alike: arithmetic with given partners and draws."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigvit.training.randomness import derive_seed, generator
from sigvit.training.recipe import Recipe

# B = batch, C = classes; the axes after (batch, channels or electrodes) are where CutMix cuts: rows and columns, or samples


class Draws(NamedTuple):
    """What chance decides for each sample of a whole batch.

    Attributes
    ----------
    own : (B,) float64, the share of itself that a sample keeps; 1 leaves it as it is.
    cut : (B,) bool, CutMix instead of mixup; None where the recipe has no CutMix.
    centre : (B, 2) float64 in [0, 1), the middle of CutMix's box along each axis; None where the recipe has no CutMix.
    """

    own: Tensor
    cut: Tensor | None = None
    centre: Tensor | None = None

    def part(self, rows: slice) -> Draws:
        """The draws of a share of the batch."""
        return Draws(*(None if drawn is None else drawn[rows] for drawn in self))  # type: ignore[arg-type]


def draw_mixing(batch: int, recipe: Recipe, seed: int, step: int) -> Draws | None:
    """The draws of step `step`, a pure function of its arguments; None where the recipe mixes nothing.

    Shares are from Beta(alpha, alpha), alpha being `recipe.mixup` or `recipe.cutmix`. Where the recipe has both, every sample takes one or the other
    with equal chance (as DeiT does for whole batches); with probability 1 − `recipe.mixing_probability` it stays unmixed.
    """
    if recipe.mixup == 0 and recipe.cutmix == 0:
        return None
    own = _beta(recipe.mixup or recipe.cutmix, batch, seed, "mixup", step)
    if recipe.cutmix == 0 and recipe.mixing_probability == 1:
        return Draws(own)
    # Columns: whether to mix, whether to cut, and where.
    chance = torch.rand(batch, 4, generator=generator(seed, "mixing", step), dtype=torch.float64)
    cut = None
    if recipe.cutmix:
        cut = chance[:, 1] < (0.5 if recipe.mixup else 1.0)
        own = torch.where(cut, _beta(recipe.cutmix, batch, seed, "cutmix", step), own)
    if recipe.mixing_probability < 1:
        own = own.masked_fill(chance[:, 0] >= recipe.mixing_probability, 1.0)
    return Draws(own, cut, chance[:, 2:] if recipe.cutmix else None)


def mix(values: Tensor, targets: Tensor, partner: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Each sample mixed with its partner as drawn: (B, channels, …) and target shares (B, C).

    Values and targets are those of the sample and of its partner, weighted `own` and 1 − `own`: Zhang et al. (2018), "mixup: Beyond Empirical Risk
    Minimization", arXiv:1710.09412. Where it is cut instead, a box is replaced by the same place of its partner, and targets are shared by the area that was
    really replaced: Yun et al. (2019), "CutMix", arXiv:1905.04899. In a recording the box is a stretch of time on all electrodes.

    Parameters
    ----------
    partner : (B,) int64, the row in `values` that each sample is mixed with.
    draws : of the same B samples, on any device.

    >>> mixed, targets = mix(torch.tensor([[[0.0]], [[8.0]]]), torch.eye(2), torch.tensor([1, 0]), Draws(torch.tensor([0.75, 1.0])))
    >>> mixed.flatten().tolist(), targets.tolist()
    ([2.0, 8.0], [[0.75, 0.25], [0.0, 1.0]])
    >>> signals, drawn = torch.tensor([[[1.0] * 8], [[2.0] * 8]]), Draws(torch.tensor([0.5, 1.0]), torch.tensor([True, True]), torch.full((2, 1), 0.5))
    >>> mixed, targets = mix(signals, torch.eye(2), torch.tensor([1, 0]), drawn)
    >>> mixed[0, 0].tolist(), targets[0].tolist()
    ([1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0], [0.5, 0.5])
    """
    own = draws.own.to(values.device, non_blocking=True)
    keep, share = own.view(-1, *[1] * (values.ndim - 2)), own  # the weights of a sample's own values, (B, …), and of its own targets, (B,)
    if draws.cut is not None and draws.centre is not None:
        cut = draws.cut.to(values.device, non_blocking=True)
        outside = outside_box(own, draws.centre.to(values.device, non_blocking=True), values.shape[2:])
        keep, share = torch.where(cut.view_as(keep), outside, keep), torch.where(cut, outside.flatten(1).double().mean(1), own)
    mixed = torch.lerp(values.index_select(0, partner), values, keep.to(values.dtype)[:, None])
    return mixed, torch.lerp(targets[partner], targets, share.to(targets.dtype)[:, None])


def outside_box(own: Tensor, centre: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(B, *shape) bool, False in each sample's box, whose sides are all the same share of the axes: (1 − own) to the power 1 / number of axes."""
    side = (1 - own) ** (1 / len(shape))
    inside = torch.ones((), dtype=torch.bool, device=own.device)
    for axis, length in enumerate(shape):
        half = (side * length).long() // 2
        middle = (centre[:, axis] * length).long()
        place = torch.arange(length, device=own.device)
        within = (place >= (middle - half)[:, None]) & (place < (middle + half)[:, None])
        inside = inside & within.view(-1, *[length if axis == other else 1 for other in range(len(shape))])
    return ~inside


def _beta(alpha: float, batch: int, seed: int, purpose: str, step: int) -> Tensor:
    return torch.as_tensor(np.random.default_rng(derive_seed(seed, purpose, step)).beta(alpha, alpha, batch))
