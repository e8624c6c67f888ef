"""What is looked at: inputs of a dataset as the model wants them, as many of each class as can be, and others to compare them with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigvit.evaluation.class_maps import each_has_one
from sigvit.inspection.parts import parts_of
from sigvit.model.scaling import Scaling
from sigvit.model.vision_transformer import VisionTransformer

# n = inputs that are looked at


@dataclass
class Looked:
    """What the page looks at.

    `x` (n, …) as the model wants it, `labels` (n,) numbers of `classes`, `references` (R, …) others with labels of their own, as many of each class;
    `pictures` (n, rows, columns, channels) 0 … 1 of images, `info` and `subjects` of recordings, `units` (n,) where the page gives one label to several
    inputs, such as all of a run, and `unit`, what these are called; `has_scalp`: whether a map can be drawn of their electrodes; `told`: how they were
    chosen and scaled, in sentences.
    """

    x: Tensor
    labels: np.ndarray
    classes: tuple[str, ...]
    references: Tensor
    reference_labels: np.ndarray
    told: list[str]
    name: str
    pictures: np.ndarray | None = None
    info: Any = None
    subjects: np.ndarray | None = None
    units: np.ndarray | None = None
    unit: str = "trial"
    has_scalp: bool = False

    @property
    def groups(self) -> np.ndarray | None:
        """Subjects, where there are several: labels are exchanged within them."""
        return self.subjects if self.subjects is not None and len(np.unique(self.subjects)) > 1 else None

    @property
    def exchanged(self) -> str:
        """Whose labels are permuted, in words that follow "the labels"."""
        if self.groups is not None and each_has_one(self.groups, self.labels):
            return " of whole subjects"
        return (f" of whole {self.unit}s" if self.units is not None else "") + (" within subjects" if self.groups is not None else "")


def look_at_recordings(model: VisionTransformer, data: str, folder: Path | None, count: int, n_references: int, seed: int) -> Looked:
    """Windows of a dataset page, standardised as the model's training windows were, or, where its folder doesn't say how, by all of the page's windows."""
    from sigvit.data.pages import open_dataset

    windows = open_dataset(data, folder=folder)
    order = electrode_order(model, windows.electrodes, data)
    check_windows(model, windows, data)
    part = np.flatnonzero(windows.metadata["shipped"] == "test") if "shipped" in windows.metadata else np.arange(len(windows))
    labels = np.searchsorted(np.array(windows.classes), windows.labels)
    own, others = choose(labels[part], count, n_references, seed)
    scaling, told_of_it = scaling_of(model, windows, order)
    told = [
        f"{len(own)} windows of {windows.name}, drawn from {len(part)}{' that the page ships as test part' if 'shipped' in windows.metadata else ''}, "
        "as many of each class as can be.",
        told_of_it,
    ]
    import mne

    from sigvit.evaluation.scalp_figures import can_draw_scalp

    info = mne.pick_info(windows.info, order)
    unit, units = labelled_units(windows.metadata)
    own_units = units[part[own]]
    return Looked(
        x=scaling(windows.values[part[own]][:, order]),
        labels=labels[part[own]],
        classes=tuple(str(label) for label in windows.classes),
        references=scaling(windows.values[part[others]][:, order]),
        reference_labels=labels[part[others]],
        told=told,
        name=windows.name,
        info=info,
        subjects=windows.metadata["subject"].to_numpy()[part[own]],
        units=own_units if len(np.unique(own_units)) < len(own) else None,
        unit=unit,
        has_scalp=can_draw_scalp(info),
    )


def look_at_images(model: VisionTransformer, model_folder: Path, data: str, count: int, n_references: int, seed: int) -> Looked:
    """Images of the test part, normalised as the run beside the model's folder says."""
    from sigvit.data.images import open_images
    from sigvit.training.evaluate import evaluation_inputs

    channels, *size = model.config.input_shape
    images = open_images(data, "test", channels)
    check_classes(model, images.classes, data)
    own, others = choose(images.labels, count, n_references, seed)
    augmentation, told = normalisation(model_folder)
    x = evaluation_inputs(images, np.concatenate([own, others]), augmentation, (size[0], size[1]))
    mean, std = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (augmentation.mean, augmentation.std))
    return Looked(
        x=x[: len(own)],
        labels=images.labels[own],
        classes=images.classes,
        references=x[len(own) :],
        reference_labels=images.labels[others],
        told=[f"{len(own)} images of the test part of {images.source}, as many of each class as can be.", told],
        name=str(data),
        pictures=(x[: len(own)] * std + mean).clamp(0, 1).permute(0, 2, 3, 1).numpy(),
    )


