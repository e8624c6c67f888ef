"""Augmentation of images, batched on the device, seeded per (seed, step); and what evaluation sees."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from sigvit.plain_fields import plain_value
from sigvit.training.crops import PAPER_RESIZE, CentreCrop, InceptionCrops, draw_crops
from sigvit.training.randomness import generator
from sigvit.training.recipe import require, require_unset
from sigvit.training.resampling import resample

# B = batch, C = channels, H × W = rows × columns

PAPER_MEAN, PAPER_STD = (0.5,), (0.5,)  # Dosovitskiy et al.: -1 … 1
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
MNIST_MEAN, MNIST_STD = (0.1307,), (0.3081,)


@dataclass(frozen=True)
class ImageAugmentation:
    """How images are varied in training, in this order, and how they are normalised, also in evaluation. The defaults vary nothing.

    Attributes
    ----------
    crop_area : lowest and highest area of the inception crop, as a share of the image (the papers: .05 or .08 to 1); None sees the centre, as in evaluation.
    crop_ratio : lowest and highest width / height of that crop.
    interpolation : "bilinear" or "bicubic", of the crop and in evaluation; antialiased as Pillow's.
    pad : largest shift in pixels, by black padding; CIFAR's usual is 4.
    flip : left and right exchanged in half of the images.
    randaugment_layers, randaugment_magnitude : operations per image and their strength, of 10 (see `sigvit.training.randaugment`); 0 layers for none.
    three_augment : grey, solarise or blur, one for each image (DeiT III).
    colour_jitter : brightness, contrast and saturation vary by up to this share.
    erasing : share of the images that lose a box to one random colour (Zhong et al. 2017; 2 – 33 % of the area, as in DeiT).
    repeats : how often an image stands in a batch, each time varied anew (Hoffer et al. 2020, repeated augmentation); an epoch then sees as many fewer.
    mean, std : per channel, or one for all, of pixels in 0 … 1.
    evaluation_resize : in evaluation the shorter side is resized to image size × this, then the centre is cut. None: 256 / 224, but 1 for an image that
        has the model's size already.

    Raises
    ------
    ValueError : a number outside its range, not finite or of another kind, named; one that the others leave without a reader.

    >>> ImageAugmentation(crop_area=(0.05, 1.0), flip=True).erasing
    0.0
    >>> ImageAugmentation(erasing=25)
    Traceback (most recent call last):
    ValueError: erasing is 25; it must be from 0 to 1.
    """

    crop_area: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    pad: int = 0
    flip: bool = False
    randaugment_layers: int = 0
    randaugment_magnitude: float = 10.0
    three_augment: bool = False
    colour_jitter: float = 0.0
    erasing: float = 0.0
    repeats: int = 1
    mean: tuple[float, ...] = PAPER_MEAN
    std: tuple[float, ...] = PAPER_STD
    evaluation_resize: float | None = None

    def __post_init__(self) -> None:
        for field in fields(ImageAugmentation):
            plain = plain_value(self, field)
            if not (isinstance(plain, float) and type(getattr(self, field.name)) in (int, float)):  # which stays as it was written, also in config.toml
                object.__setattr__(self, field.name, plain)
        area, ratio, resize = self.crop_area or (1.0, 1.0), self.crop_ratio, self.evaluation_resize
        require(self, "crop_area", 0 < area[0] <= area[1] <= 1, "None or two shares of the area, above 0, rising, to 1 at most")
        require(self, "crop_ratio", 0 < ratio[0] <= ratio[1], "two numbers above 0, the lower first")
        require(self, "interpolation", self.interpolation in ("bilinear", "bicubic"), '"bilinear" or "bicubic"')
        for name in ("pad", "randaugment_layers", "randaugment_magnitude", "colour_jitter"):
            require(self, name, getattr(self, name) >= 0, "at least 0")
        require(self, "repeats", self.repeats >= 1, "at least 1")
        require(self, "erasing", 0 <= self.erasing <= 1, "from 0 to 1")
        require(self, "mean", len(self.mean) >= 1, "one number, or one for each channel")
        require(self, "std", len(self.std) >= 1 and min(self.std) > 0, "one number above 0, or one for each channel")
        require(self, "evaluation_resize", resize is None or resize >= 1, "None or at least 1")
        if self.crop_area is None:
            require_unset(self, ("crop_ratio",), "crop_area is None, so nothing is cropped at random")
        if not self.randaugment_layers:
            require_unset(self, ("randaugment_magnitude",), "randaugment_layers is 0")


def training_crops(
    augmentation: ImageAugmentation, size: tuple[int, int], stored: tuple[int, int] | None, whole: int, seed: int, step: int
) -> InceptionCrops | CentreCrop:
    """What part of each image of a whole batch step `step` sees; the images are `stored` at one size, or at several (None)."""
    if augmentation.crop_area is None:
        return evaluation_crop(augmentation, size, stored)
    return InceptionCrops(draw_crops(whole, seed, step), augmentation.crop_area, augmentation.crop_ratio, size, augmentation.interpolation)


def augment(
    images: Tensor,
    augmentation: ImageAugmentation,
    size: tuple[int, int],
    seed: int,
    step: int,
    first: int = 0,
    whole: int | None = None,
    cropped: bool = False,
) -> Tensor:
    """The images of a batch, or of a share of it, as the model sees them at step `step`: float32 (B, C, *size), normalised.

    A pure function of its arguments. Draws are made for the whole batch and no operation lets samples or their number touch each other, so that shares one
    after the other are the whole, bit for bit.

    Parameters
    ----------
    images : (B, C, H, W), levels 0 … 255, uint8 or float.
    size : (rows, columns) that the model sees.
    first, whole : `images` are rows first … first + B - 1 of a batch of `whole` images; None: they are all of it.
    cropped : the images were cropped to `size` when they were decoded.

    Raises
    ------
    ValueError : mean or std are of another number of channels.

    >>> augment(torch.full((2, 3, 5, 7), 255, dtype=torch.uint8), ImageAugmentation(flip=True), (5, 7), seed=0, step=0).unique()
    tensor([1.])
    """
    whole = first + len(images) if whole is None else whole
    part = slice(first, first + len(images))
    if not cropped:
        stored = (images.shape[2], images.shape[3])
        images = crop(images, training_crops(augmentation, size, stored, whole, seed, step).of(part))
    images = _flipped(_shifted(images, augmentation.pad, whole, part, seed, step), augmentation.flip, whole, part, seed, step)
    pixels = _coloured(images.float() / 255, augmentation, whole, part, seed, step)
    return _erased(normalise(pixels, augmentation), augmentation.erasing, whole, part, seed, step)


def preprocess(images: Tensor, augmentation: ImageAugmentation, size: tuple[int, int], cropped: bool = False) -> Tensor:
    """The images as evaluation sees them: shorter side resized to `size` × `evaluation_resize`, centre cut, normalised; float32 (B, C, *size).

    >>> preprocess(torch.zeros(2, 1, 5, 7, dtype=torch.uint8), ImageAugmentation(), (5, 7)).unique()
    tensor([-1.])
    """
    if not cropped:
        images = crop(images, evaluation_crop(augmentation, size, (images.shape[2], images.shape[3])))
    return normalise(images.float() / 255, augmentation)


def evaluation_crop(augmentation: ImageAugmentation, size: tuple[int, int], stored: tuple[int, int] | None) -> CentreCrop:
    """What evaluation sees of images `stored` at one size, or at several (None): then each image's own size decides whether it is resized."""
    resize = augmentation.evaluation_resize
    if resize is None and stored is not None:
        resize = 1.0 if stored == size else PAPER_RESIZE
    return CentreCrop(size, resize, augmentation.interpolation)


