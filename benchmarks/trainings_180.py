"""The 180 trainings of a published cross-validation in one call: 9 people × 2 sessions × 10 seeds, 288 windows of 22 × 1000 samples each, 500 epochs.

    python benchmarks/trainings_180.py               # both networks, on a GPU
    python benchmarks/trainings_180.py --steps 20    # a look anywhere: prints, writes nothing

One after the other, 180 of a network with 2500 parameters took 8 hours on a V100 as published. The signals are noise: time alone is measured. Writes
results/benchmarks/trainings_180.md.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import tyro
from many_models import WINDOWS, Case
from page import keep, where

from sigvit.training.many import Member, train_many
from sigvit.training.recipe import Recipe

SETS, SEEDS, EPOCHS, BATCH = 9 * 2, 10, 500, 64
CASES = (Case("EEGNet"), Case("the classifier's default network", width=32))


@dataclass(frozen=True)
class Options:
    """Train 180 networks at once."""

    steps: int | None = None
    """Of each network; left out, those of 500 epochs, and the table is written."""


def members(case: Case, steps: int, device: str) -> list[Member]:
    generator = torch.Generator().manual_seed(0)
    sets = [torch.randn(WINDOWS, 22, 1000, generator=generator).to(device) for _ in range(SETS)]
    targets = (torch.arange(WINDOWS) % 2).to(device)
    recipe = Recipe(steps=steps, batch_size=BATCH, time_shift=0.1, mixup=1.0, validate_every=steps)
    return [Member(case.model(seed).to(device), values, targets, recipe, seed, 2) for values in sets for seed in range(SEEDS)]


def minutes(case: Case, steps: int, device: str) -> float:
    trained = members(case, steps, device)
    start = time.perf_counter()
    train_many(trained)
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / 60


def main(options: Options) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    steps = EPOCHS * (WINDOWS // BATCH) if options.steps is None else options.steps
    lines = [
        f"# {SETS * SEEDS} trainings in one call",
        "",
        f"{SETS} sets of {WINDOWS} windows of 22 × 1000 samples, {SEEDS} seeds each, {steps} steps of {BATCH} windows, AdamW, time shift and mixup, float32.",
        f"{where(device=device)}.",
        "",
        "| network | minutes | seconds a step of all |",
        "|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for case in CASES:
        taken = minutes(case, steps, device)
        lines.append(f"| {case.name} | {taken:.2f} | {taken * 60 / steps:.3f} |")
        print(lines[-1], flush=True)
    if options.steps is None:
        keep("trainings_180", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
