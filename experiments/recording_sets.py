"""What the scripts that pre-train on sets of recordings have in common: values, places, levels and batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import sigvit
from sigvit.model.scaling import Scaling
from sigvit.tokenizers import ElectrodeTimePatches
from sigvit.tokenizers.electrode_sites import sites_of_info
from sigvit.training.batches import Batches, RecordingBatches
from sigvit.training.mixed_batches import MixedRecordingBatches, RecordingSet
from sigvit.training.patch_targets import patches_of
from sigvit.training.recipe import Recipe

LOOKED_AT = 1000  # windows that levels are taken from


def scaled(sets: list[sigvit.Windows]) -> list[Tensor]:
    """The values of each set, every electrode standardised over the set's own windows."""
    return [Scaling.of(windows.values)(windows.values) for windows in sets]


def has_places(windows: sigvit.Windows) -> bool:
    """Whether any electrode's is known; of muscles none is."""
    return bool(np.isfinite(sites_of_info(windows.info)).any())


def some_patches(tokenizer: ElectrodeTimePatches, sets: list[sigvit.Windows], values: list[Tensor]) -> Tensor:
    """(N, P) of windows drawn from all sets, of each in proportion to its windows."""
    one_in = -(-sum(map(len, values)) // LOOKED_AT)
    generator = torch.Generator().manual_seed(0)
    drawn = [own[torch.randperm(len(own), generator=generator)[: -(-len(own) // one_in)]] for own in values]
    if len(sets) == 1 and (tokenizer.names, tokenizer.sampling_rate) == (sets[0].electrodes, sets[0].sampling_rate):
        return patches_of(tokenizer, drawn[0]).flatten(0, 1)
    batches = [sigvit.collate_windows([(window, each.info) for window in own]) for own, each in zip(drawn, sets, strict=True)]
    return torch.cat([patches[real] for patches, real, _ in map(tokenizer.unfold_several, batches)])


def batches_of(
    target: sigvit.Windows, values: list[Tensor], numbers: list[np.ndarray], sets: list[sigvit.Windows], recipe: Recipe, seed: int, n_classes: int
) -> Batches:
    """Several caps side by side; one set of the target's own cap needs no masks, which saves a third of the time."""
    targets = [torch.as_tensor(each, dtype=torch.int64) for each in numbers]
    if len(sets) == 1 and _cap(sets[0]) == _cap(target):
        return RecordingBatches(values[0], targets[0], recipe, seed, n_classes)
    held = [RecordingSet(each, own, windows.info) for each, own, windows in zip(values, targets, sets, strict=True)]
    return MixedRecordingBatches(held, recipe, seed, n_classes)


def _cap(windows: sigvit.Windows) -> tuple:
    return windows.electrodes, windows.sampling_rate, windows.values.shape[2]
