"""The cross-validation experiment on the three Muse tasks, three protocols each, with the engine that trains all folds at once and without it.

    python benchmarks/muse_engine.py [--seeds 10] [--tasks muse_p300 …] [--protocols cross_subject …]

The pipelines of experiments/eeg_cross_validation.py in three ways: "at once" in two processes of one thread, "fit by fit" in two such processes, one
network after the other in each, and "serial", one network after the other with all threads. Seconds are of `cross_validate` from beginning to end. A task under
a protocol, trained one way, is a unit: a finished one is kept in results/muse_engine and not done again; a killed one begins anew, so that its seconds are
whole.
Prints the table and writes results/benchmarks/muse_engine.md from all units that are done.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from page import keep, markdown, where

import sigvit
from sigvit.evidence.convnets import ConvNetClassifier
from sigvit.evidence.protocols import folds_of
from sigvit.training.member import Member, train_alone

UNITS = Path("results/muse_engine")
TASKS = ("muse_ssvep", "muse_n170", "muse_p300")
PROTOCOLS = ("cross_subject", "cross_session", "within_session")
WAYS = ("at once", "fit by fit", "serial")
PROCESSES = THREADS = 2
HEADING = [
    *("task, protocol", "fits", "at once (s)", "fit by fit (s)", "serial (s)", "gain over fit by fit", "gain over serial"),
    *("ViT at once", "ViT serial", "largest difference of a fit's score"),
]


class OneByOne:
    """Hides `fit_many`, so that `cross_validate` fits one fold and seed after the other, and trains the networks of a fit one after the other too."""

    @property
    def fit_many(self) -> Any:
        raise AttributeError("switched off")

    def _train(self, members: Sequence[Member], snapshots: Any = None, processes: Any = None) -> list[list[dict[str, float]]]:
        return [train_alone(member) for member in members]


class OneByOneViT(OneByOne, sigvit.SignalViTClassifier):
    pass


class OneByOneConvNet(OneByOne, ConvNetClassifier):
    pass


def make_pipelines(windows: sigvit.Windows, way: str) -> dict[str, Any]:
    vit, convnet = (sigvit.SignalViTClassifier, ConvNetClassifier) if way == "at once" else (OneByOneViT, OneByOneConvNet)
    networks = {"ViT": vit(), "EEGNet": convnet("EEGNet"), "ShallowConvNet": convnet("ShallowConvNet")}
    return {**networks, **sigvit.baselines.everything(windows)}


def run(task: str, protocol: str, way: str, seeds: int, folder: Path) -> None:
    """One unit, unless it is done."""
    if (folder / "seconds.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    windows = sigvit.open_dataset(task)
    folds, pipelines = folds_of(windows, protocol), make_pipelines(windows, way)
    start = time.perf_counter()
    processes, threads = (1, THREADS) if way == "serial" else (PROCESSES, 1)
    torch.set_num_threads(threads)
    results = sigvit.cross_validate(pipelines, windows, folds, range(seeds), folder=folder, n_jobs=processes)
    seconds = time.perf_counter() - start
    results.table.to_csv(folder / "table.csv", index=False)
    (folder / "seconds.json").write_text(json.dumps(seconds))
    print(f"{task}, {protocol}, {way}: {seconds:.0f} s", flush=True)


def row(task: str, protocol: str, folders: dict[str, Path]) -> list[str]:
    seconds = {way: json.loads((folder / "seconds.json").read_text()) for way, folder in folders.items()}
    scores = {way: pd.read_csv(folder / "table.csv").set_index(["pipeline", "fold", "seed"])["score"] for way, folder in folders.items()}
    means = [f"{scores[way]['ViT'].mean():.4f}" for way in ("at once", "serial")]
    differences = [(scores["at once"] - scores[way]).abs().max() for way in WAYS[1:]]
    gains = [f"{seconds[way] / seconds['at once']:.2f}" for way in WAYS[1:]]
    return [f"{task}, {protocol}", str(len(scores["at once"])), *(f"{seconds[way]:.0f}" for way in WAYS), *gains, *means, f"{max(differences):.4f}"]


def table(units: Path) -> str:
    """All rows of which every way is done."""
    rows = []
    for task in TASKS:
        for protocol in PROTOCOLS:
            folders = {way: units / f"{task}-{protocol}-{way.replace(' ', '_')}" for way in WAYS}
            if all((folder / "seconds.json").exists() for folder in folders.values()):
                rows.append(row(task, protocol, folders))
    return markdown(pd.DataFrame(rows, columns=HEADING))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=TASKS)
    parser.add_argument("--protocols", nargs="*", default=list(PROTOCOLS), choices=PROTOCOLS)
    options = parser.parse_args()
    units = UNITS / f"{options.seeds}_seeds"
    for task in options.tasks:
        for protocol in options.protocols:
            for way in WAYS:
                run(task, protocol, way, options.seeds, units / f"{task}-{protocol}-{way.replace(' ', '_')}")
    head = (
        "# The Muse experiment with all folds at once and without\n\n"
        f"`python benchmarks/muse_engine.py --seeds {options.seeds}`: seconds of `cross_validate`, at once and fit by fit in {PROCESSES} processes of one "
        f"thread, serial in one process of {THREADS}; mean ROC-AUC over fits.\n"
        f"{where()}.\n\n"
    )
    print(head + table(units))
    keep("muse_engine", head + table(units))


if __name__ == "__main__":
    main()