def crop(images: Tensor, crops: InceptionCrops | CentreCrop) -> Tensor:
    """Each image's box at the crops' size, levels 0 … 255; untouched where the box is the whole image at that size already."""
    rows, columns = images.shape[2:]
    boxes = crops.boxes(rows, columns)
    if crops.size == (rows, columns) and (boxes == [0, 0, columns, rows]).all():
        return images
    return resample(images, torch.from_numpy(boxes), crops.size, crops.interpolation)


def normalise(pixels: Tensor, augmentation: ImageAugmentation) -> Tensor:
    """(pixels − mean) / std, pixels in 0 … 1.

    Raises
    ------
    ValueError : mean and std are of another number of channels.
    """
    require_channels(augmentation, pixels.shape[1])
    mean, std = (torch.tensor(numbers).view(1, -1, 1, 1).to(pixels.device, non_blocking=True) for numbers in (augmentation.mean, augmentation.std))
    return (pixels - mean) / std


def require_channels(augmentation: ImageAugmentation, channels: int, whose: str = "the images have") -> None:
    """ValueError where mean or std are of another number of channels."""
    for name, numbers in (("mean", augmentation.mean), ("std", augmentation.std)):
        if len(numbers) not in (1, channels):
            raise ValueError(f"{name} has {len(numbers)} numbers, but {whose} {channels} channels; give one for all or {channels}.")


