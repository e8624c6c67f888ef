"""Labelled image sets: arrays, folders of class folders, packed .npz files and parquet files behind one door."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from sigvit.data.images_decoding import Framing, decode, frame_array
from sigvit.data.page_places import data_folder

# N = images, R = rows, C = columns, K = channels


class EncodedImages(Protocol):
    """Where the bytes of images lie that are decoded when they are read."""

    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        """The files' bytes, in the order of `rows`; safe to call from several threads."""
        ...

    def name(self, row: int) -> str:
        """What an error calls the image: its file, and where in it."""
        ...

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """A random order of all rows that is cheap to read from here, (N,) int64: a pure function of the generator's state."""
        ...

    def described(self) -> str:
        """What tells the files from others without reading them: their names and sizes, in their order."""
        ...


@dataclass(frozen=True, eq=False)
class Images:
    """A labelled set of images: in memory as `values`, or decoded when read from `files`. A part of a set may have no image of some classes.

    Attributes
    ----------
    labels : (N,) int64, numbers of `classes`.
    classes : names of the classes, in the order of their numbers.
    values : (N, R, C, K) uint8, or None where images are decoded when they are read.
    channels : 1 (grey) or 3 (red, green, blue); every image is converted to it (see `sigvit.data.images_decoding.decode`).
    source : what the set is called in messages.
    files : the encoded images; None where there are values.

    Raises
    ------
    ValueError : no images, values that aren't uint8, labels of another number or out of range; each named.

    >>> images = Images(np.array([1, 0, 1]), ("cat", "dog"), np.zeros((3, 5, 7, 1), np.uint8), channels=1)
    >>> len(images), images.read([2, 0]).shape
    (3, (2, 5, 7, 1))
    >>> Images(np.array([2, 0, 1]), ("cat", "dog"), images.values, channels=1)
    Traceback (most recent call last):
    ValueError: the arrays: label 2 of image 0 is out of range; there are 2 classes, so labels are 0 … 1.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    values: np.ndarray | None = None
    channels: int = 3
    source: str = "the arrays"
    files: EncodedImages | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        object.__setattr__(self, "labels", self._checked_labels())
        if (self.values is None) == (self.files is None):
            raise ValueError(f"{self.source}: give either values or files.")
        if self.channels not in (1, 3):
            raise ValueError(f"{self.source}: channels is {self.channels}; images are read as 1 channel (grey) or 3 (red, green, blue).")
        if self.values is not None:
            self._check_values(self.values)

    def _checked_labels(self) -> np.ndarray:
        labels = np.asarray(self.labels)
        if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
            raise ValueError(f"{self.source}: labels have shape {labels.shape} and dtype {labels.dtype}; give a whole number for each image, and some images.")
        outside = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
        if len(outside):
            raise ValueError(
                f"{self.source}: label {labels[outside[0]]} of image {outside[0]} is out of range; "
                f"there are {len(self.classes)} classes, so labels are 0 … {len(self.classes) - 1}."
            )
        return labels.astype(np.int64)

    def _check_values(self, values: np.ndarray) -> None:
        if values.dtype != np.uint8:
            raise ValueError(f"{self.source}: values are {values.dtype}; images are uint8, 0 … 255: scale and round them first.")
        if values.ndim != 4 or len(values) != len(self.labels) or values.shape[3] != self.channels:
            raise ValueError(
                f"{self.source}: values have shape {values.shape}; "
                f"there should be (images, rows, columns, channels) = ({len(self.labels)}, …, …, {self.channels})."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int] | None:
        """(rows, columns) in pixels where all images are in memory, else None: each has its own."""
        return None if self.values is None else (self.values.shape[1], self.values.shape[2])

    def read(self, rows: Sequence[int] | np.ndarray, framing: Framing | None = None) -> np.ndarray:
        """The images of these rows, uint8 (len(rows), R, C, K); a pure function, safe to call from several threads.

        Parameters
        ----------
        framing : what part of each image is wanted at what size; None takes images as they are.

        Raises
        ------
        ValueError : a file that can't be decoded, named; or images of several sizes without a framing.
        """
        rows = self._numbers(rows)
        if self.files is None:
            assert self.values is not None  # one of the two is there
            if framing is None:
                return self.values[rows]
            return np.stack([frame_array(self.values[row], framing, position) for position, row in enumerate(rows)])
        encoded = self.files.encoded([int(row) for row in rows])
        pixels = [decode(data, self.files.name(int(row)), self.channels, framing, at) for at, (row, data) in enumerate(zip(rows, encoded, strict=True))]
        sizes = sorted({image.shape[:2] for image in pixels})
        if len(sizes) > 1:
            raise ValueError(
                f"{self.source}: images have several sizes, such as {sizes[0]} and {sizes[1]}; read them with a framing that says which is wanted."
            )
        return np.stack(pixels)

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """A random order of all rows for one epoch, (N,) int64."""
        return generator.permutation(len(self)) if self.files is None else self.files.order(generator)

    def part(self, rows: np.ndarray) -> Images:
        """The images of these rows as a set of its own, with all classes."""
        rows = self._numbers(rows)
        if not len(rows) or len(np.unique(rows)) < len(rows):
            raise ValueError(f"{self.source}: a part has each of its images once and at least one, but {len(rows)} rows are asked for.")
        if self.files is None:
            assert self.values is not None
            return replace(self, labels=self.labels[rows], values=self.values[rows])
        return replace(self, labels=self.labels[rows], files=_Part(self.files, rows))

    def _numbers(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Row numbers of numbers or a mask; IndexError for those that aren't there."""
        rows = np.asarray(rows)
        rows = rows if len(rows) else rows.astype(np.int64)
        self.labels[rows]  # raises, and costs no more than the rows that are asked for
        if rows.dtype == bool:
            return np.flatnonzero(rows)
        numbers = rows.astype(np.int64)
        return np.where(numbers < 0, numbers + len(self), numbers)

    def fingerprint(self) -> str:
        """A SHA-256 of classes, labels and images, in their order: of every pixel in memory, else of names and sizes of the files, none of which is read."""
        images = self.size if self.files is None else self.files.described()
        digest = hashlib.sha256(repr((self.classes, self.labels.tolist(), self.channels, images)).encode())
        for pixels in () if self.values is None else self.values:
            digest.update(pixels.tobytes())
        return digest.hexdigest()

    def in_memory(self) -> Images:
        """The same set with all images decoded; they must be of one size."""
        return self if self.values is not None else replace(self, values=self.read(np.arange(len(self))), files=None)


