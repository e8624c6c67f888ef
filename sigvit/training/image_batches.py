"""Batches of images: what step t sees is a pure function of (seed, t), whole or in shares, with any number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sigvit.tokenizers.image import rows_and_columns
from sigvit.training.augment_images import ImageAugmentation, augment, require_channels, training_crops
from sigvit.training.batches import Share
from sigvit.training.image_reader import ImageReader, LabelledImages
from sigvit.training.mixing import draw_mixing, mix
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import OF_RECORDINGS, Recipe, require_unset

AHEAD = 2  # steps whose batches are being read while the present one is computed


class ImageBatches:
    """Batches of labelled images, augmented and mixed on the device.

    Every epoch is a fresh order of all images cut into equal batches; those left over wait for the next epoch. Row i of a batch is mixed with its
    neighbour, rows 0 and 1, 2 and 3 and so on (the order is random already), so that a share needs no other share's images; the last of an odd batch
    stays unmixed. The draws of crops, augmentation and mixing are made for the whole batch, and a share takes its own.

    Parameters
    ----------
    images : a `sigvit.data.images.Images` with labels.
    recipe : says batch size, mixing and, with "float64", the numbers' type.
    device : where batches and, where it fits, the set lie.
    workers : threads that decode (see `ImageReader`); batches are the same for any number.
    image_size : pixels that the model sees, an int or (rows, columns); None takes that of images in memory.
    keep_on_device : whether a set in memory lies on the device; None does so up to 8 GiB.

    Raises
    ------
    ValueError : a field of the recipe that only recordings have, a batch larger than the set, images without one size and no `image_size`, one that
        is no number of pixels, mean and std of another number of channels.

    >>> from sigvit.data.images import open_images
    >>> batches = ImageBatches(open_images("digits"), ImageAugmentation(pad=1), Recipe(steps=3, batch_size=6, mixup=0.2), seed=0)
    >>> [tuple(part.shape) for part in batches.batch(step=2, share=Share(1, of=2))]
    [(3, 1, 8, 8), (3, 10)]
    """

    def __init__(
        self,
        images: LabelledImages,
        augmentation: ImageAugmentation,
        recipe: Recipe,
        seed: int,
        device: torch.device | str = "cpu",
        workers: int = 4,
        image_size: int | Sequence[int] | None = None,
        keep_on_device: bool | None = None,
    ) -> None:
        require_unset(recipe, OF_RECORDINGS, "it varies recordings; images are varied by ImageAugmentation")
        if recipe.batch_size > len(images):
            raise ValueError(f"batch_size is {recipe.batch_size}, but {images.source} has {len(images)} images; choose a batch of at most as many.")
        size = images.size if image_size is None else rows_and_columns("image_size", image_size)
        if size is None:
            raise ValueError(f"{images.source}: its images have sizes of their own; say with image_size which the model sees.")
        require_channels(augmentation, images.channels, f"{images.source} has")
        self.images, self.augmentation, self.recipe, self.seed, self.size = images, augmentation, recipe, seed, size
        self.device, self.n_classes = torch.device(device), len(images.classes)
        self.reader = ImageReader(images, device, workers, keep_on_device)
        self._labels = torch.as_tensor(images.labels).to(self.device)
        self._order = lru_cache(maxsize=2)(self._order_of_epoch)
        self._present = -1

    def batch(self, step: int, share: Share = Share()) -> tuple[Tensor, Tensor]:  # noqa: B008 (a tuple: nothing can change it)
        """Inputs (rows, channels, *image_size) and target shares (rows, classes) of a step's batch or a share of it; a function of (seed, step, share)."""
        read, whole = self._needed(share), self.recipe.batch_size
        rows = self._rows(step, read)
        pixels = self._decoded(step, read) if self.reader.decodes else self.reader.stored(rows)
        inputs = augment(pixels, self.augmentation, self.size, self.seed, step, read.start, whole, cropped=self.reader.decodes)
        labels = self._labels[torch.as_tensor(rows).to(self.device, non_blocking=True)]
        dtype = torch.float64 if self.recipe.dtype == "float64" else torch.float32
        inputs, targets = self._mixed(inputs.to(dtype), functional.one_hot(labels, self.n_classes).to(dtype), read, step)
        part = share.rows(whole)
        wanted = slice(part.start - read.start, part.stop - read.start)
        return inputs[wanted], targets[wanted]

    def _decoded(self, step: int, read: slice) -> Tensor:
        """Images that are decoded and cropped when they are read; the coming steps' are begun."""
        if step not in (self._present, self._present + 1):
            self.reader.forget()
        self._present = step
        for coming in range(step, max(step + 1, min(step + 1 + AHEAD, self.recipe.steps))):
            crops = training_crops(self.augmentation, self.size, None, self.recipe.batch_size, self.seed, coming)
            self.reader.ask((coming, read.start, read.stop), self._rows(coming, read), crops.of(read))
        return self.reader.take((step, read.start, read.stop))

    def _needed(self, share: Share) -> slice:
        """The share's rows, and with mixing those of its outer neighbours."""
        part, whole = share.rows(self.recipe.batch_size), self.recipe.batch_size
        if not (self.recipe.mixup or self.recipe.cutmix):
            return part
        return slice(part.start // 2 * 2, min(whole, (part.stop + 1) // 2 * 2))

    def _mixed(self, inputs: Tensor, targets: Tensor, read: slice, step: int) -> tuple[Tensor, Tensor]:
        draws = draw_mixing(self.recipe.batch_size, self.recipe, self.seed, step)
        if draws is None:
            return inputs, targets
        # `read` begins at an even row, so that neighbours stay neighbours; a last one without a neighbour is mixed with itself.
        partner = (torch.arange(len(inputs)) ^ 1).clamp(max=len(inputs) - 1).to(self.device, non_blocking=True)
        return mix(inputs, targets, partner, draws.part(read))

    def _rows(self, step: int, part: slice) -> np.ndarray:
        distinct = -(-self.recipe.batch_size // self.augmentation.repeats)
        epoch, number = divmod(step, len(self.images) // distinct)
        # The repeats come one after the other, so that no image is mixed with itself.
        return np.resize(self._order(epoch)[number * distinct : (number + 1) * distinct], self.recipe.batch_size)[part]

    def _order_of_epoch(self, epoch: int) -> np.ndarray:
        return self.images.order(np.random.default_rng(derive_seed(self.seed, "order", epoch)))