def _shifted(images: Tensor, pad: int, whole: int, part: slice, seed: int, step: int) -> Tensor:
    if not pad:
        return images
    batch, channels, rows, columns = images.shape
    shift = torch.randint(2 * pad + 1, (whole, 2), generator=generator(seed, "pad", step))[part].to(images.device, non_blocking=True)
    padded = functional.pad(images, (pad, pad, pad, pad))
    row = (torch.arange(rows, device=images.device) + shift[:, :1])[:, None, :, None]
    column = (torch.arange(columns, device=images.device) + shift[:, 1:])[:, None, None, :]
    number, channel = torch.arange(batch, device=images.device), torch.arange(channels, device=images.device)
    return padded[number[:, None, None, None], channel[None, :, None, None], row, column]


def _flipped(images: Tensor, flip: bool, whole: int, part: slice, seed: int, step: int) -> Tensor:
    if not flip:
        return images
    chosen = torch.rand(whole, generator=generator(seed, "flip", step), dtype=torch.float64)[part] < 0.5
    return torch.where(chosen.to(images.device, non_blocking=True).view(-1, 1, 1, 1), images.flip(3), images)


def _coloured(pixels: Tensor, augmentation: ImageAugmentation, whole: int, part: slice, seed: int, step: int) -> Tensor:
    # kornia is asked for only where it has something to do.
    if augmentation.randaugment_layers:
        from sigvit.training.randaugment import randaugment

        require_channels(augmentation, pixels.shape[1])
        fill = torch.tensor(augmentation.mean).expand(pixels.shape[1])
        pixels = randaugment(pixels, augmentation.randaugment_layers, augmentation.randaugment_magnitude, fill, whole, part, seed, step)
    if augmentation.three_augment:
        from sigvit.training.colours import three_augment

        pixels = three_augment(pixels, whole, part, seed, step)
    if augmentation.colour_jitter:
        from sigvit.training.colours import colour_jitter

        pixels = colour_jitter(pixels, augmentation.colour_jitter, whole, part, seed, step)
    return pixels


def _erased(values: Tensor, share: float, whole: int, part: slice, seed: int, step: int) -> Tensor:
    """One random colour (normal, in standard deviations) over a box of 2 – 33 % of the area; where none fits, nothing is erased."""
    if not share:
        return values
    batch, channels, rows, columns = values.shape
    chosen = torch.rand(whole, generator=generator(seed, "erasing", step), dtype=torch.float64)[part] < share
    colour = torch.randn(whole, channels, generator=generator(seed, "erasing colour", step))[part]
    boxes = InceptionCrops(draw_crops(whole, seed, step, "erasing box"), (0.02, 1 / 3), (0.3, 1 / 0.3), (rows, columns)).of(part).boxes(rows, columns)
    left, top, right, bottom = (edge.to(values.device, non_blocking=True).view(-1, 1, 1, 1) for edge in torch.from_numpy(boxes).unbind(1))
    x, y = torch.arange(columns, device=values.device), torch.arange(rows, device=values.device)[:, None]
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom) & chosen.to(values.device, non_blocking=True).view(-1, 1, 1, 1)
    inside &= (right - left) * (bottom - top) < rows * columns / 2  # more is the crops' answer where nothing fits
    return torch.where(inside, colour.to(values.device, non_blocking=True).view(batch, channels, 1, 1), values)
