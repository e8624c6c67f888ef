"""What pre-training without labels is worth on images: few-shot ridge on frozen features, and fine-tuning at the same total steps; several seeds.

    python experiments/image_transfer.py --data digits                                       # half an hour on one core
    python experiments/image_transfer.py --data digits mnist --steps 6000                    # hours
    python experiments/image_transfer.py --data cifar10 --judged fine_tuning --steps 12000   # half an hour a seed on one core

Prints the tables and writes them to --output. The encoder is judged by the mean of its tokens; "random" is the same encoder before the first
step, "pixels" no encoder at all.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from faults import faults_in_a_sentence
from image_sets import PATCHES, augmentation_of, small_vit
from torch import Tensor

import sigvit
from sigvit.data.images import Images, open_images
from sigvit.evaluation.few_shot import few_shot
from sigvit.training.evaluate import evaluate_images, evaluation_inputs
from sigvit.training.image_batches import ImageBatches
from sigvit.training.loop import train
from sigvit.training.masked_autoencoder import MaskedAutoencoder
from sigvit.training.masked_patches import MaskedPatches
from sigvit.training.patch_targets import patch_target
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import Recipe
from sigvit.training.unlabelled import UnlabelledBatches

OBJECTIVES: dict[str, tuple[str, str]] = {
    "masked patches (mean colour)": ("masked_patches", "mean"),
    "masked patches (4 × 4 cells in 8 levels)": ("masked_patches", "patch"),
    "masked autoencoder (normalised)": ("masked_autoencoder", "normalised"),
}
MARGIN = 0.05  # what pre-training must add to a random encoder's accuracy, at every number of shots from 5 on
SHOTS = (1, 5, 10, 25)
DRAWS = range(5)
MOST_KNOWN = 5000  # images that shots are drawn from
MOST_TESTED = 2000


@dataclass(frozen=True)
class Options:
    """Compare pre-trained with random encoders."""

    data: tuple[Literal["digits", "mnist", "cifar10"], ...] = ("digits",)
    """Each has a table of its own."""
    steps: int = 3000
    """Of pre-training; where fine-tuning is judged, of pre-training and fine-tuning together."""
    share: float = 0.25
    """Where fine-tuning is judged: the part of these steps that is pre-training."""
    seeds: int = 5
    """How many; each draws weights, order and masks anew."""
    first_seed: int = 0
    """The first seed's number, so that seeds can run in processes of their own."""
    width: int = 64
    """Length of a token."""
    depth: int = 3
    """Blocks of the encoder."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 1e-3
    """At the top of the schedule."""
    objectives: tuple[Literal["masked_patches", "masked_autoencoder"], ...] = ("masked_patches", "masked_autoencoder")
    """Which to pre-train with."""
    judged: tuple[Literal["few_shot", "fine_tuning"], ...] = ("few_shot",)
    """By ridge on frozen features, or by fine-tuning with all labels: from scratch, and from the masked autoencoder's weights, at the same total steps."""
    output: Path = Path("results/image_transfer.md")
    """Where the tables go; those in benchmarks/results/pretraining.md were put together from several runs."""


def main(options: Options) -> None:
    lines = [
        "# Pre-training without labels, images",
        "",
        f"`python experiments/image_transfer.py --data {' '.join(options.data)} --steps {options.steps} --judged {' '.join(options.judged)}`, "
        f"objectives {' and '.join(options.objectives)}; "
        f"width {options.width}, depth {options.depth}, batch {options.batch_size}, learning rate {options.learning_rate:g}; "
        f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} threads.",
        "Accuracy in per cent, mean ± standard deviation over seeds. Each seed's is itself the mean of 5 draws of the labelled images, the same in all rows.",
    ]
    for data in options.data:
        lines += few_shot_table(data, options) if "few_shot" in options.judged else []
        lines += fine_tuning_table(data, options) if "fine_tuning" in options.judged else []
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("\n".join(lines) + "\n")
    print(*lines, sep="\n")


def few_shot_table(data: str, options: Options) -> list[str]:
    """A row an encoder, a column a number of shots; then whether the margin was met."""
    train_images, test_images = part(open_images(data, "train"), MOST_KNOWN), part(open_images(data, "test"), MOST_TESTED)
    starts: dict[str, Callable[[int], Callable[[Tensor], Tensor]]] = {
        "pixels": lambda seed: lambda pixels: pixels.flatten(1),
        "random encoder": lambda seed: make_model(data, train_images, seed, options).eval().features,
    }
    for name, choice in ((name, choice) for name, choice in OBJECTIVES.items() if choice[0] in options.objectives):
        starts[name] = lambda seed, choice=choice: pretrained(data, choice, seed, options).features  # type: ignore[misc]
    found: dict[str, dict[int, list[float]]] = {}
    rows = []
    for name, start in starts.items():
        began = time.perf_counter()
        seeds = range(options.first_seed, options.first_seed + (1 if name == "pixels" else options.seeds))
        found[name] = {shots: [] for shots in SHOTS}
        for seed in seeds:
            features = start(seed)
            known, asked = (read(features, images) for images in (train_images, test_images))
            for shots, accuracy in few_shot(known, train_images.labels, asked, test_images.labels, SHOTS, DRAWS).items():
                found[name][shots].append(accuracy)
        cells = " | ".join(spread(found[name][shots]) for shots in SHOTS)
        rows.append(f"| {name} | {cells} | {(time.perf_counter() - began) / len(seeds):.0f} |")
    heads = " | ".join(f"{shots}-shot" for shots in SHOTS)
    table = ["", f"## {data}, few-shot ridge, {options.seeds} seeds", "", f"| encoder | {heads} | seconds a seed |", "|---" * (len(SHOTS) + 2) + "|", *rows]
    return [*table, "", *(verdict(name, found) for name in found if name.startswith("masked"))]


