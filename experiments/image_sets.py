"""What the scripts that train small models on image sets have in common: patches, variation and the model."""

from __future__ import annotations

import sigvit
from sigvit.data.images import Images
from sigvit.training.augment_images import ImageAugmentation

# Pixels (rows, columns) of a patch: 16 tokens and more an image. Of digits in 4 patches of 4 × 4 nothing was learned without labels (docs/log.md).
PATCHES = {"digits": (2, 2), "mnist": (4, 4), "cifar10": (4, 4)}


def augmentation_of(images: Images) -> ImageAugmentation:
    """Shifts by a pixel or, from 32 pixels on, by four; pictures in colour are mirrored too, digits aren't."""
    assert images.size is not None  # they are in memory
    return ImageAugmentation(pad=1 if max(images.size) < 32 else 4, flip=images.channels == 3)


def small_vit(images: Images, patch: tuple[int, int], width: int, depth: int, heads: int) -> sigvit.VisionTransformer:
    """A fresh model for these images that pools by the mean; its weights follow torch's global seed."""
    assert images.size is not None  # they are in memory
    n_classes, channels = len(images.classes), images.channels
    return sigvit.vit("Ti/16", images.size, n_classes, channels, patch_size=patch, width=width, depth=depth, heads=heads, mlp_width=2 * width, pool="mean")