@dataclass(frozen=True)
class _Part:
    """Some rows of encoded images."""

    whole: EncodedImages
    rows: np.ndarray

    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        return self.whole.encoded([int(row) for row in self.rows[np.asarray(rows, dtype=np.int64)]])

    def name(self, row: int) -> str:
        return self.whole.name(int(self.rows[row]))

    def order(self, generator: np.random.Generator) -> np.ndarray:
        """The whole's order, as far as its rows are here."""
        order = self.whole.order(generator)
        place = np.full(len(order), -1)
        place[self.rows] = np.arange(len(self.rows))
        return place[order][place[order] >= 0]

    def described(self) -> str:
        return f"{self.rows.tolist()} of {self.whole.described()}"


def open_images(source: str | Path, split: str = "train", channels: int | None = None) -> Images:
    """The labelled images that `source` names, their train or test part.

    Parameters
    ----------
    source : one of
        "digits" (scikit-learn's, UCI; a quarter of every class is held out, drawn with seed 0: 1347 train, 450 test; levels 0 … 16 are stretched to 0 … 255),
        "mnist", "cifar10" (files of the folder images/ in `SIGVIT_DATA`, default ../shared/data; this CIFAR-10 is a subset, and JPEG: its scores
        can't be compared with published ones),
        a folder of class folders, or with train/ and one of test/, val/, validation/, valid/ in it, each with class folders (the layout of ImageNet),
        an .npz with x_train, y_train, x_test, y_test, or packed: train_bytes, train_offsets, train_labels and the same for test, and classes,
        "parquet:PATTERN", files written by Hugging Face's `datasets`, here or at any address that fsspec knows (needs the extra `parquet`).
    split : "train" or "test".
    channels : 1 or 3; None takes the set's own (1 for digits and mnist), and 3 for a folder and for parquet.

    Raises
    ------
    ValueError : there is no such source or split; a folder without classes; a class without images in the asked part, whatever the source; classes that
        differ between train and test; see also `Images`.

    >>> train, test = open_images("digits"), open_images("digits", "test")
    >>> len(train), len(test), train.values.shape[1:], train.classes[:3]
    (1347, 450, (8, 8, 1), ('0', '1', '2'))
    """
    if split not in ("train", "test"):
        raise ValueError(f'split is {split!r}; it is "train" or "test".')
    images = _opened(source, split, channels)
    counts = np.bincount(images.labels, minlength=len(images.classes))
    empty = [name for name, count in zip(images.classes, counts, strict=True) if not count]
    if empty:
        raise ValueError(f"{images.source} has no images for {len(empty)} of its {len(counts)} classes: {', '.join(empty[:5])}.")
    return images


