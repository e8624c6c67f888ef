"""A trained model for other images, electrodes or classes: nothing in it is stale or random, and it says what was done."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sigvit.model.encoder import skip_rates
from sigvit.model.montages import adapt_electrodes
from sigvit.model.resize import resize_patches
from sigvit.model.transformer import grid_of
from sigvit.tokenizers import ImagePatches
from sigvit.tokenizers.image import rows_and_columns

if TYPE_CHECKING:
    from sigvit.model.vision_transformer import VisionTransformer

Size = int | tuple[int, int]

# What becomes of positions that have no table to resize.
READ = "they are read from its coordinates"
WITHOUT_TABLE = {"sincos": "they were computed again", "coordinates": READ, "rotary": READ, "none": "there are none"}


def adapt(
    model: VisionTransformer,
    image_size: Size | None = None,
    patch_size: Size | None = None,
    in_channels: int | None = None,
    num_classes: int | None = None,
    electrodes: Any = None,
) -> VisionTransformer:
    """A new model for other images, electrodes or classes; the given one stays as it is. What is left out stays the same.

    Its attribute `changes` says in sentences what became of each part that changed; everything else is copied.

    Parameters
    ----------
    model : of images, or of recordings, whose `electrodes` and `num_classes` can change.
    image_size : pixels, an int or (rows, columns): positions are resized to the new grid (`resize_positions`).
    patch_size : pixels, an int or (rows, columns): the projection is resized by the pseudo-inverse (`resize_patches`), so that a patch enlarged so gives the
        same token; positions follow the grid.
    in_channels : more: new channel k reads as old channel k mod (old count) did, and those that share one share its weight. Fewer: old channels are added
        up in turn. Either way an image with the same values in all channels gives the same tokens.
    num_classes : another number gets a new head at zero; the same number keeps the head (`reset_head` starts that anew).
    electrodes : an `mne.Info` or a list of names: what was learned about single electrodes (vectors of positions, a projection of them all) is read off at
        the new ones' places, along the scalp; electrodes that both caps have keep theirs exactly (`sigvit.model.montages`).

    Raises
    ------
    ValueError : sizes below 1, images that the patch doesn't divide, or changes that this model's tokenizer or positions don't allow.

    >>> from sigvit.model.vision_transformer import vit
    >>> grey = vit("Ti/4", image_size=28, num_classes=10, in_channels=1, depth=1)
    >>> colour = adapt(grey, image_size=(32, 40), patch_size=8, in_channels=3)
    >>> colour(torch.zeros(2, 3, 32, 40)).shape, colour.grid.shape
    (torch.Size([2, 10]), (4, 5))
    >>> print(*colour.changes, sep="\\n")
    Channels: 1 became 3; new channel k reads as old channel k mod 1 did, and those that share one share its weight.
    Patches: (4, 4) pixels became (8, 8); the projection was resized by the pseudo-inverse, and an enlarged patch gives the same token.
    Positions: the grid (7, 7) became (4, 5); they were resized, special tokens' kept.
    """
    new = copy.deepcopy(model)
    changes: list[str] = []
    if in_channels is not None or patch_size is not None:
        new.tokenizer = _adapted_tokenizer(model, in_channels, None if patch_size is None else rows_and_columns("patch_size", patch_size), changes)
    if image_size is not None or patch_size is not None or in_channels is not None:
        _adapt_grid(new, image_size, in_channels, changes)
    if electrodes is not None:
        adapt_electrodes(new, electrodes, changes)
    if num_classes is not None:
        _adapt_head(new, num_classes, changes)
    new.changes = (*model.changes, *changes)
    return new


def drop_representation(model: VisionTransformer) -> None:
    """Leave out the tanh layer before the head, which then starts anew, at zero: the paper has that layer in pre-training alone.

    >>> from sigvit.model.vision_transformer import vit
    >>> model = vit("Ti/4", image_size=28, num_classes=10, in_channels=1, depth=1, representation=37)
    >>> drop_representation(model)
    >>> model.features(torch.zeros(2, 1, 28, 28)).shape, model.changes
    (torch.Size([2, 192]), ('Representation: its 37 units before the head were dropped; the new head starts at zero.',))
    """
    units = model.config.representation
    if units is None:
        return
    model.config = replace(model.config, representation=None)
    model.representation = nn.Identity()
    model.reset_head(model.config.num_classes)
    model.changes = (*model.changes, f"Representation: its {units} units before the head were dropped; the new head starts at zero.")


def set_stochastic_depth(model: VisionTransformer, stochastic_depth: float | tuple[float, float]) -> None:
    """Other rates of skipped branches (see `ModelConfig`) for the training to come; no weight changes.

    >>> from sigvit.model.vision_transformer import vit
    >>> model = vit("Ti/4", image_size=28, num_classes=10, in_channels=1, depth=3)
    >>> set_stochastic_depth(model, 0.5)
    >>> [block.stochastic_depth for block in model.encoder.blocks], model.changes
    ([0.0, 0.25, 0.5], ('Stochastic depth: 0.0 became 0.5.',))
    """
    before, depth = model.config.stochastic_depth, model.config.depth
    if before == stochastic_depth:
        return
    model.config = replace(model.config, stochastic_depth=stochastic_depth)
    for block, rate in zip(model.encoder.blocks, skip_rates(stochastic_depth, depth), strict=True):
        block.stochastic_depth = rate
    model.changes = (*model.changes, f"Stochastic depth: {before} became {stochastic_depth}.")


def share_channels(weight: Tensor, in_channels: int) -> Tensor:
    """A projection (width, channels, …) for another number of channels, as `adapt` says; computed in float64.

    >>> share_channels(torch.tensor([[6.0], [3.0]]), 3).tolist()
    [[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]
    >>> share_channels(torch.tensor([[6.0, 3.0]]), 3).tolist(), share_channels(torch.tensor([[2.0, 3.0, 4.0]]), 1).tolist()
    ([[3.0, 3.0, 3.0]], [[9.0]])
    """
    old = weight.shape[1]
    fewer, more = sorted((old, in_channels))
    reads = (torch.arange(more, device=weight.device)[:, None] % fewer == torch.arange(fewer, device=weight.device)).double()
    shares = reads / reads.sum(0) if in_channels >= old else reads.T
    return torch.tensordot(weight.double(), shares, dims=([1], [1])).movedim(-1, 1).to(weight.dtype)


def _adapted_tokenizer(model: VisionTransformer, in_channels: int | None, patch: tuple[int, int] | None, changes: list[str]) -> ImagePatches:
    old = model.tokenizer
    if type(old) is not ImagePatches:
        possible = "num_classes" if len(model.config.input_shape) == 2 else "image_size and num_classes"
        raise ValueError(
            f"Channels and patches can change where the tokenizer is ImagePatches, but this model's is {type(old).__name__}; here only {possible} can."
        )
    channels = old.in_channels if in_channels is None else in_channels
    with torch.device("meta"):  # draws no random numbers, and refuses what makes no tokenizer
        new = ImagePatches(patch or old.patch_size, channels, old.width, old.method, old.pad)
    channels = new.in_channels
    weight = share_channels(old.weight.detach(), channels) if channels != old.in_channels else old.weight.detach().clone()
    if channels != old.in_channels:
        changes.append(f"Channels: {old.in_channels} became {channels}; {_sharing(old.in_channels, channels)}.")
    if new.patch_size != old.patch_size:
        exact = all(now >= before for before, now in zip(old.patch_size, new.patch_size, strict=True))
        meaning = "an enlarged patch gives the same token" if exact else "what a smaller patch can't hold is lost"
        changes.append(f"Patches: {old.patch_size} pixels became {new.patch_size}; the projection was resized by the pseudo-inverse, and {meaning}.")
        weight = resize_patches(weight, new.patch_size)
    new.weight = nn.Parameter(weight.contiguous(), old.weight.requires_grad)
    new.bias = nn.Parameter(old.bias.detach().clone(), old.bias.requires_grad)
    return new.train(old.training)


def _sharing(old: int, new: int) -> str:
    if new < old:
        return f"old channel k was added to new channel k mod {new}"
    return f"new channel k reads as old channel k mod {old} did, and those that share one share its weight"


def _adapt_grid(new: VisionTransformer, image_size: Size | None, in_channels: int | None, changes: list[str]) -> None:
    """Positions, grid and input shape for the tokenizer that `new` has by now."""
    if len(new.config.input_shape) != 3:
        raise ValueError(
            f"This model reads recordings (electrodes, samples) of {new.config.input_shape}, and what it learned belongs to them; "
            "only electrodes and num_classes can change (the latter also by model.reset_head), other lengths need a new signal_vit."
        )
    channels, *size = new.config.input_shape
    size = list(size if image_size is None else rows_and_columns("image_size", image_size))
    new.config = replace(new.config, input_shape=(channels if in_channels is None else in_channels, *size))
    grid = grid_of(new.tokenizer, new.config)
    if grid.shape != new.grid.shape:
        what = WITHOUT_TABLE.get(new.config.positions, "they were resized, special tokens' kept")
        changes.append(f"Positions: the grid {new.grid.shape} became {grid.shape}; {what}.")
        if new.config.positions != "none":
            new.positions.rebuild(grid)  # type: ignore[operator]
    elif image_size is not None:
        changes.append(f"Positions: kept, because images of {tuple(size)} pixels have the same grid {grid.shape}.")
    new.grid = grid


def _adapt_head(new: VisionTransformer, num_classes: int, changes: list[str]) -> None:
    old = new.config.num_classes
    if num_classes == old:
        changes.append(f"Head: kept, because it has {old} classes already; reset_head({old}) would start it anew.")
        return
    new.reset_head(num_classes)
    changes.append(f"Head: {old} classes became {new.config.num_classes}; the new head starts at zero.")
