"""A program, not a test: a training of images that `test_training_faults.py` kills and starts again, alone or under torchrun.

killed_training.py FOLDER PICTURES [--steps 60] [--every 3] [--kind ddp] [--workers 0] [--seed 0]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from rich.console import Console

from sigvit import vit
from sigvit.data.images import open_images
from sigvit.training.augment_images import ImageAugmentation
from sigvit.training.checkpoint import Checkpoints
from sigvit.training.distributed import Processes
from sigvit.training.image_batches import ImageBatches
from sigvit.training.journal import Journal
from sigvit.training.loop import train
from sigvit.training.recipe import Recipe

SIZE = (10, 14)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("pictures", type=Path)
    for name, default in (("steps", 60), ("every", 3), ("accumulation", 1), ("workers", 0), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--kind", default="ddp")
    return parser.parse_args(arguments)


def main(given: argparse.Namespace) -> None:
    """Train, go on where an earlier start was killed, and leave `weights.pt`."""
    torch.set_num_threads(1)
    recipe = Recipe(
        steps=given.steps,
        batch_size=8,
        warmup_steps=5,
        mixup=0.3,
        cutmix=0.5,
        accumulation=given.accumulation,
        validate_every=11,
        dtype="float64",
        ema_decay=0.9,
    )
    with Processes.from_torchrun(given.kind) as processes:
        augmentation = ImageAugmentation(crop_area=(0.3, 1.0), flip=True, colour_jitter=0.2, erasing=0.3)
        batches = ImageBatches(open_images(given.pictures), augmentation, recipe, given.seed, processes.device, given.workers, SIZE)
        torch.manual_seed(given.seed)
        model = vit("Ti/2", SIZE, batches.n_classes, width=12, depth=3, heads=2, mlp_width=23, dropout=0.1, stochastic_depth=0.2).to(
            processes.device, torch.float64
        )
        journal = Journal(given.folder, every=7, samples_per_step=recipe.batch_size, console=Console(quiet=True))
        checkpoints = Checkpoints(given.folder / "checkpoints", every=given.every)
        train(model, batches, recipe, given.seed, checkpoints=checkpoints, processes=processes, journal=journal)
        weights = processes.full(model.state_dict())
        if weights is not None:
            torch.save(weights, given.folder / "weights.partial")
            os.rename(given.folder / "weights.partial", given.folder / "weights.pt")


if __name__ == "__main__":
    main(parse())
