"""RandAugment: a few operations drawn for each image, all of one magnitude (Cubuk et al. 2019, arXiv:1909.13719)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from sigvit.training import colours
from sigvit.training.randomness import generator, on_rows

# B = batch, C = channels, H × W = rows × columns

GEOMETRIC = ("shear columns", "shear rows", "shift columns", "shift rows", "rotate")
COLOUR: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda images, strength: images,
    "brightness": lambda images, strength: colours.brightness(images, _factor(strength)),
    "saturation": lambda images, strength: colours.saturation(images, _factor(strength)),
    "contrast": lambda images, strength: colours.contrast(images, _factor(strength)),
    "sharpness": lambda images, strength: colours.sharpness(images, _factor(strength)),
    "posterise": lambda images, strength: colours.posterise(images, (8 - (4 * strength.abs()).round()).clamp(min=1)),
    "solarise": lambda images, strength: colours.solarise(images, 1 - strength.abs().clamp(max=1)),
    "autocontrast": lambda images, strength: colours.autocontrast(images),
    "equalise": lambda images, strength: colours.equalise(images),
}
OPERATIONS = (*GEOMETRIC, *COLOUR)


def randaugment(images: Tensor, layers: int, magnitude: float, fill: Tensor, whole: int, part: slice, seed: int, step: int) -> Tensor:
    """`layers` operations, one after the other, drawn for each image from the fourteen of `OPERATIONS`, each with a random direction.

    Strength is magnitude / 10, as in the papers' code; above 10 it goes on in proportion. At strength 1, up or down where both exist: shear 0.3,
    shift 0.45 of the side, rotation by 30 degrees, brightness, saturation, contrast and sharpness by a factor of 1 ± 0.9 (never below 0), posterise
    to 4 bits (never below 1), solarise from level 0 on (at strength 0 from the highest). Autocontrast, equalise and identity have no strength. All get
    stronger with the magnitude: timm's "increasing" variant and torchvision's; the first code's posterise and solarise got weaker.

    Parameters
    ----------
    images : (B, C, H, W) in 0 … 1, rows `part` of the `whole` batch, whose draws are always made for all of it.
    fill : (C,), what comes in from outside the image.
    """
    draws = generator(seed, "randaugment", step)
    kinds = torch.randint(len(OPERATIONS), (whole, layers), generator=draws)[part]
    signs = (2 * torch.randint(2, (whole, layers), generator=draws) - 1)[part]
    for layer in range(layers):
        strength = signs[:, layer] * (magnitude / 10)
        images = _layer(images, kinds[:, layer], strength, fill)
    return images


def _layer(images: Tensor, kinds: Tensor, strength: Tensor, fill: Tensor) -> Tensor:
    """One operation for each image: all geometric ones in one pass, the others kind by kind."""

    def moved(some: Tensor, rows: Tensor) -> Tensor:
        return move(some, _matrices(kinds[rows], strength[rows], (images.shape[2], images.shape[3])), fill)

    images = on_rows(images, kinds < len(GEOMETRIC), moved)
    for number, operation in enumerate(COLOUR.values(), len(GEOMETRIC)):
        images = on_rows(images, kinds == number, partial(_changed, operation, strength))
    return images


def _changed(operation: Callable[[Tensor, Tensor], Tensor], strength: Tensor, images: Tensor, rows: Tensor) -> Tensor:
    return operation(images, strength[rows].to(images.device, non_blocking=True))


def move(images: Tensor, matrices: Tensor, fill: Tensor) -> Tensor:
    """Each image seen through its own affine map, bilinear; what lies outside is `fill` (C,).

    Parameters
    ----------
    matrices : (B, 2, 3), from (column, row, 1) of the result to (column, row) of the source, in pixels from the centre.
    """
    _, _, height, width = images.shape
    fill = fill.to(images, non_blocking=True).view(1, -1, 1, 1)
    x = torch.arange(width, device=images.device) + 0.5 - width / 2
    y = (torch.arange(height, device=images.device) + 0.5 - height / 2)[:, None]
    m = matrices.to(images, non_blocking=True)[:, :, :, None, None]
    # Written out, since a matrix product would choose its arithmetic by the batch's size.
    columns, rows = (m[:, axis, 0] * x + m[:, axis, 1] * y + m[:, axis, 2] for axis in range(2))
    grid = torch.stack([columns * (2 / width), rows * (2 / height)], dim=-1)
    return functional.grid_sample(images - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + fill


def _matrices(kinds: Tensor, strength: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 2, 3) for geometric kinds, numbered as in `GEOMETRIC`."""
    matrices = torch.eye(2, 3).repeat(len(kinds), 1, 1)
    angle = strength * math.radians(30)
    for (row, column), value, kind in (
        ((0, 1), 0.3 * strength, "shear columns"),
        ((1, 0), 0.3 * strength, "shear rows"),
        ((0, 2), 0.45 * size[1] * strength, "shift columns"),
        ((1, 2), 0.45 * size[0] * strength, "shift rows"),
        ((0, 0), angle.cos(), "rotate"),
        ((0, 1), -angle.sin(), "rotate"),
        ((1, 0), angle.sin(), "rotate"),
        ((1, 1), angle.cos(), "rotate"),
    ):
        matrices[:, row, column] = torch.where(kinds == GEOMETRIC.index(kind), value.to(matrices), matrices[:, row, column])
    return matrices


def _factor(strength: Tensor) -> Tensor:
    return (1 + 0.9 * strength).clamp(min=0)
