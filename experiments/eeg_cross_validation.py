"""Cross-validate the Vision Transformer against classical and convolutional baselines on a dataset page; ends in a table, a certificate and a report.

    python experiments/eeg_cross_validation.py --dataset scp1

What to expect: benchmarks/results/eeg_accuracy.md. Killed and started again with the same command, or with more seeds, it goes on.
"""

from __future__ import annotations

import math
import shlex
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from faults import faults_in_a_sentence
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import sigvit
from sigvit.evidence.convnets import ConvNetClassifier
from sigvit.evidence.fingerprint import describe
from sigvit.evidence.protocols import folds_of
from sigvit.evidence.results_folder import claim_folder, write_results

NETWORKS: dict[str, Any] = {
    "ViT": sigvit.SignalViTClassifier(),
    "EEGNet": ConvNetClassifier("EEGNet"),
    "ShallowConvNet": ConvNetClassifier("ShallowConvNet"),
}


@dataclass(frozen=True)
class Configuration:
    """Cross-validate the Vision Transformer against baselines on one dataset."""

    dataset: str = "scp1"
    """A page's name (`sigvit datasets` lists them) or the path of a TOML page."""
    folder: Path | None = None
    """Where the recordings lie, for pages that need local files."""
    protocol: Literal["auto", "shipped", "within_session", "cross_session", "cross_subject"] = "auto"
    """What is tested: the part that the page ships as such, runs or blocks in time of a session, sessions of a person, or whole people.
    auto: shipped where the page has it, else cross_subject where there are several people, else within_session."""
    k: int | None = None
    """Number of groups or blocks; left out, one subject, session or run is left out at a time."""
    guard_s: float = 0.0
    """Seconds around test windows that no training window may touch, beyond the support of the filters."""
    pipelines: tuple[str, ...] = ()
    """Names of pipelines; left out, all: ViT (its network and classical half get rows of their own), EEGNet, ShallowConvNet and the classical baselines."""
    seeds: int = 5
    """How many: 0, 1, …; a pipeline without randomness is fitted once."""
    output: Path | None = None
    """Results folder; left out, results/DATASET-PROTOCOL."""
    jobs: int = -1
    """Processes that share the pipelines × folds, each with one thread; -1 takes one a core."""


def main(configuration: Configuration) -> None:
    torch.set_num_threads(1)  # as in the processes, so that one process and several give the same bits
    console = Console()
    windows = sigvit.open_dataset(configuration.dataset, folder=configuration.folder)
    protocol, folds = make_folds(configuration, windows)
    pipelines = choose_pipelines(configuration, windows)
    output = configuration.output or Path("results") / f"{windows.name}-{protocol}"
    record = describe_run(configuration, protocol, windows, pipelines)
    if configuration.seeds < 1 or configuration.jobs == 0:
        told = f"--seeds is {configuration.seeds} and --jobs {configuration.jobs}"
        raise ValueError(f"{told}: at least one seed is fitted, in at least one process (-1: one a core).")
    certificate = sigvit.certify(windows, folds, guard_s=configuration.guard_s)
    claim_folder(output, record, free=("seeds",))  # after all that may refuse the run, so that a mended one finds the folder free
    console.print(f"{windows.name}: {len(windows)} windows, {len(folds)} folds ({protocol}); the certificate says: {certificate.verdict}.")
    seeds = range(configuration.seeds)
    with progress_bar(console) as on_fit:
        results = sigvit.cross_validate(pipelines, windows, folds, seeds, certificate, output, on_fit, configuration.jobs)
    write_results(output, results, windows, folds, record)
    print_summary(console, results)
    console.print(f"Report: {output / 'report.html'}   Check it: sigvit verify {shlex.quote(str(output))}", markup=False, soft_wrap=True)


def make_folds(configuration: Configuration, windows: sigvit.Windows) -> tuple[str, list[sigvit.Fold]]:
    """The protocol's name and its folds."""
    protocol: str = configuration.protocol
    if protocol == "auto":
        several = windows.metadata["subject"].nunique() > 1
        protocol = "shipped" if "shipped" in windows.metadata else "cross_subject" if several else "within_session"
    return protocol, folds_of(windows, protocol, configuration.k, guard_s=configuration.guard_s)


def choose_pipelines(configuration: Configuration, windows: sigvit.Windows) -> dict[str, Any]:
    """The named pipelines, or all of them; a name that isn't there is an error."""
    available = {**NETWORKS, **sigvit.baselines.everything(windows)}
    unknown = [name for name in configuration.pipelines if name not in available]
    if unknown:
        raise SystemExit(f"There is no pipeline {', '.join(unknown)}; there are {', '.join(available)}.")
    return {name: available[name] for name in configuration.pipelines or available}


def describe_run(configuration: Configuration, protocol: str, windows: sigvit.Windows, pipelines: dict[str, Any]) -> dict[str, Any]:
    """What decides the results, for config.toml: another entry is another protocol."""
    asked = {name: str(value) for name, value in asdict(configuration).items() if name not in ("output", "folder", "pipelines", "jobs")}
    parameters = {name: describe(pipeline) for name, pipeline in pipelines.items()}
    page = {"name": windows.name, "sha256": str(windows.page.get("sha256", "")), "windows": len(windows)}
    return {"sigvit": sigvit.__version__, "asked": {**asked, "protocol": protocol}, "page": page, "pipelines": parameters}


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar with the time left; gives the function to call after each fit."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("fitting", total=None)
        yield lambda done, total, what: progress.update(task, completed=done, total=total, description=what)


def print_summary(console: Console, results: sigvit.Results) -> None:
    """The score table on the terminal, best first; the report has all columns."""
    summary = results.summary().sort_values("score", ascending=False)
    table = Table(title=f"{summary['metric'].iloc[0]}; the certificate's verdict: {results.certificate.verdict}")
    for heading in ("pipeline", "score", "95 % interval", "accuracy", "log-loss", "seconds a fit"):
        table.add_column(heading, justify="left" if heading == "pipeline" else "right")
    for row in summary.to_dict("records"):
        interval = "–" if math.isnan(row["low"]) else f"{row['low']:.3f} … {row['high']:.3f}"
        table.add_row(row["pipeline"], f"{row['score']:.3f}", interval, f"{row['accuracy']:.3f}", f"{row['log_loss']:.3f}", f"{row['time']:.1f}")
    console.print(table)
    chance = summary["chance_line"].max()
    console.print("No test part holds two classes, so there is no score." if math.isnan(chance) else f"Chance stays below {chance:.3f} in 95 of 100 sets.")
    for warning in results.certificate.warnings:
        console.print(f"[yellow]warning[/yellow] {warning}")


if __name__ == "__main__":
    warnings.simplefilter("default")
    with faults_in_a_sentence():
        main(tyro.cli(Configuration))
