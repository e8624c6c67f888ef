"""Images of several sizes in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

# B = batch, C = channels


@dataclass(frozen=True)
class ImageBatch:
    """Images of several sizes, each in the upper left corner of its place; `collate_images` makes it, and `model(batch)` takes it.

    Attributes
    ----------
    values : (B, C, rows, columns), as large as the largest; what lies outside an image has exactly no influence.
    sizes : (rows, columns) of each image, in pixels.

    Raises
    ------
    ValueError : not one size for each image, or an image that is larger than its place.

    >>> batch = collate_images([torch.zeros(3, 32, 48), torch.zeros(3, 64, 16)])
    >>> len(batch), batch.values.shape, batch.mask[1].sum().item() == 64 * 16
    (2, torch.Size([2, 3, 64, 48]), True)
    """

    values: Tensor
    sizes: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if self.values.ndim != 4 or len(self.values) != len(self.sizes):
            raise ValueError(
                f"There are {len(self.sizes)} sizes for values of shape {tuple(self.values.shape)}; (batch, channels, rows, columns) has one each."
            )
        for size in self.sizes:
            if not (1 <= size[0] <= self.values.shape[2] and 1 <= size[1] <= self.values.shape[3]):
                raise ValueError(f"An image of {size} pixels has no place in values of shape {tuple(self.values.shape)}.")

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def mask(self) -> Tensor:
        """(B, rows, columns) bool, True = a pixel of the image."""
        rows, columns = self.values.shape[2:]
        ends = torch.tensor(self.sizes, device=self.values.device)
        down, across = torch.arange(rows, device=self.values.device), torch.arange(columns, device=self.values.device)
        return (down < ends[:, :1])[:, :, None] & (across < ends[:, 1:])[:, None, :]

    def to(self, where: torch.device | torch.dtype | str, non_blocking: bool = False) -> ImageBatch:
        """On another device or in another number format, as `Tensor.to`."""
        return replace(self, values=self.values.to(where, non_blocking=non_blocking))  # type: ignore[call-overload]

    def pin_memory(self) -> ImageBatch:
        """In memory from which a GPU can copy by itself; a `DataLoader` asks for it."""
        return replace(self, values=self.values.pin_memory())


def collate_images(images: Sequence[Tensor]) -> ImageBatch:
    """Images (channels, rows, columns) of any sizes → one batch that a model of images takes: its logits are those of the images one by one.

    Each image is cut into its own patches and gets the positions of its own grid; only the tokens are filled up, to the largest number.

    Raises
    ------
    ValueError : no image, one that isn't (channels, rows, columns), or images of unlike channels, number formats or devices.

    >>> collate_images([torch.zeros(3, 32, 48), torch.zeros(3, 64, 16)]).sizes
    ((32, 48), (64, 16))
    """
    if not images:
        raise ValueError("There are no images to collate; a batch has at least one.")
    for at, image in enumerate(images):
        if not isinstance(image, Tensor) or image.ndim != 3:
            found = f"shape {tuple(image.shape)}" if isinstance(image, Tensor) else f"type {type(image).__name__}"
            raise ValueError(f"Image {at} must be a tensor (channels, rows, columns), but is of {found}.")
        if (len(image), image.dtype, image.device) != (len(images[0]), images[0].dtype, images[0].device):
            kinds = [f"{len(one)} channels of {one.dtype} on {one.device}" for one in (images[0], image)]
            raise ValueError(f"Image 0 has {kinds[0]}, but image {at} has {kinds[1]}; a batch is of one kind.")
    rows, columns = (max(image.shape[axis] for image in images) for axis in (1, 2))
    filled = [functional.pad(image, (0, columns - image.shape[2], 0, rows - image.shape[1])) for image in images]
    return ImageBatch(torch.stack(filled), tuple((image.shape[1], image.shape[2]) for image in images))
