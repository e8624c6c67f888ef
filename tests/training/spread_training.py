"""A program, not a test: several small trainings that the processes of torchrun share. `test_spread.py` starts it and compares.

torchrun --standalone --nproc-per-node 2 spread_training.py FOLDER        all members' weights and histories, one file a process
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

import sigvit
from sigvit.training import many
from sigvit.training.many import Member, Plan, train_many
from sigvit.training.recipe import Recipe

E, S, N = 3, 41, 29
RECIPE = Recipe(steps=9, batch_size=7, warmup_steps=2, validate_every=4, mixup=0.5, dtype="float64")

# Of the group for what is no training, such as the start of these processes, which may load torch at the same time as others.
PATIENCE = timedelta(seconds=15)

TRAIN_HERE = many._train_here


def members(spoilt: int | None = None) -> list[Member]:
    """Five trainings of two architectures; one may be spoilt by a window that isn't finite."""
    generator = torch.Generator().manual_seed(0)
    values, targets = torch.randn(N, E, S, generator=generator, dtype=torch.float64), torch.arange(N) % 2
    found = []
    for seed in range(5):
        torch.manual_seed(seed)
        model = sigvit.signal_vit(E, S, depth=1 + seed % 2, width=6, heads=2, dropout=0.2).double()
        own = values[seed:].clone()
        if seed == spoilt:
            own[:, 0, 0] = float("inf")
        found.append(Member(model, own, targets[seed:], RECIPE, seed, 2, name=f"member {seed}"))
    return found


def late(*share: Any) -> None:
    """As with a larger share: the others wait longer than the group would for anything else."""
    time.sleep(1.1 * PATIENCE.total_seconds())
    TRAIN_HERE(*share)


def full(*share: Any) -> None:
    raise OSError("No space is left.")


def refusal(asked: list[Member]) -> str:
    try:
        train_many(asked, Plan(2))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", timeout=PATIENCE)
    trained, is_second = members(), distributed.get_rank() == 1
    many._train_here = late if is_second else TRAIN_HERE
    histories = train_many(trained, Plan(2))
    many._train_here = TRAIN_HERE
    spoilt = refusal(members(spoilt=3))
    many._train_here = full if is_second else TRAIN_HERE
    stopped = refusal(members())
    told = {"weights": [member.model.state_dict() for member in trained], "histories": histories, "spoilt": spoilt, "stopped": stopped}
    torch.save(told, folder / f"{distributed.get_rank()}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
