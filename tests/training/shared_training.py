"""A program, not a test: small trainings that one process or several do. `test_distributed.py` starts it under torchrun and compares.

torchrun --standalone --nproc-per-node 2 shared_training.py FOLDER        the trainings of `CASES`, one file each
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from sigvit import signal_vit
from sigvit.training.batches import RecordingBatches
from sigvit.training.checkpoint import Checkpoints
from sigvit.training.distributed import Processes
from sigvit.training.loop import train
from sigvit.training.recipe import Recipe

N, E, S, C = 37, 3, 31, 5
RECIPE = Recipe(steps=20, batch_size=12, warmup_steps=3, mixup=0.4, noise=0.1, ema_decay=0.9, clip_norm=0.5, validate_every=7, dtype="float64")
# name: dropout, what differs from RECIPE
CASES = {
    "float64": (0.0, {}),
    "float32": (0.0, {"dtype": "float32"}),
    "dropout": (0.3, {}),
    "accumulated": (0.0, {"optimizer": "sgd", "accumulation": 3}),
    "lamb": (0.0, {"optimizer": "lamb"}),
}


class InterruptedTrainingError(Exception):
    """Training was ended from without."""


def recordings(dtype: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(N) % C
    values = torch.randn(N, E, S, generator=generator, dtype=torch.float64) + targets[:, None, None] / C
    return values.to(getattr(torch, dtype)), targets


def network(recipe: Recipe, dropout: float, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = signal_vit(E, S, 10.0, C, width=6, depth=2, heads=3, mlp_width=11, registers=1, dropout=dropout)
    # A head at zero would hide a wrong gradient of the blocks in the first step.
    nn.init.normal_(model.head.weight, std=0.2)
    return model.to(getattr(torch, recipe.dtype))


def trained(
    recipe: Recipe, dropout: float, processes: Processes, checkpoints: Checkpoints | None = None, end_at: int | None = None, seed: int = 0
) -> dict[str, Tensor] | None:
    """The whole weights, and the logits of all recordings under "logits", in the first process; interrupted after `end_at` steps."""
    # Processes begin apart, so that what they share is what `wrap` gave them.
    model = network(recipe, dropout, seed + processes.rank)
    values, targets = recordings(recipe.dtype)

    def end(step: int) -> None:
        if step == end_at:
            raise InterruptedTrainingError

    def validation(model: nn.Module) -> float:
        return float(nn.functional.cross_entropy(model(values[:11]), targets[:11]))

    try:
        train(
            model,
            RecordingBatches(values, targets, recipe, seed),
            recipe,
            seed,
            validation=validation,
            checkpoints=checkpoints,
            processes=processes,
            on_step=end,
        )
    except InterruptedTrainingError:
        return None
    with torch.no_grad():
        logits = model(values)
    return processes.full({**model.state_dict(), "logits": logits})


def agreements(processes: Processes) -> dict[str, object]:
    """What the processes tell one another."""
    told = processes.from_first({"whole": torch.arange(3), "plain": [processes.rank, None, (1.5, "word")]})
    return {
        "rank": processes.rank,
        "world": processes.world,
        "any": [processes.any(processes.rank == 1), processes.any(False)],
        "mean": processes.mean(torch.tensor(float(processes.rank))),
        "told": told,
    }


def refusal(processes: Processes) -> str:
    """The sentence about a model that can't be shared."""
    try:
        processes.wrap(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)))
    except ValueError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    # One thread: two processes on few cores would wait for one another's.
    torch.set_num_threads(1)
    for kind in ("ddp", "fsdp2"):
        with Processes.from_torchrun(kind) as processes:
            torch.save(agreements(processes) | {"refusal": refusal(processes)}, folder / f"{kind} agreements {processes.rank}.pt")
            for name, (dropout, changes) in CASES.items():
                write(trained(replace(RECIPE, **changes), dropout, processes), folder / f"{kind} {name}.pt")
            # Begun here, to be ended by one process alone; and the other way round.
            trained(RECIPE, 0.0, processes, Checkpoints(folder / f"{kind} begins", every=5), end_at=13)
            write(trained(RECIPE, 0.0, processes, Checkpoints(folder / f"alone begins, {kind} ends", every=5)), folder / f"{kind} ended.pt")


def write(result: dict[str, Tensor] | None, path: Path) -> None:
    if result is not None:
        torch.save(result, path)


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(Path(sys.argv[1]))
