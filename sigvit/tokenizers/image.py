"""Images cut into patches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.grid import Axis, Grid, OpenAxis
from sigvit.plain_fields import whole_number
from sigvit.products import linear
from sigvit.tokenizers.image_batch import ImageBatch
from sigvit.tokenizers.own_tokens import own_tokens, take_own
from sigvit.tokenizers.projection import lecun_normal_
from sigvit.tokenizers.tokenizer import Tokenizer
from sigvit.tokens import Tokens

# B = batch, C = channels, T = tokens, D = width


def rows_and_columns(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """A size in pixels, one whole number for both sides or (rows, columns), of Python or NumPy; ValueError for anything else.

    >>> rows_and_columns("image_size", 28), rows_and_columns("image_size", [28, 21])
    ((28, 28), (28, 21))
    """
    pair = tuple(size) if isinstance(size, Iterable) else (size, size)
    if len(pair) != 2 or not all(isinstance(pixels, Integral) and pixels > 0 for pixels in pair):
        raise ValueError(f"{name} is {size!r}; give pixels, a whole number of at least 1 or (rows, columns).")
    return int(pair[0]), int(pair[1])


def pixel_grid(counts: Sequence[int], patch_size: Sequence[int]) -> Grid:
    """Where so many rows and columns of patches sit, each at the mean of its pixels' numbers."""
    steps = zip(("row", "column"), counts, patch_size, strict=True)
    return Grid(tuple(Axis.regular(name, "px", count, first=(patch - 1) / 2, step=patch) for name, count, patch in steps))


