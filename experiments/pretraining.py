"""Pre-train a ViT without labels, on images or on recordings, and write a model folder that says what it has seen.

    python experiments/pretraining.py --data digits                                              # half a minute on 2 cores
    python experiments/pretraining.py --data mnist --objective masked_autoencoder --steps 5000
    python experiments/pretraining.py --data muse_p300 --target band_power --window-s 0.4 --subjects 01 02   # one dataset page, some of its people
    python experiments/pretraining.py --data muse_p300 eegmat smni_group --masking time          # several caps and rates in one batch

Killed and started again with the same command, it ends with the same weights. Under torchrun several processes share the steps.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from faults import faults_in_a_sentence, slug
from image_sets import PATCHES, augmentation_of, small_vit
from recording_sets import batches_of, has_places, scaled, some_patches
from rich.console import Console

import sigvit
from sigvit.data.images import Images, open_images
from sigvit.evidence.pretraining import windows_sha256, write_pretraining
from sigvit.evidence.results_folder import claim_folder
from sigvit.model.scaling import Scaling
from sigvit.tokenizers import ElectrodeTimePatches
from sigvit.training.batches import Batches
from sigvit.training.checkpoint import Checkpoints
from sigvit.training.distributed import Processes
from sigvit.training.image_batches import ImageBatches
from sigvit.training.journal import Journal
from sigvit.training.loop import train
from sigvit.training.masked_autoencoder import MaskedAutoencoder
from sigvit.training.masked_patches import MaskedPatches
from sigvit.training.masks import Masking
from sigvit.training.patch_targets import patch_target
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import Recipe, require_unset
from sigvit.training.unlabelled import UnlabelledBatches

SHARES = {"masked_patches": 0.5, "masked_autoencoder": 0.75}
TARGETS = {"masked_patches": "mean", "masked_autoencoder": "normalised"}

Objective = MaskedPatches | MaskedAutoencoder


@dataclass(frozen=True)
class Configuration:
    """Pre-train a ViT without labels."""

    data: tuple[str, ...] = ("digits",)
    """digits, mnist, cifar10, a folder of images, an .npz or parquet:PATTERN; or dataset pages (`sigvit datasets` lists them), several at once.
    Images are shifted by a pixel or, from 32 pixels on, by four; pictures in colour are mirrored too."""
    folder: Path | None = None
    """Where the recordings lie, for pages that need local files."""
    objective: Literal["masked_patches", "masked_autoencoder"] = "masked_patches"
    """Predict corrupted patches (the ViT paper), or drop most of them and rebuild them (MAE)."""
    target: Literal["mean", "patch", "regression", "normalised", "band_power", "spectrum"] | None = None
    """What is predicted of a patch; left out, its mean (masked_patches) or its normalised numbers (masked_autoencoder)."""
    masking: Literal["random", "electrode", "time", "block"] = "random"
    """What is hidden together: single tokens, all of an electrode's, all of a moment's, or a block of neighbours on every axis."""
    share: float | None = None
    """Share of the tokens that is hidden; left out, 0.5 (masked_patches) or 0.75 (masked_autoencoder)."""
    subjects: tuple[str, ...] = ()
    """Of dataset pages: people whose recordings may be seen; left out, all. Never those that a later fold tests."""
    patch: tuple[int, int] | None = None
    """Of images: pixels (rows, columns); left out, what suits the set, else 16 × 16."""
    window_s: float = 0.25
    """Of recordings: seconds of a patch."""
    width: int = 64
    """Length of a token."""
    depth: int = 3
    """Blocks of the encoder."""
    heads: int = 4
    """Attention heads."""
    steps: int = 1000
    """Optimiser steps."""
    batch_size: int = 64
    """Images or windows a step."""
    learning_rate: float = 1e-3
    """At the top of the schedule."""
    seed: int = 0
    """Of everything random."""
    processes: Literal["ddp", "fsdp2"] = "ddp"
    """Under torchrun: the whole model in each process, or a share of it."""
    every: int = 100
    """Steps from one line of metrics to the next."""
    checkpoint_every: int = 500
    """Steps from one checkpoint to the next."""
    output: Path | None = None
    """Results folder; left out, results/pretraining-DATA-OBJECTIVE."""

    @property
    def recipe(self) -> Recipe:
        warmup = min(100, self.steps // 10)
        return Recipe(steps=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate, warmup_steps=warmup, ema_decay=0.995, betas=(0.9, 0.95))

    @property
    def of_images(self) -> bool:
        """Whether the data are images; a folder of images is a path."""
        first = self.data[0]
        return first in PATCHES or first.endswith(".npz") or first.startswith("parquet:") or Path(first).is_dir()


def main(configuration: Configuration) -> Path:
    """Train, and write config.toml, metrics.csv, checkpoints/ and model/ (with pretraining.json: which windows were seen); returns the model's folder."""
    output = configuration.output or Path("results") / f"pretraining-{'-'.join(map(slug, configuration.data))}-{configuration.objective}"
    with Processes.from_torchrun(configuration.processes) as processes:
        console = Console(quiet=not processes.first, soft_wrap=True)
        torch.manual_seed(derive_seed(configuration.seed, "weights"))
        objective, batches, sets, hashes = prepare(configuration, processes.device)
        hidden = UnlabelledBatches(batches, configuration.seed)
        require_hideable(objective, hidden)
        if processes.first:
            claim_folder(output, describe(configuration, hashes))  # after all that may refuse the task, so that a mended one finds the folder free
        console.print(f"{configuration.objective} on {', '.join(configuration.data)}: {count(objective):,} parameters.", highlight=False)
        journal = Journal(output, configuration.every, configuration.batch_size, console=console)
        checkpoints = Checkpoints(output / "checkpoints", every=configuration.checkpoint_every)
        train(objective, hidden, configuration.recipe, configuration.seed, checkpoints=checkpoints, processes=processes, journal=journal)
        weights = processes.full(objective.state_dict())
        if processes.first:
            save(objective, weights, sets, configuration, output / "model")
            console.print(f"Model: {output / 'model'}", highlight=False)
    return output / "model"


