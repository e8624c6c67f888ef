"""The cross-validation experiment on the three Muse tasks, three protocols each, with the engine that trains all folds at once and without it.

    python benchmarks/muse_engine.py [--seeds 10] [--tasks muse_p300 …] [--protocols cross_subject …] [--quick]

The pipelines of experiments/eeg_cross_validation.py in three ways: "at once" in two processes of one thread, "fit by fit" in two such processes, one
network after the other in each, and "serial", one network after the other with all threads. Seconds are of `cross_validate` from beginning to end. A task under
a protocol, trained one way, is a unit: a finished one is kept in results/muse_engine and not done again; a killed one begins anew, so that its seconds are
whole.
Prints the table and writes benchmarks/results/muse_engine.md from all units that are done.
--quick: one seed, 20 steps, the networks alone; kept apart, and nothing is written but what it keeps.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import sigvit
from sigvit.evidence.convnets import ConvNetClassifier
from sigvit.training.member import Member, train_alone

UNITS = Path("results/muse_engine")
TABLE = Path(__file__).parent / "results" / "muse_engine.md"
TASKS = ("muse_ssvep", "muse_n170", "muse_p300")
PROTOCOLS = ("cross_subject", "cross_session", "within_session")
WAYS = ("at once", "fit by fit", "serial")
PROCESSES = THREADS = 2
HEADING = (
    *("task, protocol", "fits", "at once (s)", "fit by fit (s)", "serial (s)", "gain over fit by fit", "gain over serial"),
    *("ViT at once", "ViT serial", "largest difference of a fit's score"),
)


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


def make_pipelines(windows: sigvit.Windows, way: str, quick: bool) -> dict[str, Any]:
    vit, convnet = (sigvit.SignalViTClassifier, ConvNetClassifier) if way == "at once" else (OneByOneViT, OneByOneConvNet)
    if quick:
        return {"ViT": vit(training_steps=20, classical=None), "EEGNet": convnet("EEGNet", epochs=1)}
    networks = {"ViT": vit(), "EEGNet": convnet("EEGNet"), "ShallowConvNet": convnet("ShallowConvNet")}
    return {**networks, **sigvit.baselines.everything(windows)}


def make_folds(windows: sigvit.Windows, protocol: str) -> list[sigvit.Fold]:
    metadata, support_s = windows.metadata, windows.filter_support_s
    if protocol == "within_session":
        return sigvit.folds.within_session(metadata, undividable="leave out", filter_support_s=support_s)
    return getattr(sigvit.folds, protocol)(metadata, filter_support_s=support_s)


def run(task: str, protocol: str, way: str, seeds: int, quick: bool, folder: Path) -> None:
    """One unit, unless it is done."""
    if (folder / "seconds.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    windows = sigvit.open_dataset(task)
    folds, pipelines = make_folds(windows, protocol), make_pipelines(windows, way, quick)
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
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(HEADING), ["---"] * len(HEADING), *rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=TASKS)
    parser.add_argument("--protocols", nargs="*", default=list(PROTOCOLS), choices=PROTOCOLS)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    seeds = 1 if asked.quick else asked.seeds
    units = UNITS / ("quick" if asked.quick else f"{seeds}_seeds")
    for task in asked.tasks:
        for protocol in asked.protocols:
            for way in WAYS:
                run(task, protocol, way, seeds, asked.quick, units / f"{task}-{protocol}-{way.replace(' ', '_')}")
    head = (
        "# The Muse experiment with all folds at once and without\n\n"
        f"`python benchmarks/muse_engine.py --seeds {seeds}`: seconds of `cross_validate`, at once and fit by fit in {PROCESSES} processes of one thread, "
        f"serial in one process of {THREADS}; mean ROC-AUC over fits.\n"
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, sigvit {sigvit.__version__}.\n\n"
    )
    print(head + table(units))
    if not asked.quick:
        TABLE.write_text(head + table(units), encoding="utf-8")


if __name__ == "__main__":
    main()
