"""The cross-validation experiment on the three Muse tasks, three protocols each, with all folds trained at once and with one after the other.

    python benchmarks/muse_engine.py [--seeds 10] [--tasks muse_p300 …] [--quick]

The pipelines of experiments/eeg_cross_validation.py, two processes of one thread. Seconds are of `cross_validate` from beginning to end. A task under
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
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import sigvit
from sigvit.evidence.convnets import ConvNetClassifier

UNITS = Path("results/muse_engine")
TABLE = Path(__file__).parent / "results" / "muse_engine.md"
TASKS = ("muse_ssvep", "muse_n170", "muse_p300")
PROTOCOLS = ("cross_subject", "cross_session", "within_session")
WAYS = ("at once", "one by one")
PROCESSES = 2
HEADING = ("task, protocol", "fits", "one by one (s)", "at once (s)", "gain", "ViT one by one", "ViT at once", "largest difference of a fit's score")


class OneByOne:
    """Hides `fit_many`, so that `cross_validate` fits one fold and seed after the other."""

    @property
    def fit_many(self) -> Any:
        raise AttributeError("switched off")


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
    results = sigvit.cross_validate(pipelines, windows, folds, range(seeds), folder=folder, n_jobs=PROCESSES)
    seconds = time.perf_counter() - start
    results.table.to_csv(folder / "table.csv", index=False)
    (folder / "seconds.json").write_text(json.dumps(seconds))
    print(f"{task}, {protocol}, {way}: {seconds:.0f} s", flush=True)


def row(task: str, protocol: str, folders: dict[str, Path]) -> list[str]:
    seconds = {way: json.loads((folder / "seconds.json").read_text()) for way, folder in folders.items()}
    scores = {way: pd.read_csv(folder / "table.csv").set_index(["pipeline", "fold", "seed"])["score"] for way, folder in folders.items()}
    means = {way: found["ViT"].mean() for way, found in scores.items()}
    difference = (scores["at once"] - scores["one by one"]).abs().max()
    gain = seconds["one by one"] / seconds["at once"]
    fits = len(scores["at once"])
    told = [f"{seconds[way]:.0f}" for way in ("one by one", "at once")], [f"{means[way]:.4f}" for way in ("one by one", "at once")]
    return [f"{task}, {protocol}", str(fits), *told[0], f"{gain:.2f}", *told[1], f"{difference:.4f}"]


def table(units: Path) -> str:
    """All rows of which both ways are done."""
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
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    seeds = 1 if asked.quick else asked.seeds
    units = UNITS / ("quick" if asked.quick else f"{seeds}_seeds")
    for task in asked.tasks:
        for protocol in PROTOCOLS:
            for way in WAYS:
                run(task, protocol, way, seeds, asked.quick, units / f"{task}-{protocol}-{way.replace(' ', '_')}")
    head = (
        "# The Muse experiment with all folds at once and one by one\n\n"
        f"`python benchmarks/muse_engine.py`: {seeds} seeds; seconds of `cross_validate` on {PROCESSES} processes of a thread; mean ROC-AUC over fits.\n"
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, sigvit {sigvit.__version__}.\n\n"
    )
    print(head + table(units))
    if not asked.quick:
        TABLE.write_text(head + table(units), encoding="utf-8")


if __name__ == "__main__":
    main()
