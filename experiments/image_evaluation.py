"""What a trained ViT is worth on images: accuracy of its head, and of its features with few labels, neighbours and a linear probe.

    python experiments/image_evaluation.py --model results/mnist/model --data mnist
    python experiments/image_evaluation.py --model B_16.npz --source google --data /path/of/imagenet --image-size 224 224

Features are judged by all four, from a handful of labels to all of them; the training part is used for labels, the test part once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from faults import faults_in_a_sentence
from rich.console import Console
from rich.table import Table
from torch import Tensor

import sigvit
from sigvit.data.images import Images, open_images, require_same_classes
from sigvit.evaluation.features import read_split
from sigvit.evaluation.few_shot import FewShot, draw, judge_draws
from sigvit.evaluation.linear_probe import linear_probe
from sigvit.evaluation.nearest_neighbours import nearest_neighbours
from sigvit.training.augment_images import ImageAugmentation
from sigvit.training.evaluate import evaluate_images, evaluation_inputs
from sigvit.training.image_run import PREPROCESSING, trained_preprocessing
from sigvit.training.settings import exact_convolutions

NEIGHBOURS = 20


@dataclass(frozen=True)
class Options:
    """Judge a trained ViT on images."""

    model: Path
    """Folder that `save_pretrained` wrote, or a file of foreign weights."""
    source: str = "sigvit"
    """Whose layout the file has: sigvit, google, timm, hugging_face, torchvision, mae, dinov2, deit or deit3."""
    data: str = "digits"
    """digits, mnist, cifar10, a folder, an .npz or parquet:PATTERN."""
    image_size: tuple[int, int] | None = None
    """Pixels (rows, columns) that the model is judged at; left out, those that it was built for."""
    made_for: tuple[int, int] | None = None
    """Pixels (rows, columns) that a file of foreign weights was made for, where it can't say them; an error that asks for image_size=… means these."""
    heads: int | None = None
    """Attention heads of foreign weights, where the file can't say them."""
    mean: tuple[float, ...] | None = None
    """Of the pixels, per channel or one for all; left out, as in the training whose config.toml lies beside the model, or 0.5."""
    std: tuple[float, ...] | None = None
    """Standard deviation of the pixels; left out, found as the mean is."""
    evaluation_resize: float | None = None
    """The shorter side is resized to image size × this, then the centre is cut; left out, as in that training, or 256 / 224 (1 for images of that size)."""
    interpolation: str | None = None
    """bilinear or bicubic; left out, as in that training, or bilinear."""
    shots: tuple[int, ...] = (1, 5, 10, 25)
    """How many labels of each class the few-shot judgement learns from."""
    probe_images: int = 10_000
    """Training images, at most, that neighbours and linear probe learn from."""


def main(options: Options) -> None:
    if options.probe_images < 1:
        raise ValueError(f"--probe-images is {options.probe_images}; neighbours and linear probe learn from at least 1.")
    if min(options.shots, default=1) < 1:
        raise ValueError(f"--shots has {min(options.shots)}; a class is learned from at least 1 label.")
    console = Console()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = sigvit.VisionTransformer.from_weights(options.model, options.source, options.heads, options.made_for)
    model = model.to(device, torch.float32).eval()  # the images' format, whatever the training's
    size = options.image_size or (model.config.input_shape[1], model.config.input_shape[2])
    train, test = (open_images(options.data, split, model.config.input_shape[0]) for split in ("train", "test"))
    if options.probe_images < len(train.classes):
        raise ValueError(
            f"--probe-images is {options.probe_images}; neighbours and linear probe learn from at least 1 of each of {len(train.classes)} classes."
        )
    augmentation = preprocessing(options)
    seen = ", ".join(f"{name} {getattr(augmentation, name)}" for name in PREPROCESSING)
    require_same_classes(train.classes, test.classes, options.data)
    table = Table("judged by", "accuracy", title=f"{options.model} on {len(test):,} test images of {options.data}")
    trained = trained_classes(options.model)
    others = f"left out: its head, which was trained on {named(trained)}; these are {named(test.classes)}" if trained not in ((), test.classes) else ""
    if model.config.num_classes == len(test.classes) and not others:
        table.add_row("its head", f"{evaluate_images(model, test, augmentation, size).accuracy:.2%}")
    read = reader(model, augmentation, size, device)
    known, asked = read(part_of(train, options.probe_images)), read(test)
    fewest = int(torch.bincount(torch.as_tensor(train.labels), minlength=len(train.classes)).min())
    possible, beyond = [shots for shots in options.shots if shots <= fewest], [shots for shots in options.shots if shots > fewest]
    notes = [seen, *filter(None, [others]), *([f"left out: {', '.join(map(str, beyond))} labels a class, because a class has {fewest}"] if beyond else [])]
    few = few_shot_of(train, asked, read, possible) if possible else {}
    for shots, accuracy in few.items():
        table.add_row(f"{shots} labels a class, mean of 3 draws", f"{accuracy:.2%}")
    notes += add_neighbours_and_probe(table, known, asked)
    table.caption = "; ".join(notes)
    console.print(table)


