"""What `sigvit cost` predicts and what it takes: steps of models that it wasn't calibrated on, and the recipes that run here, trained by the real loop.

    python benchmarks/cost.py [--rounds 9] [--threads 1 2]

Prints the tables and writes them to results/benchmarks/cost.md; ends with exit code 1 where a recipe's prediction is more than
15 % off. Each number of threads has a process of its own. Takes about four minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace

import torch
from page import keep, where

import sigvit
from sigvit.cost_command import calibration_cases, training_of
from sigvit.data.images import open_images
from sigvit.evaluation.calibration import fit_prices
from sigvit.evaluation.cost import Training, fused, step_work, training_cost
from sigvit.evaluation.hardware import Hardware, published
from sigvit.evaluation.measure import TrainingStep, measured_peak
from sigvit.evaluation.trace import trace_forward, trace_training
from sigvit.timing import step_seconds
from sigvit.training.image_batches import ImageBatches
from sigvit.training.image_run import ImageRun, open_recipe, steps_of
from sigvit.training.loop import train

TOLERANCE = 0.15
RECIPES = ("digits", "mnist", "cifar10")
# Other sizes than those of calibration_cases: width, depth, heads, hidden units, pixels, patch, batch.
UNSEEN = ((96, 5, 3, 192, 28, 4, 64), (160, 4, 5, 320, 24, 4, 48), (192, 6, 3, 384, 32, 4, 32), (192, 4, 3, 768, 224, 16, 3), (384, 3, 6, 1536, 32, 4, 12))
# Images a second that others published: name of the GPU, model, training or inference, compiled, measured.
PUBLISHED = (
    ("rtx3090", "Ti/16", "training", False, 2294),
    ("rtx3090", "S/16", "training", False, 1053),
    ("rtx3090", "B/16", "training", False, 391),
    ("rtx4090", "Ti/16", "inference", False, 17_700),
    ("rtx4090", "S/16", "inference", False, 7700),
    ("rtx4090", "B/16", "inference", False, 2787),
    ("rtx4090", "Ti/16", "inference", True, 24_300),
    ("rtx4090", "S/16", "inference", True, 9700),
    ("rtx4090", "B/16", "inference", True, 3346),
)
LARGE = (
    ("vit_imagenet_21k:B/16", "h100", 8, False),
    ("vit_imagenet_21k:L/16", "h100", 8, False),
    ("vit_imagenet_21k:L/16", "h200", 64, False),
    ("vit_imagenet_21k:H/14", "a100", 64, True),
    ("vit_imagenet_21k:H/14", "h100", 64, True),
    ("jft", "h100", 64, True),
)


def measure_here(threads: int, rounds: int) -> list[list]:
    """Rows (threads, what, predicted and measured seconds of a step) with so many threads.

    Calibration, models, recipes and their batches are timed in the same rounds, so that what disturbs the machine disturbs all alike.
    """
    torch.set_num_threads(threads)
    known, cases = calibration_cases("float32"), [unseen(*sizes) for sizes in UNSEEN]
    recipes = [RecipeSteps(name) for name in RECIPES]
    steps = [TrainingStep(model, training) for model, training in [*known, *(case[1:] for case in cases)]]
    seconds = step_seconds([*steps, *(recipe.make_batch for recipe in recipes), *recipes], rounds=rounds)
    prices = fit_prices([step_work(model, training) for model, training in known], seconds[: len(known)])
    hardware = Hardware("this CPU", measured_peak(), 0.0, prices)
    rows: list[list] = []
    for (name, model, training), took in zip(cases, seconds[len(known) :], strict=False):
        rows.append([threads, name, hardware.seconds(step_work(model, training)), took])
    for recipe, input_s in zip(recipes, seconds[len(steps) :], strict=False):
        cost = training_cost(recipe.run.build_model(), training_of(recipe.run), hardware, input_s=input_s)
        rows.append([threads, f"recipe {recipe.run.name}", cost.step_s, statistics.median(recipe.times)])
    return rows


class RecipeSteps:
    """A few steps of a recipe by the real training loop, each timed by the clock at its end; a call is a fresh start."""

    def __init__(self, name: str, steps: int = 4) -> None:
        run = open_recipe(name)
        assert isinstance(run, ImageRun)
        self.run, self.recipe = run, replace(run.recipe, steps=steps, warmup_steps=0, validate_every=steps)
        self.batches = ImageBatches(open_images(run.data), run.augmentation, self.recipe, run.seed, "cpu", image_size=run.image_size)
        self.times: list[float] = []

    def __call__(self) -> None:
        ends: list[float] = []
        train(self.run.build_model(), self.batches, self.recipe, on_step=lambda _: ends.append(time.perf_counter()))
        self.times += [later - earlier for earlier, later in itertools.pairwise(ends[:-1])]  # the last step also looks back

    def make_batch(self) -> None:
        self.batches.batch(0)


def unseen(width: int, depth: int, heads: int, hidden: int, pixels: int, patch: int, batch: int) -> tuple[str, sigvit.VisionTransformer, Training]:
    model = sigvit.vit(f"Ti/{patch}", pixels, 10, pool="mean", width=width, depth=depth, heads=heads, mlp_width=hidden)
    return f"width {width}, depth {depth}, {(pixels // patch) ** 2} patches, batch {batch}", model, Training((3, pixels, pixels), batch)


def table_here(rows: list[list]) -> list[str]:
    lines = ["| threads | step | predicted, ms | measured, ms | predicted / measured |", "|---|---|---|---|---|"]
    return lines + [f"| {threads} | {name} | {predicted * 1e3:.1f} | {took * 1e3:.1f} | {predicted / took:.2f} |" for threads, name, predicted, took in rows]


def table_published(batch: int = 128) -> list[str]:
    lines = ["| GPU | model | | predicted, images/s | published, images/s | predicted / published |", "|---|---|---|---|---|---|"]
    for gpu, name, kind, compiled, found in PUBLISHED:
        with torch.device("meta"):
            model = sigvit.vit(name)
        trace = (trace_training if kind == "training" else trace_forward)(model, (3, 224, 224), batch, "bfloat16", gpu=True)
        hardware = published(gpu, "bfloat16")
        speed = batch / hardware.seconds(fused(trace.work) if compiled else trace.work)
        words = kind + ", compiled" * compiled
        lines.append(f"| {hardware.name} | {name} | {words} | {speed:.0f} | {found} | {speed / found:.2f} |")
    return lines


def table_large() -> list[str]:
    lines = ["| recipe | on | hours | device hours | images/s | share of peak | memory on each, GiB |", "|---|---|---|---|---|---|---|"]
    for name, gpu, count, sharded in LARGE:
        run = jft() if name == "jft" else open_recipe(name)
        assert isinstance(run, ImageRun)
        with torch.device("meta"):
            model = run.build_model()
        training, hardware = training_of(run), published(gpu, run.recipe.dtype)
        cost = training_cost(model, training, hardware, count, sharded)
        memory = f"{cost.memory_bytes / 2**30:.1f}" + ("" if cost.fits else " (does not fit)")
        on = f"{count} × {hardware.name}" + ", sharded" * sharded
        lines.append(f"| {run.name} | {on} | {cost.hours:.1f} | {cost.hours * count:.0f} | {cost.samples_s:,.0f} | {cost.share_of_peak:.0%} | {memory} |")
    return lines


def report(rows: list[list], rounds: int) -> list[str]:
    return [
        f"{where()}.",
        f"float32; medians of {rounds} rounds in turn; none of these steps was calibrated on. Recipes: steps of the real training loop, with their batches.",
        "",
        *table_here(rows),
        "",
        "GPUs that aren't here, at 224 px in bfloat16, batch 128: data sheets and the efficiencies stated in `sigvit/evaluation/hardware.py`,",
        "against throughputs that timm publishes (its results tables, mixed precision).",
        "",
        *table_published(),
        "",
        "Runs that fit no machine here: predicted only.",
        "",
        *table_large(),
    ]


def jft() -> ImageRun:
    """H/14 as the paper trained it longest: 14 epochs of JFT-300M (its table 6 and section 4.1)."""
    run = open_recipe("vit_imagenet_21k:H/14")
    assert isinstance(run, ImageRun)
    recipe = replace(run.recipe, steps=steps_of(14, 303_000_000, run.recipe.batch_size))
    return replace(run, name="H/14, JFT-300M, 14 epochs", num_classes=18_000, recipe=recipe)


def in_own_process(threads: int, rounds: int) -> list[list]:
    command = [sys.executable, __file__, "--rounds", str(rounds), "--only", str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure_here(options.only, options.rounds)))
        return 0
    rows = [row for threads in options.threads for row in in_own_process(threads, options.rounds)]
    text = "\n".join(["# What a training costs: predicted and measured", "", *report(rows, options.rounds), ""])
    print(text)
    keep("cost", text)
    return int(any(abs(predicted / took - 1) > TOLERANCE for _, name, predicted, took in rows if name.startswith("recipe")))


if __name__ == "__main__":
    sys.exit(main())