def _opened(source: str | Path, split: str, channels: int | None) -> Images:
    if source == "digits":
        from sigvit.data.images_arrays import digits

        return hold_out(digits(channels or 1), 0.25, seed=0)[split == "test"]
    if source in ("mnist", "cifar10"):
        folder = data_folder() / "images"
        if not folder.is_dir():
            raise ValueError(f"MNIST and CIFAR-10 are not at {folder}; set the environment variable SIGVIT_DATA to the folder that holds images/.")
        source = folder / {"mnist": "mnist.npz", "cifar10": "cifar10_jpeg_subset.npz"}[str(source)]
    if str(source).startswith("parquet:"):
        from sigvit.data.images_parquet import parquet_images

        return parquet_images(str(source).removeprefix("parquet:"), split, channels or 3)
    path = Path(source)
    if path.is_dir():
        from sigvit.data.images_folder import folder_images

        return folder_images(path, split, channels or 3)
    if path.suffix == ".npz" and path.is_file():
        from sigvit.data.images_arrays import npz_images

        return npz_images(path, split, channels)
    known = '"digits", "mnist", "cifar10", a folder of class folders, an .npz file or "parquet:PATTERN"'
    raise ValueError(f"There are no images at {str(source)!r}: give {known}.")


def hold_out(images: Images, fraction: float, seed: int) -> tuple[Images, Images]:
    """Two parts of a set: what is left, and `fraction` of every class, drawn with `seed`.

    >>> images = Images(np.arange(12) % 3, ("a", "b", "c"), np.zeros((12, 2, 2, 1), np.uint8), channels=1)
    >>> [np.bincount(part.labels).tolist() for part in hold_out(images, 0.25, seed=0)]
    [[3, 3, 3], [1, 1, 1]]
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction}; hold out a share above 0 and below 1.")
    generator = np.random.default_rng(seed)
    held = np.zeros(len(images), dtype=bool)
    for number in range(len(images.classes)):
        rows = np.flatnonzero(images.labels == number)
        held[generator.permutation(rows)[: round(fraction * len(rows))]] = True
    if held.all() or not held.any():
        raise ValueError(f"{images.source}: holding out {fraction} of every class takes {held.sum()} of {len(held)} images; both parts need some.")
    return images.part(np.flatnonzero(~held)), images.part(np.flatnonzero(held))


def require_same_classes(train: Sequence[str], test: Sequence[str], source: str) -> None:
    """ValueError where the classes of train and test differ; the message names them."""
    if list(train) == list(test):
        return
    only = {"train": sorted(set(train) - set(test)), "test": sorted(set(test) - set(train))}
    differ = "; ".join(f"only in {part}: {', '.join(names[:5])}" for part, names in only.items() if names) or "in their order"
    raise ValueError(f"{source}: train has {len(train)} classes and test {len(test)}, and they differ ({differ}); both need the same ones.")