def trained_classes(model: Path) -> tuple[str, ...]:
    """Names of the classes that the head tells apart, in its order, where the training whose folder this is says them."""
    beside = model.resolve().parent / "classes.json"
    if not beside.is_file():
        return ()
    try:
        names = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError:
        names = None
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{beside} isn't a list of the names of classes; take it away, and the head is judged by the number of its classes.")
    return tuple(names)


def named(classes: tuple[str, ...]) -> str:
    """How many classes, and the first of them."""
    return f"{len(classes)} classes, {', '.join(classes[:5])}{' …' if len(classes) > 5 else ''}"


def add_neighbours_and_probe(table: Table, known: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor]) -> list[str]:
    """Their rows; what is left out, in words."""
    neighbours, images = min(NEIGHBOURS, len(known[1])), f"{len(known[1]):,} images"
    table.add_row(f"{neighbours} nearest of {images}", f"{nearest_neighbours(*known, *asked, k=neighbours):.2%}")
    if int(torch.bincount(known[1]).min()) < 2:
        return [f"left out: the linear probe, because a class has 1 of the {images}"]
    table.add_row(f"linear probe on {images}", f"{linear_probe(*known, *asked):.2%}")
    return []


def few_shot_of(train: Images, asked: tuple[Tensor, Tensor], read: Callable[[Images], tuple[Tensor, Tensor]], shots: list[int]) -> FewShot:
    """`sigvit.few_shot` on the whole training part, of which only the images that are drawn are read."""
    labels = torch.as_tensor(train.labels)
    draws = {count: [draw(labels, count, seed) for seed in range(3)] for count in shots}
    drawn = torch.cat([rows for several in draws.values() for rows in several]).unique()
    split = read_split(*read(train.part(drawn.numpy())), *asked)
    return judge_draws(split, {count: [torch.searchsorted(drawn, rows) for rows in several] for count, several in draws.items()})


def preprocessing(options: Options) -> ImageAugmentation:
    """How the model is shown images: as the options say, else as it was trained."""
    said = {name: getattr(options, name) for name in PREPROCESSING if getattr(options, name) is not None}
    return ImageAugmentation(**trained_preprocessing(options.model) | said)


def part_of(images: Images, most: int) -> Images:
    """At most so many images, drawn by a fixed permutation: the same share of each class, and at least one."""
    drawn = np.random.default_rng(0).permutation(len(images))
    share = np.empty(len(images))  # of its class, when this image is drawn
    for number in range(len(images.classes)):
        rows = np.flatnonzero(images.labels[drawn] == number)
        share[rows] = np.arange(len(rows)) / len(rows)
    return images.part(np.sort(drawn[np.argsort(share, kind="stable")[:most]]))


def reader(model: sigvit.VisionTransformer, augmentation: ImageAugmentation, size: tuple[int, int], device: str) -> Callable[[Images], tuple[Tensor, Tensor]]:
    """A function that gives features and labels of all images of a set."""

    @exact_convolutions()
    @torch.no_grad()
    def read(images: Images) -> tuple[Tensor, Tensor]:
        parts = torch.arange(len(images)).split(256)
        found = [model.features(evaluation_inputs(images, rows.numpy(), augmentation, size, device)) for rows in parts]
        return torch.cat(found), torch.as_tensor(images.labels)

    return read


if __name__ == "__main__":
    with faults_in_a_sentence():
        main(tyro.cli(Options))
