"""An image ViT's weights as the start of a model of recordings: what it knows of pictures, read as electrode × time, scalp × time or frequency × time."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from sigvit.grid import Grid
from sigvit.model.positions import FactorisedPositions, LearnedPositions, SincosPositions
from sigvit.model.resize import resize_patches, resize_positions
from sigvit.model.vision_transformer import VisionTransformer
from sigvit.tokenizers import ElectrodeTimePatches, ImagePatches, ScalpMapPatches, SpectrogramPatches

# Which two axes of a grid of recordings take the place of a picture's rows and columns; along any other, positions are repeated.
PLANES = (("row", "column"), ("frequency", "time"), ("electrode", "time"))
OWN = ("tokenizer.", "positions.", "head.")


def start_from_image(model: VisionTransformer, tokenizer: nn.Module, input_shape: tuple[int, int], num_classes: int) -> VisionTransformer:
    """A model of recordings that begins with an image model's weights; both given modules stay as they are.

    The patch projection, its channels added up as for a grey image, is resized by the pseudo-inverse (`resize_patches`) to the tokenizer's patch; of successive
    frames each takes its share. Positions are resized (`resize_positions`) to the grid's rows × columns, frequencies × seconds or electrodes × seconds, and
    repeated along any other axis. Encoder, special tokens, their positions (zeros where the image model has none) and pool are copied; the head is new.

    Parameters
    ----------
    model : of images, with learned, factorised or sincos positions.
    tokenizer : `ElectrodeTimePatches`, `ScalpMapPatches` or `SpectrogramPatches` of the model's width.
    input_shape : (electrodes, samples) of a recording.

    Raises
    ------
    ValueError : a model that isn't of images, another tokenizer, other positions, or widths that differ.

    >>> import sigvit, torch
    >>> image = sigvit.vit("Ti/4", image_size=16, num_classes=10, in_channels=1, depth=1)
    >>> model = start_from_image(image, ElectrodeTimePatches(3, 1, 20, 20, width=192), (3, 100), num_classes=2)
    >>> model(torch.zeros(2, 3, 100)).shape, model.grid.shape, torch.equal(model.class_token, image.class_token)
    (torch.Size([2, 2]), (3, 5), True)
    """
    if not isinstance(model.tokenizer, ImagePatches):
        raise ValueError(f"A model of images cuts them with ImagePatches, but this one has {type(model.tokenizer).__name__}.")
    positions = model.positions
    if not isinstance(positions, LearnedPositions | FactorisedPositions | SincosPositions):
        raise ValueError(f"The positions {model.config.positions!r} are no table that could be resized; give a model with learned, factorised or sincos ones.")
    new = VisionTransformer(
        replace(model.config, input_shape=input_shape, num_classes=num_classes, positions="learned"), _projected(model.tokenizer, tokenizer)
    )
    state = new.state_dict()
    state |= {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(OWN)}
    state["positions.table"] = _spread(positions.on_grid(model.grid.shape).detach(), model.grid.shape, new.grid)
    changed = f"Image patches {model.tokenizer.patch_size} and positions {model.grid.shape} became those of {type(tokenizer).__name__}, grid {new.grid.shape}."
    if isinstance(positions, LearnedPositions) and positions.special is not None:
        state["positions.special"] = positions.special.detach()
    elif "positions.special" in state:
        state["positions.special"] = torch.zeros_like(state["positions.special"])
        changed += f" Positions of special tokens begin at zero: {model.config.positions} ones add nothing to them."
    new.load_state_dict(state)
    new.changes = (*model.changes, changed, f"Head: new, at zero, for {num_classes} classes.")
    return new


def _projected(image: ImagePatches, tokenizer: nn.Module) -> nn.Module:
    """A copy of the tokenizer with the image's projection, resized."""
    grey = image.weight.detach().sum(1, keepdim=True)
    if isinstance(tokenizer, ElectrodeTimePatches):
        weight = resize_patches(grey, (len(tokenizer.groups[0]), tokenizer.window)).flatten(1)
    elif isinstance(tokenizer, SpectrogramPatches):
        weight = resize_patches(grey, tokenizer.patch).flatten(1)
    elif isinstance(tokenizer, ScalpMapPatches):
        weight = (resize_patches(grey, tokenizer.patch_size) / tokenizer.frames).repeat(1, tokenizer.frames, 1, 1)
    else:
        raise ValueError(f"{type(tokenizer).__name__} projects no patches; there are ElectrodeTimePatches, ScalpMapPatches and SpectrogramPatches.")
    if weight.shape != tokenizer.weight.shape:
        raise ValueError(f"The tokenizer's width is {tokenizer.width}, but the image model's is {image.width}; give it that width.")
    new = type(tokenizer)(**tokenizer.arguments())
    new.load_state_dict(tokenizer.state_dict() | {"weight": weight, "bias": image.bias.detach()})
    return new


def _spread(table: Tensor, shape: tuple[int, ...], grid: Grid) -> Tensor:
    """The image's positions (R · C, D) on the grid, (N, D)."""
    plane = next(plane for plane in PLANES if set(plane) <= set(grid.names))
    at = [grid.names.index(name) for name in plane]
    resized = resize_positions(table, shape, tuple(grid.shape[axis] for axis in at)).unflatten(0, [grid.shape[axis] for axis in at])
    others = [axis for axis in range(len(grid.shape)) if axis not in at]
    for axis in others:
        resized = resized.unsqueeze(axis)
    return resized.expand(*grid.shape, -1).flatten(0, -2).clone()
