"""How accuracy grows with training data and with compute: subsets × model sizes × seeds, and a fitted curve with its uncertainty.

    python experiments/scaling.py --data digits                                                    # ten minutes on 2 cores
    python experiments/scaling.py --data mnist --sizes 32x2 64x3 96x4 --shares 0.01 0.03 0.1 0.3 1
    python experiments/scaling.py --data smni_s1_s2match --window-s 0.1                             # a dataset page: a quarter of the subjects is tested

Every training takes the same number of steps at every share, so that a point of a size costs the same and only the data differ. Writes cells.csv,
scaling.md, by_data.png and by_compute.png; killed and started again with the same command, or with more seeds, it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import tyro
from faults import faults_in_a_sentence, slug
from image_sets import PATCHES, augmentation_of, small_vit
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor

import sigvit
from sigvit.data.images import open_images
from sigvit.evaluation.curve_figures import draw_scaling_curve
from sigvit.evaluation.scaling_law import ScalingLaw, fit_scaling_law
from sigvit.evaluation.trace import trace_training
from sigvit.evidence.pretraining import windows_sha256
from sigvit.evidence.results_folder import claim_folder
from sigvit.model.scaling import Scaling
from sigvit.tokenizers import ElectrodeTimePatches
from sigvit.training.batches import Batches, RecordingBatches
from sigvit.training.claims import Claims
from sigvit.training.evaluate import evaluation_inputs
from sigvit.training.image_batches import ImageBatches
from sigvit.training.loop import train
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import Recipe, require_unset
from sigvit.whole_file import write_atomically

HEADS = 4


@dataclass(frozen=True)
class Configuration:
    """Measure how accuracy grows with data and compute."""

    data: str = "digits"
    """digits, mnist, cifar10, or a dataset page."""
    folder: Path | None = None
    """Where the recordings lie, for pages that need local files."""
    sizes: tuple[str, ...] = ("16x1", "32x2", "64x3")
    """WIDTHxDEPTH of the encoder."""
    shares: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    """Parts of the training samples, above 0 and at most 1. A seed's smaller subsets lie inside its larger ones. A curve needs three."""
    seeds: int = 3
    """How many; each draws weights, order and subsets anew."""
    steps: int = 500
    """Optimiser steps of each training."""
    batch_size: int = 32
    """Samples a step, or all of a smaller subset."""
    learning_rate: float = 2e-3
    """At the top of the schedule."""
    window_s: float = 0.1
    """Of recordings: seconds of a token, which is of all electrodes."""
    k: int = 4
    """Of recordings: groups that the subjects are shared out among; the first is tested."""
    output: Path | None = None
    """Results folder; left out, results/scaling-DATA."""


class Task(NamedTuple):
    """What is learned: a model of a size, batches of some training rows, and the accuracy on the test part; and the hashes of the data, by their names."""

    n_train: int
    labels: np.ndarray
    input_shape: tuple[int, ...]
    make: Callable[[int, int], sigvit.VisionTransformer]
    batches: Callable[[np.ndarray, Recipe, int], Batches]
    accuracy: Callable[[sigvit.VisionTransformer], float]
    hashes: dict[str, str]


def main(configuration: Configuration) -> pd.DataFrame:
    """Train what isn't trained yet, fit the curves and write them; returns the cells."""
    console = Console(soft_wrap=True)
    require_measurable(configuration)
    output = configuration.output or Path("results") / f"scaling-{slug(configuration.data)}"
    task = images(configuration) if configuration.data in PATCHES else recordings(configuration)
    for size in configuration.sizes:
        task.make(*width_and_depth(size))
    claim_folder(output, describe(configuration, task.hashes), free=("seeds",))  # after all that may refuse it
    claims = Claims(output)
    claims.take(["cells"])  # until this ends
    path = output / "cells.csv"
    cells = pd.read_csv(path).to_dict("records") if path.is_file() else []
    there = {(cell["size"], cell["share"], cell["seed"]) for cell in cells}
    for size in configuration.sizes:
        for share in configuration.shares:
            for seed in range(configuration.seeds):
                if (size, share, seed) not in there:
                    cells.append(measure(configuration, task, size, share, seed))  # type: ignore[arg-type]
                    write_atomically(path, pd.DataFrame(cells).to_csv(index=False))
    table = pd.DataFrame(cells).query("seed < @configuration.seeds")
    laws = {size: law_of(table[table["size"] == size], "samples") for size in configuration.sizes}
    (output / "scaling.md").write_text(report(table, laws, configuration), encoding="utf-8")
    draw({size: table[table["size"] == size] for size in configuration.sizes}, "samples").savefig(output / "by_data.png", dpi=150)
    largest = with_most(table)
    draw({f"{largest['samples'].max():,} training samples": largest}, "flops").savefig(output / "by_compute.png", dpi=150)
    console.print((output / "scaling.md").read_text(encoding="utf-8"), highlight=False)
    return table