def prepare(configuration: Configuration, device: torch.device) -> tuple[Objective, Batches, list[sigvit.Windows], dict[str, str]]:
    """The objective, its batches, the window sets that it will see, and the hash of what each name of data stands for today."""
    if not configuration.data:
        raise ValueError("--data names nothing; it is an image set, or one dataset page or more.")
    if configuration.of_images:
        require_unset(configuration, ("folder", "subjects", "window_s"), f"{configuration.data[0]} are images")
        images = open_training_images(configuration)
        objective, batches = of_images(configuration, images, device)
        return objective.to(device), batches, [], {configuration.data[0]: images.fingerprint()}
    require_unset(configuration, ("patch",), f"{configuration.data[0]} are recordings")
    sets = [open_windows(name, configuration) for name in configuration.data]
    objective, batches = of_recordings(configuration, sets, device)
    return objective.to(device), batches, sets, dict(zip(configuration.data, map(windows_sha256, sets), strict=True))


def open_training_images(configuration: Configuration) -> Images:
    if len(configuration.data) > 1:
        raise ValueError(f"Images of one set are read at a time, but data names {', '.join(configuration.data)}.")
    return open_images(configuration.data[0], "train").in_memory()


def of_images(configuration: Configuration, images: Images, device: torch.device) -> tuple[Objective, Batches]:
    patch = configuration.patch or PATCHES.get(configuration.data[0], (16, 16))
    model, augmentation = small_vit(images, patch, configuration.width, configuration.depth, configuration.heads), augmentation_of(images)
    target = patch_target(model.tokenizer, target_name(configuration), mean=augmentation.mean, std=augmentation.std)
    return make_objective(configuration, model, target), ImageBatches(images, augmentation, configuration.recipe, configuration.seed, device)


