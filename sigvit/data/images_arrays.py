"""Images from arrays: .npz files of pixels or of packed JPEG bytes, and scikit-learn's digits."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sigvit.data.images import Images, require_same_classes
from sigvit.data.images_decoding import decode

_LARGEST_DECODED = 2**29  # bytes; a packed set of one size that fits is decoded when it is opened


@dataclass(frozen=True)
class PackedFiles:
    """Encoded images end to end: image i is data[offsets[i]:offsets[i + 1]]."""

    data: np.ndarray
    offsets: np.ndarray
    source: str

    def __post_init__(self) -> None:
        offsets = self.offsets
        whole = self.data.dtype == np.uint8 and self.data.ndim == 1 and offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) > 1
        if not whole or offsets[0] != 0 or offsets[-1] != len(self.data) or (np.diff(offsets.astype(np.int64)) <= 0).any():
            raise ValueError(
                f"{self.source}: the packed images need uint8 bytes and whole-number offsets that rise from 0 to their count, one more than there are images; "
                f"found {self.data.dtype} bytes {self.data.shape} and {offsets.dtype} offsets {offsets.shape}."
            )

    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        return [self.data[self.offsets[row] : self.offsets[row + 1]].tobytes() for row in rows]

    def name(self, row: int) -> str:
        return f"image {row} of {self.source}"

    def order(self, generator: np.random.Generator) -> np.ndarray:
        return generator.permutation(len(self.offsets) - 1)

    def described(self) -> str:
        return f"{hashlib.sha256(np.ascontiguousarray(self.data).data).hexdigest()} {self.offsets.tolist()}"  # in memory anyway


def npz_images(path: Path, split: str, channels: int | None = None) -> Images:
    """One part of an .npz file.

    Pixels: x_train (N, R, C) or (N, R, C, K) uint8, y_train (N,); packed: train_bytes, train_offsets (N + 1,), train_labels, and classes. The same for test.
    Without `classes`, they are the numbers up to the largest label of both parts. Nothing in the file is unpickled. Whether every class has images is
    looked at by `open_images`.
    A packed set whose images are all of one size is decoded at once where it takes at most 512 MiB.

    Raises
    ------
    ValueError : the file has no such part, or it isn't as above.
    """
    try:
        return _npz_images(path, split, channels)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} can't be read ({error}): it is no .npz file, or it is damaged or cut short.") from error


def _npz_images(path: Path, split: str, channels: int | None) -> Images:
    with np.load(path, allow_pickle=False) as file:
        names = {"pixels": (f"x_{split}", f"y_{split}"), "packed": (f"{split}_bytes", f"{split}_offsets", f"{split}_labels")}
        layout = next((layout for layout, keys in names.items() if set(keys) <= set(file)), None)
        if layout is None:
            wanted = f"{' and '.join(names['pixels'])}, or {', '.join(names['packed'])}"
            raise ValueError(f"{path.name} has no {split} part: it holds {', '.join(file)}; there should be {wanted}.")
        arrays = [_array(file, key, path.name) for key in names[layout]]
        classes = _classes(file, path.name)
    if layout == "pixels":
        return array_images(arrays[0], arrays[1], classes, channels, source=f"{path.name} ({split})")
    files = PackedFiles(arrays[0], arrays[1], f"{path.name} ({split})")
    if len(arrays[2]) != len(files.offsets) - 1:
        raise ValueError(f"{files.source}: there are {len(arrays[2])} labels for {len(files.offsets) - 1} images.")
    return _decoded_if_small(Images(arrays[2], tuple(classes), None, channels or 3, files.source, files))


def array_images(
    values: np.ndarray, labels: np.ndarray, classes: Sequence[str] | None = None, channels: int | None = None, source: str = "the arrays"
) -> Images:
    """Images from pixels (N, R, C) or (N, R, C, K), uint8, and whole-number labels (N,).

    Grey pixels are repeated where 3 `channels` are asked for; colour isn't made grey here. Without `classes`, they are the numbers up to the largest label.

    >>> array_images(np.zeros((3, 5, 7), np.uint8), np.array([0, 1, 1]), channels=3).values.shape
    (3, 5, 7, 3)
    """
    values, labels = np.asarray(values), np.asarray(labels)
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim == 4 and values.shape[3] == 1 and channels == 3:
        values = values.repeat(3, axis=3)
    if classes is None and labels.dtype.kind in "iu" and labels.size:
        classes = [str(number) for number in range(int(labels.max()) + 1)]
    return Images(labels, tuple(classes or ()), values, channels or (values.shape[-1] if values.ndim == 4 else 3), source)


def digits(channels: int = 1) -> Images:
    """All 1797 of scikit-learn's digits (Alpaydin & Kaynak 1998, UCI): 8 × 8 pixels whose 17 levels are stretched to 0 … 255."""
    from sklearn.datasets import load_digits  # the only use of scikit-learn in this wing, where somebody asks for its set

    bunch = load_digits()
    return array_images(np.round(bunch.images * (255 / 16)).astype(np.uint8), bunch.target, channels=channels, source="digits")


def _array(file: np.lib.npyio.NpzFile, key: str, name: str) -> np.ndarray:
    try:
        return file[key]
    except ValueError as error:
        raise ValueError(f"{name}: {key} can't be read ({error}); it must be an array of numbers, or of words for classes.") from error


def _classes(file: np.lib.npyio.NpzFile, name: str) -> list[str]:
    """Those the file names, else as many numbers as its labels need in both parts; labels in train alone or test alone are an error."""
    if "classes" in file:
        return [str(entry) for entry in _array(file, "classes", name)]
    parts = {key: np.unique(_array(file, key, name)) for key in ("y_train", "y_test", "train_labels", "test_labels") if key in file}
    found = [[str(label) for label in labels] for labels in parts.values()]
    if len(found) == 2:
        require_same_classes(found[0], found[1], name)
    return [str(number) for number in range(max((int(labels.max()) + 1 for labels in parts.values() if labels.dtype.kind in "iu" and len(labels)), default=0))]


def _decoded_if_small(images: Images) -> Images:
    assert images.files is not None  # packed sets have them
    first = decode(images.files.encoded([0])[0], images.files.name(0), images.channels)
    if first.size * len(images) > _LARGEST_DECODED:
        return images
    values = np.empty((len(images), *first.shape), np.uint8)
    for row in range(len(images)):
        pixels = images.read([row])[0]
        if pixels.shape != first.shape:
            return images
        values[row] = pixels
    return Images(images.labels, images.classes, values, images.channels, images.source)
