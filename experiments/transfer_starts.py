"""What a model of recordings can start from, for transfer.py: nothing, its own unlabelled recordings, other people's, other labels, or pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from recording_sets import batches_of, has_places, scaled, some_patches
from torch import nn

import sigvit
from sigvit.evidence.pretraining import FILE, write_pretraining
from sigvit.model.image_start import start_from_image
from sigvit.tokenizers import ElectrodeTimePatches, ScalpMapPatches, SpectrogramPatches
from sigvit.training.loop import train
from sigvit.training.masked_autoencoder import MaskedAutoencoder
from sigvit.training.masked_patches import MaskedPatches
from sigvit.training.masks import Masking
from sigvit.training.patch_targets import patch_target
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import Recipe
from sigvit.training.unlabelled import UnlabelledBatches

HEADS = 4
# Of the scalp maps and spectrograms that an image model reads: pixels, and seconds.
MAP_SIZE, MAP_PATCH, FRAME_S, FRAMES = (12, 12), (4, 4), 0.05, 2
STFT_S, STFT_STRIDE_S, STFT_PATCH = 0.5, 0.125, (4, 2)


class Sizes(NamedTuple):
    """What all models of recordings of one comparison have in common."""

    width: int
    depth: int
    window_s: float


class Training(NamedTuple):
    """How pre-training goes."""

    objective: str
    steps: int
    batch_size: int
    learning_rate: float

    def recipe(self) -> Recipe:
        return Recipe(steps=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate, warmup_steps=self.steps // 10, ema_decay=0.99)


def fresh(windows: sigvit.Windows, sizes: Sizes, seed: int, n_classes: int | None = None) -> sigvit.VisionTransformer:
    """One token is one electrode × `window_s`; positions are functions of place and second, so that every cap can be read, without places its own alone."""
    torch.manual_seed(derive_seed(seed, "weights"))
    tokenizer = ElectrodeTimePatches.from_info(windows.info, sizes.window_s, sizes.window_s, electrodes=1, width=sizes.width)
    classes = len(windows.classes) if n_classes is None else n_classes
    n_times = windows.values.shape[2]
    positions = "coordinates" if has_places(windows) else "factorised"
    return sigvit.signal_vit(windows.info, n_times, num_classes=classes, tokenizer=tokenizer, positions=positions, depth=sizes.depth, heads=HEADS, pool="mean")


def pretrained(target: sigvit.Windows, sets: list[sigvit.Windows], sizes: Sizes, training: Training, seed: int, folder: Path) -> Path:
    """A folder with a model for `target` that has seen these sets without their labels; one that is there already is taken."""
    return _kept(folder, sets, training.objective, lambda: _without_labels(target, sets, sizes, training, seed))


def supervised(target: sigvit.Windows, sets: list[sigvit.Windows], sizes: Sizes, training: Training, seed: int, folder: Path) -> Path:
    """A folder with a model for `target` that has learned the labels of these sets, each set's classes beside the others'."""
    return _kept(folder, sets, "supervised", lambda: _with_labels(target, sets, sizes, training, seed))


def of_image(image: Path, windows: sigvit.Windows, through: str, window_s: float, random: bool, seed: int) -> sigvit.VisionTransformer:
    """The image model's weights, or with `random` the same model before its training, read through "electrode_time", "scalp_map" or "spectrogram"."""
    model = sigvit.VisionTransformer.from_pretrained(image)
    if random:
        torch.manual_seed(derive_seed(seed, "weights"))
        model = sigvit.VisionTransformer(model.config, type(model.tokenizer)(**model.tokenizer.arguments()))  # type: ignore[operator]
    width, info = model.config.width, windows.info
    tokenizers: dict[str, Callable[[], nn.Module]] = {
        "electrode_time": lambda: ElectrodeTimePatches.from_info(info, window_s, window_s, electrodes=1, width=width),
        "scalp_map": lambda: ScalpMapPatches.from_info(info, MAP_SIZE, MAP_PATCH, FRAME_S, FRAMES, width),
        "spectrogram": lambda: SpectrogramPatches.from_info(info, "stft", STFT_S, STFT_STRIDE_S, patch=STFT_PATCH, width=width),
    }
    electrodes, n_times = windows.values.shape[1:]
    return start_from_image(model, tokenizers[through](), (electrodes, n_times), len(windows.classes))


def _kept(folder: Path, sets: list[sigvit.Windows], objective: str, make: Callable[[], sigvit.VisionTransformer]) -> Path:
    """The record is written last: where it is, the model is whole."""
    if not (folder / FILE).is_file():
        make().save_pretrained(folder)
        write_pretraining(folder, sets, objective)
    return folder


def _without_labels(target: sigvit.Windows, sets: list[sigvit.Windows], sizes: Sizes, training: Training, seed: int) -> sigvit.VisionTransformer:
    model, recipe = fresh(target, sizes, seed), training.recipe()
    values = scaled(sets)
    batches = UnlabelledBatches(batches_of(target, values, [np.zeros(len(windows), int) for windows in sets], sets, recipe, seed, 1), seed)
    objective: MaskedPatches | MaskedAutoencoder
    if training.objective == "masked_patches":
        assert isinstance(model.tokenizer, ElectrodeTimePatches)  # as `fresh` builds it
        objective = MaskedPatches(model, patch_target(model.tokenizer, "mean", some_patches(model.tokenizer, sets, values)))
    else:
        objective = MaskedAutoencoder(model, patch_target(model.tokenizer, "normalised"), Masking(0.75), sizes.width, depth=1, heads=HEADS)
    train(objective, batches, recipe, seed)
    return objective.finished()


def _with_labels(target: sigvit.Windows, sets: list[sigvit.Windows], sizes: Sizes, training: Training, seed: int) -> sigvit.VisionTransformer:
    numbers, first = [], 0
    for windows in sets:
        numbers.append(first + np.unique(windows.labels, return_inverse=True)[1])
        first += len(windows.classes)
    model, recipe = fresh(target, sizes, seed, n_classes=first), training.recipe()
    train(model, batches_of(target, scaled(sets), numbers, sets, recipe, seed, first), recipe, seed)
    model.reset_head(len(target.classes))
    return model.eval()