def of_recordings(configuration: Configuration, sets: list[sigvit.Windows], device: torch.device) -> tuple[Objective, Batches]:
    """One token is one electrode × `window_s`; several sets need positions that are functions of place and second."""
    several, first = len(sets) > 1, sets[0]
    nowhere = [windows.name for windows in sets if several and not has_places(windows)]
    if nowhere:
        raise ValueError(f"None of the electrodes of {nowhere[0]} has a known place, so that nothing joins it with other caps; pre-train on it alone.")
    values = scaled(sets)
    tokenizer = ElectrodeTimePatches.from_info(first.info, configuration.window_s, configuration.window_s, electrodes=1, width=configuration.width)
    model = sigvit.signal_vit(
        first.info,
        n_times=first.values.shape[2],
        num_classes=len(first.classes),
        tokenizer=tokenizer,
        positions="coordinates" if several else "learned",
        depth=configuration.depth,
        heads=configuration.heads,
        pool="mean",
    )
    unlabelled = [np.zeros(len(windows), int) for windows in sets]
    batches = batches_of(first, [each.to(device) for each in values], unlabelled, sets, configuration.recipe, configuration.seed, n_classes=1)
    target = patch_target(tokenizer, target_name(configuration), some_patches(tokenizer, sets, values), sampling_rate=first.sampling_rate)
    return make_objective(configuration, model, target), batches


def make_objective(configuration: Configuration, model: sigvit.VisionTransformer, target: Any) -> Objective:
    share = SHARES[configuration.objective] if configuration.share is None else configuration.share
    masking = Masking(share, configuration.masking)
    return MaskedPatches(model, target, masking) if configuration.objective == "masked_patches" else MaskedAutoencoder(model, target, masking)


@torch.no_grad()
def require_hideable(objective: Objective, hidden: UnlabelledBatches) -> None:
    """ValueError where the masking doesn't fit the tokens of the first batch."""
    first, _ = hidden.batch(0)
    objective.masking.hidden(objective.model.cut(first.signal), first.seeds)


def target_name(configuration: Configuration) -> str:
    return configuration.target or TARGETS[configuration.objective]


def open_windows(name: str, configuration: Configuration) -> sigvit.Windows:
    """A page's windows, of the people asked for; one who isn't there is an error."""
    windows = sigvit.open_dataset(name, folder=configuration.folder)
    people = windows.metadata["subject"].astype(str)
    unknown = sorted(set(configuration.subjects) - set(people))
    if unknown:
        raise ValueError(f"{name} has no subject {', '.join(unknown)}; it has {', '.join(sorted(set(people)))}.")
    return windows[people.isin(configuration.subjects).to_numpy()] if configuration.subjects else windows


def save(objective: Objective, weights: dict[str, torch.Tensor], sets: list[sigvit.Windows], configuration: Configuration, folder: Path) -> None:
    """The model's weights, not the objective's; beside them what it saw."""
    own = {name.removeprefix("model."): tensor for name, tensor in weights.items() if name.startswith("model.")}
    model = objective.finished().cpu()
    model.load_state_dict(own)
    if len(sets) == 1:  # several sets were standardised each by its own
        model.scaling = Scaling.of(sets[0].values)
    model.save_pretrained(folder)
    write_pretraining(folder, sets, f"{configuration.objective} ({target_name(configuration)}, {configuration.masking})")


def describe(configuration: Configuration, hashes: dict[str, str]) -> dict[str, Any]:
    """What decides the weights, for config.toml, which has no None: other windows under the same name are other data."""
    free = ("output", "folder", "processes", "every", "checkpoint_every")
    asked = {name: value for name, value in asdict(configuration).items() if name not in free and value is not None}
    return {"sigvit": sigvit.__version__, "asked": json.loads(json.dumps(asked)), "data_sha256": hashes}


def count(objective: Objective) -> int:
    return sum(parameter.numel() for parameter in objective.parameters())


if __name__ == "__main__":
    with faults_in_a_sentence():
        main(tyro.cli(Configuration))
