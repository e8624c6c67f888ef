"""One training epoch of the default network of `SignalViTClassifier` against braindecode's EEGConformer, Labram, ATCNet and EEGNet.

    python benchmarks/eeg_epoch.py

The same windows, the same batch size, all threads; all take turns in every round, and the table has medians of the rounds' ratios. Ours is a step as the
estimator trains it (time shift, mixup, dropout, clipping, moving average); theirs is forward, cross-entropy, backward and AdamW, without the overhead of
braindecode's own loop. Prints the table and writes results/benchmarks/eeg_epoch.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable
from typing import Any

import mne
import torch
from braindecode_networks import build_peer, load_braindecode
from page import keep, where
from torch import Tensor, nn
from torch.nn import functional

import sigvit
from sigvit.timing import step_times
from sigvit.training.batches import RecordingBatches
from sigvit.training.distributed import Processes
from sigvit.training.loop import update
from sigvit.training.memory import keep_freed_memory
from sigvit.training.state import TrainingState

WINDOWS, BATCH, CLASSES = 256, 64, 4
ROUNDS = 7
PEERS = ("EEGNet", "ATCNet", "EEGConformer", "Labram")
# Electrodes, samples and hertz: BCI Competition IV 2a and four seconds of EEGMMIDB.
SHAPES = ((22, 1000, 250.0), (64, 640, 160.0))
Step = Callable[[], None]


def our_step(values: Tensor, targets: Tensor, hertz: float) -> tuple[Step, nn.Module]:
    classifier = sigvit.SignalViTClassifier(batch_size=BATCH)
    info = mne.create_info(values.shape[1], hertz, "eeg")
    model = classifier.build(info, values.shape[2], CLASSES).train()
    state = TrainingState.begin(model, classifier.recipe(len(values)), 0, Processes.alone())
    batches = RecordingBatches(values, targets, state.recipe, 0, CLASSES)
    return lambda: update(state, batches), model


def peer_step(network: nn.Module, values: Tensor, targets: Tensor) -> Step:
    optimizer, generator = torch.optim.AdamW(network.train().parameters(), 1e-3), torch.Generator().manual_seed(0)

    def step() -> None:
        rows = torch.randperm(len(values), generator=generator)[:BATCH]
        optimizer.zero_grad()
        functional.cross_entropy(network(values[rows]), targets[rows]).backward()
        optimizer.step()

    return step


def measure(models: Any, shape: tuple[int, int, float]) -> list[str]:
    """The rows of the table for one shape."""
    electrodes, samples, hertz = shape
    values = torch.randn(WINDOWS, electrodes, samples, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(WINDOWS) % CLASSES
    ours, model = our_step(values, targets, hertz)
    steps, sizes = {"sigvit, default": ours}, {"sigvit, default": count_weights(model)}
    for name in PEERS:
        # Labram knows electrodes by name; which ones they are makes no difference to its time.
        names = list(sys.modules["braindecode.models.labram"].LABRAM_CHANNEL_ORDER[:electrodes])
        network = build_peer(models, name, names, samples, hertz, CLASSES)
        steps[name], sizes[name] = peer_step(network, values, targets), count_weights(network)
    times, rows = step_times(steps, rounds=ROUNDS), []
    for name, found in times.items():
        ratios = [theirs / mine for theirs, mine in zip(found, times["sigvit, default"], strict=True)]
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} – {max(ratios):.1f})"
        epoch = statistics.median(found) * WINDOWS / BATCH
        rows.append(f"| {electrodes} × {samples} | {name} | {sizes[name]} | {epoch:.3f} | {spread} |")
    return rows


def count_weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    warnings.filterwarnings("ignore", message="Using padding='same'")  # of ATCNet
    keep_freed_memory()  # for all of them
    models = load_braindecode()
    lines = [
        "# One training epoch against braindecode's networks",
        "",
        f"{WINDOWS} windows, batches of {BATCH}, float32. "
        f"Median seconds an epoch, and the median of the rounds' ratios to ours (lowest – highest) of {ROUNDS} rounds in which all take turns.",
        f"{where('braindecode')}.",
        "",
        "| windows | network | weights | epoch (s) | × ours |",
        "|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for shape in SHAPES:
        rows = measure(models, shape)
        print("\n".join(rows), flush=True)
        lines += rows
    keep("eeg_epoch", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