def verdict(name: str, found: dict[str, dict[int, list[float]]]) -> str:
    """Whether every seed at every number of shots, and the mean by the margin, is better than the random encoder with the same seed."""
    gains = {shots: [one - other for one, other in zip(found[name][shots], found["random encoder"][shots], strict=True)] for shots in SHOTS}
    told = ", ".join(f"{100 * statistics.fmean(gain):+.1f} ({min(gain) * 100:+.1f} … {max(gain) * 100:+.1f})" for gain in gains.values())
    met = all(min(gain) > 0 and (shots < 5 or statistics.fmean(gain) >= MARGIN) for shots, gain in gains.items())
    above = f"- {name}: points above the random encoder of the same seed at {SHOTS} shots, mean (lowest … highest): {told};"
    return f"{above} the stated margin, every seed above and the mean by {100 * MARGIN:.0f} points from 5 shots on, is {'met' if met else 'missed'}."


def fine_tuning_table(data: str, options: Options) -> list[str]:
    """Test accuracy with all labels; both rows have seen as many batches."""
    images, test = open_images(data, "train"), open_images(data, "test")
    before = round(options.share * options.steps)
    own = f"{before} steps of these without labels"
    found: dict[str, list[float]] = {"from scratch": [], own: []}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        found["from scratch"].append(fine_tuned(make_model(data, images, seed, options), images, test, seed, options))
        model = pretrained(data, OBJECTIVES["masked autoencoder (normalised)"], seed, replace(options, steps=before))
        found[own].append(fine_tuned(model, images, test, seed, replace(options, steps=options.steps - before)))
        print(f"{data}, seed {seed}:", {name: accuracies[-1] for name, accuracies in found.items()}, flush=True)
    rows = [f"| {name} | {spread(accuracies)} |" for name, accuracies in found.items()]
    gains = [one - other for other, one in zip(*found.values(), strict=True)]
    title = f"## {data}, fine-tuning with all labels, {options.steps} steps together"
    return ["", title, "", "| start | accuracy |", "|---|---|", *rows, "", f"- Gain by seed, points: {', '.join(f'{100 * gain:+.1f}' for gain in gains)}."]


def make_model(data: str, images: Images, seed: int, options: Options) -> sigvit.VisionTransformer:
    torch.manual_seed(derive_seed(seed, "weights"))
    return small_vit(images, PATCHES[data], options.width, options.depth, heads=4).to(device())


def pretrained(data: str, choice: tuple[str, str], seed: int, options: Options) -> sigvit.VisionTransformer:
    """A model that has seen all training images, without their labels."""
    objective, kind = choice
    images = part(open_images(data, "train"), 10**9)
    model = make_model(data, images, seed, options)
    shown = augmentation_of(images)
    target = patch_target(model.tokenizer, kind, mean=shown.mean, std=shown.std)
    whole = (MaskedPatches(model, target) if objective == "masked_patches" else MaskedAutoencoder(model, target)).to(device())
    own = recipe(options, betas=(0.9, 0.95))
    train(whole, UnlabelledBatches(ImageBatches(images, shown, own, seed, device()), seed), own, seed)
    return whole.finished()


def fine_tuned(model: sigvit.VisionTransformer, images: Images, test: Images, seed: int, options: Options) -> float:
    own = recipe(options)
    train(model, ImageBatches(images, augmentation_of(images), own, seed + 1000, device()), own, seed)
    return evaluate_images(model, test, augmentation_of(images), images.size).accuracy


def recipe(options: Options, betas: tuple[float, float] = (0.9, 0.999)) -> Recipe:
    warmup = options.steps // 10
    return Recipe(steps=options.steps, batch_size=options.batch_size, learning_rate=options.learning_rate, warmup_steps=warmup, ema_decay=0.995, betas=betas)


def part(images: Images, most: int) -> Images:
    """At most so many images, spread evenly over the set, in memory."""
    step = max(1, -(-len(images) // most))
    return images.part(torch.arange(0, len(images), step).numpy()).in_memory()


@torch.no_grad()
def read(features: Callable[[Tensor], Tensor], images: Images) -> Tensor:
    assert images.size is not None
    parts = [evaluation_inputs(images, rows.numpy(), augmentation_of(images), images.size, device()) for rows in torch.arange(len(images)).split(512)]
    return torch.cat([features(pixels).cpu() for pixels in parts])


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def spread(accuracies: list[float]) -> str:
    deviation = f" ± {100 * statistics.stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
    return f"{100 * statistics.fmean(accuracies):.1f}{deviation}"


if __name__ == "__main__":
    with faults_in_a_sentence():
        main(tyro.cli(Options))