def require_measurable(configuration: Configuration) -> None:
    """ValueError for sizes, shares and seeds that no table can be made of."""
    if not configuration.sizes or not configuration.shares or configuration.seeds < 1:
        told = f"--sizes are {configuration.sizes}, --shares {configuration.shares} and --seeds {configuration.seeds}"
        raise ValueError(f"{told}: at least one size is measured, at one share and with one seed.")
    if not all(0 < share <= 1 for share in configuration.shares):
        raise ValueError(f"--shares are parts of the training samples, above 0 and at most 1, but are {configuration.shares}.")
    if len(set(configuration.shares)) < len(configuration.shares) or len(set(configuration.sizes)) < len(configuration.sizes):
        raise ValueError(f"--shares and --sizes are each measured once, but are {configuration.shares} and {configuration.sizes}.")


def describe(configuration: Configuration, hashes: dict[str, str]) -> dict[str, Any]:
    """What decides the cells, for config.toml: other data under the same name have other ones."""
    asked = {name: value for name, value in asdict(configuration).items() if name not in ("output", "folder")}
    return {"sigvit": sigvit.__version__, "asked": json.loads(json.dumps(asked)), "data_sha256": hashes}


def measure(configuration: Configuration, task: Task, size: str, share: float, seed: int) -> dict[str, Any]:
    """One training: its accuracy, and the operations it took."""
    torch.manual_seed(derive_seed(seed, "weights"))
    model = task.make(*width_and_depth(size))
    rows = subset(task.labels, share, seed)
    recipe = Recipe(
        steps=configuration.steps,
        batch_size=min(configuration.batch_size, len(rows)),
        learning_rate=configuration.learning_rate,
        warmup_steps=configuration.steps // 10,
    )
    flops = trace_training(model, task.input_shape).work.flops * recipe.steps * recipe.batch_size
    train(model, task.batches(rows, recipe, seed), recipe, seed)
    return {"size": size, "share": share, "seed": seed, "samples": len(rows), "flops": flops, "accuracy": task.accuracy(model)}


def width_and_depth(size: str) -> tuple[int, int]:
    width, by, depth = size.partition("x")
    if not (by and width.isdecimal() and depth.isdecimal()):
        raise ValueError(f"--sizes are written WIDTHxDEPTH, such as 32x2, but one is {size!r}.")
    return int(width), int(depth)


