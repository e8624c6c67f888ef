"""Boxes of images brought to one size on the device, as Pillow's antialiased resize does it.

Every operation here works on each number by itself, so that a sample's result doesn't depend on the batch it stands in, on any device; matrix products
and convolutions choose their arithmetic by the batch's size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# B = batch, C = channels, H × W = rows × columns, T = taps: source pixels that one result pixel is made of

_REACH = {"bilinear": 1, "bicubic": 2}  # of the kernel to each side, in pixels of the coarser grid


def resample(images: Tensor, boxes: Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> Tensor:
    """Each image's box at one size; float32 (B, C, *size) with the levels of the input (0 … 255 for uint8).

    Parameters
    ----------
    images : (B, C, H, W), uint8 or float. boxes : (B, 4) or (1, 4) float64: left, top, right, bottom in pixels, inside the image; on any device.
    interpolation : "bilinear" or "bicubic" (a = -0.5, which overshoots: each pass is clipped to 0 … 255).

    Results differ from Pillow's by its rounding to whole levels after each of its two passes.

    >>> resample(torch.tensor([[[[0, 100], [100, 200]]]], dtype=torch.uint8), torch.tensor([[0.0, 0.0, 2.0, 2.0]], dtype=torch.float64), (1, 1)).item()
    100.0
    """
    boxes = boxes.to(images.device, non_blocking=True).expand(len(images), 4)
    columns = _along(images, boxes[:, 0], boxes[:, 2], size[1], interpolation, dim=3)
    return _along(columns, boxes[:, 1], boxes[:, 3], size[0], interpolation, dim=2)


def _along(images: Tensor, low: Tensor, high: Tensor, wanted: int, interpolation: str, dim: int) -> Tensor:
    """One of the two passes, columns first, as Pillow has them."""
    sources, weights = _taps(low, high, images.shape[dim], wanted, interpolation)
    shape = [len(images), images.shape[1], *images.shape[2:]]
    shape[dim] = wanted
    lift = (slice(None), None, slice(None), None) if dim == 2 else (slice(None), None, None, slice(None))
    total = torch.zeros(shape, device=images.device)
    for source, weight in zip(sources, weights, strict=True):
        total += images.gather(dim, source[lift].expand(shape)) * weight[lift]
    return total.clamp(0, 255) if interpolation == "bicubic" else total


def _taps(low: Tensor, high: Tensor, length: int, wanted: int, interpolation: str) -> tuple[list[Tensor], list[Tensor]]:
    """For each tap, the source pixels and weights (B, wanted) of the result pixels; their number depends on the sizes alone, not on the boxes drawn."""
    reach = _REACH[interpolation]
    scale = ((high - low) / wanted)[:, None]
    stretch = scale.clamp(min=1)
    centre = low[:, None] + (torch.arange(wanted, device=low.device, dtype=low.dtype) + 0.5) * scale
    first = (centre - reach * stretch + 0.5).floor()
    positions = [first + tap for tap in range(math.ceil(2 * reach * max(1.0, length / wanted)))]
    inside = [(position >= 0) & (position < length) for position in positions]
    weights = [torch.where(here, _kernel((position + 0.5 - centre) / stretch, interpolation), 0) for position, here in zip(positions, inside, strict=True)]
    total = sum(weights[1:], weights[0])
    return [position.clamp(0, length - 1).long() for position in positions], [(weight / total).float() for weight in weights]


def _kernel(distance: Tensor, interpolation: str) -> Tensor:
    distance = distance.abs()
    if interpolation == "bilinear":
        return (1 - distance).clamp(min=0)
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0))
