"""Changes of colour and sharpness with a strength of its own for each image; pixels are in 0 … 1.

kornia's operators stand wherever they treat each number by itself. Its convolutions and means choose their arithmetic by the batch's size, which
would make an image depend on the share of the batch it stands in, so these are sums in a fixed order here.
"""

from __future__ import annotations

import torch
from kornia import color, enhance
from torch import Tensor
from torch.nn import functional

from sigvit.training.randomness import generator, on_rows

# B = batch, C = channels (1 or 3), H × W = rows × columns

SOLARISE_THRESHOLD = 0.5
BLUR_RADII = (0.1, 2.0)  # standard deviations in pixels


def grey(images: Tensor) -> Tensor:
    """(B, 1, H, W), ITU-R 601; grey images as they are."""
    return images if images.shape[1] == 1 else color.rgb_to_grayscale(images)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiplied by each image's factor (B,): 0 is black, 1 changes nothing."""
    return enhance.adjust_brightness_accumulative(images, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blended with a flat image of the mean grey level: 0 is flat, 1 changes nothing (Pillow's Contrast)."""
    levels = (grey(images) * 255).round().long()  # whole numbers add up the same in any order
    mean = (levels.sum((1, 2, 3)).double() / levels[0].numel()).round().to(images.dtype) / 255
    return _blend(mean.view(-1, 1, 1, 1), images, factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blended with their grey version: 0 is grey, 1 changes nothing (Pillow's Color); grey images stay as they are."""
    return enhance.adjust_saturation_with_gray_subtraction(images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blended with a smoothed version, 3 × 3 of weights 1 and 5 in the middle: 0 is smooth, 1 changes nothing, 2 sharpens (Pillow's Sharpness).

    The edge stays as it is.
    """
    if min(images.shape[2:]) < 3:
        return images
    columns = images[..., :-2] + images[..., 1:-1] + images[..., 2:]
    inner = images[..., 1:-1, 1:-1]
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = (columns[..., :-2, :] + columns[..., 1:-1, :] + columns[..., 2:, :] + 4 * inner) / 13
    return _blend(smooth, images, factor)


def autocontrast(images: Tensor) -> Tensor:
    """Every channel stretched to 0 … 1; a flat one stays as it is (Pillow's autocontrast)."""
    flat = images.amax((2, 3), keepdim=True) == images.amin((2, 3), keepdim=True)
    return torch.where(flat, images, enhance.normalize_min_max(images, eps=0.0).nan_to_num())


def posterise(images: Tensor, bits: Tensor) -> Tensor:
    """The highest bits (B,) of each of 255 levels, 1 … 8 (Pillow's posterize)."""
    # kornia's goes through divisions that lose a level here and there.
    step = (2 ** (8 - bits)).view(-1, 1, 1, 1)
    return torch.div((images * 255).round(), step, rounding_mode="floor") * step / 255


def solarise(images: Tensor, threshold: Tensor) -> Tensor:
    """Levels from each image's threshold (B,) on are inverted; a threshold above 1 changes nothing."""
    return enhance.solarize(images, threshold)


def equalise(images: Tensor) -> Tensor:
    """Every channel's histogram made as flat as it can be (Pillow's equalize)."""
    return enhance.equalize((images * 255).round() / 255)


def blur(images: Tensor, radius: Tensor) -> Tensor:
    """Gaussian blur with a standard deviation (B,) of at most `BLUR_RADII`[1] pixels; edges are reflected."""
    reach = min(round(3 * BLUR_RADII[1]), *(side - 1 for side in images.shape[2:]))
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (offsets / radius.to(images, non_blocking=True)[:, None]) ** 2)
    columns = [weights[:, tap].contiguous() for tap in range(2 * reach + 1)]
    total = sum(columns[1:], columns[0])
    for dim in (2, 3):
        around = functional.pad(images, (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0), mode="reflect")
        length, images = images.shape[dim], torch.zeros_like(images)
        for tap, weight in enumerate(columns):
            images += around.narrow(dim, tap, length) * (weight / total).view(-1, 1, 1, 1)
    return images


def colour_jitter(images: Tensor, strength: float, whole: int, part: slice, seed: int, step: int) -> Tensor:
    """Brightness, contrast and saturation, in this order, each by a factor drawn from 1 ± `strength`.

    `images` are rows `part` of the `whole` batch, for all of which the draws are made.
    """
    drawn = torch.rand(whole, 3, generator=generator(seed, "colour jitter", step), dtype=torch.float64)
    factors = (1 + strength * (2 * drawn - 1)).clamp(min=0).float()[part].to(images.device, non_blocking=True)
    return saturation(contrast(brightness(images, factors[:, 0]), factors[:, 1]), factors[:, 2])


def three_augment(images: Tensor, whole: int, part: slice, seed: int, step: int) -> Tensor:
    """One of grey, solarise (from half on) and blur (0.1 … 2 pixels) for each image: 3-Augment of DeiT III (Touvron et al. 2022, arXiv:2204.07118)."""
    drawn = torch.rand(whole, 2, generator=generator(seed, "three augment", step), dtype=torch.float64)[part]
    kind = (3 * drawn[:, 0]).long()
    radius = (BLUR_RADII[0] + (BLUR_RADII[1] - BLUR_RADII[0]) * drawn[:, 1]).float()
    images = on_rows(images, kind == 0, lambda some, rows: grey(some).expand_as(some))
    images = on_rows(images, kind == 1, lambda some, rows: solarise(some, torch.full((len(some),), SOLARISE_THRESHOLD)))
    return on_rows(images, kind == 2, lambda some, rows: blur(some, radius[rows]))


def _blend(start: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """From `start` (factor 0) by way of `images` (1) and further on."""
    factor = factor.to(images, non_blocking=True).view(-1, 1, 1, 1)
    return (start * (1 - factor) + images * factor).clamp(0, 1)
