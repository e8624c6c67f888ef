"""What part of an image is seen: boxes as functions of draws and of the image's size, for workers that decode and for batches on the device alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sigvit.training.randomness import derive_seed

# B = batch
PAPER_RESIZE = 256 / 224
TRIES = 10  # boxes drawn until one lies inside the image, as in Inception's and torchvision's crops


@dataclass(frozen=True, eq=False)
class InceptionCrops:
    """A random box for each image of a batch: its area and its ratio of width to height are drawn (Szegedy et al. 2015).

    Area is uniform, the ratio's logarithm is uniform; of `TRIES` draws the first that fits is taken, and where none fits the largest centred box whose
    ratio is allowed. Boxes are whole pixels.

    Attributes
    ----------
    draws : (B, TRIES, 4) in [0, 1): area, ratio, left, top.
    area, ratio : (lowest, highest); area as a share of the image's.
    size : (rows, columns) that the box is resized to; interpolation : "bilinear" or "bicubic".

    >>> crops = InceptionCrops(np.full((1, TRIES, 4), 0.5), (0.25, 0.25), (1.0, 1.0), (7, 7))
    >>> crops.box(0, 20, 40)
    (13.0, 3.0, 27.0, 17.0)
    """

    draws: np.ndarray
    area: tuple[float, float]
    ratio: tuple[float, float]
    size: tuple[int, int]
    interpolation: str = "bilinear"

    def box(self, position: int, rows: int, columns: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of one image of this size."""
        left, top, right, bottom = self.of(slice(position, position + 1)).boxes(rows, columns)[0].tolist()
        return left, top, right, bottom

    def boxes(self, rows: int, columns: int) -> np.ndarray:
        """(B, 4) float64 for images of one size."""
        area, ratio, left, top = np.moveaxis(self.draws, -1, 0)
        target = rows * columns * (self.area[0] + area * (self.area[1] - self.area[0]))
        low, high = np.log(self.ratio)
        ratio = np.exp(low + ratio * (high - low))
        width, height = np.round(np.sqrt(target * ratio)), np.round(np.sqrt(target / ratio))
        fits = (width >= 1) & (height >= 1) & (width <= columns) & (height <= rows)
        first = (np.arange(len(fits)), fits.argmax(1))
        found = fits[first]
        fallback = self._centred(rows, columns)
        width, height = np.where(found, width[first], fallback[0]), np.where(found, height[first], fallback[1])
        x = np.where(found, np.floor(left[first] * (columns - width + 1)), np.floor((columns - width) / 2))
        y = np.where(found, np.floor(top[first] * (rows - height + 1)), np.floor((rows - height) / 2))
        return np.stack([x, y, x + width, y + height], axis=1)

    def of(self, part: slice) -> InceptionCrops:
        """The crops of some rows of the batch."""
        return replace(self, draws=self.draws[part])

    def _centred(self, rows: int, columns: int) -> tuple[float, float]:
        """(width, height) of the largest box whose ratio is allowed."""
        if columns / rows < self.ratio[0]:
            return columns, max(1.0, np.round(columns / self.ratio[0]))
        if columns / rows > self.ratio[1]:
            return max(1.0, np.round(rows * self.ratio[1])), rows
        return columns, rows


@dataclass(frozen=True)
class CentreCrop:
    """The middle of an image, as evaluation sees it: the shorter side is resized to `size` × `resize`, then `size` is cut from the centre.

    The paper's evaluation and torchvision's have resize = 256 / 224; None is that, but 1 for an image that has the `size` already. As there, the resized
    sides and the cut are whole pixels; resizing the box that is cut gives the pixels that resizing everything and cutting gives.

    >>> CentreCrop((224, 224), 256 / 224).box(0, 300, 400)
    (68.03519061583579, 18.75, 330.791788856305, 281.25)
    >>> CentreCrop((28, 28), None).box(0, 28, 28)
    (0.0, 0.0, 28.0, 28.0)
    """

    size: tuple[int, int]
    resize: float | None = 1.0
    interpolation: str = "bilinear"

    def box(self, position: int, rows: int, columns: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of an image of this size; `position` says nothing here."""
        resize = (1.0 if (rows, columns) == self.size else PAPER_RESIZE) if self.resize is None else self.resize
        high, wide = self._resized(resize, rows, columns)
        top, left = round((high - self.size[0]) / 2), round((wide - self.size[1]) / 2)
        per_row, per_column = rows / high, columns / wide
        # Rounding may not reach beyond the image.
        right, bottom = min((left + self.size[1]) * per_column, float(columns)), min((top + self.size[0]) * per_row, float(rows))
        return left * per_column, top * per_row, right, bottom

    def boxes(self, rows: int, columns: int) -> np.ndarray:
        """(1, 4): the same box for all images of one size."""
        return np.array([self.box(0, rows, columns)])

    def _resized(self, resize: float, rows: int, columns: int) -> tuple[int, int]:
        """(rows, columns) before the cut: the side that decides in whole pixels, the other in proportion to these."""
        if self.size[0] * columns >= self.size[1] * rows:
            high = int(self.size[0] * resize + 1e-6)
            return high, max(self.size[1], int(high * columns / rows))
        wide = int(self.size[1] * resize + 1e-6)
        return max(self.size[0], int(wide * rows / columns)), wide

    def of(self, part: slice) -> CentreCrop:
        """The same for any rows."""
        return self


def draw_crops(batch: int, seed: int, step: int, purpose: str = "crop") -> np.ndarray:
    """Draws of `InceptionCrops` for the whole batch of a step, (B, TRIES, 4): a pure function of its arguments."""
    return np.random.default_rng(derive_seed(seed, purpose, step)).random((batch, TRIES, 4))