class ImagePatches(Tokenizer):
    """Rectangular patches of an image of any size, each projected to a token.

    Parameters
    ----------
    patch_size : pixels, an int or (rows, columns).
    in_channels : channels of the image: 3 for colour, 1 for grey, any number for others.
    width : length of a token.
    method : "matmul" (a matrix product over unfolded patches) or "convolution": two ways to the same numbers, from one set of weights.
    pad : False: an image that the patch doesn't divide is an error. True: it is filled with zeros to the right and below. A patch is real where
        any of its pixels is, so no pixel is lost, and filling alone masks nothing.

    Raises
    ------
    ValueError : a patch or image size, channels or a width that make no sense, another number of channels, or an image that the patch doesn't divide.

    The coordinates are the patches' centres in pixels (row, column): the mean of their pixels' numbers, so 7.5 for the first 16.

    >>> tokens = ImagePatches(patch_size=(16, 8), in_channels=3, width=192)(torch.zeros(2, 3, 32, 24))
    >>> tokens.values.shape, tokens.grid.shape, tokens.coordinates[1].tolist()
    (torch.Size([2, 6, 192]), (2, 3), [7.5, 11.5])
    """

    batches: ClassVar[type | None] = ImageBatch

    def __init__(self, patch_size: int | tuple[int, int] = 16, in_channels: int = 3, width: int = 192, method: str = "matmul", pad: bool = False) -> None:
        super().__init__()
        rows, columns = rows_and_columns("patch_size", patch_size)
        in_channels, width = whole_number("in_channels", in_channels), whole_number("width", width)
        if min(rows, columns, in_channels, width) < 1:
            raise ValueError(f"patch_size {(rows, columns)}, in_channels {in_channels} and width {width} must all be at least 1.")
        if method not in ("matmul", "convolution"):
            raise ValueError(f"method is {method!r}; there are 'matmul' and 'convolution'.")
        self.patch_size, self.in_channels, self.width, self.method, self.pad = (rows, columns), in_channels, width, method, pad
        self.weight = nn.Parameter(lecun_normal_(torch.empty(width, in_channels, rows, columns)))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, images: Tensor | ImageBatch, mask: Tensor | None = None) -> Tokens:
        """(B, C, rows, columns) → Tokens (B, T, D).

        `mask` is (B, rows, columns) bool, True = real: pixels that aren't have exactly no influence, and a patch without real pixels is padding.
        A batch of several sizes gives as many tokens as its largest grid has, each image's own first, and needs no mask.
        """
        if isinstance(images, ImageBatch):
            return self._several_sizes(images, mask)
        self._check(images)
        if mask is not None:
            self._check_mask(mask, images)
            images = images.where(mask[:, None], 0.0)
        images = self._filled(images)
        values = self._convolved(images) if self.method == "convolution" else linear(self.unfold(images), self.weight.flatten(1), self.bias)
        return Tokens(values, self._grid_of(images.shape[2:]), None if mask is None else self._patch_mask(mask))

    def _several_sizes(self, batch: ImageBatch, mask: Tensor | None) -> Tokens:
        """Each image's own patches, row-major, then padding."""
        if mask is not None:
            raise ValueError("A batch of several sizes says itself which pixels are real; give no mask beside it.")
        for size in set(batch.sizes):
            self._check_size(batch.values.shape[1], *size)
        if set(batch.sizes) == {tuple(batch.values.shape[2:])}:
            return self.forward(batch.values)  # all of one size: nothing to fill up, no mask to slow attention down
        grids = tuple(self._grid(*(-(-pixels // patch) for pixels, patch in zip(size, self.patch_size, strict=True))) for size in batch.sizes)
        images = self._filled(batch.values.where(batch.mask[:, None], 0.0))
        at, there = own_tokens(grids, images.shape[3] // self.patch_size[1])
        values = linear(take_own(self.unfold(images), at, there), self.weight.flatten(1), self.bias)
        return Tokens(values, None, there.to(images.device), grids=grids)

    def unfold(self, images: Tensor) -> Tensor:
        """The patches before their projection: (B, C, rows, columns) → (B, T, C · patch rows · patch columns), in the weight's order."""
        rows, columns = self.patch_size
        batch, channels, height, width = images.shape
        cut = images.reshape(batch, channels, height // rows, rows, width // columns, columns)
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def fold(self, patches: Tensor, size: tuple[int, int]) -> Tensor:
        """The image of these patches, (B, T, C · patch rows · patch columns) → (B, C, *size): the inverse of `unfold`."""
        rows, columns = self.patch_size
        cut = patches.unflatten(1, (-1, size[1] // columns)).unflatten(3, (-1, rows, columns))
        return cut.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)

    def _grid_of(self, pixels: Sequence[int]) -> Grid:
        """Where the patches of an image of so many rows and columns of pixels sit."""
        rows, columns = (size // patch for size, patch in zip(pixels, self.patch_size, strict=True))
        if isinstance(rows, torch.SymInt) or isinstance(columns, torch.SymInt):
            return Grid((OpenAxis("row", "px", steps=rows), OpenAxis("column", "px", steps=columns)))
        return self._grid(rows, columns)

    def _laid(self, rows: int, columns: int) -> Grid:
        return pixel_grid((rows, columns), self.patch_size)

    def _convolved(self, images: Tensor) -> Tensor:
        return functional.conv2d(images, self.weight, self.bias, stride=self.patch_size).flatten(2).transpose(1, 2)

    def _filled(self, images: Tensor) -> Tensor:
        right, below = -images.shape[3] % self.patch_size[1], -images.shape[2] % self.patch_size[0]
        return functional.pad(images, (0, right, 0, below)) if right or below else images

    def _patch_mask(self, mask: Tensor) -> Tensor:
        """(B, rows, columns) → (B, T): a patch is real where any of its pixels is."""
        return self.unfold(self._filled(mask[:, None])).any(-1)

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4:
            raise ValueError(f"Images must be (batch, {self.in_channels} channels, rows, columns), but are {tuple(images.shape)}.")
        self._check_size(*images.shape[1:])

    def _check_size(self, channels: int, *size: int) -> None:
        if channels != self.in_channels:
            raise ValueError(
                f"Images must have {self.in_channels} channels, but these have {channels}; sigvit.adapt(model, in_channels={channels}) changes it."
            )
        for name, pixels, patch in zip(("rows", "columns"), size, self.patch_size, strict=True):
            if pixels < 1 or (pixels % patch and not self.pad):
                nearest = f"{pixels - pixels % patch} or {pixels + -pixels % patch}" if pixels >= patch else str(patch)
                raise ValueError(f"{pixels} {name} can't be cut into patches of {patch}; resize to {nearest} {name}, or fill with pad=True.")

    def _check_mask(self, mask: Tensor, images: Tensor) -> None:
        expected = (len(images), *images.shape[2:])
        if mask.dtype != torch.bool or tuple(mask.shape) != expected:
            raise ValueError(f"The mask must be bool of shape {expected}, but is {mask.dtype} of {tuple(mask.shape)}.")
