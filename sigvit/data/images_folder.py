"""Images from a folder of class folders: ImageNet's layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sigvit.data.folders import visible_folders
from sigvit.data.images import Images, require_same_classes

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"})
_TEST_FOLDERS = ("test", "val", "validation", "valid")
_SIZED = 10_000  # files, spread over all, that are asked for their size: a million takes minutes on a network's disk
_LITTER = frozenset({"thumbs.db", "desktop.ini"})  # left by file managers; hidden files and folders are passed over as well


@dataclass(frozen=True)
class FolderFiles:
    """Image files by their paths below a folder."""

    folder: Path
    paths: tuple[str, ...]

    def encoded(self, rows: Sequence[int]) -> list[bytes]:
        return [(self.folder / self.paths[row]).read_bytes() for row in rows]

    def name(self, row: int) -> str:
        return str(self.folder / self.paths[row])

    def order(self, generator: np.random.Generator) -> np.ndarray:
        return generator.permutation(len(self.paths))

    def described(self) -> str:
        sized = self.paths[:: len(self.paths) // _SIZED + 1]
        return repr((self.paths, [(self.folder / path).stat().st_size for path in sized]))


def folder_images(folder: Path, split: str = "train", channels: int = 3) -> Images:
    """The images of folder/train/CLASS/… or folder/CLASS/… (all of it train), decoded when they are read.

    Classes are the folders' names in sorted order, images the files below them in sorted order; linked folders count, hidden ones
    don't. The test part is the first of test/, val/, validation/, valid/ that is there; its classes must be those of train/.

    Raises
    ------
    ValueError : no class folders, a class without images, a file that is no image, no such part, or other classes in test than in train.
    """
    parts = {"train": folder / "train", "test": next((folder / name for name in _TEST_FOLDERS if (folder / name).is_dir()), None)}
    if not (folder / "train").is_dir() and parts["test"] is None:
        if split == "test":
            raise ValueError(f"{folder} has no test part: give it train/ and test/ (or val/), or hold out a share of train with sigvit.data.images.hold_out.")
        return _class_folders(folder, channels)
    chosen = parts[split]
    if chosen is None or not chosen.is_dir():
        wanted = "train/" if split == "train" else f"any of {', '.join(f'{name}/' for name in _TEST_FOLDERS)}"
        raise ValueError(f"{folder} has no {split} part: there is not {wanted} in it.")
    if split == "test" and (folder / "train").is_dir():
        require_same_classes(_class_names(folder / "train"), _class_names(chosen), str(folder))
    return _class_folders(chosen, channels)


def _class_names(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise ValueError(f"{folder} has no classes: there should be a folder for each class in it, with that class's images.")
    return names


def _class_folders(folder: Path, channels: int) -> Images:
    classes = _class_names(folder)
    files = [_image_files(folder, name) for name in classes]
    empty = [name for name, paths in zip(classes, files, strict=True) if not paths]
    if empty:
        raise ValueError(f"{folder} has no images for {len(empty)} of its {len(classes)} classes: {', '.join(empty[:5])}; add images or remove the folder.")
    labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in files])
    return Images(labels, tuple(classes), None, channels, str(folder), FolderFiles(folder, tuple(path for paths in files for path in paths)))


def _image_files(folder: Path, name: str) -> list[str]:
    """Paths of one class's images below `folder`, sorted; ImageNet's endings are capitals."""
    found = []
    for place, files in visible_folders(folder / name):
        for file in files:
            if file.startswith(".") or file.lower() in _LITTER:
                continue
            path = os.path.relpath(os.path.join(place, file), folder)
            if os.path.splitext(file)[1].lower() not in ENDINGS:
                raise ValueError(f"{folder / path} is no image by its ending; class folders hold only images ({', '.join(sorted(ENDINGS))}).")
            found.append(path)
    return sorted(found)