def subset(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Sorted rows: this share of every class, at least one of each; a larger share of the same seed holds it."""
    generator = np.random.default_rng(derive_seed(seed, "subset"))
    orders = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    return np.sort(np.concatenate([order[: max(1, round(share * len(order)))] for order in orders]))


def images(configuration: Configuration) -> Task:
    require_unset(configuration, ("folder", "window_s", "k"), f"{configuration.data} are images")
    training, test = (open_images(configuration.data, part).in_memory() for part in ("train", "test"))
    assert training.size is not None
    pixels, augmentation = training.size, augmentation_of(training)

    def make(width: int, depth: int) -> sigvit.VisionTransformer:
        return small_vit(training, PATCHES[configuration.data], width, depth, HEADS)

    def batches(rows: np.ndarray, recipe: Recipe, seed: int) -> Batches:
        return ImageBatches(training.part(rows), augmentation, recipe, seed)

    accuracy = judged_by(evaluation_inputs(test, range(len(test)), augmentation, pixels), torch.as_tensor(test.labels))
    hashes = {f"{configuration.data} {part}": each.fingerprint() for part, each in (("train", training), ("test", test))}
    return Task(len(training), training.labels, (training.channels, *pixels), make, batches, accuracy, hashes)


def recordings(configuration: Configuration) -> Task:
    """The first group of subjects left out; certified, and scaled by its training part."""
    windows = sigvit.open_dataset(configuration.data, folder=configuration.folder)
    folds = sigvit.folds.cross_subject(windows.metadata, configuration.k, validation=0, filter_support_s=windows.filter_support_s)[:1]
    sigvit.certify(windows, folds)
    known, asked = windows.values[folds[0].train], windows.values[folds[0].test]
    scaling = Scaling.of(known)
    values, tested = scaling(known), scaling(asked)
    numbers = np.unique(windows.labels, return_inverse=True)[1]
    targets, n_classes = torch.as_tensor(numbers[folds[0].train]), len(windows.classes)

    def make(width: int, depth: int) -> sigvit.VisionTransformer:
        tokenizer = ElectrodeTimePatches.from_info(windows.info, configuration.window_s, configuration.window_s, electrodes="all", width=width)
        n_times = windows.values.shape[2]
        return sigvit.signal_vit(windows.info, n_times, num_classes=n_classes, tokenizer=tokenizer, depth=depth, heads=HEADS, pool="mean", dropout=0.1)

    def batches(rows: np.ndarray, recipe: Recipe, seed: int) -> Batches:
        return RecordingBatches(values[rows], targets[rows], recipe, seed, n_classes)

    accuracy = judged_by(tested, torch.as_tensor(numbers[folds[0].test]))
    return Task(len(values), targets.numpy(), windows.values.shape[1:], make, batches, accuracy, {configuration.data: windows_sha256(windows)})


def judged_by(tested: Tensor, labels: Tensor) -> Callable[[sigvit.VisionTransformer], float]:
    """Mean recall of the classes, so that unequal classes don't make a constant look good."""

    @torch.no_grad()
    def accuracy(model: sigvit.VisionTransformer) -> float:
        hits = torch.cat([model(part).argmax(1) for part in tested.split(512)]) == labels
        return float(torch.stack([hits[labels == label].double().mean() for label in labels.unique()]).mean())

    return accuracy


def law_of(cells: pd.DataFrame, by: str) -> ScalingLaw | None:
    """Of error by training samples or floating-point operations; None with fewer than three of them."""
    return fit_scaling_law(cells[by], 1 - cells["accuracy"]) if cells[by].nunique() >= 3 else None


def report(table: pd.DataFrame, laws: dict[str, ScalingLaw | None], configuration: Configuration) -> str:
    """A row a size, a column a subset, then the curve's exponent and what twice the data would bring; below, the exponent by operations."""
    samples, several = sorted(table["samples"].unique()), configuration.seeds > 1
    seeds = f"mean ± standard deviation of {configuration.seeds} seeds" if several else "one seed"
    lines = [
        f"# Scaling: {configuration.data}",
        "",
        f"Balanced accuracy on the test part, {seeds}, {configuration.steps} steps each. Error = floor + "
        "scale · samples^(-exponent); intervals of 95 % from fits to errors drawn anew. What lies beyond the largest subset is an extrapolation.",
        "",
        f"| size | operations of a training | {' | '.join(f'{count} samples' for count in samples)} | exponent | with twice the data |",
        "|---" * (len(samples) + 4) + "|",
    ]
    for size, law in laws.items():
        own = table[table["size"] == size]
        told = own.groupby("samples")["accuracy"].agg(["mean", "std"])
        cells = [f"{told.loc[count, 'mean']:.3f}" + (f" ± {told.loc[count, 'std']:.3f}" if several else "") for count in samples]
        lines.append(f"| {size} | {own['flops'].max():.2g} | {' | '.join(cells)} | {' | '.join(of_law(law, max(samples)))} |")
    return "\n".join([*lines, "", by_operations(with_most(table))]) + "\n"


def with_most(table: pd.DataFrame) -> pd.DataFrame:
    """The cells of the largest subset, of which all sizes are compared by their operations."""
    return table[table["share"] == table["share"].max()]


def by_operations(largest: pd.DataFrame) -> str:
    """A sentence on growth with compute: operations grow with the size alone, since steps are the same."""
    law, count = law_of(largest, "flops"), largest["flops"].nunique()
    told = f"By operations of a training, {largest['samples'].max()} samples:"
    if law is None:
        return f"{told} sizes of {count} different numbers of operations fit no curve; it takes three."
    exact = " Three points fix three numbers, so that the curve meets the errors' means wherever a power law can." if count == 3 else ""
    return f"{told} exponent {of_law(law, 1)[0]}, from {count} sizes.{exact}"


def of_law(law: ScalingLaw | None, most: int) -> tuple[str, str]:
    """Exponent and prediction, each with its interval."""
    if law is None:
        return "too few subsets", "too few subsets"
    if not np.isfinite(law.resampled).all():
        return f"{law.exponent:.2f} (one seed: no interval)", f"{1 - law([2 * most])[0]:.3f} (one seed: no interval)"
    low, high = law.interval([2 * most])
    exponents = law.exponent_interval()
    return f"{law.exponent:.2f} [{exponents[0]:.2f}, {exponents[1]:.2f}]", f"{1 - law([2 * most])[0]:.3f} [{1 - high[0]:.3f}, {1 - low[0]:.3f}]"


def draw(series: dict[str, pd.DataFrame], by: str) -> Figure:
    """Accuracy by "samples" or "flops": means of seeds with their range, and the fitted curves, up to twice the largest, in their 95 % bands."""
    points, fits = {}, {}
    for name, cells in series.items():
        told = cells.groupby(by)["accuracy"].agg(["mean", "min", "max"])
        points[name] = told.reset_index().to_numpy()
        law = law_of(cells, by)
        if law is not None:
            x = np.geomspace(cells[by].min(), 2 * cells[by].max(), 100)
            low, high = law.interval(x)
            fits[name] = np.stack([x, 1 - law(x), 1 - high, 1 - low], axis=1)
    xlabel = {"samples": "training samples", "flops": "floating-point operations of a training"}[by]
    return draw_scaling_curve(points, fits, xlabel, "balanced accuracy on the test part")


if __name__ == "__main__":
    with faults_in_a_sentence():
        main(tyro.cli(Configuration))