def scaling_of(model: VisionTransformer, windows: Any, order: list[int]) -> tuple[Scaling, str]:
    """By what the model's electrodes are standardised, and whose it is, in a sentence."""
    if model.scaling is not None:
        words = "Each electrode less its mean, by its standard deviation, both over the windows that the model was trained on, as its folder says."
        return model.scaling, words
    words = (
        f"Each electrode less its mean, by its standard deviation, both over all {len(windows)} windows of the page: the model's folder doesn't say how its "
        "training windows were scaled, so that small differences are possible."
    )
    return Scaling.of(windows.values[:, order]), words


def labelled_units(metadata: Any) -> tuple[str, np.ndarray]:
    """What labels were given to: the largest of session, run, recording and trial of which each has one, else windows; and the number of every window's."""
    from sigvit.evidence.groups import read_groups

    groups = read_groups(metadata)
    for name in ("session", "run", "recording", "trial"):
        units = getattr(groups, name)
        if each_has_one(units, groups.label):
            return name, units
    return "window", np.arange(len(groups))


def electrode_order(model: VisionTransformer, electrodes: tuple[str, ...], data: str) -> list[int]:
    """Where the model's electrodes are among the page's."""
    names = known(model.tokenizer, "names")
    count = model.config.input_shape[0]
    if names is None or len(names) != count:
        if count != len(electrodes):
            raise ValueError(f"The model was built for {count} electrodes, but {data} has {len(electrodes)}: {', '.join(electrodes[:8])} …")
        return list(range(count))
    missing = [name for name in names if name not in electrodes]
    if missing:
        raise ValueError(f"The model reads the electrodes {missing}, which {data} lacks; it has {', '.join(electrodes[:12])}.")
    return [electrodes.index(name) for name in names]


def known(tokenizer: Any, name: str) -> Any:
    """What the tokenizer, or the first part of a composite that knows, says of the recordings; None where none does."""
    return next((told for part in parts_of(tokenizer) if (told := getattr(part, name, None)) is not None), None)


def check_windows(model: VisionTransformer, windows: Any, data: str) -> None:
    """ValueError where length, rate or classes aren't the model's."""
    n_times, rate = model.config.input_shape[1], known(model.tokenizer, "sampling_rate")
    if windows.values.shape[2] != n_times:
        raise ValueError(f"The model was built for {n_times} samples, but the windows of {data} have {windows.values.shape[2]}.")
    if rate is not None and abs(rate - windows.sampling_rate) > 1e-6 * rate:
        raise ValueError(f"The model was built for {rate:g} Hz, but {data} has {windows.sampling_rate:g} Hz.")
    check_classes(model, windows.classes, data)


def check_classes(model: VisionTransformer, classes: tuple, data: str) -> None:
    if model.config.num_classes != len(classes):
        raise ValueError(f"The model tells {model.config.num_classes} classes apart, but {data} has {len(classes)}: {', '.join(map(str, classes[:10]))}.")


def choose(labels: np.ndarray, count: int, n_references: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are looked at and rows they are compared with, both with as many of each class as can be; a row is in both only where its class has too few."""
    mixed = np.random.default_rng(seed).permutation(len(labels))
    chosen = _in_turn(mixed, labels)[:count]
    others = _in_turn(np.r_[mixed[~np.isin(mixed, chosen)], chosen], labels)[: 4 * n_references]
    return np.sort(chosen), np.sort(others)


def _in_turn(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The rows with the classes taking turns, each class' in its order."""
    turn = np.empty(len(labels), dtype=int)
    for number in np.unique(labels):
        own = rows[labels[rows] == number]
        turn[own] = np.arange(len(own))
    return rows[np.argsort(turn[rows], kind="stable")]


def normalisation(folder: Path) -> tuple[Any, str]:
    """The augmentation of the run in whose folder the model lies, else the paper's, and which it is."""
    from sigvit.training.augment_images import ImageAugmentation
    from sigvit.training.image_run import trained_preprocessing

    said = trained_preprocessing(folder)
    augmentation = ImageAugmentation(**said)
    if not said:
        return augmentation, "Pixels were scaled to -1 … 1: no config.toml of a run lies beside the model's folder that says otherwise."
    return augmentation, f"Pixels were normalised as in the run beside the model's folder: mean {augmentation.mean}, standard deviation {augmentation.std}."
