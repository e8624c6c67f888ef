"""A program, not a test: small pre-trainings that one process or several do. `test_shared_pretraining.py` starts it under torchrun and compares.

torchrun --standalone --nproc-per-node 2 shared_pretraining.py FOLDER        both objectives, one file each
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor

import sigvit
from sigvit.tokenizers import ElectrodeTimePatches
from sigvit.training.batches import RecordingBatches
from sigvit.training.distributed import Processes
from sigvit.training.loop import train
from sigvit.training.masked_autoencoder import MaskedAutoencoder
from sigvit.training.masked_patches import MaskedPatches
from sigvit.training.patch_targets import patch_target, patches_of
from sigvit.training.recipe import Recipe
from sigvit.training.unlabelled import UnlabelledBatches

N, E, S = 19, 3, 35
RECIPE = Recipe(steps=11, batch_size=6, warmup_steps=3, noise=0.1, ema_decay=0.9, clip_norm=0.5, dtype="float64")
OBJECTIVES = ("masked_patches", "masked_autoencoder")


def trained(name: str, processes: Processes, seed: int = 0) -> dict[str, Tensor] | None:
    """The objective's whole weights, in the first process."""
    values = torch.randn(N, E, S, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # Processes begin apart, so that what they share is what `wrap` gave them.
    torch.manual_seed(seed + processes.rank)
    model = sigvit.signal_vit(E, S, 10.0, tokenizer=ElectrodeTimePatches(E, 1, 7, 7, 8), heads=2, depth=2)
    if name == "masked_patches":
        objective = MaskedPatches(model, patch_target(model.tokenizer, "mean", patches_of(model.tokenizer, values.float())))
    else:
        objective = MaskedAutoencoder(model, patch_target(model.tokenizer, "normalised"), width=8, depth=1, heads=2)
    objective.double()
    batches = UnlabelledBatches(RecordingBatches(values, torch.zeros(N, dtype=torch.int64), RECIPE, seed), seed)
    train(objective, batches, RECIPE, seed, processes=processes)
    return processes.full(objective.state_dict())


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for kind in ("ddp", "fsdp2"):
        with Processes.from_torchrun(kind) as processes:
            for name in OBJECTIVES:
                weights = trained(name, processes)
                if weights is not None:
                    torch.save(weights, folder / f"{kind} {name}.pt")


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(Path(sys.argv[1]))
